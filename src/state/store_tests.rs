//! Tests of what the store makes of events.

use super::*;
use crate::deploy::Export;
use crate::model::Level;
use crate::monitor::{Progress, ProgressUnit};

fn conversion(source: &str, path: &str) -> Conversion {
    Conversion {
        level: Level::Q8_0,
        path: path.into(),
        source: source.into(),
        size_bytes: 1,
        bits_per_weight: 8.5,
        elapsed_secs: 1.0,
        warnings: Vec::new(),
        check: None,
        changes: String::new(),
    }
}

fn model(path: &str) -> Arc<Model> {
    Arc::new(Model {
        path: path.into(),
        files: vec![path.into()],
        size_bytes: 0,
        format_name: "GGUF v3".into(),
        alignment: 32,
        metadata: crate::model::Metadata::default(),
        tensors: Vec::new(),
        hyperparameters: crate::model::Hyperparameters::default(),
        warnings: Vec::new(),
        obstacles: Vec::new(),
        unknown: Vec::new(),
        import: None,
        others: Vec::new(),
    })
}

fn open(store: &mut Store, id: u64, path: &str) {
    let id = JobId(id);
    store.submitted(id, &Job::Inspect { path: path.into() });
    store.apply(Event::Started { id });
    store.apply(Event::Finished { id, result: Ok(Output::Model(model(path))), elapsed_secs: 1.0 });
}

fn convert(store: &mut Store, id: u64, source: &str) -> JobId {
    let id = JobId(id);
    let request = crate::convert::ConvertRequest::new(vec![Level::Q8_0], "out");
    store.submitted(id, &Job::Convert { model: model(source), request, calibration: crate::make::Calibration::default() });
    store.apply(Event::Started { id });
    id
}

#[test]
fn a_bandwidth_measured_again_takes_the_place_of_the_first() {
    let bandwidth = |other_load| crate::hardware::Bandwidth {
        one_thread_bytes_per_sec: 1e10,
        all_threads_bytes_per_sec: 2e10,
        n_threads: 2,
        other_load: Some(other_load),
    };
    let mut store = Store::default();
    store.apply(Event::Bandwidth { bandwidth: bandwidth(0.0) });
    assert!(store.machine.ready().is_none(), "no machine is invented");
    store.machine = Slot::Ready(Box::new(Machine { bandwidth: Some(bandwidth(0.7)), ..Machine::default() }));
    store.apply(Event::Bandwidth { bandwidth: bandwidth(0.01) });
    assert_eq!(store.machine.ready().and_then(|machine| machine.bandwidth), Some(bandwidth(0.01)));
    assert!(store.jobs.is_empty());
}

#[test]
fn a_second_model_forgets_the_files_of_the_first() {
    let mut store = Store::default();
    open(&mut store, 1, "a.gguf");
    let id = convert(&mut store, 2, "a.gguf");
    store.apply(Event::Finished {
        id,
        result: Ok(Output::Conversions(vec![conversion("a.gguf", "out/a.gguf")])),
        elapsed_secs: 1.0,
    });
    assert_eq!(store.conversions.len(), 1);
    open(&mut store, 3, "b.gguf");
    assert!(store.conversions.is_empty());
}

#[test]
fn files_of_a_model_that_is_no_longer_open_are_not_listed() {
    let mut store = Store::default();
    open(&mut store, 1, "a.gguf");
    let id = convert(&mut store, 2, "a.gguf");
    open(&mut store, 3, "b.gguf");
    store.apply(Event::Finished {
        id,
        result: Ok(Output::Conversions(vec![conversion("a.gguf", "out/a.gguf")])),
        elapsed_secs: 1.0,
    });
    assert!(store.conversions.is_empty());
    assert!(matches!(store.latest_job(|kind| matches!(kind, JobKind::Convert(_))).unwrap().status, JobStatus::Done { .. }));
}

