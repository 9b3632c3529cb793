//! Jobs in the background, with real files and a real history.

use super::*;

struct NoPicker;

impl Picker for NoPicker {
    fn pick(&self, _: Picked) -> Option<std::path::PathBuf> {
        None
    }
}

fn worker() -> Worker {
    Worker::spawn(Arc::new(|| {}), Arc::new(NoPicker)).unwrap()
}

fn wait_for_end(worker: &mut Worker, wanted: JobId) -> (bool, Result<Output>) {
    let mut was_started = false;
    let deadline = Instant::now() + std::time::Duration::from_secs(20);
    while Instant::now() < deadline {
        match worker.poll() {
            Some(Event::Started { id }) if id == wanted => was_started = true,
            Some(Event::Finished { id, result, .. }) if id == wanted => return (was_started, result),
            Some(_) => {}
            None => std::thread::sleep(std::time::Duration::from_millis(1)),
        }
    }
    panic!("job {wanted:?} did not end");
}

#[test]
fn a_failing_job_is_started_and_finished_once() {
    let mut worker = worker();
    let id = worker.submit(Job::Inspect { path: "/no/such/file.gguf".into() }).unwrap();
    let (was_started, result) = wait_for_end(&mut worker, id);
    assert!(was_started && matches!(result, Err(Error::Io { .. })));
    assert!(worker.poll().is_none());
}

#[test]
fn a_checkpoint_comes_with_its_check() {
    let dir = tempfile::tempdir().unwrap();
    format::test_checkpoints::write_llama(dir.path());
    let mut worker = worker();
    let id = worker.submit(Job::Inspect { path: dir.path().into() }).unwrap();
    let (_, result) = wait_for_end(&mut worker, id);
    let Ok(Output::Checkpoint(checked)) = result else { panic!("{result:?}") };
    assert_eq!((checked.checkpoint.path.as_path(), checked.checkpoint.tensors.len()), (dir.path(), 30));
    let disk = checked.checklist.items.iter().find(|item| item.name == "Disk").unwrap();
    assert!(disk.text.ends_with(" free"), "{disk:?}");
}

#[test]
fn a_waiting_job_can_be_cancelled() {
    let mut worker = worker();
    let first = worker.submit(Job::Detect { output_dir: std::env::temp_dir() }).unwrap();
    let second = worker.submit(Job::Inspect { path: "/no/such/file.gguf".into() }).unwrap();
    worker.cancel(second);
    worker.cancel(first);
    let (was_started, result) = wait_for_end(&mut worker, second);
    assert!(!was_started && matches!(result, Err(Error::Cancelled)));
}

#[test]
fn runs_are_listed_compared_exported_and_deleted_while_another_job_is_at_work() {
    use bench::history::test_runs::speed;
    let mut history = bench::history::History::open_default().unwrap();
    let ids = history.record(&[speed("Q8_0", &[1.0]), speed("Q4_0", &[2.0])]).unwrap();
    let mut worker = worker();
    // Takes two seconds; its end would be missed below if it came before an answer.
    let survey = worker.submit(Job::Detect { output_dir: std::env::temp_dir() }).unwrap();
    let mut ask = |request| {
        let id = worker.submit(Job::History(request)).unwrap();
        wait_for_end(&mut worker, id).1.map(|output| match output {
            Output::History(answer) => answer,
            other => panic!("{other:?}"),
        })
    };
    assert!(matches!(ask(HistoryRequest::List), Ok(HistoryAnswer::Runs(rows)) if rows.len() >= 2));
    let compared = ask(HistoryRequest::Compare { columns: ids.iter().map(|&id| vec![id]).collect() });
    assert!(matches!(compared, Ok(HistoryAnswer::Comparison(comparison)) if comparison.runs.len() == 2));
    let dir = tempfile::tempdir().unwrap();
    let format = bench::history::ExportFormat::Csv;
    let exported = ask(HistoryRequest::Export { ids: ids.clone(), format, dir: dir.path().into() });
    let Ok(HistoryAnswer::Exported(path)) = exported else { panic!("{exported:?}") };
    assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), 3);
    let left = ask(HistoryRequest::Delete { ids: ids.clone() });
    assert!(matches!(left, Ok(HistoryAnswer::Runs(rows)) if rows.iter().all(|row| !ids.contains(&row.id))));
    let gone = ask(HistoryRequest::Compare { columns: vec![ids] });
    assert!(matches!(gone, Err(Error::UnknownRun { .. })), "{gone:?}");
    worker.cancel(survey);
    assert!(matches!(wait_for_end(&mut worker, survey).1, Err(Error::Cancelled)));
    // The history of this test's process.
    let _ = std::fs::remove_dir_all(bench::history::default_path().unwrap().parent().unwrap());
}

#[test]
fn an_export_is_written_while_another_job_is_at_work() {
    let mut worker = worker();
    let survey = worker.submit(Job::Detect { output_dir: std::env::temp_dir() }).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let request = deploy::ExportRequest {
        what: deploy::Export::TableCsv,
        dir: dir.path().into(),
        model: Arc::new(deploy::test_rows::model()),
        machine: Box::default(),
        goal: crate::advise::Goal::default(),
        limits: crate::advise::Limits::default(),
        learned: crate::advise::Learned::default(),
        rows: deploy::test_rows::rows(),
    };
    let id = worker.submit(Job::Export(Box::new(request))).unwrap();
    let (_, result) = wait_for_end(&mut worker, id);
    let Ok(Output::Exported(path)) = result else { panic!("{result:?}") };
    let text = std::fs::read_to_string(path).unwrap();
    assert!(deploy::test_rows::rows().iter().all(|row| text.contains(&row.name)), "{text}");
    worker.cancel(survey);
    assert!(matches!(wait_for_end(&mut worker, survey).1, Err(Error::Cancelled)), "it was still at work");
}

