//! Changes to the levels' recipes: types of single tensors and of kinds of tensors, layers left out, with the size to
//! the byte as it changes.

use std::collections::BTreeSet;
use std::sync::Arc;

use eframe::egui::{Align, Align2, ComboBox, Label, Layout, Margin, RichText, Role, TextEdit, Ui, WidgetInfo, vec2};

use super::recipe_data::{Kind, RecipeData, fitting_dtypes, recipe_data};
use super::recipe_table::recipe_table_ui;
use crate::advise::overrides::{layers_from_text, layers_text};
use crate::advise::{Fallback, Overrides};
use crate::error::Error;
use crate::model::{DType, Framework, Level, Model, Preset};
use crate::state::{Command, Form};
use crate::ui::kit::drop_down::{drop_down_ui, entry_ui, field_name_ui};
use crate::ui::kit::theme;
use crate::ui::kit::widgets::{self, Tone};
use crate::units::{bytes_text, count_of, count_text, exact_bytes_change_text, exact_bytes_text, significant_text};

/// Width of a kind of tensors with its type.
const KIND_WIDTH: f32 = 246.0;
/// Width of a field for a type.
pub const TYPE_WIDTH: f32 = 108.0;
/// Height of the part of a list of types that is in view, at most.
const LIST_HEIGHT: f32 = 420.0;
/// Kinds of tensors that are shown before the user asks for all.
const MAX_KINDS: usize = 24;
/// Height of the rows of the table that are in view.
const TABLE_HEIGHT: f32 = 420.0;

/// Draws the card.
pub fn recipe_view_ui(ui: &mut Ui, model: &Arc<Model>, form: &mut Form, commands: &mut Vec<Command>) {
    let before = form.recipe.of(model);
    let mut overrides = before.clone();
    let is_open = form.recipe.is_open;
    let (mut is_reset, mut is_toggled) = (false, false);
    widgets::card_with_actions(
        ui,
        "Tensor types",
        |ui| {
            let (text, name) = if is_open { ("Close", "Close tensor types") } else { ("Change…", "Change tensor types…") };
            is_toggled = widgets::small_button(ui, text, name).clicked();
            if before.of_types().part_of(Framework::LlamaCpp).is_custom() {
                let reset = widgets::small_button(ui, "Reset all", "Reset all tensor types");
                is_reset = reset.on_hover_text("Back to what each level has").clicked();
            }
        },
        |ui| {
            summary_ui(ui, &before, commands);
            if is_open {
                editor_ui(ui, model, &mut overrides, form, commands);
            }
        },
    );
    form.recipe.is_open = is_open != is_toggled;
    if is_reset {
        overrides = Overrides { calibrated: overrides.calibrated, ..overrides.part_of(Framework::Mlx) };
        form.recipe.layers_text = None;
    }
    if overrides != before {
        form.recipe.set(model, overrides);
        // Sizes above were drawn before the change.
        ui.ctx().request_repaint();
    }
}

/// What is changed, as options of the command line.
fn summary_ui(ui: &mut Ui, overrides: &Overrides, commands: &mut Vec<Command>) {
    let overrides = overrides.of_types().part_of(Framework::LlamaCpp);
    if !overrides.is_custom() {
        let text = "Each level as it is. Changes apply to all chosen levels of llama.cpp; their files are called NAME-LEVEL-custom.gguf.";
        ui.label(RichText::new(text).color(theme::muted(ui)));
        return;
    }
    let options = overrides.to_string();
    ui.horizontal(|ui| {
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            widgets::copy_button(ui, "options", || options.clone(), commands)
                .on_hover_text("The options for planish convert; all but --fallback also work with llama-quantize");
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                ui.add(Label::new(RichText::new(&options).monospace().color(theme::palette(ui).text_secondary)).truncate());
            });
        });
    });
}

fn editor_ui(ui: &mut Ui, model: &Arc<Model>, overrides: &mut Overrides, form: &mut Form, commands: &mut Vec<Command>) {
    let Some((level, preset)) = shown_level(form).and_then(|level| Some((level, level.preset()?))) else {
        ui.label(RichText::new("Choose a level first.").color(theme::muted(ui)));
        return;
    };
    ui.add_space(theme::UNIT);
    options_ui(ui, level, overrides, form);
    // What was chosen in this frame is seen in the next one: a drawn frame never waits for two recipes.
    let data = recipe_data(ui, model, preset, &form.recipe.of(model));
    let data = match data.as_ref() {
        Ok(data) => data,
        Err(error) => {
            widgets::card_gap(ui);
            widgets::error_banner(ui, error, commands);
            return;
        }
    };
    sizes_ui(ui, level, data);
    if !form.imatrix_path.trim().is_empty() {
        let text = "Without the importance matrix, which adds some bytes and changes a few types of Q4_0, Q5_0, IQ3_XXS, IQ4_NL and IQ4_XS.";
        ui.label(RichText::new(text).small().color(theme::muted(ui)));
    }
    for warning in notes(preset, data, form) {
        widgets::notice(ui, Tone::Warn, &widgets::sentence(&warning));
    }
    ui.add_space(theme::UNIT);
    kinds_ui(ui, &data.kinds, overrides);
    ui.add_space(theme::UNIT);
    recipe_table_ui(ui, data, &mut form.recipe.filter, overrides, TABLE_HEIGHT);
}

