//! Levels and runs are found again, and no others.

use std::path::Path;
use std::time::{Duration, SystemTime};

use super::levels::remember_in;
use super::*;
use crate::bench::history::test_runs::{LAPTOP, NOON, quality, speed};
use crate::bench::history::{Measurement, NewRun};
use crate::bench::identity::sha256_with;
use crate::convert::{ConvertRequest, convert, open_model, unpack_sample};
use crate::model::{DType, Level};
use crate::monitor::Monitor;

#[test]
fn folders_of_mlx_are_found_by_what_was_noted_or_by_their_checksums() {
    let setup = Setup::new();
    let out = setup.dir.path().join("folders");
    let levels: Vec<Level> = ["mlx:4-bit", "mlx:8-bit"].iter().map(|name| name.parse().unwrap()).collect();
    let made = convert(&setup.checkpoint, &ConvertRequest::new(levels.clone(), &out), &Monitor::silent()).unwrap();
    let found = |folders: &[PathBuf]| -> Vec<Level> {
        let known = setup.find(&setup.checkpoint, folders);
        known.levels.iter().filter(|made| made.path.is_dir()).map(|made| made.level).collect()
    };
    let mut by_name = found(std::slice::from_ref(&out));
    by_name.sort_by_key(|level| std::cmp::Reverse(*level));
    assert_eq!(by_name, levels);
    assert_eq!(found(&[]), [], "nobody has said where they are");
    remember_in(&setup.history, &setup.checkpoint, &made).unwrap();
    assert_eq!(found(&[]).len(), 2, "it was noted");
    // What is not whole is no level; nor is a folder of another checkpoint.
    std::fs::remove_file(made[0].path.join("tokenizer.json")).unwrap();
    assert_eq!(found(&[out]), levels[1..]);
}

/// A history, the sample as a checkpoint, and its BF16 file with two levels of it in a folder.
struct Setup {
    dir: tempfile::TempDir,
    history: History,
    checkpoint: Arc<Model>,
    source: Arc<Model>,
    levels: Vec<Conversion>,
}

impl Setup {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let history = History::open(&dir.path().join("history.sqlite3")).unwrap();
        let checkpoint = open_model(&unpack_sample(dir.path()).unwrap()).unwrap();
        let out = dir.path().join("levels");
        let request = ConvertRequest::new(vec![Level::BF16, Level::Q8_0, Level::Q4_0], &out);
        let mut levels = convert(&checkpoint, &request, &Monitor::silent()).unwrap();
        for made in &levels {
            make_older(&made.path);
        }
        let source = open_model(&levels.remove(0).path).unwrap();
        Self { dir, history, checkpoint: Arc::new(checkpoint), source: Arc::new(source), levels }
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("levels")
    }

    fn find(&self, model: &Arc<Model>, folders: &[PathBuf]) -> Known {
        let request =
            FindRequest { model: Arc::clone(model), folders: folders.to_vec(), known: Vec::new(), machine: Some(LAPTOP.into()) };
        find_in(Some(&self.history), &request).unwrap()
    }

    fn sha256(&self, path: &Path) -> String {
        sha256_with(Some(&self.history), &[path.to_path_buf()], &Monitor::silent()).unwrap()
    }

    /// A speed run of this file.
    fn speed(&self, path: &Path, decode: f64) -> NewRun {
        let mut run = speed("Q8_0", &[decode]);
        if let Measurement::Speed(run) = &mut run.measurement {
            run.path = path.into();
            run.size_bytes = path.metadata().unwrap().len();
            run.provenance.runtime = runtime::version().unwrap_or_default();
        }
        NewRun { model_sha256: Some(self.sha256(path)), ..run }
    }

    /// A quality run of this file against the source.
    fn quality(&self, path: &Path, kld: f64) -> NewRun {
        let mut run = quality("Q8_0", &[kld]);
        if let Measurement::Quality(run) = &mut run.measurement {
            let run = Arc::make_mut(run);
            run.path = path.into();
            run.size_bytes = path.metadata().unwrap().len();
            run.provenance.runtime = runtime::version().unwrap_or_default();
            run.provenance.model_sha256 = self.sha256(path);
            run.provenance.reference_sha256 = self.sha256(&self.source.path);
        }
        run
    }
}

