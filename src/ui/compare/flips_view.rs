//! Where a file would have gone on differently from its source, and the text tinted by how far apart the two are.

use std::sync::Arc;

use eframe::egui::text::{LayoutJob, TextFormat};
use eframe::egui::{Align, Color32, ComboBox, FontId, Grid, Label, Layout, RichText, ScrollArea, Sense, Stroke, Ui};
use egui_extras::{Column, TableBuilder};

use crate::advise::Interval;
use crate::bench::quality::{Flip, FlipClass, KindSummary, QualityRun, Strip, TokenChoice};
use crate::path_text;
use crate::state::{CompareTab, Form, Store};
use crate::ui::kit::drop_down::{drop_down_ui, entry_ui};
use crate::ui::kit::figures::NumberColumns;
use crate::ui::kit::icons::Icon;
use crate::ui::kit::sideways::sideways_ui;
use crate::ui::kit::theme;
use crate::ui::kit::widgets::{self, Tone};
use crate::ui::plan::candidate_table::right_ui;
use crate::units::{count_text, nats_text, percent_text, ratio_text, significant_text};

/// Least widths in the list: harm, the text before, each of the two choices, what the text has, what is lost.
const FLIP_WIDTHS: [f32; 5] = [92.0, 180.0, 156.0, 116.0, 64.0];
const LIST_HEIGHT: f32 = 380.0;
const STRIP_HEIGHT: f32 = 320.0;
/// Divergences at which the tint begins and is full, in nats. Assumed: nobody notices less than the first; above the second
/// the choice differs.
const TINT_FROM: f32 = 0.01;
const TINT_FULL: f32 = 2.0;
/// From here on a token is underlined too: colour alone must not carry it.
const UNDERLINE_FROM: f32 = 0.5;

/// Draws the tab; without a measurement it says how to get one.
pub fn flips_view_ui(ui: &mut Ui, store: &Store, form: &mut Form) {
    let runs: Vec<(String, &Arc<QualityRun>)> =
        store.quality.iter().filter_map(|outcome| Some((name_of(store, &outcome.path), outcome.result.as_ref().ok()?))).collect();
    let chosen = form.flips_path.as_ref().and_then(|path| runs.iter().find(|(_, run)| run.path == *path));
    let Some((name, run)) = chosen.or(runs.first()) else {
        let text =
            "Measure the quality of a level: each place where it would not have said the same as the source is listed here.";
        widgets::empty_state(ui, Icon::Compare, "No flips yet", text, |ui| {
            if ui.button("Go to Levels").clicked() {
                form.compare_tab = CompareTab::Levels;
            }
        });
        return;
    };
    let mut path = None;
    let kinds: Vec<&str> = run.by_kind.iter().map(|kind| kind.kind.as_str()).collect();
    if !kinds.contains(&form.flips_kind.as_str()) {
        form.flips_kind.clear();
    }
    widgets::card(ui, "Losses by kind of text", |ui| {
        ui.horizontal_wrapped(|ui| {
            let label = ui.label(RichText::new("File").color(theme::muted(ui)));
            let field = ComboBox::from_id_salt("flips file").width(150.0).selected_text(name);
            let field = drop_down_ui(ui, field, |ui| {
                for (other, other_run) in &runs {
                    if entry_ui(ui, other_run.path == run.path, other).clicked() {
                        path = Some(other_run.path.clone());
                    }
                }
            });
            field.labelled_by(label.id);
            let summary = &run.summary;
            let text = format!(
                "At {} of {} tokens the likeliest token differs from the source's ({} the same)",
                count_text(run.n_flips),
                count_text(summary.n_tokens),
                summary.same_top.text(percent_text)
            );
            ui.label(text);
        });
        ui.add_space(theme::UNIT);
        kinds_ui(ui, run);
    });
    widgets::card_gap(ui);
    widgets::card(ui, "Flips, the most harmful first", |ui| flips_ui(ui, run, &kinds, form));
    widgets::card_gap(ui);
    widgets::card(ui, "The text, tinted by divergence", |ui| strips_ui(ui, run, &form.flips_kind));
    if let Some(path) = path {
        form.choose_file(&path);
    }
}

/// The level of a converted file, else the file's name.
fn name_of(store: &Store, path: &std::path::Path) -> String {
    let made = store.conversions.iter().find(|made| made.path == path);
    made.map_or_else(|| path_text::file_name(path), crate::convert::Conversion::name)
}

/// The columns of the losses by kind, with their least widths, which their headings need.
const KIND_COLUMNS: [(&str, f32); 4] =
    [("Tokens", 50.0), ("Mean KLD, nats", 106.0), ("Perplexity, ×", 92.0), ("Same top token, %", 126.0)];

