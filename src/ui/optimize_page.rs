//! Doing it: levels, where to, and the queue.

use std::collections::BTreeSet;
use std::path::PathBuf;

use eframe::egui::{self, Align, Label, Layout, Margin, RichText, Sense, Stroke, TextEdit, Ui, vec2};

use super::candidate_table::loss_color;
use super::imatrix_view::{imatrix_refusal, imatrix_view_ui};
use super::plan_page::{model_or_hint_ui, plan_of, requantizing_warning};
use super::queue::{queue_ui, result_ui};
use super::recipe_data::changed_sizes;
use super::recipe_view::recipe_view_ui;
use super::theme;
use super::widgets::{self, Tone};
use crate::advise::{Candidate, Overrides, Plan};
use crate::convert;
use crate::hardware::{Disk, Framework, Machine};
use crate::model::{Level, Model, PrecisionClass};
use crate::state::{Command, Form, Page, Store};
use crate::units::{bytes_text, exact_bytes_text, significant_text};

/// Levels that are one clear step apart; neighbours of the recommendation are looked up here.
const STEPS: [Level; 7] = [Level::F16, Level::Q8_0, Level::Q6_K, Level::Q5_K_M, Level::Q4_K_M, Level::Q3_K_M, Level::Q2_K];
/// From nearly no loss to the smallest, for a first comparison.
const LADDER: [Level; 4] = [Level::Q8_0, Level::Q4_K_M, Level::Q3_K_M, Level::Q2_K];
/// Narrowest level card: "recommended, exists" fits beside the bits.
const MIN_CARD_WIDTH: f32 = 212.0;
const CARD_HEIGHT: f32 = 76.0;
/// Most threads that can be asked for.
const MAX_THREADS: u32 = 1024;

/// Draws the page.
pub fn optimize_page_ui(ui: &mut Ui, store: &Store, form: &mut Form, commands: &mut Vec<Command>) {
    let Some(model) =
        model_or_hint_ui(ui, store, form, "Optimize", "Convert the model in the background, several levels in one pass")
    else {
        return;
    };
    // Sizes do not depend on the machine, so converting works also while it is being measured or could not be.
    let unknown = Machine::default();
    let machine: &Machine = store.machine.ready().map_or(&unknown, |machine| machine);
    let is_machine_known = store.machine.ready().is_some();
    let plan = plan_of(ui, &model, machine, &form.goal);
    let recommended =
        plan.recommended.filter(|_| is_machine_known).and_then(|idx| plan.candidates.get(idx)).and_then(|best| best.level);
    widgets::page_header(ui, "Optimize", "Convert the model in the background, several levels in one pass", |_| {});
    if let Some(warning) = requantizing_warning(&model) {
        widgets::notice(ui, Tone::Warn, &warning);
        widgets::card_gap(ui);
    }
    let overrides = form.recipe.of(&model);
    let (sum, refusal) = if overrides.is_custom() {
        let sizes = changed_sizes(ui, &model, &form.levels, &overrides);
        (
            Sum::of_sizes(sizes.as_deref().unwrap_or_default(), &form.levels),
            sizes.as_ref().as_ref().err().map(ToString::to_string),
        )
    } else {
        (Sum::of(&plan, &form.levels), None)
    };
    let existing: BTreeSet<Level> = store
        .conversions
        .iter()
        .filter(|made| made.path == output_path(&model, made.level, &overrides, form))
        .map(|made| made.level)
        .collect();
    let note = size_note(form, &overrides);
    // A copy, because the right column edits the rest of the form.
    let mut levels = form.levels.clone();
    widgets::two_columns(
        ui,
        0.66,
        |ui| levels_ui(ui, &plan, &mut levels, recommended, &existing, note),
        |ui| output_ui(ui, &model, store, (sum, refusal), &existing, form, commands),
    );
    form.levels = levels;
    widgets::card_gap(ui);
    recipe_view_ui(ui, &model, form, commands);
    widgets::card_gap(ui);
    queue_ui(ui, store, commands);
    if !store.conversions.is_empty() {
        widgets::card_gap(ui);
        results_ui(ui, store, form, commands);
    }
}