/// The level of llama.cpp that the user looks at, while it is chosen; else the first chosen one.
fn shown_level(form: &Form) -> Option<Level> {
    let mut levels = form.levels.iter().copied().filter(|level| level.preset().is_some());
    form.recipe.level.filter(|level| form.levels.contains(level) && level.preset().is_some()).or_else(|| levels.next())
}

fn options_ui(ui: &mut Ui, level: Level, overrides: &mut Overrides, form: &mut Form) {
    ui.horizontal_wrapped(|ui| {
        ui.set_row_height(34.0);
        let label = field_name_ui(ui, "Level", 96.0);
        let field = ComboBox::from_id_salt("recipe level").width(96.0).selected_text(level.name());
        let field = drop_down_ui(ui, field, |ui| {
            // The others have no types to change.
            for &other in form.levels.iter().filter(|level| level.preset().is_some()) {
                if entry_ui(ui, other == level, other.name()).clicked() {
                    form.recipe.level = Some(other);
                }
            }
        });
        field.labelled_by(label.id);
        ui.add_space(12.0);
        fallback_ui(ui, &mut overrides.fallback);
        ui.add_space(12.0);
        ui.checkbox(&mut overrides.pure, "One type for all")
            .on_hover_text("All matrices get the level's own type, without its exceptions; as llama-quantize --pure");
        ui.add_space(12.0);
        layers_ui(ui, &mut overrides.pruned_layers, &mut form.recipe.layers_text);
    });
}

fn fallback_ui(ui: &mut Ui, fallback: &mut Fallback) {
    let label = field_name_ui(ui, "Rows that do not fit", 112.0);
    let name_of = |menu: Fallback| match menu {
        Fallback::LowestError => "Lowest error",
        Fallback::LlamaCpp => "As llama.cpp",
        Fallback::SameSize => "Same size",
    };
    let field = ComboBox::from_id_salt("fallback").width(112.0).selected_text(name_of(*fallback));
    let field = drop_down_ui(ui, field, |ui| {
        for menu in Fallback::ALL {
            if entry_ui(ui, *fallback == menu, name_of(menu)).on_hover_text(menu.description()).clicked() {
                *fallback = menu;
            }
        }
    });
    field.labelled_by(label.id).on_hover_text("What takes the place of a type whose blocks do not divide a tensor's rows");
}

fn layers_ui(ui: &mut Ui, layers: &mut BTreeSet<u64>, written: &mut Option<String>) {
    let label = field_name_ui(ui, "Leave out layers", 126.0);
    let mut text = written.clone().unwrap_or_else(|| layers_text(layers));
    let field = TextEdit::singleline(&mut text).hint_text("none").desired_width(110.0).margin(Margin::symmetric(8, 5));
    let field = field.align(Align2::LEFT_CENTER);
    let response = ui.add(field).labelled_by(label.id);
    let response =
        response.on_hover_text("Numbers from 0, as in 3,5-7. The model loses what these layers did; the rest moves up");
    let read = if text.trim().is_empty() { Ok(BTreeSet::new()) } else { layers_from_text(&text) };
    if response.changed() {
        if let Ok(read) = &read {
            layers.clone_from(read);
        }
        *written = Some(text);
    } else if !response.has_focus() && read.is_ok() {
        *written = None;
    }
    if let Err(Error::BadChange { reason, .. }) = read {
        ui.label(RichText::new(reason).color(theme::bad(ui)));
    }
}

/// Size and bits of the file, beside those of the plain level.
fn sizes_ui(ui: &mut Ui, level: Level, data: &RecipeData) {
    let p = theme::palette(ui);
    let facts = [
        (format!("{level} file"), exact_bytes_text(data.size_bytes)),
        ("change".to_string(), exact_bytes_change_text(data.plain_size_bytes, data.size_bytes)),
        ("bits per weight".to_string(), bits_text(data)),
        (
            "tensors changed".to_string(),
            format!("{} of {}", count_text(data.n_changed() as u64), count_text(data.rows.len() as u64)),
        ),
    ];
    ui.horizontal_wrapped(|ui| {
        ui.set_row_height(28.0);
        for (name, value) in facts {
            ui.label(RichText::new(name).color(p.muted));
            ui.label(RichText::new(value).font(theme::strong_font()));
            ui.add_space(16.0);
        }
    });
}

fn bits_text(data: &RecipeData) -> String {
    let [bits, plain] = [data.bits_per_weight, data.plain_bits_per_weight].map(significant_text);
    if bits == plain { bits } else { format!("{bits} instead of {plain}") }
}

