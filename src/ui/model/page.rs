//! What the model is: opening it, its facts, what can be done with it, and its insides.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use eframe::egui::containers::menu::{MenuButton, MenuConfig};
use eframe::egui::{self, Align, CornerRadius, Frame, Id, Label, Layout, Margin, RichText, Sense, Stroke, Ui, WidgetInfo, vec2};

use super::checkpoint_view::checkpoint_ui;
use super::metadata_table::metadata_table_ui;
use super::onnx_view::onnx_ui;
use super::origin_view::origin_ui;
use super::preflight::{Preflight, preflight_ui};
use super::tensor_table::tensor_table_ui;
use crate::format::CachedModel;
use crate::model::{DType, Model, PrecisionClass, Value};
use crate::path_text;
use crate::state::{Command, Field, Form, Slot, Store};
use crate::ui::kit::bars::{Segment, legend, stacked_bar};
use crate::ui::kit::icons::{self, Icon};
use crate::ui::kit::memo::{self, Same};
use crate::ui::kit::theme::{self, ValueKind};
use crate::ui::kit::widgets::{
    StatTile, Tone, badge, card, card_gap, card_with_actions, copy_button, error_banner, key_value_grid, notice, page_header,
    primary_button, segmented, small_button, stat_tiles, two_columns,
};
use crate::ui::opened::known_view::{found_ui, go_on_ui};
use crate::ui::shell::waiting_ui;
use crate::units::{bytes_text, count_of, count_text, exact_bytes_text, parameters_text, significant_text};
use crate::worker::Picked;

/// What is said where the system has no file dialog, and what to do instead.
pub const NO_DIALOG_TEXT: &str =
    "This system has no file dialog: neither a desktop portal nor zenity was found. Type or paste the path.";

/// Which part of the model's insides is in view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Tab {
    #[default]
    Tensors,
    Metadata,
    Tokenizer,
}

/// Draws the page: what is open, or ways to open something.
pub fn model_page_ui(ui: &mut Ui, store: &Store, form: &mut Form, commands: &mut Vec<Command>) {
    if let Some(network) = &store.network {
        return onnx_ui(ui, network, form, commands);
    }
    if let Some(checked) = &store.checkpoint {
        return checkpoint_ui(ui, store, checked, form, commands);
    }
    match &store.model {
        Slot::Ready(model) => ready_ui(ui, store, model, form, commands),
        Slot::Waiting { id } => {
            page_header(ui, "Model", "Reading the file's header", |_| {});
            waiting_ui(ui, store, *id);
        }
        Slot::Empty => {
            page_header(ui, "Model", "Open a model to see what it is and what can be done with it", |_| {});
            open_ui(ui, store, form, commands);
        }
        Slot::Failed(error) => {
            page_header(ui, "Model", "This file could not be opened", |_| {});
            error_banner(ui, error, commands);
            card_gap(ui);
            open_ui(ui, store, form, commands);
        }
    }
}

/// Drop zone, path field and recent models.
fn open_ui(ui: &mut Ui, store: &Store, form: &mut Form, commands: &mut Vec<Command>) {
    if !form.recent.is_empty() {
        go_on_ui(ui, form, commands);
        card_gap(ui);
    }
    drop_zone_ui(ui, commands);
    card_gap(ui);
    card(ui, "Open by path", |ui| {
        if store.lacks_file_dialogs {
            notice(ui, Tone::Warn, NO_DIALOG_TEXT);
        }
        path_ui(ui, form, commands);
    });
    if !form.recent.is_empty() {
        card_gap(ui);
        card(ui, "Recent models", |ui| recent_ui(ui, form, commands));
    }
    if !store.cached.is_empty() {
        card_gap(ui);
        let find_again = |ui: &mut Ui| {
            if small_button(ui, "Look again", "Look again for models in the cache").clicked() {
                commands.push(Command::FindModels);
            }
        };
        let mut opened = None;
        card_with_actions(ui, "In the Hugging Face cache", find_again, |ui| opened = cached_ui(ui, &store.cached));
        commands.extend(opened.map(Command::OpenModel));
    }
}