/// The folder that outputs go to: the chosen one, else that of the source.
fn output_dir(model: &Model, form: &Form) -> PathBuf {
    match form.output_dir.trim() {
        "" => convert::default_output_dir(Some(model)),
        dir => PathBuf::from(dir),
    }
}

fn output_path(model: &Model, level: Level, overrides: &Overrides, form: &Form) -> PathBuf {
    convert::output_path_by(model, level, overrides, &output_dir(model, form))
}

fn candidate_of(plan: &Plan, level: Level) -> Option<&Candidate> {
    plan.candidates.iter().find(|candidate| candidate.framework == Framework::LlamaCpp && candidate.level == Some(level))
}

/// What the sizes on the cards leave out: the file with the importances is not read before the conversion.
fn size_note(form: &Form, overrides: &Overrides) -> &'static str {
    if overrides.is_custom() {
        return "Sizes on the cards are those of the plain levels; all outputs together are counted with the tensor types below.";
    }
    if form.imatrix_path.trim().is_empty() && !form.imatrix.collect {
        "Sizes are exact. Expected loss is published, not measured."
    } else {
        "Sizes and published losses are those without an importance matrix. One adds some bytes, to Q4_0 and Q5_0 up to 1 %."
    }
}

fn levels_ui(
    ui: &mut Ui,
    plan: &Plan,
    levels: &mut BTreeSet<Level>,
    recommended: Option<Level>,
    existing: &BTreeSet<Level>,
    note: &str,
) {
    let mut picked: Option<Vec<Level>> = None;
    widgets::card_with_actions(
        ui,
        "Levels",
        |ui| picked = quick_picks_ui(ui, recommended),
        |ui| {
            for class in PrecisionClass::ALL {
                class_heading_ui(ui, class);
                let of_class: Vec<Level> = Level::all().filter(|level| level.class() == class).collect();
                level_grid_ui(ui, plan, &of_class, levels, recommended, existing);
                ui.add_space(theme::UNIT);
            }
            ui.label(RichText::new(note).small().color(theme::muted(ui)));
        },
    );
    if let Some(picked) = picked {
        *levels = picked.into_iter().collect();
    }
}

fn quick_picks_ui(ui: &mut Ui, recommended: Option<Level>) -> Option<Vec<Level>> {
    let mut picked = None;
    if widgets::small_button(ui, "None", "Choose no level").clicked() {
        picked = Some(Vec::new());
    }
    if widgets::small_button(ui, "Ladder", "Choose the ladder").on_hover_text(names(&LADDER)).clicked() {
        picked = Some(LADDER.to_vec());
    }
    if let Some(recommended) = recommended {
        let levels = with_neighbours(recommended);
        let response = widgets::small_button(ui, "Recommended ±1", "Choose the recommended level and its neighbours");
        if response.on_hover_text(names(&levels)).clicked() {
            picked = Some(levels);
        }
    }
    picked
}

/// The level with the next larger and the next smaller one that is a clear step away.
fn with_neighbours(level: Level) -> Vec<Level> {
    let larger = STEPS.iter().copied().rfind(|step| *step < level);
    let smaller = STEPS.iter().copied().find(|step| *step > level);
    [larger, Some(level), smaller].into_iter().flatten().collect()
}

fn names(levels: &[Level]) -> String {
    levels.iter().copied().map(Level::name).collect::<Vec<_>>().join(", ")
}

