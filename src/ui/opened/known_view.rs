//! What is known of the open model from earlier: a line on the Model and the Compare page, and the way back to the last model.

use std::path::Path;

use eframe::egui::{Align, Label, Layout, RichText, Ui};

use crate::bench::history::Kind;
use crate::bench::known::RunOrigin;
use crate::model::Level;
use crate::state::{Command, Form, Page, Store};
use crate::ui::kit::theme;
use crate::ui::kit::widgets::{self, Tone};
use crate::ui::model::page::file_name;
use crate::units::bytes_text;

/// Draws what was found when the model was opened, with the way to it; nothing if nothing was found.
pub fn found_ui(ui: &mut Ui, store: &Store, form: &mut Form) {
    let Some(text) = store.found.and_then(|found| found.text()) else { return };
    widgets::toned_box(ui, Tone::Good, |ui| {
        ui.horizontal_wrapped(|ui| {
            ui.label(RichText::new(text).font(theme::strong_font()));
            if !store.conversions.is_empty() {
                ui.label(RichText::new(sum_text(store)).color(theme::palette(ui).text_secondary));
            }
            if widgets::small_button(ui, "Compare them", "Compare what was found").clicked() {
                form.page = Page::Compare;
            }
        });
    });
    widgets::card_gap(ui);
}

/// `together 3.21 GiB`: the size of all levels of the open model.
#[must_use]
pub fn sum_text(store: &Store) -> String {
    let sum = store.conversions.iter().map(|made| made.size_bytes).fold(0, u64::saturating_add);
    format!("together {}", bytes_text(sum))
}

/// Draws when the measurements from before this session were made, and what makes them differ; nothing if there are none.
pub fn origins_ui(ui: &mut Ui, store: &Store) {
    let lines = origin_lines(store);
    if lines.is_empty() {
        return;
    }
    let tone = if lines.len() > 1 { Tone::Warn } else { Tone::Neutral };
    widgets::toned_box(ui, tone, |ui| {
        ui.vertical(|ui| {
            for line in lines {
                ui.add(Label::new(line).wrap());
            }
        });
    });
    widgets::card_gap(ui);
}

/// One line for the whole, and one for each way in which runs differ from what would be measured here and now.
fn origin_lines(store: &Store) -> Vec<String> {
    let text = |secs: i64| crate::units::local_day_text(secs);
    let days = store.origins.iter().map(|origin| origin.recorded_unix_secs);
    let (Some(first), Some(last)) = (days.clone().min().map(text), days.max().map(text)) else { return Vec::new() };
    let span = if first == last { format!("on {last}") } else { format!("between {first} and {last}") };
    let is_all = store.outcomes.len() + store.quality.len() == store.origins.len();
    let whole = if is_all { "These numbers were" } else { "Some of these numbers were" };
    let mut lines = vec![format!("{whole} measured {span}; they are kept in the history.")];
    let mut notes: Vec<(String, Vec<String>)> = Vec::new();
    for origin in &store.origins {
        let Some(note) = origin.note() else { continue };
        let name = format!("{} ({})", short_name(store, origin), if origin.kind == Kind::Speed { "speed" } else { "loss" });
        match notes.iter_mut().find(|(known, _)| *known == note) {
            Some((_, names)) => names.push(name),
            None => notes.push((note, vec![name])),
        }
    }
    lines.extend(notes.into_iter().map(|(note, names)| format!("{}: {note}.", names.join(", "))));
    lines
}

fn short_name(store: &Store, origin: &RunOrigin) -> String {
    let made = store.conversions.iter().find(|made| made.path == origin.path);
    made.map_or_else(|| format!("the source {}", file_name(&origin.path)), crate::convert::Conversion::name)
}

/// The mark on a level's card: `exists` or `exists, measured`; `None` for a level without a file. Files with a changed recipe
/// do not count.
#[must_use]
pub fn level_mark(store: &Store, level: Level) -> Option<&'static str> {
    let of_level = || store.conversions.iter().filter(|made| made.level == level && made.changes.is_empty());
    of_level().next()?;
    let is_measured = |path: &Path| {
        store.outcome_of(path).is_some_and(|outcome| outcome.result.is_ok())
            || store.quality_of(path).is_some_and(|outcome| outcome.result.is_ok())
    };
    Some(if of_level().any(|made| is_measured(&made.path)) { "exists, measured" } else { "exists" })
}