#[test]
fn what_was_judged_before_a_cancellation_is_kept_and_goes_with_its_model() {
    use crate::bench::history::{Measurement, test_runs};
    let outcome = |path: &str, level| {
        let Measurement::Quality(run) = test_runs::quality(level, &[0.25]).measurement else { panic!() };
        Output::Quality(vec![QualityOutcome { path: path.into(), result: Ok(run) }])
    };
    let mut store = Store::default();
    open(&mut store, 1, "a.gguf");
    let id = convert(&mut store, 2, "a.gguf");
    let made = ["out/a.gguf", "out/b.gguf"].map(|path| conversion("a.gguf", path)).to_vec();
    store.apply(Event::Finished { id, result: Ok(Output::Conversions(made.clone())), elapsed_secs: 1.0 });
    let id = JobId(3);
    store.submitted(id, &Job::Quality { request: crate::bench::quality::QualityRequest::default() });
    store.apply(Event::Started { id });
    store.apply(Event::Partial { id, output: outcome("out/a.gguf", "Q8_0") });
    store.apply(Event::Partial { id, output: outcome("out/a.gguf", "Q4_0") });
    store.apply(Event::Partial { id, output: outcome("elsewhere.gguf", "Q8_0") });
    store.apply(Event::Finished { id, result: Err(Error::Cancelled), elapsed_secs: 1.0 });
    let paths: Vec<_> = store.quality.iter().map(|outcome| outcome.path.to_string_lossy()).collect();
    assert_eq!(paths, ["out/a.gguf"], "the later replaces the earlier, and a stranger is left out");
    assert!(store.quality[0].result.as_ref().is_ok_and(|run| run.path.ends_with("m-Q4_0.gguf")));
    let id = convert(&mut store, 4, "a.gguf");
    store.apply(Event::Finished { id, result: Ok(Output::Conversions(made)), elapsed_secs: 1.0 });
    assert!(store.quality.is_empty(), "a file made anew is not the one that was judged");
}

#[test]
fn a_failed_job_keeps_its_error_and_leaves_the_model_alone() {
    let mut store = Store::default();
    open(&mut store, 1, "a.gguf");
    let id = convert(&mut store, 2, "a.gguf");
    store.apply(Event::Finished { id, result: Err(Error::Cancelled), elapsed_secs: 1.0 });
    assert!(store.model.ready().is_some());
    assert_eq!(store.jobs[1].status, JobStatus::Failed(Error::Cancelled));
    store.clear_finished();
    assert!(store.jobs.is_empty());
}

#[test]
fn a_chain_of_jobs_never_looks_like_rest() {
    let mut store = Store::default();
    open(&mut store, 1, "a.gguf");
    let at_work = |store: &Store| store.running_job().map(|job| job.id);
    let [first, second] = [JobId(2), JobId(3)];
    for id in [first, second] {
        let request = crate::convert::ConvertRequest::new(vec![Level::Q8_0], "out");
        store.submitted(id, &Job::Convert { model: model("a.gguf"), request, calibration: crate::make::Calibration::default() });
    }
    assert_eq!(at_work(&store), Some(first), "the first of those that wait");
    store.apply(Event::Started { id: first });
    assert_eq!(at_work(&store), Some(first));
    store.apply(Event::Finished { id: first, result: Err(Error::Cancelled), elapsed_secs: 1.0 });
    assert_eq!(at_work(&store), Some(second), "before its start is reported");
    store.apply(Event::Started { id: second });
    store.apply(Event::Finished { id: second, result: Err(Error::Cancelled), elapsed_secs: 1.0 });
    assert_eq!(at_work(&store), None);
}

fn ask(store: &mut Store, id: u64, request: HistoryRequest, result: Result<HistoryAnswer, Error>) {
    let id = JobId(id);
    store.submitted(id, &Job::History(request));
    store.apply(Event::Started { id });
    assert!(store.running_job().is_none(), "it stands beside the others");
    store.apply(Event::Finished { id, result: result.map(Output::History), elapsed_secs: 0.1 });
}