fn class_heading_ui(ui: &mut Ui, class: PrecisionClass) {
    ui.horizontal(|ui| {
        let (rect, _) = ui.allocate_exact_size(vec2(10.0, 10.0), Sense::hover());
        ui.painter().circle_filled(rect.center(), 5.0, theme::class_color(class));
        widgets::term_rich(ui, "precision class", RichText::new(class.label()).small().color(theme::muted(ui)));
    });
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a handful of columns")]
fn level_grid_ui(
    ui: &mut Ui,
    plan: &Plan,
    of_class: &[Level],
    levels: &mut BTreeSet<Level>,
    recommended: Option<Level>,
    existing: &BTreeSet<Level>,
) {
    let gap = theme::UNIT * 2.0;
    let width = ui.available_width();
    let n_columns = (((width + gap) / (MIN_CARD_WIDTH + gap)).floor() as usize).max(1);
    let card_width = (width - gap * (n_columns - 1) as f32) / n_columns as f32;
    for row in of_class.chunks(n_columns) {
        ui.horizontal_top(|ui| {
            ui.spacing_mut().item_spacing.x = gap;
            for &level in row {
                let mark = match (recommended == Some(level), existing.contains(&level)) {
                    (true, true) => Some(("recommended, exists", Tone::Accent)),
                    (true, false) => Some(("recommended", Tone::Accent)),
                    (false, true) => Some(("exists already", Tone::Good)),
                    (false, false) if level.needs_imatrix() => Some(("needs a matrix", Tone::Neutral)),
                    (false, false) => None,
                };
                level_card_ui(ui, candidate_of(plan, level), level, mark, levels, card_width);
            }
        });
    }
}

/// A card that is a check box as a whole: name, size, bits, expected loss.
fn level_card_ui(
    ui: &mut Ui,
    candidate: Option<&Candidate>,
    level: Level,
    mark: Option<(&str, Tone)>,
    levels: &mut BTreeSet<Level>,
    width: f32,
) {
    let p = theme::palette(ui);
    let mut is_chosen = levels.contains(&level);
    let (fill, stroke) = if is_chosen { (p.accent_soft, Stroke::new(1.5, p.accent)) } else { (p.card, Stroke::new(1.0, p.line)) };
    let (rect, response) = ui.allocate_exact_size(vec2(width, CARD_HEIGHT), Sense::click());
    ui.painter().rect(rect, theme::CONTROL_RADIUS, fill, stroke, egui::StrokeKind::Inside);
    let inside = egui::UiBuilder::new().max_rect(rect.shrink2(vec2(10.0, 6.0))).layout(Layout::top_down(Align::Min));
    let mut contents = ui.new_child(inside);
    let ui_inside = &mut contents;
    ui_inside.spacing_mut().item_spacing = vec2(6.0, 0.0);
    let changed = ui_inside
        .horizontal(|ui| {
            ui.spacing_mut().interact_size.y = 26.0;
            let check = ui.checkbox(&mut is_chosen, RichText::new(level.name()).font(theme::strong_font()));
            if let Some(candidate) = candidate {
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                    let size = RichText::new(bytes_text(candidate.size_bytes)).font(theme::strong_font());
                    ui.label(size).on_hover_text(exact_bytes_text(candidate.size_bytes));
                });
            }
            check.changed()
        })
        .inner;
    if let Some(candidate) = candidate {
        ui_inside.spacing_mut().interact_size.y = 18.0;
        let color = match loss_color(p, candidate.expected_loss) {
            color if color == p.text => p.muted,
            color => color,
        };
        ui_inside.label(RichText::new(format!("loss {}", candidate.expected_loss.label())).small().color(color));
        ui_inside.horizontal(|ui| {
            let bits = format!("{} bits/weight", significant_text(candidate.bits_per_weight));
            ui.label(RichText::new(bits).small().color(p.muted));
            if let Some((text, tone)) = mark {
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                    ui.label(RichText::new(text).small().color(tone.color(ui)));
                });
            }
        });
    }
    if response.on_hover_text(level.description()).clicked() {
        is_chosen = !is_chosen;
    } else if !changed {
        return;
    }
    if is_chosen {
        levels.insert(level);
    } else {
        levels.remove(&level);
    }
}

