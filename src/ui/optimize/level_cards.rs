//! The levels as cards: the few that people use, or all of them by precision class.

use std::collections::BTreeSet;

use eframe::egui::{self, Align, Layout, Rect, Response, RichText, Role, Sense, Stroke, Ui, WidgetInfo, vec2};

use crate::advise::{Candidate, LossWord, LossWords, Plan, with_neighbours};
use crate::model::{Framework, Level, Model, PrecisionClass, Preset};
use crate::state::Store;
use crate::ui::kit::widgets::{self, Tone};
use crate::ui::kit::{loss_view, theme};
use crate::ui::opened::known_view::level_mark;
use crate::units::{bytes_text, exact_bytes_text, nats_text, significant_text};

/// Levels from nearly no loss to the smallest file, for a first comparison.
const LADDER: [Level; 4] = [Level::Q8_0, Level::Q4_K_M, Level::Q3_K_M, Level::Q2_K];
/// Levels of MLX that most of its users take.
const USUAL_OF_MLX: [&str; 3] = ["mlx:8-bit-g64", "mlx:6-bit-g64", "mlx:4-bit-g64"];
/// Frameworks whose levels are made of the checkpoint itself, and what they are for.
const OTHERS: [(Framework, &str); 2] = [
    (Framework::OnnxRuntime, "folders for ONNX Runtime GenAI, on every machine"),
    (Framework::Mlx, "folders for Macs with an M chip"),
];
/// Narrowest level card: "recommended, exists" fits beside the bits.
const MIN_CARD_WIDTH: f32 = 212.0;
const CARD_HEIGHT: f32 = 76.0;
/// Height of the line with name and size.
const HEAD_HEIGHT: f32 = 26.0;

/// What the cards show.
pub struct Cards<'a> {
    /// What is converted.
    pub model: &'a Model,
    /// What exists already, and what was measured.
    pub store: &'a Store,
    /// Sizes, losses and what fits.
    pub plan: &'a Plan,
    /// The level that is best here; `None` without one.
    pub recommended: Option<Level>,
    /// The levels that a job is making, or will make: they cannot be chosen meanwhile.
    pub in_work: &'a [Level],
    /// Whether the model is to run on a Mac: then the usual levels are also those of MLX.
    pub for_mac: bool,
    /// Whether levels of MLX get embeddings and head in 8 bits.
    pub has_wide_ends: bool,
    /// The line below the cards: what their sizes and losses leave out.
    pub note: &'a str,
}

/// What a card says of a level.
struct Facts {
    size_bytes: u64,
    bits_per_weight: f64,
    /// The loss in words, and the word that gives it its colour.
    loss: (String, LossWord),
}

impl Cards<'_> {
    /// True for a level that its real bits put into this class. One whose file would be another level's is listed only while
    /// it is chosen or exists.
    fn is_listed(&self, level: Level, class: PrecisionClass, chosen: &BTreeSet<Level>) -> bool {
        let Some(candidate) = self.plan.candidate_of(level) else { return level.class() == class };
        let is_seen =
            candidate.is_offered() || chosen.contains(&level) || self.store.conversions.iter().any(|made| made.level == level);
        candidate.class() == Some(class) && is_seen
    }

    /// What is known of a level; `None` for one that cannot be made of this model.
    fn facts(&self, level: Level) -> Option<Facts> {
        if let Some(candidate) = self.plan.candidate_of(level) {
            let (size_bytes, bits_per_weight) = (candidate.size_bytes, candidate.bits_per_weight);
            return Some(Facts { size_bytes, bits_per_weight, loss: (short_loss_text(candidate), candidate.loss_word()) });
        }
        let other = self.store.other_levels().iter().find(|other| other.level == level)?;
        let made = self.store.conversions.iter().filter(|made| made.level == level);
        let measured = made.filter_map(|made| self.store.quality_of(&made.path)?.result.as_ref().ok()).next_back();
        let loss = measured.and_then(|run| {
            let words = run.summary.loss_words()?;
            Some((format!("{} ({} nats)", words.short_text(), nats_text(run.summary.mean_kld.value)), words.word))
        });
        let loss = loss.unwrap_or_else(|| ("not measured yet".into(), LossWord::Slight));
        let (size_bytes, bits_per_weight) = other.size_and_bits(self.has_wide_ends);
        Some(Facts { size_bytes, bits_per_weight, loss })
    }

    /// Levels that are made of the checkpoint itself, as far as they are shown.
    fn others(&self, is_all: bool, chosen: &BTreeSet<Level>) -> Vec<Level> {
        let is_shown = |level: &Level| {
            is_all
                || self.for_mac && USUAL_OF_MLX.contains(&level.name())
                || chosen.contains(level)
                || self.store.conversions.iter().any(|made| made.level == *level)
        };
        self.store.other_levels().iter().map(|other| other.level).filter(is_shown).collect()
    }
}