/// Sets a file's time back: hashes are remembered only for files that were not written a moment ago.
fn make_older(path: &Path) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    // Before the made-up runs of `test_runs`.
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(NOON.unsigned_abs() - 1000)).unwrap();
}

fn names(known: &Known) -> Vec<String> {
    known.levels.iter().map(Conversion::name).collect()
}

#[test]
fn levels_are_found_whatever_they_are_called_and_wherever_they_were_written() {
    let setup = Setup::new();
    let known = setup.find(&setup.source, &[]);
    assert_eq!(names(&known), ["Q8_0", "Q4_0"], "beside it, the largest first");
    let (found, made) = (&known.levels[0], &setup.levels[0]);
    assert_eq!((&found.path, found.size_bytes, &found.source), (&made.path, made.size_bytes, &setup.source.path));
    assert!((found.bits_per_weight - made.bits_per_weight).abs() < 1e-9);
    // The checkpoint itself: its own file stands for it.
    let known = setup.find(&setup.checkpoint, &[setup.folder()]);
    assert_eq!(names(&known), ["Q8_0", "Q4_0"]);
    assert_eq!(known.stand_in.as_ref().map(|model| &model.path), Some(&setup.source.path));
    assert!(known.levels.iter().all(|level| level.source == setup.source.path));
    // That is noted now, so that neither folder nor name matters any more.
    let renamed = setup.folder().join("mine.gguf");
    std::fs::rename(&setup.levels[1].path, &renamed).unwrap();
    let known = setup.find(&setup.checkpoint, &[]);
    assert_eq!(names(&known), ["Q8_0", "Q4_0"]);
    assert_eq!(known.levels[1].path, renamed);
}

#[test]
fn a_file_with_the_right_name_but_of_another_model_is_no_level() {
    let setup = Setup::new();
    // Another model of the same shape and name: one byte of its weights differs.
    let other = setup.dir.path().join("other");
    std::fs::create_dir(&other).unwrap();
    let path = other.join(setup.source.path.file_name().unwrap());
    let mut bytes = std::fs::read(&setup.source.path).unwrap();
    let at = usize::try_from(setup.source.tensors[0].offset).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let mut model = open_model(&path).unwrap();
    // Nothing in its header tells where it comes from, as in a downloaded file.
    model.metadata.0.retain(|(key, _)| !key.starts_with("planish."));
    let found = setup.find(&Arc::new(model.clone()), &[setup.folder()]);
    assert_eq!(names(&found), [] as [&str; 0]);
    // Its own levels are found, by reading it.
    let request = ConvertRequest::new(vec![Level::Q4_0], setup.dir.path().join("others levels"));
    convert(&model, &request, &Monitor::silent()).unwrap();
    let found = setup.find(&Arc::new(model), &[setup.folder(), request.out_dir.clone()]);
    assert_eq!(names(&found), ["Q4_0"]);
    assert!(found.levels[0].path.starts_with(&request.out_dir));
}

#[test]
fn other_files_and_the_model_itself_are_left_out() {
    let setup = Setup::new();
    std::fs::write(setup.folder().join("broken-Q2_K.gguf"), "GGUF").unwrap();
    std::fs::write(setup.folder().join("notes.txt"), "mine").unwrap();
    std::fs::create_dir(setup.folder().join("folder.gguf")).unwrap();
    std::fs::copy(&setup.source.path, setup.folder().join("copy.gguf")).unwrap();
    let folders = [setup.folder(), setup.folder().join("."), "/no/such".into()];
    assert_eq!(names(&setup.find(&setup.source, &folders)), ["Q8_0", "Q4_0"], "each once");
    // A file of the same weights whose header tells nothing is read.
    let mut plain = (*setup.source).clone();
    plain.metadata.0.retain(|(key, _)| !key.starts_with("planish."));
    std::fs::remove_file(setup.folder().join("copy.gguf")).unwrap();
    assert_eq!(names(&setup.find(&Arc::new(plain), &folders)), ["Q8_0", "Q4_0"]);
}