/// Width of the name of a kind and of the note behind its numbers.
const KIND_WIDTH: f32 = 260.0;

fn kind_text(kind: &KindSummary, column: usize) -> String {
    // One chunk says nothing about its error.
    let has_error = kind.mean_kld.half_width().is_finite();
    let with_error =
        |interval: Interval, text: fn(f64) -> String| if has_error { interval.text(text) } else { text(interval.value) };
    match column {
        0 => count_text(kind.n_tokens),
        1 => with_error(kind.mean_kld, nats_text),
        2 => with_error(kind.ppl_ratio, ratio_text),
        _ => with_error(kind.same_top.map(|part| part * 100.0), significant_text),
    }
}

fn kinds_ui(ui: &mut Ui, run: &QualityRun) {
    let numbers = NumberColumns::of(ui, &[0, 1, 2, 3], &run.by_kind, |column, kind| Some(kind_text(kind, column)));
    let least_width =
        KIND_COLUMNS.iter().enumerate().map(|(column, (_, least))| numbers.width(column, *least) + 24.0).sum::<f32>();
    sideways_ui(ui, "kinds sideways", least_width + KIND_WIDTH, |ui| kinds_grid_ui(ui, run, &numbers));
}

fn kinds_grid_ui(ui: &mut Ui, run: &QualityRun, numbers: &NumberColumns<usize>) {
    Grid::new("kinds").striped(true).num_columns(6).spacing([24.0, 6.0]).show(ui, |ui| {
        let muted = theme::muted(ui);
        let heading = |name: &str| RichText::new(name).font(theme::strong_font()).color(muted);
        let headings: Vec<RichText> = KIND_COLUMNS.iter().map(|column| heading(column.0)).collect();
        ui.label(heading("Text"));
        for (column, text) in headings.into_iter().enumerate() {
            let least = KIND_COLUMNS.get(column).map_or(0.0, |column| column.1);
            let size = eframe::egui::vec2(numbers.width(column, least), ui.spacing().interact_size.y);
            ui.allocate_ui_with_layout(size, Layout::right_to_left(Align::Center), |ui| {
                ui.set_width(size.x);
                ui.label(text);
            });
        }
        ui.end_row();
        for kind in &run.by_kind {
            ui.label(widgets::sentence(&kind.kind));
            for (column, (_, least)) in KIND_COLUMNS.into_iter().enumerate() {
                numbers.grid_cell_ui(ui, column, &kind_text(kind, column), least);
            }
            if !kind.mean_kld.half_width().is_finite() {
                ui.label(RichText::new("one chunk, error not known").small().color(theme::muted(ui)));
            }
            ui.end_row();
        }
    });
}

fn flips_ui(ui: &mut Ui, run: &QualityRun, kinds: &[&str], form: &mut Form) {
    if kinds.len() > 1 {
        ui.horizontal(|ui| {
            let label = ui.label(RichText::new("Kind of text").color(theme::muted(ui)));
            let chosen = if form.flips_kind.is_empty() { "All".to_string() } else { widgets::sentence(&form.flips_kind) };
            let field = ComboBox::from_id_salt("flips kind").width(150.0).selected_text(chosen);
            let field = drop_down_ui(ui, field, |ui| {
                for kind in std::iter::once("").chain(kinds.iter().copied()) {
                    let text = if kind.is_empty() { "All".to_string() } else { widgets::sentence(kind) };
                    if entry_ui(ui, form.flips_kind == kind, text).clicked() {
                        form.flips_kind = kind.to_string();
                    }
                }
            });
            field.labelled_by(label.id);
        });
        ui.add_space(theme::UNIT);
    }
    let flips: Vec<&Flip> = run.flips.iter().filter(|flip| form.flips_kind.is_empty() || flip.kind == form.flips_kind).collect();
    if flips.is_empty() {
        let text = if run.n_flips == 0 {
            "None: at every token both put the same token first"
        } else {
            "None of the listed ones is in this kind of text"
        };
        ui.label(RichText::new(text).color(theme::muted(ui)));
        return;
    }
    flip_table_ui(ui, &flips);
    if run.n_flips > run.flips.len() as u64 && form.flips_kind.is_empty() {
        let text = format!("The {} most harmful of {}", run.flips.len(), count_text(run.n_flips));
        ui.add_space(theme::UNIT);
        ui.label(RichText::new(text).small().color(theme::muted(ui)));
    }
}