/// What all chosen levels together will take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sum {
    n_levels: usize,
    size_bytes: u64,
}

impl Sum {
    fn of(plan: &Plan, levels: &BTreeSet<Level>) -> Self {
        let sizes = levels.iter().filter_map(|&level| candidate_of(plan, level)).map(|candidate| candidate.size_bytes);
        Self { n_levels: levels.len(), size_bytes: sizes.fold(0, u64::saturating_add) }
    }

    fn of_sizes(sizes: &[u64], levels: &BTreeSet<Level>) -> Self {
        Self { n_levels: levels.len(), size_bytes: sizes.iter().copied().fold(0, u64::saturating_add) }
    }
}

/// Why nothing can be converted now; `None`: it can.
fn refusal(
    sum: Sum,
    disk: Option<&Disk>,
    levels: &BTreeSet<Level>,
    existing: &BTreeSet<Level>,
    overwrite: bool,
) -> Option<String> {
    if sum.n_levels == 0 {
        return Some("Choose at least one level".into());
    }
    if !overwrite {
        let in_the_way: Vec<Level> = levels.intersection(existing).copied().collect();
        if !in_the_way.is_empty() {
            let verb = if in_the_way.len() == 1 { "exists" } else { "exist" };
            return Some(format!("{} {verb} already: allow replacing, or take it off", names(&in_the_way)));
        }
    }
    let free_bytes = disk.map(|disk| disk.free_bytes)?;
    (sum.size_bytes > free_bytes).then(|| format!("{} more are needed on this disk", bytes_text(sum.size_bytes - free_bytes)))
}

fn output_ui(
    ui: &mut Ui,
    model: &Model,
    store: &Store,
    (sum, refused): (Sum, Option<String>),
    existing: &BTreeSet<Level>,
    form: &mut Form,
    commands: &mut Vec<Command>,
) {
    let disk = store.machine.ready().and_then(|machine| machine.disk.as_ref());
    widgets::card(ui, "Output", |ui| {
        let label = ui.label(RichText::new("Folder").color(theme::muted(ui)));
        let hint = output_dir(model, &Form::default()).display().to_string();
        ui.horizontal(|ui| {
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                if ui.button("Choose…").accessible_name("Choose output folder").clicked() {
                    commands.push(Command::PickOutputDir);
                }
                let field = TextEdit::singleline(&mut form.output_dir)
                    .hint_text(hint)
                    .desired_width(f32::INFINITY)
                    .margin(Margin::symmetric(10, 6));
                ui.add(field).labelled_by(label.id).on_hover_text("Empty: beside the source");
            });
        });
        imatrix_view_ui(ui, model, store, form, commands);
        ui.checkbox(&mut form.overwrite, "Replace files that exist")
            .on_hover_text("A file is replaced only when the new one is complete");
        ui.checkbox(&mut form.keep_unfinished, "Keep unfinished files when cancelled")
            .on_hover_text("Converting to the same files again goes on there, as it does after a power loss");
        ui.horizontal(|ui| {
            let label = ui.label(RichText::new("Threads").color(theme::muted(ui)));
            let field = egui::DragValue::new(&mut form.convert_threads).range(0..=MAX_THREADS).speed(0.1);
            let field = field.custom_formatter(|value, _| if value == 0.0 { "all".into() } else { format!("{value:.0}") });
            let field = field.custom_parser(|text| if text.trim() == "all" { Some(0.0) } else { text.trim().parse().ok() });
            ui.add(field).labelled_by(label.id).on_hover_text("0 means all that this program may use");
        });
        ui.separator();
        sum_ui(ui, sum, disk);
        ui.add_space(theme::UNIT);
        let refused = refused.map(|reason| widgets::sentence(&reason));
        let reason = refused
            .or_else(|| refusal(sum, disk, &form.levels, existing, form.overwrite))
            .or_else(|| imatrix_refusal(model, &form.imatrix));
        let is_collecting = form.imatrix.collect;
        let verb = if is_collecting { "Collect, then convert" } else { "Convert" };
        let text = match sum.n_levels {
            0 => "Convert".to_string(),
            1 => format!("{verb} 1 level ({})", bytes_text(sum.size_bytes)),
            n => format!("{verb} {n} levels ({})", bytes_text(sum.size_bytes)),
        };
        let button = ui.add_enabled_ui(reason.is_none(), |ui| widgets::primary_button(ui, &text)).inner;
        if button.clicked() {
            let levels = form.levels.iter().copied().collect();
            commands.push(if is_collecting { Command::CollectImatrix(levels) } else { Command::Convert(levels) });
        }
        if let Some(reason) = reason {
            ui.add(Label::new(RichText::new(reason).color(theme::warn(ui))).wrap());
        }
    });
}