#[test]
fn a_large_model_is_told_by_its_small_tensors() {
    let setup = Setup::new();
    let summary = crate::format::summarize_gguf(&setup.levels[0].path).unwrap();
    let candidate = super::levels::Candidate { path: setup.levels[0].path.clone(), summary, source: String::new() };
    assert_eq!(super::levels::has_same_small_tensors(&setup.source, &candidate), Ok(true));
    let norm = setup.source.tensors.iter().find(|tensor| tensor.dtype == DType::F32).unwrap();
    let mut bytes = std::fs::read(&setup.source.path).unwrap();
    bytes[usize::try_from(norm.offset).unwrap()] ^= 1;
    let other = setup.dir.path().join("other.gguf");
    std::fs::write(&other, bytes).unwrap();
    assert_eq!(super::levels::has_same_small_tensors(&open_model(&other).unwrap(), &candidate), Ok(false));
}

#[test]
fn runs_are_found_by_what_is_in_the_files() {
    let mut setup = Setup::new();
    let [q8, q4] = [0, 1].map(|idx| setup.levels[idx].path.clone());
    let runs = [
        setup.speed(&setup.source.path, 10.0),
        setup.speed(&q8, 20.0),
        setup.speed(&q8, 22.0),
        setup.quality(&q8, 0.25),
        setup.quality(&q4, 0.5),
        // Of other models.
        NewRun { model_sha256: Some("00".repeat(32)), ..setup.speed(&q4, 99.0) },
        {
            let mut other = setup.quality(&q4, 0.75);
            if let Measurement::Quality(run) = &mut other.measurement {
                Arc::make_mut(run).provenance.reference_sha256 = "00".repeat(32);
            }
            other
        },
    ];
    setup.history.record(&runs).unwrap();
    // Moved and renamed within the file system.
    let moved = setup.dir.path().join("moved.gguf");
    std::fs::rename(&q4, &moved).unwrap();
    for model in [&setup.source, &setup.checkpoint] {
        let known = setup.find(model, &[setup.folder(), setup.dir.path().into()]);
        let speeds: Vec<(&Path, f64)> = known
            .outcomes
            .iter()
            .map(|outcome| (outcome.path.as_path(), outcome.result.as_ref().unwrap().decode_tokens_per_sec.median()))
            .collect();
        assert_eq!(speeds, [(setup.source.path.as_path(), 10.0), (q8.as_path(), 22.0)], "the latest of each");
        let losses: Vec<(&Path, f64)> = known
            .quality
            .iter()
            .map(|outcome| (outcome.path.as_path(), outcome.result.as_ref().unwrap().summary.mean_kld.value))
            .collect();
        assert_eq!(losses, [(q8.as_path(), 0.25), (if cfg!(unix) { moved.as_path() } else { q4.as_path() }, 0.5)]);
        assert!(known.quality.iter().all(|outcome| {
            outcome.result.as_ref().is_ok_and(|run| run.reference == setup.source.path && run.path == outcome.path)
        }));
        let origins: Vec<(i64, i64)> = known.origins.iter().map(|origin| (origin.run_id, origin.recorded_unix_secs)).collect();
        assert_eq!(origins, [(1, NOON), (3, NOON), (4, NOON), (5, NOON)]);
        assert!(known.origins.iter().all(|origin| origin.differences.is_empty()), "{:?}", known.origins);
    }
    // A file that was changed since is another.
    let mut bytes = std::fs::read(&q8).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&q8, bytes).unwrap();
    let known = setup.find(&setup.source, &[]);
    assert!(known.outcomes.iter().all(|outcome| outcome.path != q8), "{:?}", known.outcomes);
}