#[test]
fn the_history_stays_on_the_screen_while_it_is_read_again() {
    use crate::bench::history::test_runs::{kept, speed};
    let (rows, comparison) = kept(&[speed("Q8_0", &[1.0]), speed("Q4_0", &[2.0])], &[1, 2]);
    let (rows, comparison) = (Arc::new(rows), Arc::new(comparison));
    let mut store = Store::default();
    ask(&mut store, 1, HistoryRequest::List, Ok(HistoryAnswer::Runs(Arc::clone(&rows))));
    ask(&mut store, 2, HistoryRequest::Compare { columns: vec![vec![1], vec![2]] }, Ok(HistoryAnswer::Comparison(comparison)));
    assert!(store.jobs.is_empty(), "reading is no news");
    store.submitted(JobId(3), &Job::History(HistoryRequest::List));
    assert_eq!(store.history.ready(), Some(&rows));
    store.apply(Event::Finished {
        id: JobId(3),
        result: Ok(Output::History(HistoryAnswer::Runs(Arc::clone(&rows)))),
        elapsed_secs: 0.1,
    });
    assert!(store.history_comparison.ready().is_some());
    let left = Arc::new(rows[..1].to_vec());
    ask(&mut store, 4, HistoryRequest::Delete { ids: vec![1] }, Ok(HistoryAnswer::Runs(left)));
    assert_eq!(store.history.ready().map(|rows| rows.len()), Some(1));
    assert!(store.history_comparison.ready().is_none(), "one of the compared runs is gone");
}

#[test]
fn failures_of_the_history_are_told_where_they_belong() {
    let error = || Error::History { action: "write", reason: "disk full".into(), path: "h".into() };
    let mut store = Store::default();
    ask(&mut store, 1, HistoryRequest::List, Err(error()));
    assert_eq!(store.history.error(), Some(&error()));
    ask(&mut store, 2, HistoryRequest::Delete { ids: vec![1] }, Err(error()));
    assert_eq!(store.refusal, Some(error()));
    store.submitted(JobId(3), &Job::History(HistoryRequest::List));
    assert_eq!(store.refusal, Some(error()), "reading again does not hide it");
    let export = || HistoryRequest::Export { ids: vec![1], format: crate::bench::history::ExportFormat::Csv, dir: "out".into() };
    ask(&mut store, 4, export(), Ok(HistoryAnswer::Exported("out/a.csv".into())));
    assert_eq!((&store.refusal, &store.history_export), (&None, &Some("out/a.csv".into())));
    ask(&mut store, 5, export(), Err(error()));
    assert_eq!((&store.refusal, &store.history_export), (&Some(error()), &None));
}

#[test]
fn errors_of_tensors_are_forgotten_with_the_files_they_are_of() {
    let measured = || {
        let mut store = Store::default();
        open(&mut store, 1, "a.gguf");
        let id = JobId(2);
        store.submitted(id, &Job::TensorErrors { source: "a.gguf".into(), converted: "out/a.gguf".into() });
        let errors = TensorErrors {
            source: "a.gguf".into(),
            converted: "out/a.gguf".into(),
            tensors: Vec::new(),
            overall_relative_rms: None,
            warnings: Vec::new(),
        };
        store.apply(Event::Finished { id, result: Ok(Output::TensorErrors(Arc::new(errors))), elapsed_secs: 1.0 });
        assert!(store.tensor_errors.ready().is_some());
        store
    };
    let mut store = measured();
    open(&mut store, 3, "a.gguf");
    assert!(store.tensor_errors.ready().is_some(), "the same model again");
    open(&mut store, 4, "b.gguf");
    assert!(store.tensor_errors.ready().is_none());
    let mut store = measured();
    for (id, path, is_kept) in [(3, "out/other.gguf", true), (4, "out/a.gguf", false)] {
        let id = convert(&mut store, id, "a.gguf");
        let result = Ok(Output::Conversions(vec![conversion("a.gguf", path)]));
        store.apply(Event::Finished { id, result, elapsed_secs: 1.0 });
        assert_eq!(store.tensor_errors.ready().is_some(), is_kept, "{path}");
    }
}

