//! What to do: the goal, the recommendation with its reasons, the decision tree and all candidates.

use std::sync::Arc;

use eframe::egui::{self, RichText, Ui};

use super::candidate_table::{self, candidate_table_ui};
use super::goal_strip::goal_strip_ui;
use super::path_text::path_sentences;
use super::tree_view::tree_view_ui;
use crate::advise::{self, Band, Basis, Candidate, Goal, Plan};
use crate::hardware::Machine;
use crate::model::{Level, Model};
use crate::state::{Command, Form, Page, Slot, Store};
use crate::ui::compare;
use crate::ui::kit::icons::Icon;
use crate::ui::kit::memo::{self, Same};
use crate::ui::kit::theme;
use crate::ui::kit::theme::ValueKind;
use crate::ui::kit::widgets::{self, StatTile, Tone};
use crate::ui::opened::facts::Facts;
use crate::ui::opened::known_view::go_on_ui;
use crate::units::{bytes_text, count_text, exact_bytes_text, nats_text, significant_text};

/// Draws the page.
pub fn plan_page_ui(ui: &mut Ui, store: &Store, form: &mut Form, commands: &mut Vec<Command>) {
    let Some(model) = model_or_hint_ui(ui, store, form, commands, "Plan", "What to do with the model on this machine, and why")
    else {
        return;
    };
    let Some(machine) = machine_or_hint_ui(ui, store, form, commands) else { return };
    let budget_is_typed = form.goal.memory_budget_bytes.is_some();
    let plan = plan_of(ui, &model, machine, form, store);
    widgets::page_header(ui, "Plan", "What to do with the model on this machine, and why", |_| {});
    widgets::card(ui, "", |ui| {
        goal_strip_ui(ui, &mut form.goal, &model);
        if !budget_is_typed {
            ui.label(RichText::new(format!("Planned for {}", budget_text(&plan))).small().color(theme::muted(ui)));
        }
    });
    widgets::card_gap(ui);
    for warning in &plan.warnings {
        widgets::notice(ui, Tone::Warn, &widgets::sentence(warning));
    }
    ui.add_space(theme::UNIT * 2.0);
    if !store.outcomes.is_empty() || !store.quality.is_empty() {
        let rows = compare::page::rows_of(ui, &model, machine, form, store);
        compare::page::choice_ui(ui, &model, machine, form, &rows, commands);
    }
    recommendation_ui(ui, &plan, form);
    widgets::card_gap(ui);
    widgets::card(ui, "How the decision was made", |ui| decision_ui(ui, &plan));
    widgets::card_gap(ui);
    let chosen: Vec<Level> = form.levels.iter().copied().collect();
    let mut is_wanted = false;
    widgets::card_with_actions(
        ui,
        "All candidates",
        |ui| is_wanted = selection_ui(ui, &chosen),
        |ui| {
            let note = "Sizes of GGUF files are exact. Speeds are predicted. Expected loss is published, not measured.";
            ui.label(RichText::new(note).small().color(theme::muted(ui)));
            candidate_table_ui(ui, &plan, form);
        },
    );
    if is_wanted {
        form.page = Page::Optimize;
    }
}

/// The open model; without one that can be converted, says what to do and returns `None`.
pub fn model_or_hint_ui(
    ui: &mut Ui,
    store: &Store,
    form: &mut Form,
    commands: &mut Vec<Command>,
    title: &str,
    subtitle: &str,
) -> Option<Arc<Model>> {
    if let Some(model) = store.model.ready().filter(|model| model.is_convertible()) {
        return Some(Arc::clone(model));
    }
    widgets::page_header(ui, title, subtitle, |_| {});
    model_hint_ui(ui, store, form, commands);
    None
}