fn drop_zone_ui(ui: &mut Ui, commands: &mut Vec<Command>) {
    let p = theme::palette(ui);
    let is_hovered = crate::ui::is_file_hovering(ui);
    let frame = Frame::new()
        .fill(if is_hovered { p.accent_soft } else { p.card })
        .corner_radius(CornerRadius::same(theme::CARD_RADIUS))
        .inner_margin(Margin::symmetric(16, 44))
        .show(ui, |ui| {
            ui.set_width(ui.available_width());
            ui.vertical_centered(|ui| {
                let (rect, _) = ui.allocate_exact_size(vec2(48.0, 48.0), Sense::hover());
                icons::paint(ui.painter(), rect, Icon::Drop, p.accent);
                ui.add_space(6.0);
                crate::ui::kit::widgets::big_heading_ui(ui, "Drop a model here");
                ui.label(
                    RichText::new("GGUF files, also split ones: drop the first part. Hugging Face checkpoints: drop the folder. ONNX files are only shown")
                        .color(p.text_secondary),
                );
                ui.add_space(10.0);
                // Centred by the widths of the last frame.
                let id = ui.scope_id().with("buttons");
                let width = ui.data(|data| data.get_temp::<f32>(id)).unwrap_or(0.0);
                let row = ui.horizontal(|ui| {
                    ui.add_space((ui.available_width() - width).max(0.0) / 2.0);
                    let start = ui.cursor().left();
                    open_buttons_ui(ui, commands);
                    ui.min_rect().right() - start
                });
                ui.data_mut(|data| data.insert_temp(id, row.inner));
            });
        });
    let rect = frame.response.rect.shrink(0.5);
    let (color, width) = if is_hovered { (p.accent, 2.0) } else { (p.control_line, 1.0) };
    let corners = [rect.left_top(), rect.right_top(), rect.right_bottom(), rect.left_bottom(), rect.left_top()];
    ui.painter().extend(egui::Shape::dashed_line(&corners, Stroke::new(width, color), 6.0, 4.0));
}

fn open_buttons_ui(ui: &mut Ui, commands: &mut Vec<Command>) {
    if primary_button(ui, "Open…").clicked() {
        commands.push(Command::Pick(Picked::Model));
    }
    if ui.button("Open folder…").on_hover_text("The folder of a Hugging Face checkpoint").clicked() {
        commands.push(Command::Pick(Picked::ModelFolder));
    }
    let explanation = "A small model that comes with Planish: it is converted to several levels, measured, and shown side by side. \
        Takes less than a minute and no network";
    if ui.button("Try the sample").on_hover_text(explanation).clicked() {
        commands.push(Command::TrySample);
    }
}

/// Draws the field for a path with its button; the button or Enter opens the path.
pub fn path_ui(ui: &mut Ui, form: &mut Form, commands: &mut Vec<Command>) {
    ui.horizontal(|ui| {
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let path = form.path_text.trim().to_string();
            let is_clicked = ui.add_enabled_ui(!path.is_empty(), |ui| ui.button("Open")).inner.clicked();
            let field = egui::TextEdit::singleline(&mut form.path_text)
                .hint_text("/home/you/models/model.gguf")
                .margin(Margin::symmetric(10, 6))
                .desired_width(f32::INFINITY);
            let response = ui.add(field);
            response.widget_info(|| {
                let mut info = WidgetInfo::text_edit(true, "", form.path_text.as_str(), "");
                info.label = Some("Path of a model".into());
                info
            });
            if form.takes_focus(Field::ModelPath) {
                response.request_focus();
            }
            let is_entered = response.lost_focus() && ui.input(|input| input.key_pressed(egui::Key::Enter));
            if (is_clicked || is_entered) && !path.is_empty() {
                commands.push(Command::OpenModel(path.into()));
            }
        });
    });
}

/// Models that other programs have fetched; returns the one to open.
fn cached_ui(ui: &mut Ui, cached: &[CachedModel]) -> Option<PathBuf> {
    let p = theme::palette(ui);
    let mut opened = None;
    for model in cached {
        ui.horizontal(|ui| {
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                if small_button(ui, "Open", &format!("Open {}", model.name)).clicked() {
                    opened = Some(model.path.clone());
                }
                ui.label(RichText::new(bytes_text(model.size_bytes)).color(p.muted));
                ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                    ui.add(Label::new(RichText::new(&model.name).font(theme::strong_font())).truncate())
                        .on_hover_text(path_text::shown(&model.path));
                });
            });
        });
    }
    opened
}

