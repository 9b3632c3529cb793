//! What the files lose against their source, and the measurement of it.

use std::borrow::Cow;
use std::cmp::Ordering;

use eframe::egui::{self, Align, DragValue, Label, Layout, RichText, ScrollArea, TextEdit, Ui};
use egui_extras::{Column as Width, TableBuilder};

use crate::advise::{Interval, accuracy_remark, quantized_origin};
use crate::bench::ComparisonRow;
use crate::bench::quality::QualityRun;
use crate::model::Model;
use crate::state::{Command, Form, JobKind, JobRecord, Store, TextChoice};
use crate::ui::kit::drop_down::{NUMBER_WIDTH, field_name_ui};
use crate::ui::kit::figures::NumberColumns;
use crate::ui::kit::sideways::sideways_ui;
use crate::ui::kit::sorting::{Side, Sorting, compare_known};
use crate::ui::kit::widgets::{self, Tone};
use crate::ui::kit::{loss_view, theme};
use crate::units::{count_of, count_text, nats_text, ratio_text, significant_text};

const HEADER_HEIGHT: f32 = 26.0;
/// The most that a column grows in a wide window: beyond that a number is far from its name.
const MAX_GROWTH: f32 = 40.0;

/// Measures the loss, from anywhere on the tab. Not Ctrl+Shift+Enter: egui lets Ctrl+Enter, which measures speed, take that too.
const QUALITY_ACTION: egui::KeyboardShortcut = egui::KeyboardShortcut::new(egui::Modifiers::COMMAND, egui::Key::L);

/// Draws the card: text and limit, the button, the numbers of every measured file.
pub fn quality_view_ui(
    ui: &mut Ui,
    store: &Store,
    model: &Model,
    form: &mut Form,
    rows: &[ComparisonRow],
    commands: &mut Vec<Command>,
) {
    widgets::card(ui, "What is lost", |ui| {
        settings_ui(ui, store, form, commands);
        if let Some(job) = quality_job(store).filter(|job| job.is_open()) {
            crate::ui::jobs::queue::job_ui(ui, job, commands);
        }
        if let Some(first) = quantized_origin(model) {
            let how = if model.is_quantized() { format!("is {first} itself") } else { format!("was decoded from {first}") };
            let text = format!("The source {how}: losses are against it, and levels near {first} look better than they are");
            widgets::notice(ui, Tone::Warn, &text);
        }
        if let Some(text) = reference_text(store, model, form, rows) {
            widgets::notice(ui, Tone::Neutral, &widgets::sentence(&text));
        }
        table_ui(ui, rows);
        loss_view::wishes_ui(ui, rows);
    });
}

/// Who computes the reference, where it is larger than memory, or who computed that of the losses that are shown; `None` for the usual
/// one.
fn reference_text(store: &Store, model: &Model, form: &Form, rows: &[ComparisonRow]) -> Option<String> {
    let now = store.reference(form).text(model.own_level());
    let shown = || rows.iter().find_map(|row| row.quality.as_ref()?.provenance.reference_by.text());
    now.or_else(|| shown().map(|by| format!("reference: {by}")))
}

fn quality_job(store: &Store) -> Option<&JobRecord> {
    store.latest_job(|kind| matches!(kind, JobKind::Quality(_)))
}

fn settings_ui(ui: &mut Ui, store: &Store, form: &mut Form, commands: &mut Vec<Command>) {
    let obstacle = obstacle(store, form);
    let quality = &mut form.quality;
    ui.horizontal_wrapped(|ui| {
        let choices = [(TextChoice::Bundled, "Bundled text"), (TextChoice::File, "File"), (TextChoice::Pasted, "Pasted text")];
        widgets::segmented(ui, &mut quality.text, &choices);
        let label = field_name_ui(ui, "Most tokens", NUMBER_WIDTH);
        ui.add(DragValue::new(&mut quality.max_tokens).range(1000..=1_000_000).speed(100.0))
            .labelled_by(label.id)
            .on_hover_text("A measurement ends earlier, as soon as the gates are decided");
        ui.checkbox(&mut quality.full, "Score all").on_hover_text("Do not end early: narrower error bars");
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| button_ui(ui, store, &obstacle, commands));
    });
    let note = |ui: &mut Ui, text: &str| ui.label(RichText::new(text).small().color(theme::muted(ui)));
    match quality.text {
        TextChoice::Bundled => {
            note(
                ui,
                "Prose, code, German, Spanish, chat, tool calls and facts, with the loss of each. Your own text tells more.",
            );
        }
        TextChoice::File => {
            ui.horizontal(|ui| {
                let label = ui.label(RichText::new("Text file").color(theme::muted(ui)));
                let field = TextEdit::singleline(&mut quality.text_path).hint_text("/home/you/texts/letters.txt");
                ui.add(field.desired_width(f32::INFINITY)).labelled_by(label.id).on_hover_text("A text in UTF-8, of any length");
            });
        }
        TextChoice::Pasted => {
            let label = note(ui, "Your text: the more, the narrower the error bars; at least about 400 words");
            ScrollArea::vertical().id_salt("pasted text").min_scrolled_height(140.0).max_height(140.0).show(ui, |ui| {
                let field = TextEdit::multiline(&mut quality.pasted).desired_rows(4).desired_width(f32::INFINITY);
                ui.add(field).labelled_by(label.id);
            });
        }
    }
}