#[test]
fn answers_grow_and_are_forgotten_with_the_next_question_or_model() {
    use crate::bench::answers::test_answers::answer;
    let ask = |store: &mut Store, id: u64| {
        let request = crate::bench::AnswerRequest { paths: vec!["a.gguf".into(), "b.gguf".into()], ..Default::default() };
        store.submitted(JobId(id), &Job::Answer { request });
        store.apply(Event::Started { id: JobId(id) });
    };
    let part = |store: &mut Store, id: u64, path: &str, pieces: &[&str]| {
        let outcome = AnswerOutcome { path: path.into(), prompt_idx: 0, result: Ok(Arc::new(answer(pieces))) };
        store.apply(Event::Partial { id: JobId(id), output: Output::Answers(vec![outcome]) });
    };
    let texts = |store: &Store| -> Vec<(String, String)> {
        let text = |outcome: &AnswerOutcome| (outcome.path.display().to_string(), outcome.result.as_ref().unwrap().text.clone());
        store.answers.iter().map(text).collect()
    };
    let mut store = Store::default();
    open(&mut store, 1, "a.gguf");
    ask(&mut store, 2);
    part(&mut store, 2, "a.gguf", &["x"]);
    part(&mut store, 2, "b.gguf", &[]);
    part(&mut store, 2, "a.gguf", &["x", "y"]);
    let expected = [("a.gguf".to_string(), "xy".to_string()), ("b.gguf".into(), String::new())];
    assert_eq!(texts(&store), expected, "in the order of asking");
    store.apply(Event::Finished { id: JobId(2), result: Err(Error::Cancelled), elapsed_secs: 1.0 });
    assert_eq!(texts(&store), expected, "what had come stays");
    assert_eq!(store.jobs[1].kind, JobKind::Answer(2));
    ask(&mut store, 3);
    assert!(store.answers.is_empty());
    part(&mut store, 3, "a.gguf", &["x"]);
    store.conversions.push(conversion("a.gguf", "b.gguf"));
    open(&mut store, 4, "c.gguf");
    assert!(store.answers.is_empty());
}

#[test]
fn time_left_follows_the_speed() {
    let mut store = Store::default();
    let id = convert(&mut store, 1, "a.gguf");
    assert_eq!(store.jobs[0].left_secs(), None);
    let progress = Progress { stage: String::new(), done: 25, total: 100, unit: ProgressUnit::Bytes };
    store.apply(Event::Progress { id, progress, elapsed_secs: 10.0 });
    assert_eq!((store.jobs[0].left_secs(), store.jobs[0].rate_per_sec()), (Some(30.0), Some(2.5)));
    // A part with steps of its own, such as a pass over the layers, is not held against the time before it.
    let step = |done| Progress { stage: String::new(), done, total: 4, unit: ProgressUnit::Steps };
    store.apply(Event::Progress { id, progress: step(0), elapsed_secs: 100.0 });
    assert_eq!(store.jobs[0].left_secs(), None);
    store.apply(Event::Progress { id, progress: step(1), elapsed_secs: 104.0 });
    assert_eq!((store.jobs[0].left_secs(), store.jobs[0].rate_per_sec()), (Some(12.0), Some(0.25)));
}

#[test]
fn an_export_is_told_when_it_is_written_and_its_failure_in_the_queue() {
    let mut store = Store::default();
    let mut write = |id, result: Result<PathBuf, Error>| {
        let id = JobId(id);
        let request = crate::deploy::ExportRequest {
            what: Export::Report,
            dir: "out".into(),
            model: model("a.gguf"),
            machine: Box::default(),
            goal: crate::advise::Goal::default(),
            limits: crate::advise::Limits::default(),
            learned: crate::advise::Learned::default(),
            rows: Vec::new(),
        };
        store.submitted(id, &Job::Export(Box::new(request)));
        store.apply(Event::Started { id });
        assert!(store.running_job().is_none(), "it stands beside the others");
        store.apply(Event::Finished { id, result: result.map(Output::Exported), elapsed_secs: 0.1 });
        (store.exported.clone(), store.jobs.last().map(|job| job.status.clone()))
    };
    let done = JobStatus::Done { elapsed_secs: 0.1 };
    assert_eq!(write(1, Ok("out/a-report.html".into())), (Some("out/a-report.html".into()), Some(done)));
    let full = Error::Internal { message: "full".into() };
    assert_eq!(write(2, Err(full.clone())), (None, Some(JobStatus::Failed(full))));
}

