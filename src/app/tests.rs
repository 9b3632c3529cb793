use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::*;
use crate::advise::{MlxChanges, Overrides};
use crate::bench::Outcome;
use crate::convert::{self, Conversion};
use crate::deploy::Export;
use crate::model::{Framework, Level};
use crate::state::{CompareTab, Field, Tour, TourStep};
use crate::ui::test_support::store_with_model_and_machine;
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
fn the_history_is_read_at_the_start_and_after_each_measurement() {
    let worker = Worker::spawn(Arc::new(|| {}), Arc::new(NoPicker)).unwrap();
    let mut app = App::new(worker, Form::default(), None);
    let n_asked = |app: &App| app.store.jobs.iter().filter(|job| job.kind == JobKind::History(HistoryRequest::List)).count();
    assert_eq!(n_asked(&app), 1, "it teaches the predictions, even before anybody looks at it");
    app.take(Event::Finished { id: JobId(99), result: Ok(Output::Outcomes(Vec::new())), elapsed_secs: 1.0 });
    assert_eq!(n_asked(&app), 2);
    drop(app);
    // The history of this test's process.
    let _ = std::fs::remove_dir_all(crate::bench::history::default_path().unwrap().parent().unwrap());
}

/// Takes events until `is_there`.
fn run_until(app: &mut App, is_there: impl Fn(&App) -> bool) {
    let deadline = Instant::now() + std::time::Duration::from_secs(100);
    while !is_there(app) {
        assert!(Instant::now() < deadline, "{:?}", app.store.jobs);
        match app.worker.poll() {
            Some(event) => app.take(event),
            None => std::thread::sleep(std::time::Duration::from_millis(5)),
        }
    }
}

fn step(app: &App) -> Option<TourStep> {
    app.store.tour.as_ref().and_then(Tour::step)
}

#[test]
fn the_sample_goes_from_the_model_page_to_the_comparison() {
    let worker = Worker::spawn(Arc::new(|| {}), Arc::new(NoPicker)).unwrap();
    let mut app = App::new(worker, Form::default(), None);
    app.commands.push(Command::TrySample);
    app.carry_out();
    assert_eq!(step(&app), Some(TourStep::Open));
    run_until(&mut app, |app| step(app) == Some(TourStep::Measure));
    assert_eq!((app.form.page, app.form.compare_tab), (Page::Compare, CompareTab::Levels));
    let levels: Vec<Level> = app.store.conversions.iter().map(|made| made.level).collect();
    assert_eq!(levels, convert::SAMPLE_LEVELS);
    assert_eq!(app.store.model.ready().and_then(|model| model.own_level()), Some(Level::BF16));
    assert!(!app.form.levels.contains(&Level::BF16), "its file is the source now");
    let bench = app.store.jobs.iter().find(|job| matches!(job.kind, JobKind::Bench(_))).map(|job| job.kind.clone());
    assert_eq!(bench, Some(JobKind::Bench(6)));
    // A second chain has to wait.
    app.commands.push(Command::TrySample);
    app.carry_out();
    assert!(matches!(&app.store.refusal, Some(Error::BadRequest { message }) if message.contains("at work already")));
    drop(app);
    let _ = std::fs::remove_dir_all(convert::sample_parent().unwrap().parent().unwrap());
}

/// The program with `source` open, its levels and runs looked for, and `out` as the folder for outputs.
fn opened(source: &std::path::Path, out: &std::path::Path) -> App {
    let worker = Worker::spawn(Arc::new(|| {}), Arc::new(NoPicker)).unwrap();
    let mut app = App::new(worker, Form { output_dir: out.display().to_string(), ..Form::default() }, None);
    app.commands.push(Command::OpenModel(source.to_path_buf()));
    app.carry_out();
    run_until(&mut app, |app| app.store.found.is_some());
    app
}