/// Why nothing can be measured now; empty when it can.
fn obstacle(store: &Store, form: &Form) -> Cow<'static, str> {
    let quality = &form.quality;
    let is_file = || store.reference(form).limit().is_none();
    if let Some(model) = store.model.ready().filter(|model| !model.is_runnable() && is_file()) {
        return super::page::not_runnable_text(store, model, form).into();
    }
    let text = if quality_job(store).is_some_and(JobRecord::is_open) {
        "A measurement is waiting or running"
    } else if store.conversions.is_empty() {
        "Convert a level first"
    } else if quality.text == TextChoice::File && quality.text_path.trim().is_empty() {
        "Name a text file first"
    } else if quality.text == TextChoice::Pasted && quality.pasted.trim().is_empty() {
        "Paste a text first"
    } else {
        ""
    };
    text.into()
}

fn button_ui(ui: &mut Ui, store: &Store, obstacle: &str, commands: &mut Vec<Command>) {
    let paths: Vec<_> = store.conversions.iter().map(|made| made.path.clone()).collect();
    let text = match paths.len() {
        1 => "Measure quality of 1 file".to_string(),
        n => format!("Measure quality of {n} files"),
    };
    let button = ui.add_enabled(obstacle.is_empty(), egui::Button::new(text));
    let button = button.on_hover_text(ui.ctx().format_shortcut(&QUALITY_ACTION)).on_disabled_hover_text(obstacle);
    let is_pressed = obstacle.is_empty() && ui.input_mut(|input| input.consume_shortcut(&QUALITY_ACTION));
    if button.clicked() || is_pressed {
        commands.push(Command::Quality(paths));
    }
}

fn table_ui(ui: &mut Ui, rows: &[ComparisonRow]) {
    let mut judged: Vec<&ComparisonRow> =
        rows.iter().filter(|row| row.quality.is_some() || row.quality_failure.is_some()).collect();
    if judged.is_empty() {
        let text = "Nothing measured yet. Each level reads the same text as the source and predicts it token by token.";
        ui.label(RichText::new(text).color(theme::muted(ui)));
        return;
    }
    ui.add_space(theme::UNIT);
    let id = ui.make_persistent_id("quality sorting");
    let mut sorting: Sorting<Column> = ui.data(|data| data.get_temp(id)).unwrap_or_default();
    sorting.sort(&mut judged, |column, a, b| compare(column, a, b));
    losses_ui(ui, &judged, &mut sorting);
    ui.data_mut(|data| data.insert_temp(id, sorting));
}

/// The losses, lined up at the decimal point.
#[allow(clippy::cast_precision_loss, reason = "a handful of columns")]
fn losses_ui(ui: &mut Ui, judged: &[&ComparisonRow], sorting: &mut Sorting<Column>) {
    let all: Vec<Column> = COLUMNS.iter().map(|column| column.0).collect();
    let numbers = NumberColumns::of(ui, &all, judged, |column, row| number_text(row.quality.as_deref()?, column));
    let widths: Vec<f32> = COLUMNS.iter().map(|&(column, _, _, least)| numbers.width(column, least)).collect();
    let least_width = widths.iter().sum::<f32>() + ui.spacing().item_spacing.x * (widths.len() as f32 - 1.0);
    let growth = ((ui.available_width() - least_width) / widths.len() as f32).clamp(0.0, MAX_GROWTH);
    sideways_ui(ui, "quality", least_width, |ui| {
        let mut table = TableBuilder::new(ui).striped(true).vscroll(false).cell_layout(Layout::left_to_right(Align::Center));
        for width in &widths {
            table = table.column(Width::exact((width + growth).floor()).clip(true));
        }
        table
            .header(HEADER_HEIGHT, |mut header| {
                for (column, name, explanation, _) in COLUMNS {
                    let side = if is_number(column) { Side::Right } else { Side::Left };
                    header.col(|ui| sorting.header_ui(ui, column, name, explanation, side));
                }
            })
            .body(|body| {
                body.rows(theme::ROW_HEIGHT, judged.len(), |mut line| {
                    let Some(row) = judged.get(line.index()) else { return };
                    for (column, ..) in COLUMNS {
                        line.col(|ui| cell_ui(ui, &numbers, row, column));
                    }
                });
            });
    });
}