#[test]
fn a_checkpoint_takes_the_place_of_the_model_until_another_is_opened() {
    use crate::advise::{CheckedCheckpoint, Checklist};
    let checked = || {
        let checklist = Checklist { items: Vec::new() };
        Output::Checkpoint(Arc::new(CheckedCheckpoint {
            model: None,
            checkpoint: crate::model::Checkpoint::default(),
            checklist,
            own_obstacle: None,
        }))
    };
    let mut store = Store::default();
    open(&mut store, 1, "a.gguf");
    let id = convert(&mut store, 2, "a.gguf");
    let made = vec![conversion("a.gguf", "out/a.gguf")];
    store.apply(Event::Finished { id, result: Ok(Output::Conversions(made)), elapsed_secs: 1.0 });
    let id = JobId(3);
    store.submitted(id, &Job::Inspect { path: "folder".into() });
    store.apply(Event::Finished { id, result: Ok(checked()), elapsed_secs: 0.1 });
    assert!(store.checkpoint.is_some() && matches!(store.model, Slot::Empty) && store.conversions.is_empty());
    open(&mut store, 4, "a.gguf");
    assert!(store.checkpoint.is_none() && store.model.ready().is_some());
    store.apply(Event::Finished { id, result: Ok(checked()), elapsed_secs: 0.1 });
    assert!(store.checkpoint.is_none() && store.model.ready().is_some(), "an old answer is dropped");
}

#[test]
fn the_file_that_keeps_every_weight_stands_for_the_checkpoint() {
    use crate::advise::{CheckedCheckpoint, Checklist};
    let mut store = Store::default();
    let id = JobId(1);
    store.submitted(id, &Job::Inspect { path: "folder".into() });
    let checkpoint = crate::model::Checkpoint { path: "folder".into(), ..Default::default() };
    let checklist = Checklist { items: Vec::new() };
    let checked = CheckedCheckpoint { model: Some(model("folder")), checkpoint, checklist, own_obstacle: None };
    store.apply(Event::Finished { id, result: Ok(Output::Checkpoint(Arc::new(checked))), elapsed_secs: 0.1 });
    assert_eq!(store.model.ready().map(|model| model.path.clone()), Some("folder".into()));

    let id = convert(&mut store, 2, "folder");
    let made = vec![conversion("folder", "m-BF16.gguf"), conversion("folder", "m-Q8_0.gguf")];
    let adopted = Output::Imported { made, model: model("m-BF16.gguf") };
    store.apply(Event::Finished { id, result: Ok(adopted), elapsed_secs: 1.0 });
    let made_of = |store: &Store| -> Vec<(PathBuf, PathBuf)> {
        store.conversions.iter().map(|made| (made.path.clone(), made.source.clone())).collect()
    };
    assert_eq!(store.model.ready().map(|model| model.path.clone()), Some("m-BF16.gguf".into()));
    assert_eq!(made_of(&store), [("m-Q8_0.gguf".into(), "m-BF16.gguf".into())]);
    assert!(store.checkpoint.is_some(), "the Model page goes on showing the checkpoint");

    // A conversion of the checkpoint itself that was asked for before.
    let id = convert(&mut store, 3, "folder");
    let late = Ok(Output::Conversions(vec![conversion("folder", "m-Q2_K.gguf")]));
    store.apply(Event::Finished { id, result: late, elapsed_secs: 1.0 });
    assert_eq!(made_of(&store)[1], ("m-Q2_K.gguf".into(), "m-BF16.gguf".into()));

    open(&mut store, 4, "b.gguf");
    let id = convert(&mut store, 5, "folder");
    let foreign = Output::Imported { made: vec![conversion("folder", "m-BF16.gguf")], model: model("m-BF16.gguf") };
    store.apply(Event::Finished { id, result: Ok(foreign), elapsed_secs: 1.0 });
    assert_eq!(store.model.ready().map(|model| model.path.clone()), Some("b.gguf".into()), "of another model than the open one");
}