/// Draws why a file could not be opened while another one is open, and that the other one stays open.
pub fn open_failure_ui(ui: &mut Ui, store: &Store, commands: &mut Vec<Command>) {
    let Some((_, error)) = &store.open_failure else { return };
    widgets::error_banner(ui, error, commands);
    if let Some(open) = store.opened_path() {
        ui.label(RichText::new(format!("{} stays open.", file_name(open))).color(theme::muted(ui)));
    }
    ui.add_space(theme::UNIT);
}

/// What the user should know, each with a button that takes it away.
pub fn notices_ui(ui: &mut Ui, store: &Store, commands: &mut Vec<Command>) {
    for (idx, notice) in store.notices.iter().enumerate() {
        widgets::toned_box(ui, Tone::Warn, |ui| {
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                if widgets::small_button(ui, "Dismiss", "Dismiss this notice").clicked() {
                    commands.push(Command::DismissNotice(idx));
                }
                ui.with_layout(Layout::top_down(Align::Min), |ui| ui.add(Label::new(notice).wrap()));
            });
        });
        ui.add_space(theme::UNIT);
    }
}

/// On a page without a model: the way back to the last one.
pub fn go_on_ui(ui: &mut Ui, form: &Form, commands: &mut Vec<Command>) {
    let Some(last) = form.recent.first() else { return };
    if widgets::primary_button(ui, &format!("Go on with {}", file_name(last)))
        .on_hover_text(crate::path_text::shown(last))
        .clicked()
    {
        commands.push(Command::OpenModel(last.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Outcome;
    use crate::bench::history::Measurement;
    use crate::bench::history::test_runs::{NOON, quality, speed};
    use crate::bench::known::{Difference, Known};
    use crate::bench::quality::QualityOutcome;
    use crate::convert::Conversion;
    use crate::error::Error;
    use crate::ui::test_support::{PageState, click, has, page_harness, shoot, store_with_model_and_machine};
    use crate::worker::{Event, Job, JobId, Output};
    use egui_kittest::Harness;
    use egui_kittest::kittest::Queryable as _;

    fn conversion(level: Level, source: &Path) -> Conversion {
        Conversion {
            level,
            path: format!("/levels/m-{level}.gguf").into(),
            source: source.into(),
            size_bytes: 100 << 20,
            bits_per_weight: 4.5,
            elapsed_secs: 0.0,
            warnings: Vec::new(),
            check: None,
            changes: String::new(),
        }
    }

    /// Two levels, one measured here, the other on another machine.
    fn known_store() -> Store {
        let mut store = store_with_model_and_machine();
        let source = store.model.ready().unwrap().path.clone();
        let path = |level: &str| std::path::PathBuf::from(format!("/levels/m-{level}.gguf"));
        let (Measurement::Speed(run), Measurement::Quality(loss)) =
            (speed("Q8_0", &[40.0]).measurement, quality("Q4_K_M", &[0.25]).measurement)
        else {
            panic!()
        };
        let origin = |level: &str, kind, differences| RunOrigin {
            path: path(level),
            kind,
            run_id: 1,
            recorded_unix_secs: NOON,
            differences,
        };
        let known = Known {
            source: source.clone(),
            stand_in: None,
            levels: vec![conversion(Level::Q8_0, &source), conversion(Level::Q4_K_M, &source), conversion(Level::Q2_K, &source)],
            gone: Vec::new(),
            outcomes: vec![Outcome { path: path("Q8_0"), result: Ok(*run) }],
            quality: vec![QualityOutcome { path: path("Q4_K_M"), result: Ok(loss) }],
            origins: vec![
                origin("Q8_0", Kind::Speed, Vec::new()),
                origin("Q4_K_M", Kind::Quality, vec![Difference::Machine("Apple M3, 16.0 GiB".into())]),
            ],
            has_moments: false,
            problem: None,
        };
        store.apply(Event::Finished { id: JobId(3), result: Ok(Output::Known(Box::new(known))), elapsed_secs: 0.01 });
        store
    }

    fn on(page: Page, store: Store) -> Harness<'static, PageState> {
        page_harness(crate::ui::window_ui, store, Form { page, ..Form::default() })
    }

    #[test]
    fn the_model_page_says_what_was_found_and_leads_there() {
        let mut harness = on(Page::Model, known_store());
        assert!(has(&harness, "3 levels found, measured on 21 August 2026") && has(&harness, "together 300 MiB"));
        shoot(&mut harness, "model-found");
        click(&mut harness, "Compare what was found");
        assert_eq!(harness.state().form.page, Page::Compare);
        assert!(!has(&harness, "Nothing to compare yet"));
    }

    #[test]
    fn the_compare_page_tells_apart_where_its_numbers_come_from() {
        let mut harness = on(Page::Compare, known_store());
        assert!(has(&harness, "These numbers were measured on 21 August 2026"));
        assert!(has(&harness, "Q4_K_M (loss): measured on another machine (Apple M3, 16.0 GiB)."));
        assert!(!has(&harness, "Q8_0 (speed)"));
        assert_eq!(harness.query_all_by_label("differs").count(), 1, "the row in the table of losses");
        shoot(&mut harness, "compare-found");
        // Measured again here and now.
        let Measurement::Quality(loss) = quality("Q4_K_M", &[0.5]).measurement else { panic!() };
        let outcome = QualityOutcome { path: "/levels/m-Q4_K_M.gguf".into(), result: Ok(loss) };
        let done = Event::Finished { id: JobId(4), result: Ok(Output::Quality(vec![outcome])), elapsed_secs: 1.0 };
        harness.state_mut().store.apply(done);
        harness.run();
        assert!(has(&harness, "Some of these numbers were measured on 21 August 2026") && !has(&harness, "another machine"));
        assert!(!has(&harness, "differs"));
    }

    #[test]
    fn cards_of_levels_that_are_there_are_marked() {
        let store = known_store();
        let marks = [Level::Q8_0, Level::Q4_K_M, Level::Q2_K, Level::Q6_K].map(|level| level_mark(&store, level));
        assert_eq!(marks, [Some("exists, measured"), Some("exists, measured"), Some("exists"), None]);
        let harness = on(Page::Optimize, store);
        assert!(has(&harness, "exists, measured"));
    }

    #[test]
    fn a_file_that_cannot_be_opened_leaves_the_open_one_in_place() {
        let mut store = known_store();
        let (id, path) = (JobId(9), std::path::PathBuf::from("/no/such.gguf"));
        store.submitted(id, &Job::Inspect { path: path.clone() });
        store.apply(Event::Started { id });
        let kind = std::io::ErrorKind::NotFound;
        let error = Error::Io { action: "open", path, kind, reason: "not found".into() };
        store.apply(Event::Finished { id, result: Err(error), elapsed_secs: 0.1 });
        for page in [Page::Model, Page::Compare] {
            let harness = on(page, store.clone());
            assert!(has(&harness, "/no/such.gguf") && has(&harness, "SmolLM2-135M-Instruct.Q4_1.gguf stays open."), "{page:?}");
            assert!(!has(&harness, "Drop a model here") && !has(&harness, "Nothing to compare yet"), "{page:?}");
        }
    }

    #[test]
    fn a_notice_is_shown_until_it_is_dismissed() {
        let mut store = Store::default();
        store.notices.push("The settings were put aside".into());
        let mut harness = on(Page::Machine, store);
        assert!(has(&harness, "The settings were put aside"));
        click(&mut harness, "Dismiss this notice");
        assert_eq!(harness.state().commands, [Command::DismissNotice(0)]);
    }

    #[test]
    fn an_empty_page_offers_to_go_on_with_the_last_model() {
        let recent = vec!["/models/last.gguf".into(), "/models/older.gguf".into()];
        for page in [Page::Model, Page::Compare] {
            let form = Form { recent: recent.clone(), page, ..Form::default() };
            let mut harness = page_harness(crate::ui::window_ui, Store::default(), form);
            click(&mut harness, "Go on with last.gguf");
            assert_eq!(harness.state().commands, [Command::OpenModel("/models/last.gguf".into())]);
            assert!(harness.query_by_label("Go on with older.gguf").is_none());
        }
    }
}