/// Draws the cards and takes choices into `levels`; `shows_all` is whether rarely used levels are shown, `has_wide_ends` whether levels of
/// MLX get embeddings and head in 8 bits.
pub fn level_cards_ui(ui: &mut Ui, cards: &Cards, levels: &mut BTreeSet<Level>, shows_all: &mut bool, has_wide_ends: &mut bool) {
    let mut picked: Option<Vec<Level>> = None;
    let is_all = *shows_all;
    widgets::card_with_actions(
        ui,
        "Levels",
        |ui| {
            widgets::segmented(ui, shows_all, &[(false, "Usual"), (true, "All levels")]);
            picked = quick_picks_ui(ui, cards.recommended, is_all);
        },
        |ui| {
            let others = cards.others(is_all, levels);
            if !others.is_empty() {
                framework_heading_ui(ui, Framework::LlamaCpp, "files that run on every machine");
            }
            if is_all {
                classes_ui(ui, cards, levels, |class, chosen| {
                    Level::of(Framework::LlamaCpp).filter(|&level| cards.is_listed(level, class, chosen)).collect()
                });
            } else {
                level_grid_ui(ui, cards, &simple_levels(cards, levels), levels);
                ui.add_space(theme::UNIT);
            }
            for (framework, what) in OTHERS {
                let own: Vec<Level> = others.iter().copied().filter(|level| level.framework() == framework).collect();
                if own.is_empty() {
                    continue;
                }
                framework_heading_ui(ui, framework, what);
                if is_all {
                    classes_ui(ui, cards, levels, |class, _| {
                        own.iter().copied().filter(|level| level.class() == class).collect()
                    });
                } else {
                    level_grid_ui(ui, cards, &own, levels);
                    ui.add_space(theme::UNIT);
                }
                if framework == Framework::Mlx {
                    wide_ends_ui(ui, cards, has_wide_ends);
                }
            }
            ui.label(RichText::new(cards.note).small().color(theme::muted(ui)));
        },
    );
    if let Some(picked) = picked {
        *levels = picked.into_iter().collect();
    }
}

/// Embeddings and head in 8 bits, with what that costs at the usual level.
fn wide_ends_ui(ui: &mut Ui, cards: &Cards, has_wide_ends: &mut bool) {
    let usual = cards.store.other_levels().iter().find(|other| Some(&other.level.name()) == USUAL_OF_MLX.last());
    let Some((usual, (wide_bytes, _))) = usual.and_then(|usual| Some((usual, usual.wide_ends?))) else { return };
    let more_bytes = wide_bytes.saturating_sub(usual.size_bytes);
    ui.horizontal_wrapped(|ui| {
        ui.checkbox(has_wide_ends, "8-bit embeddings and head").on_hover_text(
            "In small models these are a large part of the weights, and what they lose no layer mends. Folders are called \
             NAME-LEVEL-custom",
        );
        let text = format!("{} more at {}", bytes_text(more_bytes), usual.level);
        ui.label(RichText::new(text).small().color(theme::muted(ui)));
    });
    ui.add_space(theme::UNIT);
}

