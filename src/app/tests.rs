use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::*;
use crate::deploy::Export;
use crate::model::Level;
use crate::state::JobKind;
use crate::worker::{Event, Output};

struct NoPicker;

impl crate::worker::Picker for NoPicker {
    fn pick(&self, _: Picked) -> Option<PathBuf> {
        None
    }
}

#[test]
fn nothing_is_exported_or_judged_without_a_model() {
    for command in [Command::Export(Export::Report), Command::Quality(vec!["a.gguf".into()])] {
        let worker = Worker::spawn(Arc::new(|| {}), Arc::new(NoPicker)).unwrap();
        let mut app = App::new(worker, Form::default(), None);
        app.store.jobs.clear();
        app.commands.push(command);
        app.carry_out();
        assert!(app.store.jobs.is_empty());
        assert!(matches!(&app.store.refusal, Some(Error::BadRequest { message }) if message == "no model is open"));
    }
}

#[test]
fn the_history_is_read_again_after_a_measurement_once_somebody_has_looked_at_it() {
    let worker = Worker::spawn(Arc::new(|| {}), Arc::new(NoPicker)).unwrap();
    let mut app = App::new(worker, Form::default(), None);
    let measured = || Event::Finished { id: JobId(99), result: Ok(Output::Outcomes(Vec::new())), elapsed_secs: 1.0 };
    let is_asked = |app: &App| app.store.jobs.iter().any(|job| job.kind == JobKind::History(HistoryRequest::List));
    app.take(measured());
    assert!(!is_asked(&app));
    app.store.history = Slot::Ready(Arc::default());
    app.take(measured());
    assert!(is_asked(&app));
    drop(app);
    // That of this test's process.
    let _ = std::fs::remove_dir_all(crate::bench::history::default_path().unwrap().parent().unwrap());
}

#[test]
fn the_sample_goes_from_the_model_page_to_the_comparison() {
    let worker = Worker::spawn(Arc::new(|| {}), Arc::new(NoPicker)).unwrap();
    let mut app = App::new(worker, Form::default(), None);
    app.commands.push(Command::TrySample);
    app.carry_out();
    let deadline = Instant::now() + std::time::Duration::from_secs(100);
    let is_measuring = |app: &App| app.store.jobs.iter().any(|job| matches!(job.kind, JobKind::Quality(_)));
    while !is_measuring(&app) {
        assert!(Instant::now() < deadline, "{:?}", app.store.jobs);
        match app.worker.poll() {
            Some(event) => app.take(event),
            None => std::thread::sleep(std::time::Duration::from_millis(5)),
        }
    }
    assert_eq!((app.form.page, app.tour), (Page::Compare, Tour::Off));
    let levels: Vec<Level> = app.store.conversions.iter().map(|made| made.level).collect();
    assert_eq!(levels, convert::SAMPLE_LEVELS);
    assert_eq!(app.store.model.ready().and_then(|model| model.own_level()), Some(Level::BF16));
    assert!(!app.form.levels.contains(&Level::BF16), "its file is the source now");
    let bench = app.store.jobs.iter().find(|job| matches!(job.kind, JobKind::Bench(_))).map(|job| job.kind.clone());
    assert_eq!(bench, Some(JobKind::Bench(6)));
    drop(app);
    let _ = std::fs::remove_dir_all(convert::sample_parent().unwrap().parent().unwrap());
}