fn cell_ui(ui: &mut Ui, numbers: &NumberColumns<Column>, row: &ComparisonRow, column: Column) {
    match (column, &row.quality) {
        (Column::Level, _) => {
            ui.add(Label::new(RichText::new(&row.name).font(theme::strong_font())).truncate());
            if let Some(origin) = &row.quality_origin {
                loss_view::origin_ui(ui, origin);
            }
        }
        (Column::Verdict, Some(_)) => {
            if let Some(verdict) = &row.verdict {
                loss_view::verdict_badge(ui, verdict);
            }
        }
        (Column::Loss, Some(run)) => {
            loss_view::loss_label(ui, Some(run.summary.mean_kld), Some(run.summary.same_top));
        }
        (column, Some(run)) => {
            if let Some(text) = number_text(run, column) {
                let color = theme::palette(ui).text;
                let remark = (column == Column::Accuracy).then(|| accuracy_remark(run.summary.accuracy_ratio)).flatten();
                let remark = remark.map_or_else(String::new, |text| widgets::sentence(&text) + "\n\n");
                numbers.cell_ui(ui, column, &text, color).on_hover_text(format!("{remark}{}", provenance_text(run)));
            }
        }
        (Column::MeanKld, None) => {
            let text = row.quality_failure.as_deref().unwrap_or_default();
            let color = theme::bad(ui);
            numbers.cell_ui(ui, column, "failed", color).on_hover_text(widgets::sentence(text));
        }
        (_, None) => {}
    }
}

fn is_number(column: Column) -> bool {
    !matches!(column, Column::Level | Column::Verdict | Column::Loss)
}

/// What a number of a column says, without its unit; `None` for a column of words.
fn number_text(run: &QualityRun, column: Column) -> Option<String> {
    let summary = &run.summary;
    let percent = |part: Interval| part.map(|part| part * 100.0).text(significant_text);
    match column {
        Column::Level | Column::Verdict | Column::Loss => None,
        Column::MeanKld => Some(summary.mean_kld.text(nats_text)),
        Column::KldP99 => Some(nats_text(summary.kld_p99.value)),
        Column::PplRatio => Some(summary.ppl_ratio.text(ratio_text)),
        Column::SameTop => Some(percent(summary.same_top)),
        Column::Accuracy => Some(percent(summary.accuracy_ratio)),
        Column::Tokens => Some(count_text(summary.n_tokens)),
    }
}

/// A column that can be sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Level,
    Verdict,
    Loss,
    MeanKld,
    KldP99,
    PplRatio,
    SameTop,
    Accuracy,
    Tokens,
}

/// Column, heading with its unit, explanation, least width.
const COLUMNS: [(Column, &str, &str, f32); 9] = [
    (Column::Level, "Level", "The level", 132.0),
    (Column::Verdict, "Verdict", "All gates on quality together; hover over the word for each of them", 112.0),
    (Column::Loss, "Loss", "In a word, from the numbers and their error bars; hover over it for what it means", 110.0),
    (Column::MeanKld, "Mean KLD, nats", "KL divergence from the source in nats, mean over all tokens, with its 95 % error", 92.0),
    (Column::KldP99, "99 % KLD, nats", "One token in a hundred diverges more", 92.0),
    (Column::PplRatio, "Perplexity, ×", "Perplexity as a multiple of the source's, with its 95 % error", 80.0),
    (Column::SameTop, "Same top token, %", "Tokens at which both put the same token first", 108.0),
    (Column::Accuracy, "Accuracy, %", "Next-token accuracy as a part of the source's", 74.0),
    (Column::Tokens, "Tokens", "Scored tokens", 46.0),
];