/// A heading and a grid for each class.
fn classes_ui(
    ui: &mut Ui,
    cards: &Cards,
    levels: &mut BTreeSet<Level>,
    of_class: impl Fn(PrecisionClass, &BTreeSet<Level>) -> Vec<Level>,
) {
    for class in PrecisionClass::ALL {
        let listed = of_class(class, levels);
        if listed.is_empty() {
            continue;
        }
        class_heading_ui(ui, class);
        level_grid_ui(ui, cards, &listed, levels);
        ui.add_space(theme::UNIT);
    }
}

fn framework_heading_ui(ui: &mut Ui, framework: Framework, what: &str) {
    ui.horizontal(|ui| {
        ui.label(RichText::new(framework.name()).font(theme::strong_font()));
        ui.label(RichText::new(what).small().color(theme::muted(ui)));
    });
}

/// The usual levels, and whatever is chosen or there already: a choice that is not seen would be made unawares.
fn simple_levels(cards: &Cards, chosen: &BTreeSet<Level>) -> Vec<Level> {
    let mut shown: BTreeSet<Level> = cards.plan.usual_levels(cards.model).into_iter().collect();
    shown.extend(chosen);
    shown.extend(cards.store.conversions.iter().map(|made| made.level));
    shown.extend(cards.recommended);
    shown.retain(|level| level.framework() == Framework::LlamaCpp);
    shown.into_iter().collect()
}