#[test]
fn levels_of_two_frameworks_are_made_of_a_checkpoint_and_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let source = convert::unpack_sample(&dir.path().join("sample")).unwrap();
    let mlx: Level = "mlx:4-bit".parse().unwrap();
    let start = || opened(&source, &dir.path().join("out"));
    let levels = |app: &App| app.store.conversions.iter().map(|made| made.level).collect::<Vec<_>>();
    let mut app = start();
    let n_of = |framework| Level::of(framework).len();
    assert_eq!(app.store.other_levels().len(), n_of(Framework::Mlx) + n_of(Framework::OnnxRuntime));
    let size = app.store.other_levels().iter().find(|other| other.level == mlx).unwrap().size_bytes;
    app.commands.push(Command::Convert(vec![Level::BF16, Level::Q8_0]));
    app.carry_out();
    run_until(&mut app, |app| levels(app) == [Level::Q8_0]);
    // The BF16 file stands for the checkpoint now; the folder is made of the checkpoint all the same.
    assert!(app.store.model.ready().is_some_and(|model| model.is_runnable()));
    app.commands.push(Command::Convert(vec![Level::Q4_0, mlx]));
    app.carry_out();
    run_until(&mut app, |app| app.store.conversions.len() == 3);
    let made = app.store.conversions.iter().find(|made| made.level == mlx).unwrap();
    assert_eq!((made.size_bytes, made.path.is_dir()), (size, true));
    assert_eq!(app.bench_request(vec![made.path.clone()]).models.is_empty(), !crate::bench::is_timed_here(Framework::Mlx));
    drop(app);
    let app = start();
    let mut found = levels(&app);
    found.sort();
    assert_eq!(found, [Level::Q8_0, Level::Q4_0, mlx]);
}

#[test]
fn a_chain_waits_for_levels_of_both_frameworks() {
    let dir = tempfile::tempdir().unwrap();
    let source = convert::unpack_sample(&dir.path().join("sample")).unwrap();
    let mlx: Level = "mlx:8-bit".parse().unwrap();
    let out = dir.path().join("out");
    let mut app = opened(&source, &out);
    app.commands.push(Command::ConvertAndCompare(vec![mlx, Level::Q8_0]));
    app.carry_out();
    let conversions: Vec<&JobKind> =
        app.store.jobs.iter().map(|job| &job.kind).filter(|kind| matches!(kind, JobKind::Convert(_))).collect();
    assert_eq!(conversions, [&JobKind::Convert(vec![mlx]), &JobKind::Convert(vec![Level::Q8_0, Level::BF16])]);
    let tour = app.store.tour.as_ref().unwrap();
    assert_eq!(tour.step(), Some(TourStep::Convert));
    assert_eq!(tour.files, [out.join("planish-sample-mlx-8-bit-g64")]);
}

#[test]
fn changes_of_the_recipe_follow_a_checkpoint_to_the_file_that_stands_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let source = convert::unpack_sample(&dir.path().join("sample")).unwrap();
    let mut app = opened(&source, &dir.path().join("out"));
    let model = app.store.model.ready().unwrap().clone();
    let changed = Overrides { mlx: MlxChanges::wide_ends(), pure: true, ..Overrides::default() };
    app.form.recipe.set(&model, changed.clone());
    let request = convert::ConvertRequest::new(vec![Level::BF16], dir.path().join("out"));
    let made = convert::convert(&model, &request, &crate::Monitor::silent()).unwrap();
    let file = Arc::new(crate::format::inspect(&made[0].path).unwrap());
    let output = Output::Imported { made, model: Arc::clone(&file) };
    app.take(Event::Finished { id: JobId(99), result: Ok(output), elapsed_secs: 1.0 });
    assert_eq!(app.store.model.ready().map(|model| &model.path), Some(&file.path));
    assert_eq!(app.form.recipe.of(&file), changed);
}

#[test]
fn levels_are_there_again_after_another_model_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let parts = convert::unpack_sample(&dir.path().join("sample")).unwrap();
    let checkpoint = convert::open_model(&parts).unwrap();
    let made = convert::ConvertRequest::new(vec![Level::BF16], dir.path().join("models"));
    let source = convert::convert(&checkpoint, &made, &crate::Monitor::silent()).unwrap().remove(0).path;
    let other = dir.path().join("other.gguf");
    std::fs::copy(&source, &other).unwrap();
    let start = || opened(&source, &dir.path().join("out"));
    let levels = |app: &App| app.store.conversions.iter().map(|made| made.level).collect::<Vec<_>>();
    let mut app = start();
    assert_eq!(levels(&app), []);
    app.commands.push(Command::Convert(vec![Level::Q8_0, Level::Q4_0]));
    app.carry_out();
    run_until(&mut app, |app| app.store.conversions.len() == 2);
    app.commands.push(Command::OpenModel("/no/such.gguf".into()));
    app.carry_out();
    run_until(&mut app, |app| app.store.open_failure.is_some());
    assert_eq!((levels(&app).len(), app.store.opened_path()), (2, Some(source.as_path())));
    app.commands.push(Command::OpenModel(dir.path().join("other.gguf")));
    app.carry_out();
    run_until(&mut app, |app| app.store.opened_path() == Some(&other) && app.store.found.is_some());
    app.commands.push(Command::OpenModel(source.clone()));
    app.carry_out();
    run_until(&mut app, |app| app.store.opened_path() == Some(&source));
    assert_eq!(levels(&app), [Level::Q8_0, Level::Q4_0], "at once");
    assert_eq!(app.form.recent.first(), Some(&source));
    drop(app);
    let app = start();
    assert_eq!(levels(&app), [Level::Q8_0, Level::Q4_0]);
    drop(app);
    // The history of this test's process.
    let _ = std::fs::remove_dir_all(crate::bench::history::default_path().unwrap().parent().unwrap());
}