fn recent_ui(ui: &mut Ui, form: &Form, commands: &mut Vec<Command>) {
    let p = theme::palette(ui);
    for path in &form.recent {
        let name = file_name(path);
        ui.horizontal(|ui| {
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                if small_button(ui, "Forget", &format!("Forget {name}")).clicked() {
                    commands.push(Command::ForgetRecent(path.clone()));
                }
                if small_button(ui, "Open", &format!("Open {name}")).clicked() {
                    commands.push(Command::OpenModel(path.clone()));
                }
                ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                    ui.add(Label::new(RichText::new(&name).font(theme::strong_font())).truncate());
                    let folder = path.parent().map(path_text::shown).unwrap_or_default();
                    ui.add(Label::new(RichText::new(folder).small().color(p.muted)).truncate());
                });
            });
        });
    }
}

/// The last part of a path.
pub fn file_name(path: &Path) -> String {
    path_text::file_name(path)
}

/// The name of what is open, with buttons that open something else.
pub fn opened_header_ui(ui: &mut Ui, name: &str, path: &Path, form: &mut Form, commands: &mut Vec<Command>) {
    page_header(ui, name, &path_text::shown(path), |ui| {
        if ui.button("Open…").clicked() {
            commands.push(Command::Pick(Picked::Model));
        }
        // Not an ordinary menu: a click in the path field must leave it open, and its buttons look like buttons.
        let config = MenuConfig::new()
            .close_behavior(egui::PopupCloseBehavior::CloseOnClickOutside)
            .style(egui::style::StyleModifier::default());
        MenuButton::new("Open recent").config(config).ui(ui, |ui| {
            ui.set_min_width(440.0);
            let n_commands = commands.len();
            path_ui(ui, form, commands);
            if !form.recent.is_empty() {
                ui.separator();
                recent_ui(ui, form, commands);
            }
            if commands.len() > n_commands {
                ui.close();
            }
        });
    });
}

fn ready_ui(ui: &mut Ui, store: &Store, model: &Arc<Model>, form: &mut Form, commands: &mut Vec<Command>) {
    opened_header_ui(ui, &model.display_name(), &model.path, form, commands);
    found_ui(ui, store, form);
    if let Some(kind) = model.other_kind() {
        let name = kind.name();
        notice(
            ui,
            Tone::Bad,
            &format!("This is {name}, not a model: nothing can be converted or measured. To use it, {}.", kind.hint()),
        );
    }
    for obstacle in &model.obstacles {
        notice(ui, Tone::Bad, &format!("llama.cpp cannot load this file: {obstacle}."));
    }
    for warning in &model.warnings {
        notice(ui, Tone::Warn, &crate::ui::kit::widgets::sentence(warning));
    }
    if !model.warnings.is_empty() || !model.is_convertible() {
        card_gap(ui);
    }
    let facts = memo::kept(ui, "model page facts", Same::of(model), || Facts::new(model));
    stat_tiles(ui, &facts.tiles);
    card_gap(ui);
    let mut verify = None;
    two_columns(
        ui,
        0.5,
        |ui| {
            card(ui, "Architecture", |ui| key_value_grid(ui, &facts.architecture));
            verify = origin_ui(ui, store, model);
        },
        |ui| {
            dtypes_ui(ui, &facts.segments);
            card_gap(ui);
            file_ui(ui, model, &facts.tensor_data, commands);
        },
    );
    commands.extend(verify);
    card_gap(ui);
    preflight_ui(ui, &facts.preflight);
    card_gap(ui);
    insides_ui(ui, model, form, commands);
}

/// What is summed over all tensors, of which a file may have tens of thousands.
struct Facts {
    tiles: Vec<StatTile>,
    architecture: Vec<(String, String)>,
    segments: Vec<Segment>,
    tensor_data: String,
    preflight: Preflight,
}

impl Facts {
    fn new(model: &Model) -> Self {
        Self {
            tiles: tiles(model),
            architecture: architecture_rows(model),
            segments: dtype_segments(model),
            tensor_data: bytes_text(model.tensor_bytes()),
            preflight: Preflight::new(model),
        }
    }
}

fn tiles(model: &Model) -> Vec<StatTile> {
    let h = &model.hyperparameters;
    let fact = |label: &str, text: &str| StatTile::from_text(label, text, ValueKind::Fact);
    let level = model.own_level();
    vec![
        fact("Parameters", &parameters_text(model.n_parameters())).note(count_text(model.n_parameters())),
        fact("File size", &bytes_text(model.size_bytes)).note(exact_bytes_text(model.size_bytes)),
        fact("Bits per weight", &significant_text(model.bits_per_weight()))
            .note(level.map_or_else(|| "level unknown".to_string(), |level| format!("level {level}"))),
        fact("Layers", &or_unknown(h.n_layers)).note(count_of(model.tensors.len(), "tensor")),
        fact("Context length", &or_unknown(h.n_ctx_train)).note("tokens"),
        fact("Vocabulary", &or_unknown(h.n_vocab)).note("tokens"),
    ]
}

