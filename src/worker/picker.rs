//! Native file dialogs.

use std::path::PathBuf;

use super::Picked;

/// Asks the user for a path. Blocks until answered: call it on a thread of its own.
pub trait Picker: Send + Sync {
    /// The choice; `None` when cancelled or when the system offers no dialog (rfd cannot tell these apart).
    fn pick(&self, wanted: Picked) -> Option<PathBuf>;

    /// False where the system has no dialog to ask in: then `pick` would say "cancelled" after a long silence. Called on the
    /// same thread.
    fn is_available(&self) -> bool {
        true
    }
}

/// The system's dialog: desktop portal or zenity on Linux, native on Windows and macOS.
#[derive(Debug, Default)]
pub struct NativePicker;

impl Picker for NativePicker {
    #[cfg(target_os = "linux")]
    fn is_available(&self) -> bool {
        let var = |name: &str| std::env::var_os(name);
        has_dialog(&var, &|path| path.exists())
    }

    fn pick(&self, wanted: Picked) -> Option<PathBuf> {
        match wanted {
            Picked::Model => rfd::FileDialog::new()
                .set_title("Open a model")
                .add_filter("Models", &["gguf", "safetensors", "json", "onnx"])
                .add_filter("All files", &["*"])
                .pick_file(),
            Picked::ModelFolder => rfd::FileDialog::new().set_title("Open the folder of a checkpoint").pick_folder(),
            Picked::OutputDir => rfd::FileDialog::new().set_title("Folder for converted models").pick_folder(),
            Picked::Imatrix => rfd::FileDialog::new()
                .set_title("Choose an importance matrix")
                .add_filter("Importance matrices", &["gguf", "dat", "imatrix"])
                .add_filter("All files", &["*"])
                .pick_file(),
            Picked::CalibrationText => rfd::FileDialog::new().set_title("Choose a text").pick_file(),
        }
    }
}

/// Whether there is a desktop portal on a session bus, or zenity: what rfd asks, in this order.
///
/// The portal is started by the bus when it is first called: its service file says that it can be.
#[cfg(target_os = "linux")]
fn has_dialog(var: &dyn Fn(&str) -> Option<std::ffi::OsString>, exists: &dyn Fn(&std::path::Path) -> bool) -> bool {
    use std::path::Path;
    let dirs = |name: &str, default: &str| -> Vec<PathBuf> {
        let value = var(name).filter(|value| !value.is_empty()).unwrap_or_else(|| default.into());
        std::env::split_paths(&value).filter(|dir| dir.is_absolute()).collect()
    };
    if dirs("PATH", "").iter().any(|dir| exists(&dir.join("zenity"))) {
        return true;
    }
    let has_bus = var("DBUS_SESSION_BUS_ADDRESS").is_some_and(|address| !address.is_empty())
        || var("XDG_RUNTIME_DIR").is_some_and(|dir| exists(&Path::new(&dir).join("bus")));
    let home = var("HOME").map(|home| Path::new(&home).join(".local/share")).into_iter();
    let mut data_dirs = home.chain(dirs("XDG_DATA_DIRS", "/usr/local/share:/usr/share"));
    // In a sandbox the portal is outside, and always there.
    let is_sandbox = exists(Path::new("/.flatpak-info")) || var("SNAP").is_some();
    has_bus && (is_sandbox || data_dirs.any(|dir| exists(&dir.join("dbus-1/services/org.freedesktop.portal.Desktop.service"))))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_dialog_needs_a_portal_on_a_bus_or_zenity() {
        const SERVICE: &str = "/usr/share/dbus-1/services/org.freedesktop.portal.Desktop.service";
        let check = |vars: &[(&str, &str)], files: &[&str], expected: bool| {
            let var = |name: &str| -> Option<std::ffi::OsString> {
                vars.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into())
            };
            let exists = |path: &std::path::Path| files.iter().any(|file| std::path::Path::new(file) == path);
            assert_eq!(has_dialog(&var, &exists), expected, "{vars:?} {files:?}");
        };
        let bus = ("DBUS_SESSION_BUS_ADDRESS", "unix:path=/run/user/1000/bus");
        check(&[], &[], false);
        check(&[("PATH", "/usr/local/bin:/usr/bin")], &["/usr/bin/zenity"], true);
        check(&[("PATH", "/usr/bin")], &["/usr/bin/kdialog"], false);
        check(&[bus], &[], false);
        check(&[bus], &[SERVICE], true);
        check(&[], &[SERVICE], false);
        check(&[("XDG_RUNTIME_DIR", "/run/user/1000")], &["/run/user/1000/bus", SERVICE], true);
        check(&[bus, ("XDG_DATA_DIRS", "/opt/share")], &[SERVICE], false);
        check(&[bus], &["/.flatpak-info"], true);
    }
}