/// A window with a model that is not quantized yet. Nothing is on the disk: jobs are ended by hand.
fn app_with_model() -> App {
    let worker = Worker::spawn(Arc::new(|| {}), Arc::new(NoPicker)).unwrap();
    let mut app = App::new(worker, Form { page: Page::Plan, ..Form::default() }, None);
    app.store = store_with_model_and_machine();
    app
}

fn made(app: &App, level: Level) -> Conversion {
    let model = app.store.model.ready().unwrap();
    Conversion {
        level,
        path: convert::output_path(model, level, &app.output_dir()),
        source: model.path.clone(),
        size_bytes: 1,
        bits_per_weight: 4.0,
        elapsed_secs: 1.0,
        warnings: Vec::new(),
        check: None,
        changes: String::new(),
    }
}

fn end(app: &mut App, result: crate::Result<Output>) {
    let id = app.store.tour.as_ref().unwrap().job;
    app.take(Event::Finished { id, result, elapsed_secs: 1.0 });
}

fn last_job(app: &App) -> JobKind {
    app.store.jobs.iter().rev().find(|job| !job.kind.is_quick()).unwrap().kind.clone()
}

#[test]
fn one_click_converts_what_is_missing_measures_all_and_judges_it() {
    let mut app = app_with_model();
    let there = made(&app, Level::Q3_K_M);
    app.store.conversions.push(there.clone());
    app.commands.push(Command::ConvertAndCompare(vec![Level::Q3_K_M, Level::Q2_K]));
    app.carry_out();
    assert_eq!((last_job(&app), app.form.page), (JobKind::Convert(vec![Level::Q2_K]), Page::Optimize));
    let new = made(&app, Level::Q2_K);
    end(&mut app, Ok(Output::Conversions(vec![new.clone()])));
    assert_eq!((last_job(&app), app.form.page, app.form.compare_tab), (JobKind::Bench(3), Page::Compare, CompareTab::Levels));
    let tour = app.store.tour.clone().unwrap();
    assert_eq!((tour.source.clone(), tour.files.clone()), (app.store.model_path.clone().unwrap(), vec![there.path, new.path]));
    // The user goes elsewhere, and is told at the end.
    app.form.page = Page::Machine;
    end(&mut app, Ok(Output::Outcomes(Vec::new())));
    assert_eq!((last_job(&app), app.form.page), (JobKind::Quality(2), Page::Machine));
    end(&mut app, Ok(Output::Quality(Vec::new())));
    assert!(app.store.tour.is_none());
    assert_eq!(app.toasts, [Toast::new("Compared 2 levels").with_action("Show", Command::Show(Page::Compare))]);
}

