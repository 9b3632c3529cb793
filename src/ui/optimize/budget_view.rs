//! A file of a size that the user chooses: what it is predicted to lose, at this size and at all others, before anything is written.

use std::sync::Arc;

use eframe::egui::{Label, RichText, Role, Slider, Ui, WidgetInfo};
use egui_plot::{Line, LineStyle, PlotBounds, PlotPoints, Points, VLine};

use super::batch::output_dir;
use super::gates_view::{Losses, gates_view_ui};
use crate::advise::Overrides;
use crate::advise::budget::{Budget, BudgetRecipe, Correction, CurvePoint, nearest_point};
use crate::convert;
use crate::error::Result;
use crate::hardware::{Cpu, Machine};
use crate::make::BudgetFacts;
use crate::model::Model;
use crate::state::{Command, Form, Slot, Store, TextChoice, Tour};
use crate::ui::compare::plot_style::{axis_x, axis_y, base_plot};
use crate::ui::kit::widgets::{self, Tone};
use crate::ui::kit::{memo, theme};
use crate::units::{bytes_text, count_of, nats_text, significant_text};

/// The smallest part of the source that can be asked for, in per cent: no type that is used has less than two bits.
const LEAST_PERCENT: f64 = 10.0;
const PLOT_HEIGHT: f32 = 220.0;
const MIB: f64 = 1_048_576.0;
const GIB: f64 = 1_073_741_824.0;
/// Losses below this are drawn at the lower edge: no text is long enough to tell them apart.
const LEAST_NATS: f64 = 1e-4;

/// What is shown of a size: the recipe, and the curve of whole files that it lies on.
#[derive(Debug)]
struct Offer {
    recipe: BudgetRecipe,
    /// Sizes of files in bytes, with losses.
    curve: Losses,
}

/// Draws the card: the size, what it is predicted to lose, and the buttons.
pub fn budget_view_ui(ui: &mut Ui, model: &Arc<Model>, store: &Store, form: &mut Form, commands: &mut Vec<Command>) {
    widgets::card(ui, "A size of your own", |ui| {
        let seen = match store.budget_facts() {
            Some((facts, _)) => format!("What each tensor is worth was learned from {}.", facts.seen),
            None => format!(
                "The model runs over {} first, for some minutes, to learn what each tensor is worth.",
                if form.imatrix.text == TextChoice::File { "your calibration text" } else { "the bundled text" }
            ),
        };
        let text = format!(
            "One file of the size that you choose: each tensor gets the type with which the file loses least, and error feedback. {seen}"
        );
        ui.add(Label::new(RichText::new(text).color(theme::muted(ui))).wrap());
        ui.add_space(theme::UNIT);
        let unknown = Machine::default();
        let cpu = &store.machine.ready().map_or(&unknown, |machine| machine).cpu;
        let facts = store.budget_facts();
        let points = facts.map(|(facts, model)| points(ui, facts, model));
        let budget = size_ui(ui, model, cpu, form);
        gates_view_ui(ui, facts.map_or(model, |(_, model)| model), points.as_ref(), store, form);
        let known = facts.zip(points.as_ref());
        let offer = known.map(|((facts, model), points)| offer(ui, facts, (model, cpu), points, budget));
        match (offer.as_deref(), &store.budget) {
            (Some(Ok(offer)), _) => offer_ui(ui, model, store, offer),
            (Some(Err(error)), _) => widgets::error_banner(ui, error, commands),
            (None, Slot::Failed(error)) if *error != crate::Error::Cancelled => widgets::error_banner(ui, error, commands),
            _ => {}
        }
        ui.add_space(theme::UNIT);
        let recipe = offer.as_deref().and_then(|offer| offer.as_ref().ok()).map(|offer| &offer.recipe);
        buttons_ui(ui, model, store, form, (budget, recipe, offer.is_some()), commands);
    });
}

/// Draws the slider and the size that it means.
fn size_ui(ui: &mut Ui, model: &Model, cpu: &Cpu, form: &mut Form) -> Budget {
    ui.horizontal_wrapped(|ui| {
        let label = ui.label(RichText::new("Size").color(theme::muted(ui)));
        let slider = Slider::new(&mut form.budget_percent, LEAST_PERCENT..=100.0).step_by(0.1).suffix(" %");
        ui.add(slider).labelled_by(label.id).on_hover_text("A part of the source's size");
        let budget = Budget::Share(form.budget_percent / 100.0);
        if let Ok(size_bytes) = budget.size_bytes(model, cpu) {
            ui.label(RichText::new(format!("of the source: {}", bytes_text(size_bytes))).font(theme::strong_font()));
        }
        budget
    })
    .inner
}

/// The losses at every size, computed when something changes.
fn points(ui: &Ui, facts: &Arc<BudgetFacts>, model: &Arc<Model>) -> Losses {
    let changes = (memo::Same::of(facts), memo::Same::of(model));
    memo::kept(ui, "losses at every size", changes, || facts.file_points(model))
}

