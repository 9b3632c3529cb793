//! The smallest file that is predicted to pass the gates: what it would be, and the button that puts the slider there.

use std::sync::Arc;

use eframe::egui::{Label, RichText, Ui};

use crate::advise::budget::{CurvePoint, GatedPoint, LossLimit};
use crate::error::{Error, Result};
use crate::make::gate_search;
use crate::model::Model;
use crate::state::{Form, Store};
use crate::ui::kit::{memo, theme, widgets};
use crate::units::{bytes_text, nats_text};

/// The curve of whole files, or why there is none.
pub type Losses = Arc<Result<Vec<CurvePoint>>>;

/// What was found, and the loss that the gates allow.
type Found = Result<(GatedPoint, LossLimit)>;

/// Draws the button and what it would choose; `losses` is `None` until it is known what each tensor is worth. A click puts the
/// form's slider to the file's size, in steps of a tenth of a per cent.
pub fn gates_view_ui(ui: &mut Ui, model: &Arc<Model>, losses: Option<&Losses>, store: &Store, form: &mut Form) {
    let found = losses.and_then(|losses| smallest(ui, model, losses, store, form));
    let found = found.as_deref();
    ui.horizontal_wrapped(|ui| {
        let size_bytes = found.and_then(|found| found.as_ref().ok()).map(|(found, _)| found.point.data_bytes);
        let button = ui.add_enabled_ui(size_bytes.is_some(), |ui| ui.button("Smallest that passes my gates")).inner;
        let reason = if losses.is_none() {
            "What each tensor is worth has to be learned first: Only learn does that"
        } else {
            "No file is predicted to pass them"
        };
        let hint = "The smallest file whose predicted loss stays within the gates of Compare, its error included. Convert and compare then \
                    measures it; if it does not pass, this finds a larger one";
        let button = button.on_hover_text(hint).on_disabled_hover_text(reason);
        if let Some(size_bytes) = size_bytes.filter(|_| button.clicked()) {
            form.budget_percent = percent_of(size_bytes, model.size_bytes);
        }
        let (text, color) = match found {
            None => return,
            Some(Ok((found, limit))) => (found_text(found, *limit), theme::muted(ui)),
            Some(Err(error)) => (widgets::sentence(&error.to_string()), theme::warn(ui)),
        };
        ui.add(Label::new(RichText::new(text).small().color(color)).wrap());
    });
}

/// The smallest file by the gates of the form and by what budgeted files have lost, computed when something changes; `None`
/// without a curve.
fn smallest(ui: &Ui, model: &Arc<Model>, losses: &Losses, store: &Store, form: &Form) -> Option<Arc<Found>> {
    let points = losses.as_ref().as_ref().ok()?;
    let run = |path| store.quality_of(path)?.result.as_ref().ok();
    let budgeted = store.conversions.iter().filter(|made| made.is_budgeted());
    let measured: Vec<_> = budgeted.filter_map(|made| Some((made.size_bytes, run(&made.path)?))).collect();
    let gates = &form.limits.gates;
    let same: Vec<_> = measured.iter().map(|(size_bytes, run)| (*size_bytes, memo::Same::of(run))).collect();
    let facts = (memo::Same::of(losses), memo::Same::of(model), gates.clone(), same);
    Some(memo::kept(ui, "the smallest file for the gates", facts, || {
        let measured = measured.iter().map(|(size_bytes, run)| (*size_bytes, run.as_ref()));
        let search = gate_search(model, gates, points, measured)?;
        let found = search.find(points)?;
        if found.point.data_bytes > model.size_bytes {
            return Err(Error::BadRequest {
                message: "only files larger than the source are predicted to pass the gates".into(),
            });
        }
        Ok((found, search.limit()))
    }))
}

fn found_text(found: &GatedPoint, limit: LossLimit) -> String {
    let size = bytes_text(found.point.data_bytes);
    if found.is_smallest {
        return format!("{size}: even the smallest file is predicted to pass them, so looser gates change nothing");
    }
    let (loss, error) = (nats_text(found.loss), nats_text(found.loss_error));
    format!("{size}: predicted to lose {loss} ± {error}; {} allows {}", limit.kind.phrase(), nats_text(limit.nats))
}

/// A size as a part of another in per cent, never less than it is.
#[allow(clippy::cast_precision_loss, reason = "sizes of files")]
fn percent_of(size_bytes: u64, of_bytes: u64) -> f64 {
    let tenths = (1000.0 * size_bytes as f64 / of_bytes.max(1) as f64).ceil();
    (tenths / 10.0).min(100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slider_never_stands_below_the_size() {
        let check = |size: u64, of: u64, expected: f64| assert!((percent_of(size, of) - expected).abs() < 1e-9, "{size} of {of}");
        check(300, 1000, 30.0);
        check(300_001, 1_000_000, 30.1);
        check(1001, 1000, 100.0);
        check(1, 0, 100.0);
    }
}