fn sum_ui(ui: &mut Ui, sum: Sum, disk: Option<&Disk>) {
    let mut rows = vec![("All outputs".to_string(), bytes_text(sum.size_bytes))];
    match disk {
        Some(disk) => rows.push((format!("Free on {}", disk.mount_point), bytes_text(disk.free_bytes))),
        None => rows.push(("Free space".into(), "unknown".into())),
    }
    widgets::key_value_grid(ui, &rows);
}

fn results_ui(ui: &mut Ui, store: &Store, form: &mut Form, commands: &mut Vec<Command>) {
    let mut is_wanted = false;
    widgets::card_with_actions(
        ui,
        "Finished files",
        |ui| {
            is_wanted = widgets::primary_button(ui, "Measure these")
                .on_hover_text("Speed and memory of each file, on this machine")
                .clicked();
        },
        |ui| {
            for conversion in &store.conversions {
                result_ui(ui, store, conversion, commands);
            }
        },
    );
    if is_wanted {
        commands.push(Command::Bench(store.conversions.iter().map(|made| made.path.clone()).collect()));
        form.page = Page::Compare;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_clear_steps() {
        let check = |level, expected: &[Level]| assert_eq!(with_neighbours(level), expected);
        check(Level::Q4_K_M, &[Level::Q5_K_M, Level::Q4_K_M, Level::Q3_K_M]);
        check(Level::Q4_0, &[Level::Q4_K_M, Level::Q4_0, Level::Q3_K_M]);
        check(Level::F32, &[Level::F32, Level::F16]);
        check(Level::Q2_K, &[Level::Q3_K_M, Level::Q2_K]);
    }

    #[test]
    fn a_refusal_names_its_reason() {
        let disk = |free_bytes| Disk {
            mount_point: "/".into(),
            file_system: "ext4".into(),
            total_bytes: 1 << 40,
            free_bytes,
            write_bytes_per_sec: None,
        };
        let levels = BTreeSet::from([Level::Q8_0, Level::Q4_K_M]);
        let sum = Sum { n_levels: 2, size_bytes: 3 << 20 };
        let none = BTreeSet::new();
        let check = |sum, disk: Option<&Disk>, existing: &BTreeSet<Level>, overwrite, expected: Option<&str>| {
            assert_eq!(refusal(sum, disk, &levels, existing, overwrite).as_deref(), expected);
        };
        check(sum, Some(&disk(4 << 20)), &none, false, None);
        check(sum, None, &none, false, None);
        check(sum, Some(&disk(1 << 20)), &none, false, Some("2.00 MiB more are needed on this disk"));
        check(Sum { n_levels: 0, size_bytes: 0 }, None, &none, false, Some("Choose at least one level"));
        let made = BTreeSet::from([Level::Q8_0, Level::Q2_K]);
        check(sum, None, &made, false, Some("Q8_0 exists already: allow replacing, or take it off"));
        check(sum, None, &made, true, None);
    }
}