/// What this budget buys, computed when something changes.
fn offer(
    ui: &Ui,
    facts: &Arc<BudgetFacts>,
    (model, cpu): (&Arc<Model>, &Cpu),
    points: &Losses,
    budget: Budget,
) -> Arc<Result<Offer>> {
    let changes = (memo::Same::of(facts), memo::Same::of(model), budget.to_string());
    memo::kept(ui, "what a budget buys", changes, || {
        let recipe = facts.recipe(model, (budget.size_bytes(model, cpu)?, budget))?;
        Ok(Offer { recipe, curve: Arc::clone(points) })
    })
}

fn offer_ui(ui: &mut Ui, model: &Model, store: &Store, offer: &Offer) {
    let recipe = &offer.recipe;
    let measured = measured(store);
    let curve = offer.curve.as_deref().unwrap_or_default();
    let correction = Correction::of(&predicted_and_measured(&measured, curve));
    let (loss, loss_error) = correction.apply(recipe.loss, recipe.loss_error);
    let how = match correction.n_points() {
        0 => "predicted, on the calibration text".to_string(),
        n => format!("predicted, corrected by {}", count_of(n, "measured file")),
    };
    let bits = significant_text(recipe.bits_per_weight);
    ui.label(
        RichText::new(format!("{}, {bits} bits per weight", bytes_text(recipe.size_bytes)))
            .color(theme::palette(ui).text_secondary),
    );
    ui.label(RichText::new(format!(
        "Loses {} ± {} nats ({how}); as large as {}",
        nats_text(loss),
        nats_text(loss_error),
        recipe.level
    )));
    curve_ui(ui, recipe.size_bytes, curve, correction, &measured);
    if model.is_quantized() {
        widgets::notice(ui, Tone::Warn, "The source is quantized itself: what that lost stays lost.");
    }
}

/// A file with a measured loss: its name, size and mean KL divergence, and whether it was made within a budget.
struct MeasuredFile {
    name: String,
    size_bytes: u64,
    loss: f64,
    is_budgeted: bool,
}

fn measured(store: &Store) -> Vec<MeasuredFile> {
    let file = |made: &convert::Conversion| {
        let run = store.quality_of(&made.path)?.result.as_ref().ok()?;
        let (name, is_budgeted) = (made.name(), made.is_budgeted());
        Some(MeasuredFile { is_budgeted, name, size_bytes: made.size_bytes, loss: run.summary.mean_kld.value })
    };
    store.conversions.iter().filter_map(file).collect()
}

/// What was predicted at the sizes of budgeted files, and what they lose.
fn predicted_and_measured(measured: &[MeasuredFile], curve: &[CurvePoint]) -> Vec<(f64, f64)> {
    let predicted = |size_bytes: u64| nearest_point(curve, size_bytes).map(|point| point.loss);
    let budgeted = measured.iter().filter(|file| file.is_budgeted);
    budgeted.filter_map(|file| Some((predicted(file.size_bytes)?, file.loss))).collect()
}

/// Draws loss against size, the loss on a logarithmic axis.
#[allow(clippy::cast_precision_loss, reason = "sizes of files on a plot")]
fn curve_ui(ui: &mut Ui, chosen_bytes: u64, curve: &[CurvePoint], correction: Correction, measured: &[MeasuredFile]) {
    let palette = theme::palette(ui);
    let Some((first, last)) = curve.first().zip(curve.last()) else { return };
    // Beyond this nothing is lost that could be seen.
    let end = curve.iter().find(|point| point.loss <= LEAST_NATS).unwrap_or(last).data_bytes.max(chosen_bytes);
    let (unit_bytes, unit) = if end < 1 << 30 { (MIB, "MiB") } else { (GIB, "GiB") };
    let in_units = |n_bytes: u64| n_bytes as f64 / unit_bytes;
    let (left, right) = (in_units(first.data_bytes), in_units(end));
    let step = tick_step(right - left);
    let place = |loss: f64| loss.max(LEAST_NATS).log10();
    let corrected: Vec<(f64, f64, f64)> = curve
        .iter()
        .map(|point| {
            let (loss, error) = correction.apply(point.loss, point.loss_error);
            (in_units(point.data_bytes), loss, error)
        })
        .collect();
    let line = |of: &dyn Fn(&(f64, f64, f64)) -> f64| -> PlotPoints<'static> {
        corrected.iter().map(|point| [point.0, place(of(point))]).collect()
    };
    let top = place(corrected.iter().map(|point| point.1 + point.2).fold(LEAST_NATS, f64::max));
    let plot = base_plot("Predicted loss at every size", palette)
        .height(PLOT_HEIGHT)
        .custom_x_axes(vec![axis_x(palette, &format!("Size ({unit})")).formatter(move |mark, _| tick_text(mark.value, step))])
        .custom_y_axes(vec![axis_y(palette, "Mean KL divergence (nats)").formatter(|mark, _| decade_text(mark.value))])
        .x_grid_spacer(egui_plot::uniform_grid_spacer(move |_| [step; 3]))
        .y_grid_spacer(egui_plot::uniform_grid_spacer(|_| [1.0, 1.0, 1.0]))
        .label_formatter(|_| None);
    let response = plot.show(ui, |plot_ui| {
        let margin = 0.02 * (right - left);
        plot_ui.set_plot_bounds(PlotBounds::from_min_max([left - margin, place(LEAST_NATS)], [right + margin, top + 0.1]));
        for of in [&|point: &(f64, f64, f64)| point.1 - point.2, &|point: &(f64, f64, f64)| point.1 + point.2]
            as [&dyn Fn(&(f64, f64, f64)) -> f64; 2]
        {
            let edge = Line::new("Error of the prediction", line(of)).style(LineStyle::dashed_dense()).width(1.0);
            plot_ui.line(edge.color(palette.muted).allow_hover(false));
        }
        plot_ui.line(Line::new("Predicted", line(&|point| point.1)).color(palette.accent).width(2.0).allow_hover(false));
        plot_ui.vline(VLine::new("Chosen size", in_units(chosen_bytes)).color(palette.warn).width(1.5).allow_hover(false));
        for file in measured {
            let at = [in_units(file.size_bytes), place(file.loss)];
            let color = if file.is_budgeted { palette.accent } else { palette.text_secondary };
            plot_ui.points(Points::new(file.name.clone(), vec![at]).radius(5.0).filled(true).color(color).allow_hover(false));
        }
    });
    response.response.widget_info(|| WidgetInfo::labeled(Role::Image, true, "Predicted loss at every size"));
    let mut legend = "Line: predicted for files within a budget, dashed its error; upright: the chosen size.".to_string();
    if !measured.is_empty() {
        let names: Vec<String> = measured.iter().map(|file| format!("{} {}", file.name, nats_text(file.loss))).collect();
        legend.push_str(&format!(" Points: measured, {}.", names.join(", ")));
    }
    ui.add(Label::new(RichText::new(legend).small().color(theme::muted(ui))).wrap());
}