fn notes(preset: Preset, data: &RecipeData, form: &Form) -> Vec<String> {
    let mut notes = data.warnings.clone();
    let has_matrix = !form.imatrix_path.trim().is_empty();
    if let Some((dtype, tensor)) = data.needs_imatrix.as_ref().filter(|_| !has_matrix && !preset.needs_imatrix()) {
        notes.push(format!("{dtype} is worth nothing without an importance matrix: {tensor}"));
    }
    notes
}

/// One type for all tensors of a kind.
fn kinds_ui(ui: &mut Ui, kinds: &[Kind], overrides: &mut Overrides) {
    let p = theme::palette(ui);
    let id = ui.make_persistent_id("all kinds");
    let mut shows_all = ui.data(|data| data.get_temp::<bool>(id)).unwrap_or(false);
    let n_shown = if shows_all { kinds.len() } else { kinds.len().min(MAX_KINDS) };
    ui.label(RichText::new("In all layers").font(theme::strong_font()));
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = vec2(32.0, 4.0);
        for kind in kinds.iter().take(n_shown) {
            ui.allocate_ui_with_layout(vec2(KIND_WIDTH, 30.0), Layout::left_to_right(Align::Center), |ui| {
                ui.set_min_width(KIND_WIDTH);
                ui.spacing_mut().item_spacing.x = 8.0;
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                    let now = dtypes_text(&kind.dtypes);
                    let shown = kind.chosen.map_or_else(|| now.clone(), |dtype| dtype.to_string());
                    let field =
                        TypeField { name: &kind.name, shown, is_chosen: kind.chosen.is_some(), otherwise: "As the level" };
                    if let Some(choice) = field.ui(ui, || fitting_dtypes(&kind.row_lens)) {
                        overrides.choose_for_kind(&kind.name, choice.dtype());
                    }
                    ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                        let name = kind.name.strip_suffix(".weight").unwrap_or(&kind.name);
                        let details = format!("{}, {}: {now}", count_of(kind.n_tensors, "tensor"), bytes_text(kind.size_bytes));
                        ui.add(Label::new(RichText::new(name).monospace().color(p.text)).truncate()).on_hover_text(details);
                    });
                });
            });
        }
    });
    if kinds.len() > MAX_KINDS {
        let text = if shows_all { "Show fewer kinds" } else { "Show all kinds" };
        if widgets::small_button(ui, text, text).clicked() {
            shows_all = !shows_all;
            ui.data_mut(|data| data.insert_temp(id, shows_all));
        }
    }
}

/// `Q4_K`, or `Q4_K, Q6_K` where the rules mix.
fn dtypes_text(dtypes: &[DType]) -> String {
    dtypes.iter().map(|dtype| dtype.name()).collect::<Vec<_>>().join(", ")
}

/// What was taken from a list of types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// No type of its own: the level's rules decide, or the choice for its kind.
    Otherwise,
    /// This type.
    DType(DType),
}

impl Choice {
    /// The chosen type; `None` for no type of its own.
    pub fn dtype(self) -> Option<DType> {
        match self {
            Self::Otherwise => None,
            Self::DType(dtype) => Some(dtype),
        }
    }
}

/// A field that takes a type, or none.
pub struct TypeField<'a> {
    /// The tensor, or the kind of tensors, whose type it is.
    pub name: &'a str,
    /// What stands in the field.
    pub shown: String,
    /// True when the user has chosen the type.
    pub is_chosen: bool,
    /// The entry for no type of its own.
    pub otherwise: &'a str,
}

impl TypeField<'_> {
    /// Draws the field; returns the choice that was made, if any. `dtypes` is called only while the list is open.
    pub fn ui(self, ui: &mut Ui, dtypes: impl FnOnce() -> Vec<DType>) -> Option<Choice> {
        let mut choice = None;
        let p = theme::palette(ui);
        let color = if self.is_chosen { p.accent } else { p.text_secondary };
        let field = ComboBox::from_id_salt(("type", self.name))
            .width(TYPE_WIDTH)
            .height(LIST_HEIGHT)
            .truncate()
            .selected_text(RichText::new(&self.shown).color(color));
        let response = drop_down_ui(ui, field, |ui| {
            ui.spacing_mut().interact_size.y = 26.0;
            ui.spacing_mut().item_spacing.y = 0.0;
            if entry_ui(ui, !self.is_chosen, self.otherwise).clicked() {
                choice = Some(Choice::Otherwise);
            }
            for dtype in dtypes() {
                let is_shown = self.is_chosen && self.shown == dtype.name();
                let bits = format!("{}  {} bits", dtype.name(), significant_text(dtype.bits_per_weight()));
                if entry_ui(ui, is_shown, bits).clicked() {
                    choice = Some(Choice::DType(dtype));
                }
            }
        });
        let label = format!("Type of {}: {}", self.name, self.shown);
        response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, &label));
        choice
    }
}
