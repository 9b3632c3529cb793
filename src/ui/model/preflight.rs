//! What can be done with a model, judged from its header alone: `advise::preflight` as a matrix of frameworks and classes.

use eframe::egui::{self, Align, Layout, RichText, Sense, Stroke, Ui, Vec2, vec2};

use crate::advise;
use crate::model::{DType, Framework, Level, Model, PrecisionClass, Preset};
use crate::ui::kit::sideways::sideways_ui;
use crate::ui::kit::widgets::{Tone, card, notice};
use crate::ui::kit::{icons, theme};

/// Whether it makes sense to bring a model to a precision class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Without reservation.
    Possible,
    /// It works, but the result is worse than from an unquantized source.
    Requantizes,
    /// It works, but gives nothing: more bits than the source has.
    Pointless,
}

impl Verdict {
    fn tone(self) -> Tone {
        match self {
            Self::Possible => Tone::Good,
            Self::Requantizes => Tone::Warn,
            Self::Pointless => Tone::Neutral,
        }
    }
}

/// One cell of the matrix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassVerdict {
    /// The class.
    pub class: PrecisionClass,
    /// Whether it makes sense.
    pub verdict: Verdict,
    /// Why, in a few words.
    pub reason: String,
}

/// What llama.cpp can do at each class, from the most to the least precise. Meant for models that `advise::preflight` calls possible.
#[must_use]
pub fn class_verdicts(model: &Model) -> Vec<ClassVerdict> {
    let (main, decoded_from) = (crate::advise::own_name(model), crate::advise::decoded_from(model));
    PrecisionClass::ALL.into_iter().map(|class| llama_cpp(class, model, &main, decoded_from.as_deref())).collect()
}

/// `main` is the model's own level, `decoded_from` what it was decoded from.
fn llama_cpp(class: PrecisionClass, model: &Model, main: &str, decoded_from: Option<&str>) -> ClassVerdict {
    // The main type and not the average: a large embedding in 8 bits does not make the other weights better.
    let source_bits = model.main_dtype().map_or(0.0, DType::bits_per_weight);
    let fewest_bits = presets(class).map(|preset| preset.base_dtype().bits_per_weight()).fold(f64::INFINITY, f64::min);
    let (verdict, reason) = if fewest_bits >= source_bits && model.is_quantized() {
        (Verdict::Pointless, format!("larger than this {main} file and no better"))
    } else if model.is_quantized() {
        (Verdict::Requantizes, format!("source is {main} already: requantizing adds loss"))
    } else if fewest_bits >= source_bits {
        (Verdict::Possible, format!("the source is {main}: same precision"))
    } else if let Some(first) = decoded_from {
        (Verdict::Requantizes, format!("decoded from {first}: each level is a second loss"))
    } else {
        (Verdict::Possible, format!("from {main}, one loss only"))
    };
    ClassVerdict { class, verdict, reason }
}

fn presets(class: PrecisionClass) -> impl Iterator<Item = Preset> {
    Preset::all().filter(move |preset| Level::from(*preset).class() == class)
}

/// How many matrices have rows that k-quants cannot divide into super-blocks, and how many matrices there are.
///
/// Source: `tensor_type_fallback` in llama-quant.cpp, llama.cpp of 2026-08-21: a row length that is no multiple of the block
/// length makes llama-quantize choose another type.
#[must_use]
pub fn n_unsuitable_for_k_quants(model: &Model) -> (usize, usize) {
    let matrices = || model.tensors.iter().filter(|tensor| tensor.n_dims() >= 2);
    (matrices().filter(|tensor| tensor.row_len() % DType::Q4_K.block_len() != 0).count(), matrices().count())
}

/// What the card shows. Recipes of a large model take milliseconds: keep it (`memo`), do not compute it in every frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Preflight {
    rows: Vec<advise::PreflightRow>,
    verdicts: Vec<ClassVerdict>,
    n_unsuitable: usize,
    n_matrices: usize,
}

impl Preflight {
    /// Judges a model.
    #[must_use]
    pub fn new(model: &Model) -> Self {
        let (n_unsuitable, n_matrices) = n_unsuitable_for_k_quants(model);
        Self { rows: advise::preflight(model), verdicts: class_verdicts(model), n_unsuitable, n_matrices }
    }
}

/// Least width for the names of frameworks and the reasons for four classes.
const LEAST_WIDTH: f32 = 660.0;

/// The matrix as a card.
pub fn preflight_ui(ui: &mut Ui, preflight: &Preflight) {
    card(ui, "Preflight", |ui| {
        sideways_ui(ui, "preflight", LEAST_WIDTH, |ui| matrix_ui(ui, preflight));
        let Preflight { n_unsuitable, n_matrices, .. } = preflight;
        if *n_unsuitable > 0 {
            ui.add_space(4.0);
            let text = format!(
                "{n_unsuitable} of {n_matrices} matrices have rows whose length is not a multiple of 256: there the K levels \
                 (Q2_K to Q6_K) fall back to larger types."
            );
            notice(ui, Tone::Neutral, &text);
        }
    });
}