fn quick_picks_ui(ui: &mut Ui, recommended: Option<Level>, is_all: bool) -> Option<Vec<Level>> {
    let mut picked = None;
    if widgets::small_button(ui, "None", "Choose no level").clicked() {
        picked = Some(Vec::new());
    }
    if is_all && widgets::small_button(ui, "Ladder", "Choose the ladder").on_hover_text(names(&LADDER)).clicked() {
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

/// `Q8_0, Q4_K_M`.
pub fn names(levels: &[Level]) -> String {
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
fn level_grid_ui(ui: &mut Ui, cards: &Cards, of_class: &[Level], levels: &mut BTreeSet<Level>) {
    let gap = theme::UNIT * 2.0;
    let width = ui.available_width();
    let n_columns = (((width + gap) / (MIN_CARD_WIDTH + gap)).floor() as usize).max(1);
    let card_width = (width - gap * (n_columns - 1) as f32) / n_columns as f32;
    for row in of_class.chunks(n_columns) {
        ui.horizontal_top(|ui| {
            ui.spacing_mut().item_spacing.x = gap;
            for &level in row {
                let is_free = !cards.in_work.contains(&level);
                let mark = mark_of(cards, level);
                let facts = cards.facts(level);
                ui.add_enabled_ui(is_free, |ui| level_card_ui(ui, facts.as_ref(), level, mark, levels, card_width));
            }
        });
    }
}

/// What stands on a card beside the bits.
fn mark_of(cards: &Cards, level: Level) -> Option<(&'static str, Tone)> {
    if cards.in_work.contains(&level) {
        return Some(("being made", Tone::Accent));
    }
    match (cards.recommended == Some(level), level_mark(cards.store, level)) {
        (true, Some("exists")) => Some(("recommended, exists", Tone::Accent)),
        (true, Some(_)) => Some(("recommended, measured", Tone::Accent)),
        (true, None) => Some(("recommended", Tone::Accent)),
        (false, Some(mark)) => Some((mark, Tone::Good)),
        (false, None) if level.preset().is_some_and(Preset::needs_imatrix) => Some(("needs a matrix", Tone::Neutral)),
        (false, None) => None,
    }
}

/// A card that is a check box as a whole, one stop for the keyboard: name, size, bits, expected loss.
fn level_card_ui(
    ui: &mut Ui,
    facts: Option<&Facts>,
    level: Level,
    mark: Option<(&str, Tone)>,
    levels: &mut BTreeSet<Level>,
    width: f32,
) {
    let p = theme::palette(ui);
    let is_chosen = levels.contains(&level);
    let (rect, response) = ui.allocate_exact_size(vec2(width, CARD_HEIGHT), Sense::click());
    response.widget_info(|| WidgetInfo::selected(Role::CheckBox, ui.is_enabled(), is_chosen, level.name()));
    let (fill, stroke) = match (is_chosen, response.has_focus()) {
        (_, true) => (if is_chosen { p.accent_soft } else { p.card }, Stroke::new(2.0, p.accent)),
        (true, false) => (p.accent_soft, Stroke::new(1.5, p.accent)),
        (false, false) => (p.card, Stroke::new(1.0, p.line)),
    };
    ui.painter().rect(rect, theme::CONTROL_RADIUS, fill, stroke, egui::StrokeKind::Inside);
    let inside = rect.shrink2(vec2(10.0, 6.0));
    let head = Rect::from_min_size(inside.min, vec2(inside.width(), HEAD_HEIGHT));
    let box_rect = Rect::from_min_size(head.min, vec2(ui.spacing().icon_width, HEAD_HEIGHT));
    paint_check(ui, box_rect, &response, is_chosen);
    let name_at = box_rect.right_center() + vec2(ui.spacing().icon_spacing, 0.0);
    ui.painter().text(name_at, egui::Align2::LEFT_CENTER, level.name(), theme::strong_font(), p.text);
    if let Some(facts) = facts {
        let contents = egui::UiBuilder::new().max_rect(inside).layout(Layout::top_down(Align::Min));
        facts_ui(&mut ui.new_child(contents), facts, mark);
    }
    let response = response.on_disabled_hover_text("It is being made and can be chosen again when it is done");
    if response.on_hover_text(level.description()).clicked() && !levels.remove(&level) {
        levels.insert(level);
    }
}

/// The box of a check box, drawn as egui draws its own.
fn paint_check(ui: &Ui, rect: Rect, response: &Response, is_chosen: bool) {
    let visuals = ui.style().interact(response);
    let (small, big) = ui.spacing().icon_rectangles(rect);
    ui.painter().rect(big, visuals.corner_radius, visuals.bg_fill, visuals.bg_stroke, egui::StrokeKind::Inside);
    if is_chosen {
        let check = [small.left_center(), small.center_bottom(), small.right_top()];
        ui.painter().line(check.to_vec(), visuals.fg_stroke);
    }
}

/// The expected loss, or the measured one in one word: `slight? (0.0326 nats)`.
fn short_loss_text(candidate: &Candidate) -> String {
    let measured = candidate.measured_loss.and_then(|loss| {
        let words = LossWords::of(loss.mean_kld, loss.same_top)?;
        Some(format!("{} ({} nats)", words.short_text(), nats_text(loss.mean_kld.value)))
    });
    measured.unwrap_or_else(|| candidate.loss_text())
}

/// What a card says beside its name.
fn facts_ui(ui: &mut Ui, facts: &Facts, mark: Option<(&str, Tone)>) {
    let p = theme::palette(ui);
    ui.spacing_mut().item_spacing = vec2(6.0, 0.0);
    ui.allocate_ui_with_layout(vec2(ui.available_width(), HEAD_HEIGHT), Layout::right_to_left(Align::Center), |ui| {
        let size = RichText::new(bytes_text(facts.size_bytes)).font(theme::strong_font());
        ui.label(size).on_hover_text(exact_bytes_text(facts.size_bytes));
    });
    ui.spacing_mut().interact_size.y = 18.0;
    let (text, word) = &facts.loss;
    let color = if *word <= LossWord::Slight { p.muted } else { loss_view::word_color(ui, *word) };
    let text = if *word == LossWord::None { text.clone() } else { format!("loss: {text}") };
    ui.label(RichText::new(text).small().color(color));
    ui.horizontal(|ui| {
        let bits = format!("{} bits", significant_text(facts.bits_per_weight));
        ui.label(RichText::new(bits).small().color(p.muted)).on_hover_text("Bits per weight");
        if let Some((text, tone)) = mark {
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                ui.label(RichText::new(text).small().color(tone.color(ui)));
            });
        }
    });
}