/// `0.01` for −2: marks stand at whole powers of ten.
fn decade_text(exponent: f64) -> String {
    if (exponent - exponent.round()).abs() > 1e-6 { String::new() } else { format!("{}", 10.0_f64.powf(exponent.round())) }
}

/// A number on an axis whose marks stand `step` apart, with as many decimals as that has: `1.5`.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few decimals")]
fn tick_text(value: f64, step: f64) -> String {
    let decimals = (-step.log10().floor()).clamp(0.0, 6.0) as usize;
    format!("{value:.decimals$}")
}

/// The distance of marks on an axis of this length: 1, 2 or 5 times a power of ten, of which about eight fit.
fn tick_step(length: f64) -> f64 {
    let wanted = (length / 8.0).max(f64::MIN_POSITIVE);
    let decade = 10.0_f64.powf(wanted.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * decade).find(|step| *step >= wanted).unwrap_or(decade)
}

fn buttons_ui(
    ui: &mut Ui,
    model: &Arc<Model>,
    store: &Store,
    form: &mut Form,
    (budget, recipe, is_known): (Budget, Option<&BudgetRecipe>, bool),
    commands: &mut Vec<Command>,
) {
    let is_busy = store.tour.as_ref().is_some_and(Tour::is_at_work) || matches!(store.budget, Slot::Waiting { .. });
    let is_possible = !is_busy && (!is_known || recipe.is_some());
    let reason = if is_busy { "A chain of jobs is at work" } else { "No file can be made at this size" };
    ui.horizontal_wrapped(|ui| {
        let after = if is_known { "" } else { ". What each tensor is worth is learned first" };
        let compare = ui
            .add_enabled_ui(is_possible, |ui| {
                ui.button("Convert and compare").accessible_name("Convert and compare at this size")
            })
            .inner;
        let hint = format!("Makes it and the plain level of this size, and measures both and the source{after}");
        if compare.on_hover_text(hint).on_disabled_hover_text(reason).clicked() {
            commands.push(Command::CompareBudget(budget));
        }
        let make = ui.add_enabled_ui(is_possible, |ui| ui.button("Convert").accessible_name("Convert to this size")).inner;
        let hint = format!("Into {}{after}", crate::path_text::shown(&output_dir(model, form)));
        if make.on_hover_text(hint).on_disabled_hover_text(reason).clicked() {
            commands.push(Command::ConvertBudget(budget));
        }
        if let Some(recipe) = recipe {
            let edit = ui.button("Edit the types…").on_hover_text("Puts them into the table below, for you to change");
            if edit.clicked() {
                let overrides = Overrides { budget: None, ..recipe.overrides.clone() };
                form.recipe.set(model, overrides);
                form.recipe.level = Some(recipe.level);
                form.levels.insert(recipe.level);
                form.recipe.is_open = true;
            }
        } else if !is_known {
            let learn = ui.add_enabled_ui(!is_busy, |ui| ui.button("Only learn")).inner;
            let hint = "Learns what each tensor is worth: then every size shows here what it loses";
            if learn.on_hover_text(hint).on_disabled_hover_text(reason).clicked() {
                commands.push(Command::Weigh);
            }
        }
    });
}

#[cfg(test)]
#[path = "budget_view_tests.rs"]
mod tests;