#[test]
fn a_file_that_cannot_be_opened_leaves_the_open_model_in_place() {
    let mut store = Store::default();
    open(&mut store, 1, "a.gguf");
    let id = convert(&mut store, 2, "a.gguf");
    let made = Output::Conversions(vec![conversion("a.gguf", "out/a.gguf")]);
    store.apply(Event::Finished { id, result: Ok(made), elapsed_secs: 1.0 });
    let (id, error) = (JobId(3), Error::Truncated { what: "magic".into(), needed: 4, left: 0, path: "b.gguf".into() });
    store.submitted(id, &Job::Inspect { path: "b.gguf".into() });
    assert!(store.is_opening() && store.model.ready().is_some());
    store.apply(Event::Finished { id, result: Err(error.clone()), elapsed_secs: 1.0 });
    assert_eq!(store.open_failure, Some(("b.gguf".into(), error)));
    assert!(!store.is_opening());
    assert_eq!((store.opened_path(), store.conversions.len()), (Some(Path::new("a.gguf")), 1));
    // The same when the user cancels.
    let id = JobId(4);
    store.submitted(id, &Job::Inspect { path: "c.gguf".into() });
    assert_eq!(store.open_failure, None, "that was of the try before");
    store.apply(Event::Finished { id, result: Err(Error::Cancelled), elapsed_secs: 1.0 });
    assert!(store.open_failure.is_some() && store.model.ready().is_some());
    // Without an open model the page has room for the reason.
    let mut store = Store::default();
    store.submitted(id, &Job::Inspect { path: "c.gguf".into() });
    store.apply(Event::Finished { id, result: Err(Error::Cancelled), elapsed_secs: 1.0 });
    assert!(store.model.error().is_some() && store.open_failure.is_none());
}

#[test]
fn a_network_takes_the_place_of_the_open_model_until_another_is_opened() {
    let mut store = Store::default();
    open(&mut store, 1, "a.gguf");
    let id = convert(&mut store, 2, "a.gguf");
    let made = Output::Conversions(vec![conversion("a.gguf", "out/a.gguf")]);
    store.apply(Event::Finished { id, result: Ok(made), elapsed_secs: 1.0 });
    let folder = tempfile::tempdir().unwrap();
    let path = crate::format::onnx::write_small(folder.path());
    let Ok(crate::format::Opened::Onnx(network)) = crate::format::read_any(&path) else { panic!() };
    let id = JobId(3);
    store.submitted(id, &Job::Inspect { path: path.clone() });
    store.apply(Event::Finished { id, result: Ok(Output::Network(Arc::new(*network))), elapsed_secs: 1.0 });
    assert_eq!((store.opened_path(), store.conversions.len()), (Some(path.as_path()), 0));
    assert!(store.model.ready().is_none() && !store.is_opening());
    open(&mut store, 4, "a.gguf");
    assert!(store.network.is_none());
    assert_eq!((store.opened_path(), store.conversions.len()), (Some(Path::new("a.gguf")), 1));
}

#[test]
fn only_the_latest_wish_to_open_counts() {
    let mut store = Store::default();
    open(&mut store, 1, "a.gguf");
    for (id, path) in [(2, "b.gguf"), (3, "c.gguf")] {
        store.submitted(JobId(id), &Job::Inspect { path: path.into() });
    }
    for (id, path) in [(2, "b.gguf"), (3, "c.gguf")] {
        store.apply(Event::Finished { id: JobId(id), result: Ok(Output::Model(model(path))), elapsed_secs: 1.0 });
    }
    assert_eq!(store.opened_path(), Some(Path::new("c.gguf")));
    assert_eq!(store.aside.len(), 1);
}