/// Why there is no model to work on, and where to get one.
pub fn model_hint_ui(ui: &mut Ui, store: &Store, form: &mut Form, commands: &mut Vec<Command>) {
    let hindered;
    let (heading, text) = match &store.model {
        Slot::Ready(model) => {
            let (heading, text) = match (model.other_kind(), model.hindrance()) {
                (Some(kind), _) => ("This file is not a model", format!("It is {}. To use it, {}.", kind.name(), kind.hint())),
                (None, hindrance) => {
                    let what = widgets::sentence(&hindrance.unwrap_or_default());
                    ("llama.cpp cannot load this model", format!("{what}."))
                }
            };
            hindered = text;
            (heading, hindered.as_str())
        }
        Slot::Empty if store.network.is_some() => {
            ("This is an ONNX network", "Planish shows what is in it on the Model page, and can do nothing else with it yet.")
        }
        Slot::Empty if store.checkpoint.is_some() => {
            ("This checkpoint cannot be converted", "The checklist on the Model page says what is in the way.")
        }
        Slot::Waiting { .. } => ("Reading the model…", "This takes a moment."),
        Slot::Failed(_) => ("The model could not be read", "The Model page says why. Open another one there."),
        Slot::Empty => ("No model yet", "Open a GGUF file on the Model page. What can be done with it is shown here at once."),
    };
    widgets::empty_state(ui, Icon::Model, heading, text, |ui| {
        if matches!(store.model, Slot::Empty) && store.opened_path().is_none() {
            go_on_ui(ui, form, commands);
        }
        to_model_page_ui(ui, form);
    });
}

fn to_model_page_ui(ui: &mut Ui, form: &mut Form) {
    if widgets::primary_button(ui, "Go to Model").clicked() {
        form.page = Page::Model;
    }
}

/// The machine; without a known one, says what to do and returns `None`.
fn machine_or_hint_ui<'a>(ui: &mut Ui, store: &'a Store, form: &mut Form, commands: &mut Vec<Command>) -> Option<&'a Machine> {
    if let Some(machine) = store.machine.ready() {
        return Some(machine);
    }
    widgets::page_header(ui, "Plan", "What to do with the model on this machine, and why", |_| {});
    if let Slot::Waiting { .. } = store.machine {
        let text = "Memory and disk are being measured. This takes a few seconds.";
        widgets::empty_state(ui, Icon::Machine, "Measuring this machine…", text, |ui| {
            if ui.button("Go to Machine").clicked() {
                form.page = Page::Machine;
            }
        });
        return None;
    }
    if let Some(error) = store.machine.error() {
        widgets::error_banner(ui, error, commands);
        widgets::card_gap(ui);
    }
    let text = "A plan needs to know the memory, its measured bandwidth and what else is here.";
    widgets::empty_state(ui, Icon::Machine, "This machine is not measured yet", text, |ui| {
        if widgets::primary_button(ui, "Measure this machine").clicked() {
            commands.push(Command::Detect);
        }
    });
    None
}

/// The advice for this model, machine and goal, with what was measured here so far.
pub fn plan_of(ui: &Ui, model: &Arc<Model>, machine: &Machine, form: &Form, store: &Store) -> Arc<Plan> {
    Facts { model, machine, form, store }.memo(ui, "plan of the window", || {
        advise::advise_with(model, machine, &form.goal, &store.learned(model, machine, &form.limits.gates))
    })
}

/// The advice for this model, machine and goal as it was before anything was measured.
pub fn plan_before_measuring(ui: &Ui, model: &Arc<Model>, machine: &Machine, goal: &Goal) -> Arc<Plan> {
    let facts = (Same::of(model), machine.clone(), goal.clone());
    memo::kept(ui, "plan before measuring", facts, || advise::advise(model, machine, goal))
}

fn budget_text(plan: &Plan) -> String {
    let vram = if plan.budget.vram_bytes > 0 {
        format!(" and {} of GPU memory", bytes_text(plan.budget.vram_bytes))
    } else {
        String::new()
    };
    format!("{} of memory{vram}: {}", bytes_text(plan.budget.ram_bytes), plan.budget.origin)
}

/// What to say when the source is quantized already; the second loss is the thing users regret most.
pub fn requantizing_warning(model: &Model) -> Option<String> {
    if let Some(first) = crate::advise::decoded_from(model) {
        return Some(format!(
            "This file was decoded from {first}. What that lost stays lost, and each level loses a second time: start from an original F16 or \
             BF16 file of the same model if you can."
        ));
    }
    let own = model.is_quantized().then(|| crate::advise::own_name(model))?;
    Some(format!(
        "This file is quantized already ({own}). Quantizing it again adds a second loss to the first: start from an F16 or BF16 file of \
         the same model if you can."
    ))
}