#[test]
fn a_checkpoint_larger_than_memory_is_compared_with_itself() {
    let dir = tempfile::tempdir().unwrap();
    let sample = convert::unpack_sample(dir.path()).unwrap();
    let crate::format::Opened::Checkpoint(checkpoint) = crate::format::read_any(&sample).unwrap() else { panic!() };
    let checked = Arc::new(convert::check_checkpoint(*checkpoint));
    let open = |memory_budget_bytes: Option<u64>, checked: &Arc<crate::advise::CheckedCheckpoint>| {
        let mut app = app_with_model();
        app.form.output_dir = dir.path().join("out").to_string_lossy().into_owned();
        app.form.goal.memory_budget_bytes = memory_budget_bytes;
        app.form.levels.clear();
        app.commands.push(Command::OpenModel(sample.clone()));
        app.carry_out();
        let id = app.store.jobs.iter().rev().find(|job| matches!(job.kind, JobKind::Inspect(_))).unwrap().id;
        app.take(Event::Finished { id, result: Ok(Output::Checkpoint(Arc::clone(checked))), elapsed_secs: 0.0 });
        app
    };
    let levels = |app: &App| app.form.levels.iter().copied().collect::<Vec<_>>();
    let mut app = open(Some(1000), &checked);
    assert_eq!(levels(&app), [], "its file of full size is not wanted");
    app.commands.push(Command::ConvertAndCompare(vec![Level::Q2_K]));
    app.carry_out();
    assert_eq!(last_job(&app), JobKind::Convert(vec![Level::Q2_K]));
    let new = made(&app, Level::Q2_K);
    end(&mut app, Ok(Output::Conversions(vec![new.clone()])));
    assert_eq!(last_job(&app), JobKind::Bench(2), "the source is named as not run");
    assert_eq!(app.bench_request(Vec::new()).memory_limit.map(|limit| limit.limit_bytes), Some(1000));
    let error = Error::LargerThanMemory { needed_bytes: 2000, limit_bytes: 1000, path: sample.clone() };
    let outcome = |path: &std::path::Path, error: &Error| Outcome { path: path.to_path_buf(), result: Err(error.clone()) };
    let speed = vec![outcome(&sample, &error), outcome(&new.path, &error)];
    let mut failed = open(Some(1000), &checked);
    failed.store.conversions.push(new.clone());
    failed.commands.push(Command::ConvertAndCompare(vec![Level::Q2_K]));
    failed.carry_out();
    end(&mut failed, Ok(Output::Outcomes(speed)));
    assert_eq!(failed.store.tour.as_ref().and_then(|tour| tour.failure.clone()), Some(error), "the level is too large as well");
    end(&mut app, Ok(Output::Outcomes(Vec::new())));
    assert_eq!(last_job(&app), JobKind::Quality(1));
    let request = app.quality_request(sample.clone(), vec![new.path]);
    assert_eq!(request.memory_limit.map(|limit| limit.limit_bytes), Some(1000));
    // With enough memory, or if Planish cannot compute it, its file is made as ever.
    assert_eq!(levels(&open(Some(1 << 40), &checked)), [Level::BF16]);
    let own_obstacle = Some("not described".to_string());
    let other = Arc::new(crate::advise::CheckedCheckpoint { own_obstacle, ..(*checked).clone() });
    assert_eq!(levels(&open(Some(1000), &other)), [Level::BF16]);
}

#[test]
fn nothing_is_converted_when_all_levels_are_there() {
    let mut app = app_with_model();
    let there = made(&app, Level::Q3_K_M);
    app.store.conversions.push(there);
    app.commands.push(Command::ConvertAndCompare(vec![Level::Q3_K_M]));
    app.carry_out();
    assert_eq!((last_job(&app), app.form.page), (JobKind::Bench(2), Page::Compare));
}

#[test]
fn a_step_that_fails_ends_the_chain_with_its_reason() {
    let check = |results: Vec<crate::Result<Output>>, expected_step: TourStep, expected: Error| {
        let mut app = app_with_model();
        app.commands.push(Command::ConvertAndCompare(vec![Level::Q2_K]));
        app.carry_out();
        for result in results {
            end(&mut app, result);
        }
        let n_jobs = |app: &App| app.store.jobs.iter().filter(|job| !job.kind.is_quick()).count();
        let n_before = n_jobs(&app);
        let tour = app.store.tour.clone().unwrap();
        assert_eq!((tour.step(), tour.failure), (Some(expected_step), Some(expected)));
        // A second end of the same job starts nothing, and the chain can be taken off the screen.
        end(&mut app, Ok(Output::Outcomes(Vec::new())));
        assert_eq!(n_jobs(&app), n_before);
        app.commands.push(Command::ForgetTour);
        app.carry_out();
        assert!(app.store.tour.is_none());
    };
    check(vec![Err(Error::Cancelled)], TourStep::Convert, Error::Cancelled);
    let made = || Ok(Output::Conversions(vec![made(&app_with_model(), Level::Q2_K)]));
    let died = Error::ChildDied { reason: "signal 9".into(), path: "/m/a.gguf".into() };
    let failed = |path: &str| Outcome { path: path.into(), result: Err(died.clone()) };
    let all_failed = Ok(Output::Outcomes(vec![failed("/m/a.gguf"), failed("/m/b.gguf")]));
    check(vec![made(), all_failed], TourStep::Measure, died.clone());
    check(vec![made(), Ok(Output::Outcomes(Vec::new())), Err(died.clone())], TourStep::Judge, died.clone());
}