#[test]
fn results_stay_while_another_model_is_open() {
    use crate::bench::history::{Measurement, test_runs};
    let mut store = Store::default();
    open(&mut store, 1, "a.gguf");
    let id = convert(&mut store, 2, "a.gguf");
    let made = Output::Conversions(vec![conversion("a.gguf", "out/a.gguf")]);
    store.apply(Event::Finished { id, result: Ok(made), elapsed_secs: 1.0 });
    let Measurement::Speed(run) = test_runs::speed("Q8_0", &[40.0]).measurement else { panic!() };
    let outcome = Outcome { path: "out/a.gguf".into(), result: Ok(*run) };
    store.apply(Event::Finished { id: JobId(3), result: Ok(Output::Outcomes(vec![outcome])), elapsed_secs: 1.0 });
    open(&mut store, 4, "b.gguf");
    assert!(store.conversions.is_empty() && store.outcomes.is_empty());
    open(&mut store, 5, "a.gguf");
    assert_eq!((store.conversions.len(), store.outcomes.len()), (1, 1));
    // The same again changes nothing.
    open(&mut store, 6, "a.gguf");
    assert_eq!((store.conversions.len(), store.outcomes.len()), (1, 1));
    // A file that has changed keeps nothing that was measured of the old one.
    open(&mut store, 7, "b.gguf");
    let changed = Arc::new(Model { size_bytes: 7, ..(*model("a.gguf")).clone() });
    store.submitted(JobId(8), &Job::Inspect { path: "a.gguf".into() });
    store.apply(Event::Finished { id: JobId(8), result: Ok(Output::Model(changed)), elapsed_secs: 1.0 });
    assert!(store.conversions.is_empty() && store.outcomes.is_empty());
}

fn known(source: &str, levels: &[&str], gone: &[&str]) -> Output {
    Output::Known(Box::new(crate::bench::known::Known {
        source: source.into(),
        stand_in: None,
        levels: levels.iter().map(|path| conversion(source, path)).collect(),
        gone: gone.iter().map(PathBuf::from).collect(),
        outcomes: Vec::new(),
        quality: Vec::new(),
        origins: Vec::new(),
        has_moments: false,
        problem: None,
    }))
}

#[test]
fn what_is_found_is_added_and_what_is_gone_is_taken_off() {
    let mut store = Store::default();
    open(&mut store, 1, "a.gguf");
    let id = convert(&mut store, 2, "a.gguf");
    let made = vec![Conversion { elapsed_secs: 9.0, ..conversion("a.gguf", "out/1.gguf") }, conversion("a.gguf", "out/2.gguf")];
    store.apply(Event::Finished { id, result: Ok(Output::Conversions(made)), elapsed_secs: 1.0 });
    store.apply(Event::Finished {
        id: JobId(3),
        result: Ok(known("a.gguf", &["out/1.gguf", "out/3.gguf"], &["out/2.gguf"])),
        elapsed_secs: 0.01,
    });
    let mut paths: Vec<_> = store.conversions.iter().map(|made| (made.path.display().to_string(), made.elapsed_secs)).collect();
    paths.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(paths, [("out/1.gguf".to_string(), 9.0), ("out/3.gguf".to_string(), 1.0)], "this session's own stays as it is");
    assert_eq!(store.found.and_then(|found| found.text()).as_deref(), Some("2 levels found, not measured yet"));
    // Of a model that is no longer open.
    store.apply(Event::Finished { id: JobId(4), result: Ok(known("b.gguf", &["out/4.gguf"], &[])), elapsed_secs: 0.01 });
    assert_eq!(store.conversions.len(), 2);
    assert!(store.jobs.iter().all(|job| job.kind != JobKind::FindKnown));
}