/// The taken path in sentences; the whole tree, which is large, only when somebody asks.
fn decision_ui(ui: &mut Ui, plan: &Plan) {
    for (idx, text) in path_sentences(plan).iter().enumerate() {
        ui.horizontal_top(|ui| {
            ui.add_sized([18.0, 18.0], egui::Label::new(RichText::new(format!("{}.", idx + 1)).color(theme::muted(ui))));
            ui.add(egui::Label::new(text).wrap());
        });
    }
    ui.add_space(theme::UNIT);
    egui::CollapsingHeader::new("Show the whole tree").id_salt("whole tree").show_unindented(ui, |ui| {
        ui.label(RichText::new("The lit path holds for this model, machine and goal").small().color(theme::muted(ui)));
        tree_view_ui(ui, plan);
    });
}

fn recommendation_ui(ui: &mut Ui, plan: &Plan, form: &mut Form) {
    let Some(candidate) = plan.recommended.and_then(|idx| plan.candidates.get(idx)) else {
        no_recommendation_ui(ui, plan);
        return;
    };
    widgets::card(ui, "", |ui| {
        ui.horizontal(|ui| {
            ui.label(RichText::new("Recommended").small().color(theme::accent(ui)));
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| convert_button_ui(ui, candidate, form));
        });
        // On a line of its own: beside the button, a long name would lie under it.
        let title = format!("{} at {}", candidate.framework.name(), candidate.shown_name());
        widgets::heading_ui(ui, RichText::new(title).heading());
        ui.add_space(theme::UNIT);
        widgets::stat_tiles(ui, &tiles_of(candidate, form.goal.n_ctx));
        ui.add_space(theme::UNIT * 2.0);
        widgets::two_columns(ui, 0.6, |ui| reasons_ui(ui, &plan.reasons), |ui| alternatives_ui(ui, plan, form));
    });
}

fn convert_button_ui(ui: &mut Ui, candidate: &Candidate, form: &mut Form) {
    let Some(level) = candidate.level else { return };
    if ui.button(format!("Convert to {level}…")).on_hover_text("Choose this level on the Optimize page").clicked() {
        form.levels.insert(level);
        form.page = Page::Optimize;
    }
}

fn tiles_of(candidate: &Candidate, n_ctx: u64) -> Vec<StatTile> {
    let size_kind = if candidate.size_is_exact { ValueKind::Fact } else { ValueKind::Predicted };
    let speed = |label: &str, band: Option<Band>, basis: Basis, unknown: &str| match band {
        Some(band) => StatTile {
            label: label.into(),
            value: significant_text(band.mid),
            unit: "tok/s".into(),
            kind: kind_of(basis),
            note: format!("{}–{}", significant_text(band.low), significant_text(band.high)),
        },
        None => StatTile::from_text(label, "unknown", ValueKind::Fact).note(unknown),
    };
    vec![
        StatTile::from_text("File size", &bytes_text(candidate.size_bytes), size_kind).note(if candidate.size_is_exact {
            exact_bytes_text(candidate.size_bytes)
        } else {
            "estimated".into()
        }),
        StatTile::from_text("Memory", &bytes_text(candidate.memory.total_bytes()), kind_of(candidate.memory_basis))
            .note(format!("at {} tokens", count_text(n_ctx))),
        speed("Decode", candidate.decode_tokens_per_sec, candidate.decode_basis, "memory bandwidth not measured"),
        speed("Prefill", candidate.prefill_tokens_per_sec, candidate.prefill_basis, "processor not known"),
        match candidate.measured_loss {
            Some(loss) => StatTile {
                label: "Measured loss".into(),
                value: nats_text(loss.mean_kld.value),
                unit: "nats".into(),
                kind: ValueKind::Measured,
                // The word alone: “slight, perhaps noticeable” is too long for a tile, and the table below says it.
                note: candidate.loss_word().label().into(),
            },
            None => StatTile {
                label: "Expected loss".into(),
                value: widgets::sentence(candidate.expected_loss.label()),
                unit: String::new(),
                kind: ValueKind::Assumed,
                note: candidate.expected_loss_note(),
            },
        },
    ]
}