fn flip_table_ui(ui: &mut Ui, flips: &[&Flip]) {
    let columns = [
        ("Harm", "Numbers first, then what code and JSON are made of, then words, then mere form"),
        ("The text before", "What both models had read last"),
        ("Source", "The source's first choice, and how likely it finds it"),
        ("This file", "The first choice of this file, and how likely it finds it"),
        ("The text has", "What really follows in the text"),
        ("Lost, %", "Probability that this file takes away from the source's choice"),
    ];
    let lost = |flip: &&Flip| significant_text(f64::from(flip.probability_lost) * 100.0);
    let numbers = NumberColumns::of(ui, &["lost"], flips, |_, flip| Some(lost(flip)));
    let [harm_width, before_width, choice_width, truth_width, lost_width] = FLIP_WIDTHS;
    let gaps = 5.0 * ui.spacing().item_spacing.x;
    sideways_ui(ui, "flips", FLIP_WIDTHS.iter().sum::<f32>() + choice_width + gaps, |ui| {
        TableBuilder::new(ui)
            .striped(true)
            .vscroll(true)
            // Without a least height the list would get only what the page happens to have left.
            .min_scrolled_height(LIST_HEIGHT)
            .max_scroll_height(LIST_HEIGHT)
            .auto_shrink([false, true])
            .cell_layout(Layout::left_to_right(Align::Center))
            .column(Column::exact(harm_width))
            .column(Column::remainder().at_least(before_width).clip(true))
            .columns(Column::exact(choice_width), 2)
            .column(Column::exact(truth_width))
            .column(Column::exact(lost_width))
            .header(24.0, |mut header| {
                for (idx, (name, explanation)) in columns.into_iter().enumerate() {
                    header.col(|ui| {
                        let text = RichText::new(name).small().strong();
                        // The text before ends where the choices begin.
                        let response = if idx == 1 || idx == 5 { right_ui(ui, text) } else { ui.label(text) };
                        response.on_hover_text(explanation);
                    });
                }
            })
            .body(|body| {
                body.rows(theme::ROW_HEIGHT, flips.len(), |mut row| {
                    if let Some(flip) = flips.get(row.index()) {
                        row.col(|ui| class_ui(ui, flip.class));
                        row.col(|ui| before_ui(ui, flip));
                        row.col(|ui| choice_ui(ui, &flip.reference, flip.reference.p_reference));
                        row.col(|ui| choice_ui(ui, &flip.candidate, Some(flip.candidate.p_candidate)));
                        row.col(|ui| truth_ui(ui, flip));
                        row.col(|ui| {
                            let color = theme::palette(ui).text;
                            numbers.cell_ui(ui, "lost", &lost(flip), color);
                        });
                    }
                });
            });
    });
}

fn class_ui(ui: &mut Ui, class: FlipClass) {
    let tone = match class {
        FlipClass::Number => Tone::Bad,
        FlipClass::Structure => Tone::Warn,
        FlipClass::Word | FlipClass::Form => Tone::Neutral,
    };
    widgets::badge(ui, class.label(), tone);
}

/// The end of the text before, at the right edge of its cell; all of it under the pointer.
fn before_ui(ui: &mut Ui, flip: &Flip) {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a width in characters")]
    let n_chars = (ui.available_width() / 7.6).max(8.0) as usize;
    let shown = visible(&flip.before);
    let n_all = shown.chars().count();
    let tail: String = shown.chars().skip(n_all.saturating_sub(n_chars)).collect();
    let tail = if n_all > n_chars { format!("…{tail}") } else { tail };
    ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
        let label = Label::new(RichText::new(tail).monospace().size(12.0)).truncate();
        ui.add(label)
            .on_hover_text(format!("{}\n\n{}, chunk {}, token {}", flip.before, flip.kind, flip.chunk_idx, flip.position));
    });
}

fn choice_ui(ui: &mut Ui, choice: &TokenChoice, probability: Option<f32>) {
    let text = RichText::new(token_text(&choice.text)).monospace().size(12.0);
    ui.add(Label::new(text).truncate()).on_hover_text(format!(
        "probability according to the source: {}\naccording to this file: {}",
        choice.p_reference.map_or_else(|| "very small".to_string(), |p| percent_text(f64::from(p))),
        percent_text(f64::from(choice.p_candidate))
    ));
    if let Some(probability) = probability {
        ui.label(RichText::new(percent_text(f64::from(probability))).color(theme::muted(ui)));
    }
}