#[test]
fn a_model_that_cannot_be_opened_fails_its_answer_and_its_judgement() {
    let mut worker = worker();
    let path = std::path::PathBuf::from("/no/such/file.gguf");
    let request =
        bench::AnswerRequest { paths: vec![path.clone()], prompts: vec!["why?".into()], ..bench::AnswerRequest::default() };
    let id = worker.submit(Job::Answer { request }).unwrap();
    let (_, result) = wait_for_end(&mut worker, id);
    let Ok(Output::Answers(answers)) = result else { panic!("{result:?}") };
    assert!(answers.len() == 1 && answers[0].path == path && answers[0].result.is_err());
    let request = bench::quality::QualityRequest {
        reference: path.clone(),
        candidates: vec![path],
        ..bench::quality::QualityRequest::default()
    };
    let id = worker.submit(Job::Quality { request }).unwrap();
    assert!(wait_for_end(&mut worker, id).1.is_err());
}

#[test]
fn each_file_that_has_no_bin_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let paths = ["none.gguf", "a.gguf", "b.gguf"].map(|name| dir.path().join(name));
    for path in &paths[1..] {
        std::fs::write(path, "x").unwrap();
    }
    let mut worker = worker();
    let id = worker.submit(Job::Remove { paths: paths.to_vec(), removal: convert::Removal::Bin }).unwrap();
    let (_, refused) = wait_for_end(&mut worker, id);
    assert!(matches!(&refused, Err(Error::NoBin { paths: told, .. }) if *told == paths[1..]), "{refused:?}");
}

#[test]
fn a_file_is_verified_in_the_background() {
    let mut worker = worker();
    let request = convert::VerifyRequest { path: "/no/such/file.gguf".into(), source: None, imatrix: None };
    let id = worker.submit(Job::Verify { request }).unwrap();
    assert!(matches!(wait_for_end(&mut worker, id).1, Err(Error::Io { .. })));
    let dir = tempfile::tempdir().unwrap();
    let sample = convert::open_model(&convert::unpack_sample(dir.path()).unwrap()).unwrap();
    let request = convert::ConvertRequest::new(vec![crate::model::Level::Q8_0], dir.path());
    let path = convert::convert(&sample, &request, &Monitor::silent()).unwrap().remove(0).path;
    let request = convert::VerifyRequest { path: path.clone(), source: None, imatrix: None };
    let id = worker.submit(Job::Verify { request }).unwrap();
    let Ok(Output::Verified(found)) = wait_for_end(&mut worker, id).1 else { panic!("not verified") };
    assert_eq!((&found.path, found.findings.as_slice()), (&path, [].as_slice()));
}

#[test]
fn a_conversion_that_cannot_end_well_is_refused_before_its_matrix_is_collected() {
    let dir = tempfile::tempdir().unwrap();
    let model = Arc::new(crate::ui::test_support::sample_model());
    let taken = convert::output_path(&model, crate::model::Level::Q8_0, dir.path());
    std::fs::write(&taken, "mine").unwrap();
    let collecting = crate::calibrate::imatrix::CollectRequest {
        model: "/no/such/file.gguf".into(),
        text: crate::calibrate::text::TextSource::Bundled,
        n_ctx: 512,
        max_chunks: None,
        out: dir.path().join("a.imatrix.gguf"),
        existing: crate::calibrate::imatrix::Existing::Refuse,
        by_attention: true,
        n_threads: None,
    };
    let mut worker = worker();
    let mut refusal = |levels: &[crate::model::Level]| {
        let plain = convert::ConvertRequest::new(levels.into(), dir.path());
        let convert = convert::ConvertRequest { imatrix: Some(collecting.out.clone()), ..plain };
        let before = Some(Box::new((Arc::clone(&model), convert)));
        let id = worker.submit(Job::CollectImatrix { request: Box::new(collecting.clone()), before }).unwrap();
        wait_for_end(&mut worker, id).1.map(|_| ()).unwrap_err()
    };
    assert_eq!(refusal(&[crate::model::Level::Q8_0]), Error::OutputExists { path: taken.clone() });
    // A level that waits for the matrix is looked at afterwards; here the model is missing.
    assert!(!matches!(refusal(&[crate::model::Level::IQ2_XS]), Error::OutputExists { .. }));
}

#[test]
fn a_picked_path_arrives_as_an_event() {
    let worker = worker();
    worker.pick(Picked::Model);
    let event = worker.events.recv_timeout(std::time::Duration::from_secs(5)).unwrap();
    assert!(matches!(event, Event::Picked { wanted: Picked::Model, path: None }));
}

#[test]
fn dropping_the_worker_ends_it() {
    let mut worker = worker();
    worker.submit(Job::Detect { output_dir: std::env::temp_dir() }).unwrap();
    drop(worker);
}