fn kind_of(basis: Basis) -> ValueKind {
    match basis {
        Basis::Predicted => ValueKind::Predicted,
        Basis::Adjusted { .. } => ValueKind::Adjusted,
        Basis::Measured => ValueKind::Measured,
    }
}

fn reasons_ui(ui: &mut Ui, reasons: &[String]) {
    ui.label(RichText::new("Why").font(theme::strong_font()));
    for reason in reasons {
        ui.horizontal_top(|ui| {
            let (rect, _) = ui.allocate_exact_size(egui::vec2(14.0, 18.0), egui::Sense::hover());
            crate::ui::kit::icons::paint(ui.painter(), rect, Icon::Check, theme::accent(ui));
            ui.add(egui::Label::new(RichText::new(widgets::sentence(reason)).color(theme::palette(ui).text_secondary)).wrap());
        });
    }
}

fn alternatives_ui(ui: &mut Ui, plan: &Plan, form: &mut Form) {
    if let Some(runner_up) = plan.runner_up.and_then(|idx| plan.candidates.get(idx)) {
        ui.label(RichText::new("Second choice").font(theme::strong_font()));
        let speed =
            runner_up.decode_tokens_per_sec.map_or(String::new(), |band| format!(", about {} tok/s", significant_text(band.mid)));
        let text = format!(
            "{} at {}: {}{speed}, {}",
            runner_up.framework.name(),
            runner_up.shown_name(),
            bytes_text(runner_up.size_bytes),
            runner_up.loss_phrase()
        );
        ui.add(egui::Label::new(RichText::new(text).color(theme::palette(ui).text_secondary)).wrap());
        let level = runner_up.level.filter(|level| candidate_table::is_possible(runner_up) && !form.levels.contains(level));
        let text = level.map(|level| format!("Also convert to {level}")).unwrap_or_default();
        if level.is_some() && widgets::small_button(ui, &text, &text).clicked() {
            form.levels.extend(level);
        }
        ui.add_space(theme::UNIT);
    }
    if let Some(counterfactual) = &plan.counterfactual {
        ui.label(RichText::new("What would change it").font(theme::strong_font()));
        ui.add(
            egui::Label::new(RichText::new(widgets::sentence(counterfactual)).color(theme::palette(ui).text_secondary)).wrap(),
        );
    }
}

/// Without a recommendation the reasons say why: nothing fits, or a quantized source is best used as it is.
fn no_recommendation_ui(ui: &mut Ui, plan: &Plan) {
    let (title, tone) = if plan.keeps_source {
        ("Keep the file as it is", Tone::Neutral)
    } else if plan.candidates.iter().any(candidate_table::is_possible) {
        ("No conversion is recommended", Tone::Neutral)
    } else {
        ("Nothing fits", Tone::Bad)
    };
    widgets::card(ui, title, |ui| {
        for reason in &plan.reasons {
            widgets::notice(ui, tone, &widgets::sentence(reason));
        }
        if let Some(counterfactual) = &plan.counterfactual {
            ui.label(RichText::new("What would change it").font(theme::strong_font()));
            ui.add(
                egui::Label::new(RichText::new(widgets::sentence(counterfactual)).color(theme::palette(ui).text_secondary))
                    .wrap(),
            );
        }
    });
}

/// A button to the Optimize page with the chosen levels; true when it was clicked.
fn selection_ui(ui: &mut Ui, chosen: &[Level]) -> bool {
    let names: Vec<&str> = chosen.iter().copied().map(Level::name).collect();
    let text = match names[..] {
        [] => return false,
        [name] => format!("Convert to {name}…"),
        _ => format!("Convert to {} levels…", names.len()),
    };
    let names = names.join(", ");
    widgets::small_button(ui, &text, &format!("Optimize with {names}")).on_hover_text(names).clicked()
}