/// What the text has, with a mark where it is the choice of one of the two.
fn truth_ui(ui: &mut Ui, flip: &Flip) {
    let text = RichText::new(token_text(&flip.truth.text)).monospace().size(12.0);
    ui.add(Label::new(text).truncate());
    let who = if flip.truth.text == flip.reference.text {
        "source"
    } else if flip.truth.text == flip.candidate.text {
        "this file"
    } else {
        return;
    };
    ui.label(RichText::new(who).small().color(theme::muted(ui))).on_hover_text(format!("Here the {who} was right"));
}

/// A token between quotes, with white space made visible.
fn token_text(token: &str) -> String {
    format!("“{}”", visible(token))
}

/// The text with symbols for line breaks and tabs, so that it stays on one line.
fn visible(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' => '¶',
            '\t' => '→',
            c if c.is_control() => '·',
            c => c,
        })
        .collect()
}

fn strips_ui(ui: &mut Ui, run: &QualityRun, kind: &str) {
    let strips: Vec<&Strip> = run.strips.iter().filter(|strip| kind.is_empty() || strip.kind == kind).collect();
    if strips.is_empty() {
        let text = if run.strips.is_empty() {
            "The text is shown after a measurement in this session; the history does not keep it"
        } else {
            "No chunk of this kind is among those that are kept for display"
        };
        ui.label(RichText::new(text).color(theme::muted(ui)));
        return;
    }
    legend_ui(ui);
    ScrollArea::vertical()
        .id_salt("strips")
        .min_scrolled_height(STRIP_HEIGHT)
        .max_height(STRIP_HEIGHT)
        .auto_shrink([false, true])
        .show(ui, |ui| {
            for strip in strips {
                ui.add_space(theme::UNIT);
                ui.label(RichText::new(widgets::sentence(&strip.kind)).font(theme::strong_font()).color(theme::muted(ui)));
                strip_ui(ui, strip);
            }
        });
}

fn strip_ui(ui: &mut Ui, strip: &Strip) {
    let p = theme::palette(ui);
    let font = FontId::proportional(14.0);
    let mut job = LayoutJob::default();
    job.wrap.max_width = ui.available_width();
    let mut ends = Vec::with_capacity(strip.tokens.len());
    let mut n_chars = 0;
    for (text, kld) in &strip.tokens {
        let format = match kld {
            None => TextFormat::simple(font.clone(), p.muted),
            Some(kld) => TextFormat {
                background: tint(p.bad, *kld),
                expand_bg: 0.0,
                underline: if *kld >= UNDERLINE_FROM { Stroke::new(1.5, p.bad) } else { Stroke::NONE },
                ..TextFormat::simple(font.clone(), p.text)
            },
        };
        job.append(text, 0.0, format);
        n_chars += text.chars().count();
        ends.push(n_chars);
    }
    let galley = ui.painter().layout_job(job);
    let response = ui.add(Label::new(Arc::clone(&galley)).sense(Sense::hover()));
    let Some(pointer) = response.hover_pos() else { return };
    let at = galley.cursor_from_pos(pointer - response.rect.min).index.into();
    let token_idx = ends.partition_point(|&end: &usize| end <= at);
    if let Some((text, Some(kld))) = strip.tokens.get(token_idx) {
        response.on_hover_text_at_pointer(format!("{}  {} nats", token_text(text), nats_text(f64::from(*kld))));
    }
}

/// The colour behind a token: clear below the first limit, full at the second, by the logarithm between.
fn tint(color: Color32, kld: f32) -> Color32 {
    let part = (kld.max(TINT_FROM) / TINT_FROM).ln() / (TINT_FULL / TINT_FROM).ln();
    color.gamma_multiply(0.6 * if part.is_finite() { part.clamp(0.0, 1.0) } else { 1.0 })
}

fn legend_ui(ui: &mut Ui) {
    let p = theme::palette(ui);
    ui.horizontal_wrapped(|ui| {
        let small = |text: &str| RichText::new(text).small().color(p.muted);
        ui.label(small("Divergence of the next-token choice in nats"));
        for kld in [TINT_FROM, 0.05, 0.2, UNDERLINE_FROM, TINT_FULL] {
            let text = RichText::new(format!(" {} ", nats_text(f64::from(kld)))).small().background_color(tint(p.bad, kld));
            ui.label(if kld >= UNDERLINE_FROM { text.underline() } else { text });
        }
        ui.label(small("and more. Grey: read first, not scored."));
    });
}

#[cfg(test)]
mod tests {
    use egui_kittest::kittest::Queryable as _;

    use super::*;
    use crate::bench::history::{Measurement, test_runs};
    use crate::bench::quality::QualityOutcome;
    use crate::ui::compare_page_ui;
    use crate::ui::test_support::{has, page_harness, page_harness_sized, shoot, store_with_model_and_machine};