/// The count as a text; `unknown` for 0.
pub fn or_unknown(count: u64) -> String {
    if count == 0 { "unknown".into() } else { count_text(count) }
}

/// One number when all layers have the same, else the range; `unknown` without layers.
fn per_layer_text(values: &[u64]) -> String {
    match (values.iter().min(), values.iter().max()) {
        (Some(&min), Some(&max)) if min == max => or_unknown(max),
        (Some(&min), Some(&max)) => format!("{} to {} by layer", count_text(min), count_text(max)),
        _ => "unknown".into(),
    }
}

fn architecture_rows(model: &Model) -> Vec<(String, String)> {
    let h = &model.hyperparameters;
    let unknown_if_empty = |text: String| if text.is_empty() { "unknown".to_string() } else { text };
    let mut rows: Vec<(&str, String)> = vec![
        ("Architecture", unknown_if_empty(h.architecture.clone())),
        ("Embedding length", or_unknown(h.n_embd)),
        ("Feed-forward length", per_layer_text(&h.n_ff)),
        ("Attention heads", per_layer_text(&h.n_heads)),
        ("KV heads", per_layer_text(&h.n_kv_heads)),
    ];
    if h.gqa_ratio() > 1 {
        rows.push(("GQA", format!("{} heads share one KV head", h.gqa_ratio())));
    }
    rows.push(("Head dimension", or_unknown(h.head_dim_k)));
    if h.n_experts > 0 {
        rows.push(("Experts", format!("{}, {} used per token", h.n_experts, h.n_experts_used)));
    }
    rows.push((
        "Sliding window",
        match (h.sliding_window, h.full_attention_every) {
            (None, _) => "none".into(),
            (Some(window), None) => format!("{} tokens", count_text(window)),
            (Some(window), Some(every)) => format!("{} tokens, one layer in {every} in full", count_text(window)),
        },
    ));
    let tied = match (model.has_weights(), model.has_tied_embeddings()) {
        (false, _) => "unknown",
        (true, true) => "yes",
        (true, false) => "no",
    };
    rows.push(("Tied embeddings", tied.into()));
    let text = |key: &str| model.metadata.str(key).map(std::borrow::Cow::into_owned);
    rows.push(("License", text("general.license").unwrap_or_else(|| "not stated".into())));
    if let Some(maker) = text("general.organization").or_else(|| text("general.author")) {
        rows.push(("Made by", maker));
    }
    rows.into_iter().map(|(key, value)| (key.to_string(), value)).collect()
}

/// The class whose colour a data type gets.
fn class_of(dtype: DType) -> PrecisionClass {
    match dtype.bits_per_weight() {
        bits if bits >= 16.0 => PrecisionClass::Full,
        bits if bits >= 5.25 => PrecisionClass::Medium,
        bits if bits >= 3.0 => PrecisionClass::Low,
        _ => PrecisionClass::UltraLow,
    }
}

/// Shares of the data types, the largest first. Types of one class get shades of its colour.
fn dtype_segments(model: &Model) -> Vec<Segment> {
    let mut rows = model.weights_by_dtype();
    rows.sort_by_key(|&(_, _, size_bytes)| std::cmp::Reverse(size_bytes));
    let mut seen: Vec<PrecisionClass> = Vec::new();
    rows.into_iter()
        .map(|(dtype, _, size_bytes)| {
            let class = class_of(dtype);
            let n_before = seen.iter().filter(|other| **other == class).count();
            seen.push(class);
            #[allow(clippy::cast_precision_loss, reason = "a few types; a share of a bar")]
            let (shade, size) = (0.22 * n_before.min(3) as f32, size_bytes as f64);
            let color = theme::class_color(class).lerp_to_gamma(egui::Color32::WHITE, shade);
            Segment { label: dtype.name().into(), size, size_text: bytes_text(size_bytes), color }
        })
        .collect()
}

fn dtypes_ui(ui: &mut Ui, segments: &[Segment]) {
    card(ui, "Data types", |ui| {
        if segments.is_empty() {
            ui.label(RichText::new("This file holds no tensors.").color(theme::muted(ui)));
            return;
        }
        stacked_bar(ui, "Data types", segments, 16.0);
        ui.add_space(theme::UNIT);
        legend(ui, segments);
    });
}