fn compare(column: Column, a: &ComparisonRow, b: &ComparisonRow) -> Ordering {
    let by = |value: fn(&QualityRun) -> f64| compare_known(a.quality.as_deref().map(value), b.quality.as_deref().map(value));
    match column {
        Column::Level => a.name.cmp(&b.name),
        Column::Loss => {
            let words = |row: &ComparisonRow| row.quality.as_ref().and_then(|run| run.summary.loss_words());
            words(a).is_none().cmp(&words(b).is_none()).then(words(a).cmp(&words(b)))
        }
        Column::MeanKld => by(|run| run.summary.mean_kld.value),
        Column::KldP99 => by(|run| run.summary.kld_p99.value),
        Column::PplRatio => by(|run| run.summary.ppl_ratio.value),
        Column::SameTop => by(|run| run.summary.same_top.value),
        Column::Accuracy => by(|run| run.summary.accuracy_ratio.value),
        #[allow(clippy::cast_precision_loss, reason = "only compared")]
        Column::Tokens => by(|run| run.summary.n_tokens as f64),
        Column::Verdict => {
            let decision = |row: &ComparisonRow| row.verdict.as_ref().map(|verdict| verdict.decision);
            decision(a).cmp(&decision(b))
        }
    }
}

fn provenance_text(run: &QualityRun) -> String {
    let p = &run.provenance;
    let hash: String = p.model_sha256.chars().take(12).collect();
    let reference = p.reference_by.text().map_or_else(String::new, |by| format!("\nreference: {by}"));
    format!(
        "{}\n{}, {}\n{}, chunks of {}, {} at the gates, seed {}{reference}\nSHA-256 {hash}…",
        p.runtime,
        p.backend,
        count_of(p.n_threads, "thread"),
        p.text_name,
        p.n_ctx,
        count_of(run.n_looks, "look"),
        p.seed
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use eframe::egui::accesskit::Role;
    use egui_kittest::kittest::{NodeT as _, Queryable as _};

    use super::*;
    use crate::bench::history::{Measurement, test_runs};
    use crate::bench::quality::QualityOutcome;
    use crate::convert::Conversion;
    use crate::error::Error;
    use crate::model::Level;
    use crate::state::Store;
    use crate::ui::compare_page_ui;
    use crate::ui::test_support::{PageState, page_harness, page_harness_sized, shoot, store_with_model_and_machine};

    fn store() -> Store {
        let mut store = store_with_model_and_machine();
        let source = store.model.ready().unwrap().path.clone();
        for (level, klds) in
            [(Level::Q8_0, Some([0.003, 0.004, 0.005])), (Level::Q2_K, Some([0.4, 0.5, 0.45])), (Level::Q4_0, None)]
        {
            let path = source.with_file_name(format!("m-{level}.gguf"));
            store.conversions.push(Conversion {
                level,
                path: path.clone(),
                source: source.clone(),
                size_bytes: 100_000_000,
                bits_per_weight: 6.0,
                elapsed_secs: 1.0,
                warnings: Vec::new(),
                check: None,
                changes: String::new(),
            });
            let result = match klds.map(|klds| test_runs::quality(level.name(), &klds).measurement) {
                Some(Measurement::Quality(run)) => Ok(Arc::new(QualityRun { path: path.clone(), ..(*run).clone() })),
                _ => Err(Error::ChildDied { reason: "signal 9".into(), path: path.clone() }),
            };
            store.quality.push(QualityOutcome { path, result });
        }
        store
    }

    #[test]
    fn every_file_can_be_judged_from_the_page() {
        let size = eframe::egui::vec2(1160.0, 1500.0);
        let mut harness = page_harness_sized(compare_page_ui, store(), Form::default(), size, 1.0, egui::Theme::Dark);
        harness.get_by_label("Score all").click();
        harness.get_by_label("Measure quality of 3 files").click();
        harness.run();
        let state = harness.state();
        assert!(state.form.quality.full);
        let expected: Vec<_> = state.store.conversions.iter().map(|made| made.path.clone()).collect();
        assert_eq!(state.commands, [Command::Quality(expected)]);
        harness.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::L);
        harness.run();
        assert!(matches!(harness.state().commands[..], [Command::Quality(_), Command::Quality(_)]), "by keyboard");
        for (tab, label) in
            [("File", "Text file"), ("Pasted text", "Your text: the more, the narrower the error bars; at least about 400 words")]
        {
            harness.get_by_label(tab).click();
            harness.run();
            let is_disabled = |harness: &egui_kittest::Harness<'_, PageState>| {
                harness.get_by_label("Measure quality of 3 files").accesskit_node().is_disabled()
            };
            assert!(is_disabled(&harness), "{tab}: no text yet");
            let role = if tab == "File" { Role::TextInput } else { Role::MultilineTextInput };
            let field = harness.get_by_role_and_label(role, label);
            field.focus();
            field.type_text("mine.txt");
            harness.run();
            assert!(!is_disabled(&harness), "{tab}");
        }
        let quality = &harness.state().form.quality;
        assert_eq!((quality.text_path.as_str(), quality.pasted.as_str()), ("mine.txt", "mine.txt"));
        assert!(harness.query_by_label("Most tokens").is_some());
    }

    #[test]
    fn a_checkpoint_larger_than_memory_can_be_the_reference_and_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let sample = crate::convert::unpack_sample(dir.path()).unwrap();
        let crate::format::Opened::Checkpoint(checkpoint) = crate::format::read_any(&sample).unwrap() else { panic!() };
        let checked = Arc::new(crate::convert::check_checkpoint(*checkpoint));
        let mut store = store();
        store.model = crate::state::Slot::Ready(Arc::clone(checked.model.as_ref().unwrap()));
        store.checkpoint = Some(checked);
        let page = |store: Store, memory_budget_bytes| {
            let goal = crate::advise::Goal { memory_budget_bytes: Some(memory_budget_bytes), ..Default::default() };
            let form = Form { goal, ..Form::default() };
            let size = eframe::egui::vec2(1160.0, 1500.0);
            page_harness_sized(compare_page_ui, store, form, size, 1.0, egui::Theme::Dark)
        };
        let is_disabled = |harness: &egui_kittest::Harness<'_, PageState>| {
            harness.get_by_label("Measure quality of 3 files").accesskit_node().is_disabled()
        };
        let has = |harness: &egui_kittest::Harness<'_, PageState>, text: &str| {
            harness.query_all_by_label_contains(text).next().is_some()
        };
        let mut large = page(store.clone(), 1000);
        assert!(!is_disabled(&large) && has(&large, "computed by Planish in F32, one layer at a time, because its BF16 file"));
        shoot(&mut large, "compare-own-reference");
        let usual = page(store.clone(), 1 << 40);
        assert!(is_disabled(&usual) && !has(&usual, "computed by Planish"), "it is to be converted to BF16");
        // Results of before say who computed their reference, whatever is free now.
        for outcome in &mut store.quality {
            if let Ok(run) = &mut outcome.result {
                Arc::make_mut(run).provenance.reference_by = crate::bench::quality::ReferenceBy::Planish;
            }
        }
        assert!(has(&page(store, 1 << 40), "Reference: the checkpoint, computed by Planish in F32, one layer at a time"));
    }

    #[test]
    fn losses_failures_and_doubts_are_shown() {
        let size = eframe::egui::vec2(1160.0, 1500.0);
        let mut harness = page_harness_sized(compare_page_ui, store(), Form::default(), size, 1.0, egui::Theme::Dark);
        for text in ["0.0040 ±", "0.450 ±", "failed", "The source is Q4_1 itself"] {
            assert!(harness.query_all_by_label_contains(text).next().is_some(), "{text}");
        }
        let top_of = |harness: &egui_kittest::Harness<'_, _>, text: &str| {
            harness.query_all_by_label_contains(text).next().unwrap().rect().top()
        };
        assert!(top_of(&harness, "0.0040 ±") < top_of(&harness, "0.450 ±"));
        for (n_clicks, is_worst_first) in [(1, false), (2, true)] {
            harness.get_by_label("Sort by mean kld").click();
            harness.run();
            let found = top_of(&harness, "0.450 ±") < top_of(&harness, "0.0040 ±");
            assert_eq!(found, is_worst_first, "after {n_clicks} clicks");
        }
        assert!(harness.query_all_by_label("INCONCLUSIVE").count() + harness.query_all_by_label("FAIL").count() >= 1);
    }

    #[test]
    fn without_a_level_there_is_nothing_to_judge() {
        let mut store = store();
        store.conversions.clear();
        store.outcomes.push(crate::bench::Outcome { path: "x.gguf".into(), result: Err(Error::Cancelled) });
        let harness = page_harness(compare_page_ui, store, Form::default());
        assert!(harness.get_by_label("Measure quality of 0 files").accesskit_node().is_disabled());
    }

    #[test]
    fn pictures() {
        for (name, variant) in [("quality-dark", egui::Theme::Dark), ("quality-light", egui::Theme::Light)] {
            let size = eframe::egui::vec2(1160.0, 1400.0);
            for kind in crate::deploy::ChartKind::ALL {
                let form = Form { compare_plot: Some(kind), ..Form::default() };
                let mut harness = page_harness_sized(compare_page_ui, store(), form, size, 1.0, variant);
                harness.run();
                shoot(&mut harness, &format!("{name}-{}", kind.file_stem()));
            }
        }
    }
}