fn matrix_ui(ui: &mut Ui, preflight: &Preflight) {
    const NAME_WIDTH: f32 = 168.0;
    let p = theme::palette(ui);
    {
        ui.spacing_mut().interact_size.y = 20.0;
        let cell_width = ((ui.available_width() - NAME_WIDTH) / 4.0).floor() - 8.0;
        let cell = |ui: &mut Ui, width: f32, add: &mut dyn FnMut(&mut Ui)| {
            ui.allocate_ui_with_layout(vec2(width, 0.0), Layout::top_down(Align::Min), |ui| {
                ui.set_width(width);
                ui.spacing_mut().item_spacing.y = 2.0;
                add(ui);
            });
        };
        ui.horizontal_top(|ui| {
            cell(ui, NAME_WIDTH, &mut |ui| {
                crate::ui::kit::widgets::term_rich(
                    ui,
                    "preflight",
                    RichText::new("From the header alone").small().color(p.muted),
                );
            });
            for class in PrecisionClass::ALL {
                cell(ui, cell_width, &mut |ui| {
                    ui.horizontal(|ui| {
                        let (rect, _) = ui.allocate_exact_size(Vec2::splat(10.0), Sense::hover());
                        ui.painter().rect_filled(rect, egui::CornerRadius::same(2), theme::class_color(class));
                        ui.label(RichText::new(class.label()).font(egui::FontId::new(13.0, theme::medium())));
                    });
                });
            }
        });
        for row in &preflight.rows {
            let y = ui.cursor().top() - ui.spacing().item_spacing.y / 2.0;
            ui.painter().hline(ui.max_rect().x_range(), y, Stroke::new(1.0, p.line));
            ui.horizontal_top(|ui| {
                cell(ui, NAME_WIDTH, &mut |ui| {
                    ui.label(RichText::new(row.framework.name()).font(theme::strong_font()));
                });
                if row.is_possible && row.framework == Framework::LlamaCpp {
                    for verdict in &preflight.verdicts {
                        cell(ui, cell_width, &mut |ui| verdict_ui(ui, verdict));
                    }
                } else {
                    let tone = if row.is_possible { Tone::Good } else { Tone::Neutral };
                    let icon = if row.is_possible { icons::Icon::Check } else { icons::Icon::Dash };
                    let (rect, _) = ui.allocate_exact_size(Vec2::splat(16.0), Sense::hover());
                    icons::paint(ui.painter(), rect, icon, tone.color(ui));
                    ui.add(egui::Label::new(RichText::new(&row.text).color(p.text_secondary)).wrap());
                }
            });
        }
    }
}

fn verdict_ui(ui: &mut Ui, verdict: &ClassVerdict) {
    let p = theme::palette(ui);
    let tone = verdict.verdict.tone();
    let icon = if tone == Tone::Neutral { icons::Icon::Dash } else { tone.icon() };
    let names: Vec<&str> = presets(verdict.class).map(Preset::name).collect();
    let text = match names.as_slice() {
        [first, .., last] => format!("{first} to {last}"),
        _ => names.concat(),
    };
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = 6.0;
        let (rect, _) = ui.allocate_exact_size(Vec2::splat(14.0), Sense::hover());
        icons::paint(ui.painter(), rect, icon, tone.color(ui));
        ui.label(RichText::new(text).font(egui::FontId::new(13.0, theme::medium()))).on_hover_text(names.join(", "));
    });
    ui.add(egui::Label::new(RichText::new(&verdict.reason).small().color(p.muted)).wrap());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::test_support::sample_model;

    fn verdicts(model: &Model) -> Vec<Verdict> {
        class_verdicts(model).into_iter().map(|cell| cell.verdict).collect()
    }

    #[test]
    fn a_q4_source_gains_nothing_upwards_and_loses_downwards() {
        use Verdict::{Pointless, Requantizes};
        assert_eq!(verdicts(&sample_model()), [Pointless, Pointless, Requantizes, Requantizes]);
    }

    #[test]
    fn an_unquantized_source_can_become_anything() {
        let mut model = sample_model();
        for tensor in &mut model.tensors {
            tensor.dtype = DType::F16;
            tensor.size_bytes = tensor.n_elements() * 2;
        }
        assert_eq!(verdicts(&model), [Verdict::Possible; 4]);
    }

    #[test]
    fn rows_of_576_are_no_multiple_of_256() {
        // Per layer: ffn_down has rows of 1536 = 6 * 256, the other six matrices rows of 576; and the embedding.
        assert_eq!(n_unsuitable_for_k_quants(&sample_model()), (181, 211));
    }
}
