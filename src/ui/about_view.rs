//! Which program this is, and which keys it knows.

use eframe::egui::{Grid, Label, RichText, Ui};

use super::kit::{theme, widgets};
use crate::model::Framework;
use crate::state::{Command, Dialog, Form, Store};

/// Keys and what they do; `Ctrl` is ⌘ on macOS.
const KEYS: [(&str, &str); 13] = [
    ("Ctrl+O", "Open a model"),
    ("Ctrl+1 … Ctrl+5", "Go to a page"),
    ("Ctrl+Enter", "Press the page's main button, the coloured one"),
    ("Ctrl+L", "Measure what the levels lose, on Compare"),
    ("Ctrl+PageDown, Ctrl+PageUp", "The next or previous tab of Compare"),
    ("Tab, Shift+Tab", "The next or previous control"),
    ("Space, Enter", "Press the control with the focus"),
    ("Escape", "Close what stands in front of the page"),
    ("Ctrl+T", "Light or dark"),
    ("Ctrl++, Ctrl+−, Ctrl+0", "Zoom"),
    ("Ctrl+,", "Settings"),
    ("F1", "These keys"),
    ("Ctrl+Q", "Quit"),
];

/// Draws the keyboard shortcuts. Returns `false`: the dialog around them has the button that closes it.
pub(super) fn shortcuts_ui(ui: &mut Ui, form: &mut Form) -> bool {
    Grid::new("keys").num_columns(2).spacing([24.0, 6.0]).show(ui, |ui| {
        for (keys, what) in KEYS {
            ui.label(
                RichText::new(if cfg!(target_os = "macos") { keys.replace("Ctrl+", "⌘") } else { keys.into() })
                    .font(theme::strong_font()),
            );
            ui.label(what);
            ui.end_row();
        }
    });
    ui.add_space(theme::UNIT);
    ui.horizontal(|ui| {
        if ui.button("About Planish").clicked() {
            form.dialog = Some(Dialog::About);
        }
        if ui.button("Settings…").clicked() {
            form.dialog = Some(Dialog::Settings);
        }
    });
    false
}

/// Draws what a bug report should name. Returns `false`: the dialog around it has the button that closes it.
pub(super) fn about_ui(ui: &mut Ui, store: &Store, commands: &mut Vec<Command>) -> bool {
    ui.add(Label::new("Makes a model fit your laptop, and proves what that cost. Nothing leaves this machine.").wrap());
    ui.add_space(theme::UNIT);
    let facts = facts(store);
    widgets::key_value_grid(ui, &facts);
    ui.add_space(theme::UNIT);
    let text = || facts.iter().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join("\n");
    widgets::copy_button(ui, "versions", text, commands);
    false
}

fn facts(store: &Store) -> Vec<(&'static str, String)> {
    let runtimes = store.machine.ready().map(|machine| machine.runtimes.as_slice()).unwrap_or_default();
    let llama_cpp = runtimes.iter().find(|runtime| runtime.framework == Framework::LlamaCpp);
    let llama_cpp = match llama_cpp {
        Some(runtime) => runtime.version.clone().unwrap_or_else(|| runtime.note.clone()),
        None if cfg!(feature = "llama-cpp") => "built in".into(),
        None => "not built in".into(),
    };
    vec![
        ("Planish", env!("CARGO_PKG_VERSION").to_string()),
        ("llama.cpp", llama_cpp),
        ("Features", features().join(", ")),
        ("Built for", format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)),
        ("Licence", env!("CARGO_PKG_LICENSE").to_string()),
    ]
}

/// Cargo features that this program was built with.
fn features() -> Vec<&'static str> {
    let all = [
        ("llama-cpp", cfg!(feature = "llama-cpp")),
        ("cuda", cfg!(feature = "cuda")),
        ("vulkan", cfg!(feature = "vulkan")),
        ("metal", cfg!(feature = "metal")),
        ("opencl", cfg!(feature = "opencl")),
        ("rocm", cfg!(feature = "rocm")),
    ];
    let built: Vec<&str> = all.into_iter().filter(|(_, is_built)| *is_built).map(|(name, _)| name).collect();
    if built.is_empty() { vec!["none"] } else { built }
}