#[test]
fn several_models_are_converted_one_after_the_other() {
    let mut app = app_with_model();
    app.commands.push(Command::ConvertAll(vec!["/m/a.gguf".into(), "/m/b".into()], vec![Level::Q8_0]));
    app.carry_out();
    let jobs: Vec<(JobKind, Option<PathBuf>)> = app.store.jobs.iter().map(|job| (job.kind.clone(), job.model.clone())).collect();
    let convert = JobKind::Convert(vec![Level::Q8_0]);
    let expected = [
        (JobKind::Inspect("/m/a.gguf".into()), None),
        (convert.clone(), Some("/m/a.gguf".into())),
        (convert, Some("/m/b".into())),
    ];
    assert_eq!((jobs.as_slice(), app.form.page), (expected.as_slice(), Page::Optimize));
}

#[test]
fn only_the_end_of_long_work_calls_for_attention() {
    let check = |secs: f64, result: crate::Result<Output>, expected: Option<&str>| {
        let mut app = app_with_model();
        app.commands.push(Command::Bench(vec!["/m/a.gguf".into()]));
        app.carry_out();
        let id = app.store.jobs.last().unwrap().id;
        app.take(Event::Finished { id, result, elapsed_secs: secs });
        assert_eq!(app.ended_unseen.as_deref(), expected);
    };
    check(31.0, Ok(Output::Outcomes(Vec::new())), Some("Done: Measuring 1 file"));
    check(29.0, Ok(Output::Outcomes(Vec::new())), None);
    check(31.0, Err(Error::Cancelled), None);
    check(31.0, Err(Error::Internal { message: "x".into() }), Some("Failed: Measuring 1 file: internal error: x"));
}

#[test]
fn free_space_is_asked_again_after_whatever_writes_or_deletes() {
    let check = |job: &Job, is_stale: bool| {
        let mut app = app_with_model();
        app.store.submitted(JobId(99), job);
        app.store.output_disk = Some(("/m".into(), None));
        app.take(Event::Finished { id: JobId(99), result: Err(Error::Cancelled), elapsed_secs: 0.1 });
        assert_eq!(app.store.output_disk.is_none(), is_stale, "{job:?}");
    };
    let request = convert::ConvertRequest::new(vec![Level::Q8_0], "");
    check(&Job::ConvertFile { path: "/m/a.gguf".into(), request }, true);
    check(&Job::Remove { paths: vec!["/m/a.gguf".into()], removal: convert::Removal::ForGood }, true);
    check(&Job::Inspect { path: "/m/a.gguf".into() }, false);
}

#[test]
fn all_files_without_a_bin_are_asked_about_again() {
    let mut app = app_with_model();
    let paths: Vec<PathBuf> = vec!["/m/a.gguf".into(), "/m/b.gguf".into()];
    let no_bin = Error::NoBin { reason: "no such folder".into(), paths: paths.clone() };
    app.take(Event::Finished { id: JobId(99), result: Err(no_bin.clone()), elapsed_secs: 0.1 });
    assert_eq!(app.form.deleting, Some(DeleteForm { paths, no_bin: Some(no_bin) }));
}

#[test]
fn what_was_saved_can_be_opened_and_a_missing_dialog_leads_to_the_field() {
    let mut app = app_with_model();
    app.take(Event::Finished { id: JobId(99), result: Ok(Output::Exported("/m/report.html".into())), elapsed_secs: 0.1 });
    let toast = Toast::new("Saved report.html")
        .with_action("Open", Command::OpenFile("/m/report.html".into()))
        .with_action("Show in folder", Command::Reveal("/m/report.html".into()));
    assert_eq!(app.toasts, [toast]);
    app.take(Event::NoDialog { wanted: Picked::ModelFolder });
    assert_eq!((app.form.focus, app.form.dialog.clone()), (Some(Field::ModelPath), Some(Dialog::OpenPath)));
    app.form.dialog = None;
    app.take(Event::NoDialog { wanted: Picked::OutputDir });
    assert_eq!((app.form.focus, app.form.dialog.clone(), app.store.lacks_file_dialogs), (Some(Field::OutputDir), None, true));
}