    fn store() -> Store {
        let mut store = store_with_model_and_machine();
        for level in ["Q8_0", "Q2_K"] {
            let Measurement::Quality(run) = test_runs::quality(level, &[0.25, 0.5]).measurement else { panic!() };
            let mut run = (*run).clone();
            let mut code = run.by_kind[0].clone();
            code.kind = "code".into();
            code.mean_kld = Interval { value: 0.25, low: f64::NEG_INFINITY, high: f64::INFINITY };
            run.by_kind.push(code);
            let mut brace = run.flips[0].clone();
            brace.kind = "code".into();
            brace.class = FlipClass::Structure;
            brace.before = "fn main() {\n    let items = ".into();
            brace.candidate.text = "[".into();
            brace.reference.text = "vec".into();
            brace.truth.text = "vec".into();
            run.flips.push(brace);
            run.n_flips = 2;
            let tokens =
                "In the year 1969 two men walked on the moon and looked back at a small blue disc .".split_inclusive(' ');
            let tokens = tokens.enumerate().map(|(idx, word)| {
                #[allow(clippy::cast_precision_loss)]
                let kld = (idx >= 3).then(|| 0.004 * 1.7_f32.powi(i32::try_from(idx % 13).unwrap()));
                (word.to_string(), kld)
            });
            run.strips = Arc::new(vec![Strip { kind: "prose".into(), tokens: tokens.collect() }]);
            let run = Arc::new(run);
            store.quality.push(QualityOutcome { path: run.path.clone(), result: Ok(run) });
        }
        store.conversions.push(crate::convert::Conversion {
            level: crate::model::Level::Q8_0,
            path: store.quality[0].path.clone(),
            source: "/models/m-F16.gguf".into(),
            size_bytes: 1,
            bits_per_weight: 8.5,
            elapsed_secs: 1.0,
            warnings: Vec::new(),
            check: None,
            changes: String::new(),
        });
        store
    }

    fn form() -> Form {
        Form { compare_tab: CompareTab::Flips, ..Form::default() }
    }

    #[test]
    fn flips_show_what_each_would_have_said_and_can_be_narrowed() {
        let mut harness = page_harness(compare_page_ui, store(), form());
        for text in [
            "At 2 of 512 tokens the likeliest token differs",
            "In the year ",
            "“1968”",
            "Number",
            "error not known",
            "¶    let items = ",
            "“[”",
        ] {
            assert!(has(&harness, text), "{text}");
        }
        harness.get_by_label("Kind of text").click();
        harness.run();
        harness.get_all_by_label("Code").last().unwrap().click();
        harness.run();
        assert_eq!(harness.state().form.flips_kind, "code");
        assert!(!has(&harness, "“1968”") && has(&harness, "“[”"));
        assert!(has(&harness, "No chunk of this kind"));
    }

    #[test]
    fn another_file_can_be_chosen() {
        let mut harness = page_harness(compare_page_ui, store(), form());
        harness.get_by_label("File").click();
        harness.run();
        harness.get_by_label("m-Q2_K.gguf").click();
        harness.run();
        assert_eq!(harness.state().form.flips_path.as_deref(), Some(std::path::Path::new("/models/m-Q2_K.gguf")));
    }

    #[test]
    fn without_a_measurement_the_way_to_one_is_shown() {
        let mut bare = store();
        bare.quality.clear();
        let mut harness = page_harness(compare_page_ui, bare, form());
        harness.get_by_label("Go to Levels").click();
        harness.run();
        assert_eq!(harness.state().form.compare_tab, CompareTab::Levels);
    }

    #[test]
    fn tints_grow_with_the_divergence_and_never_break() {
        let alpha = |kld: f32| tint(Color32::RED, kld).a();
        assert_eq!(alpha(0.0), 0);
        assert!(alpha(0.05) < alpha(0.5) && alpha(0.5) < alpha(5.0));
        assert_eq!(alpha(f32::INFINITY), alpha(5.0));
        assert_eq!(alpha(f32::NAN), 0, "a failed model has no strips");
    }

    #[test]
    fn pictures() {
        for (name, variant) in [("flips-dark", eframe::egui::Theme::Dark), ("flips-light", eframe::egui::Theme::Light)] {
            let size = eframe::egui::vec2(1160.0, 900.0);
            let mut harness = page_harness_sized(compare_page_ui, store(), form(), size, 1.0, variant);
            harness.run();
            shoot(&mut harness, name);
        }
    }
}