#[test]
fn runs_of_other_machines_runtimes_and_texts_are_told_apart_and_come_second() {
    let mut setup = Setup::new();
    let [q8, q4] = [0, 1].map(|idx| setup.levels[idx].path.clone());
    let elsewhere = |run: NewRun| NewRun { machine: "Apple M3, 16.0 GiB".into(), ..run };
    let mut on_other_text = setup.quality(&q4, 0.5);
    if let Measurement::Quality(run) = &mut on_other_text.measurement {
        let run = Arc::make_mut(run);
        (run.provenance.text_name, run.provenance.text_sha256) = ("mine.txt".into(), "77".repeat(32));
    }
    let mut with_other_runtime = setup.speed(&q4, 40.0);
    if let Measurement::Speed(run) = &mut with_other_runtime.measurement {
        run.provenance.runtime = "llama.cpp b1".into();
    }
    let here = setup.speed(&q8, 20.0);
    let runs = [here, elsewhere(setup.speed(&q8, 90.0)), elsewhere(with_other_runtime), on_other_text, setup.quality(&q8, 0.25)];
    setup.history.record(&runs).unwrap();
    let known = setup.find(&setup.source, &[]);
    let notes: Vec<(i64, Option<String>)> = known.origins.iter().map(|origin| (origin.run_id, origin.note())).collect();
    let is_measuring = runtime::version().is_some();
    let other = if is_measuring { " and with another runtime (llama.cpp b1)" } else { "" };
    assert_eq!(
        notes,
        [
            (1, None),
            (3, Some(format!("measured on another machine (Apple M3, 16.0 GiB){other}"))),
            (5, None),
            (4, Some("measured on another text (mine.txt)".into())),
        ]
    );
}

#[test]
fn what_was_made_is_noted_and_what_is_gone_is_told() {
    let setup = Setup::new();
    remember_in(&setup.history, &setup.source, &setup.levels).unwrap();
    let identity = crate::bench::history::FileIdentity::of(&setup.source.files).unwrap();
    assert_eq!(setup.history.conversions_of(&identity).unwrap().len(), 2);
    let gone = setup.folder().join("gone.gguf");
    let request = FindRequest {
        model: Arc::clone(&setup.source),
        folders: Vec::new(),
        known: vec![setup.levels[0].path.clone(), gone.clone()],
        machine: Some(LAPTOP.into()),
    };
    assert_eq!(find_in(None, &request).unwrap().gone, [gone]);
}

/// Prints how long it takes with 40 runs and 12 levels; no limit, because the time depends on the machine and what else it does.
#[test]
fn forty_runs_and_twelve_levels_are_found_quickly() {
    let mut setup = Setup::new();
    for made in setup.levels.clone() {
        for n in 2..=6 {
            std::fs::copy(&made.path, made.path.with_file_name(format!("{}-{n}.gguf", made.level))).unwrap();
        }
    }
    let files = std::fs::read_dir(setup.folder()).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<PathBuf> =
        files.filter(|path| path.extension() == Some("gguf".as_ref()) && *path != setup.source.path).collect();
    assert_eq!(files.len(), 12);
    let mut runs = Vec::new();
    for path in &files {
        make_older(path);
        runs.push(setup.speed(path, 20.0));
        runs.push(setup.quality(path, 0.25));
    }
    runs.extend(runs.clone());
    runs.truncate(40);
    setup.history.record(&runs).unwrap();
    let _ = setup.find(&setup.source, &[]);
    let started = std::time::Instant::now();
    let known = setup.find(&setup.source, &[]);
    println!("{} levels and {} runs found in {:?}", known.levels.len(), known.origins.len(), started.elapsed());
    assert_eq!((known.levels.len(), known.origins.len()), (12, 24));
}