fn file_ui(ui: &mut Ui, model: &Model, tensor_data: &str, commands: &mut Vec<Command>) {
    let actions = |ui: &mut Ui| {
        if small_button(ui, "Show in folder", "Show in folder").clicked() {
            commands.push(Command::Reveal(model.path.clone()));
        }
    };
    card_with_actions(ui, "File", actions, |ui| {
        let files = match model.files.len() {
            0 | 1 => file_name(&model.path),
            n => format!("{} and {} more parts", file_name(&model.path), n - 1),
        };
        key_value_grid(
            ui,
            &[
                ("Name", files),
                ("Format", model.format_name.clone()),
                ("Tensor data", tensor_data.to_string()),
                ("Alignment", format!("{} bytes", model.alignment)),
            ],
        );
    });
}

fn tokenizer_ui(ui: &mut Ui, model: &Model) {
    let text = |key: &str| model.metadata.str(key).map(std::borrow::Cow::into_owned);
    let Some(kind) = text("tokenizer.ggml.model") else {
        ui.label(RichText::new("This file holds no tokenizer: runtimes cannot use it alone.").color(theme::warn(ui)));
        return;
    };
    let tokens = match model.metadata.find("tokenizer.ggml.tokens") {
        Some(Value::Array(tokens)) => Some(tokens),
        _ => None,
    };
    let mut rows = vec![
        ("Tokenizer", kind),
        ("Pre-tokenizer", text("tokenizer.ggml.pre").unwrap_or_else(|| "not stated".into())),
        ("Vocabulary", format!("{} tokens", count_text(tokens.map_or(0, |tokens| tokens.len() as u64)))),
    ];
    for (label, key) in [("BOS token", "bos"), ("EOS token", "eos"), ("UNK token", "unknown"), ("PAD token", "padding")] {
        if let Some(id) = model.metadata.u64(&format!("tokenizer.ggml.{key}_token_id")) {
            let piece = usize::try_from(id).ok().and_then(|idx| tokens?.at(idx)).map(|piece| piece.preview(24));
            rows.push((label, piece.map_or_else(|| id.to_string(), |piece| format!("{piece}   {id}"))));
        }
    }
    key_value_grid(ui, &rows);
}

/// Tensors, metadata, tokenizer with chat template: one at a time.
fn insides_ui(ui: &mut Ui, model: &Arc<Model>, form: &mut Form, commands: &mut Vec<Command>) {
    const HEIGHT: f32 = 440.0;
    let tab_id = Id::unique("model page tab");
    let mut tab = ui.data(|data| data.get_temp::<Tab>(tab_id)).unwrap_or_default();
    card(ui, "", |ui| {
        if segmented(
            ui,
            &mut tab,
            &[(Tab::Tensors, "Tensors"), (Tab::Metadata, "Metadata"), (Tab::Tokenizer, "Tokenizer and chat template")],
        ) {
            ui.data_mut(|data| data.insert_temp(tab_id, tab));
        }
        ui.add_space(theme::UNIT);
        match tab {
            Tab::Tensors => tensor_table_ui(ui, model, &mut form.tensor_filter, HEIGHT),
            Tab::Metadata => metadata_table_ui(ui, &model.metadata, &mut form.metadata_filter, HEIGHT, commands),
            Tab::Tokenizer => {
                two_columns(ui, 0.38, |ui| tokenizer_ui(ui, model), |ui| chat_template_ui(ui, model, HEIGHT, commands));
            }
        }
    });
}

fn chat_template_ui(ui: &mut Ui, model: &Model, max_height: f32, commands: &mut Vec<Command>) {
    let p = theme::palette(ui);
    let Some(template) = model.metadata.str("tokenizer.chat_template") else {
        ui.label(
            RichText::new("This file has no chat template: it is a base model, or chats need one from elsewhere.").color(p.muted),
        );
        return;
    };
    ui.horizontal(|ui| {
        badge(ui, &format!("{} characters", count_text(template.chars().count() as u64)), Tone::Neutral);
        copy_button(ui, "chat template", || template.to_string(), commands);
    });
    ui.add_space(theme::UNIT);
    Frame::new().fill(p.well).corner_radius(CornerRadius::same(theme::CONTROL_RADIUS)).inner_margin(Margin::same(12)).show(
        ui,
        |ui| {
            egui::ScrollArea::vertical()
                .id_salt("chat template")
                .max_height(max_height)
                .min_scrolled_height(max_height)
                .auto_shrink([false, true])
                .show(ui, |ui| {
                    ui.add(Label::new(RichText::new(&*template).monospace()).wrap().selectable(true));
                });
        },
    );
}
