//! The history as a whole, on real database files.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rusqlite::Connection;

use super::test_runs::{LAPTOP, NOON, quality, speed};
use super::*;
use crate::advise::{Decision, Interval};
use crate::bench::identity::sha256_with;
use crate::format::{Layout, TensorSpec, Writer};
use crate::hardware::PowerSource;
use crate::model::{DType, Metadata};
use crate::monitor::Monitor;

fn new_history() -> (tempfile::TempDir, History) {
    let dir = tempfile::tempdir().unwrap();
    let history = History::open(&dir.path().join("deep/in/history.sqlite3")).unwrap();
    (dir, history)
}

fn ids(rows: &[Row]) -> Vec<i64> {
    rows.iter().map(|row| row.id).collect()
}

fn later(run: NewRun, secs: i64) -> NewRun {
    NewRun { recorded_unix_secs: run.recorded_unix_secs + secs, ..run }
}

#[test]
fn both_kinds_come_back_as_they_went_in() {
    let (_dir, mut history) = new_history();
    let runs = [speed("Q8_0", &[40.0, 42.0, 41.0]), quality("Q4_K_M", &[0.25, 0.5, 0.75])];
    let ids = history.record(&runs).unwrap();
    // Another program reads it.
    let history = History::open(history.path()).unwrap();
    let entries = history.get(&ids).unwrap();
    for (entry, run) in entries.iter().zip(&runs) {
        assert_eq!(entry.measurement, run.measurement);
    }
    let row = &entries[0].row;
    assert_eq!((row.kind, row.model_name.as_str(), row.level.as_deref()), (Kind::Speed, "m-Q8_0.gguf", Some("Q8_0")));
    assert_eq!((row.recorded_unix_secs, row.machine.as_str(), row.n_threads), (NOON, LAPTOP, 8));
    assert_eq!((row.decode_tokens_per_sec, row.decode_spread, row.peak_memory_bytes), (Some(41.0), Some(1.0), Some(200_000_000)));
    assert_eq!((row.power_source, row.temperature_celsius, row.n_tokens), (PowerSource::Mains, Some(48.5), Some(1920)));
    assert_eq!((row.mean_kld, row.verdict, row.text_name.as_deref()), (None, None, None));
    assert_eq!(row.model_sha256, Some("a1".repeat(32)));
    let row = &entries[1].row;
    assert_eq!((row.kind, row.decode_tokens_per_sec, row.n_tokens), (Kind::Quality, None, Some(768)));
    assert_eq!(row.mean_kld, Some(Interval { value: 0.5, low: 0.375, high: 0.625 }));
    assert_eq!((row.verdict, row.text_name.as_deref()), (Some(Decision::Fail), Some("bundled evaluation text")));
    assert_eq!((&row.model_sha256, &row.reference_sha256), (&Some("a1".repeat(32)), &Some("f0".repeat(32))));
    assert_eq!(history.list(&Filter::default()).unwrap().len(), 2);
}

#[test]
fn numbers_that_are_none_are_unknown_and_not_a_damage() {
    let (_dir, mut history) = new_history();
    let mut broken = quality("Q2_K", &[f64::NAN, 0.5]);
    if let Measurement::Quality(run) = &mut broken.measurement {
        Arc::make_mut(run).summary.same_top = Interval { value: 0.5, low: f64::NEG_INFINITY, high: f64::INFINITY };
    }
    let ids = history.record(&[broken, speed("Q2_K", &[])]).unwrap();
    let entries = history.get(&ids).unwrap();
    assert_eq!((entries[0].row.mean_kld, entries[1].row.decode_tokens_per_sec), (None, None));
    let Measurement::Quality(run) = &entries[0].measurement else { panic!("not quality") };
    assert!(run.chunks[0].kld.is_nan() && run.summary.mean_kld.value.is_nan() && run.summary.same_top.high.is_nan());
    let json: serde_json::Value = serde_json::from_str(&history.export(&ids, ExportFormat::Json).unwrap()).unwrap();
    assert!(json["runs"][0]["run"]["summary"]["max_kld"].is_f64() && json["runs"][0]["mean_kld"].is_null());
}

#[test]
fn runs_are_found_by_words_kind_and_time_the_latest_first() {
    let (_dir, mut history) = new_history();
    let elsewhere = NewRun { machine: "Apple M3 Pro, 36.0 GiB".into(), ..later(quality("Q4_K_M", &[0.5, 0.5]), 20) };
    history.record(&[later(speed("Q8_0", &[40.0]), 10), speed("Q4_K_M", &[60.0]), elsewhere]).unwrap();
    let check = |filter: Filter, expected: &[i64]| assert_eq!(ids(&history.list(&filter).unwrap()), expected, "{filter:?}");
    let text = |text: &str| Filter { text: text.into(), ..Filter::default() };
    check(Filter::default(), &[3, 1, 2]);
    check(text("q4_k"), &[3, 2]);
    check(text("  ryzen Q4_K_M "), &[2]);
    check(text("m-Q8"), &[1]);
    check(text("%"), &[]);
    check(Filter { kind: Some(Kind::Quality), ..Filter::default() }, &[3]);
    check(Filter { kind: Some(Kind::Speed), ..text("apple") }, &[]);
    check(Filter { since_unix_secs: Some(NOON + 10), ..Filter::default() }, &[3, 1]);
    check(Filter { limit: Some(1), ..text("ryzen") }, &[1]);
}

#[test]
fn deleted_runs_are_gone_and_their_numbers_are_not_given_again() {
    let (_dir, mut history) = new_history();
    let mut secret = quality("Q8_0", &[0.5, 0.5]);
    if let Measurement::Quality(run) = &mut secret.measurement {
        Arc::make_mut(run).flips[0].before = "my diary says".into();
    }
    history.record(&[speed("Q8_0", &[40.0]), secret]).unwrap();
    assert_eq!(history.delete(&[2, 2, 77]), Ok(1));
    assert_eq!(ids(&history.list(&Filter::default()).unwrap()), [1]);
    assert_eq!(history.get(&[1, 2]).unwrap_err(), Error::UnknownRun { id: 2 });
    assert_eq!(history.record(&[speed("Q8_0", &[40.0])]), Ok(vec![3]));
    // The text of the deleted run stands in no file any more.
    for file in std::fs::read_dir(history.path().parent().unwrap()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(13).any(|part| part == b"my diary says"));
    }
}

#[test]
fn exports_have_a_line_for_each_run_and_all_details() {
    let (_dir, mut history) = new_history();
    let odd = NewRun { machine: "a \"fast\" one, or not".into(), ..speed("Q8_0", &[40.0, 42.0, 41.0]) };
    history.record(&[odd, quality("Q4_K_M", &[0.25, 0.75])]).unwrap();
    let csv = history.export(&[2, 1], ExportFormat::Csv).unwrap();
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].starts_with("id,recorded_utc,recorded_unix_secs,kind,model_name,path,"), "{}", lines[0]);
    assert!(lines[1].starts_with("2,2026-08-21T14:05:00Z,1787321100,quality,m-Q4_K_M.gguf,"), "{}", lines[1]);
    assert!(
        lines[1].contains(",0.5,0.375,0.625,") && lines[2].contains(",\"a \"\"fast\"\" one, or not\",8,mains,48.5,41,1,900,10,")
    );
    assert_eq!(
        lines[0].split(',').count(),
        lines[1].replace("CPU (AVX512, VNNI)", "").replace("Q8_0, 61", "").replace("U, 27", "").split(',').count()
    );
    let json: serde_json::Value = serde_json::from_str(&history.export(&[1, 2], ExportFormat::Json).unwrap()).unwrap();
    assert_eq!(json["runs"][0]["run"]["decode_tokens_per_sec"]["values"][1], 42.0);
    assert_eq!((&json["runs"][1]["kind"], &json["runs"][1]["verdict"]), (&"quality".into(), &"FAIL".into()));
    assert_eq!(json["runs"][1]["run"]["flips"][0]["candidate"]["text"], "1968");
    assert_eq!(history.export(&[9], ExportFormat::Csv), Err(Error::UnknownRun { id: 9 }));
}

#[test]
fn runs_are_held_against_the_first() {
    let (_dir, mut history) = new_history();
    let other_text = {
        let mut run = quality("Q2_K", &[0.5; 6]);
        if let Measurement::Quality(run) = &mut run.measurement {
            Arc::make_mut(run).provenance.text_sha256 = "other".into();
        }
        run
    };
    let varied = |shift: f64| [0.1, 0.3, 0.5, 0.2, 0.4, 0.6].map(|kld| kld + shift);
    let slower = NewRun { machine: "a server".into(), ..speed("Q4_K_M", &[20.0, 21.0, 20.5]) };
    history
        .record(&[
            speed("Q8_0", &[40.0, 42.0, 41.0]),
            slower,
            quality("Q8_0", &varied(0.0)),
            quality("Q4_K_M", &varied(0.25)),
            other_text,
        ])
        .unwrap();
    let line = |comparison: &Comparison, quantity| {
        comparison.numbers.iter().find(|line| line.quantity == quantity).cloned().unwrap_or_else(|| panic!("no {quantity:?}"))
    };

    let speeds = history.compare(&[1, 2]).unwrap();
    let decode = line(&speeds, Quantity::Decode);
    assert_eq!(decode.values[0], Some(Interval { value: 41.0, low: 40.0, high: 42.0 }));
    let change = decode.changes[1].unwrap();
    assert_eq!(
        (change.judgement, change.by),
        (Judgement::Worse, Interval { value: -0.5, low: 20.0 / 42.0 - 1.0, high: 21.0 / 40.0 - 1.0 })
    );
    assert_eq!(
        line(&speeds, Quantity::Size).changes,
        [None, Some(Change { by: Interval::exact(0.0), judgement: Judgement::Same })]
    );
    assert!(speeds.numbers.iter().all(|line| line.quantity != Quantity::MeanKld));
    assert_eq!(speeds.notes, ["run 2 was measured on another machine"]);
    let machine = speeds.facts.iter().find(|fact| fact.name == "Machine").unwrap();
    assert!(machine.differs && machine.values == [LAPTOP, "a server"]);
    assert!(speeds.facts.iter().all(|fact| fact.name != "Text"));

    let losses = history.compare(&[3, 4, 5]).unwrap();
    let kld = line(&losses, Quantity::MeanKld);
    // Every chunk lost exactly 0.25 more: known without doubt, though the two values are not.
    let change = kld.changes[1].unwrap();
    assert!((change.by.value - 0.25).abs() < 1e-12 && change.by.half_width() < 1e-12, "{change:?}");
    assert_eq!((change.judgement, kld.changes[2]), (Judgement::Worse, None));
    let top = line(&losses, Quantity::SameTop);
    assert_eq!((top.changes[1].unwrap().judgement, top.changes[2]), (Judgement::Unclear, None));
    assert_eq!(losses.notes, ["run 5 was measured on another text: losses on different texts cannot be compared"]);

    let joined = history.compare_joined(&[vec![1, 3], vec![2, 4]]).unwrap();
    assert_eq!(joined.runs.iter().map(|row| row.id).collect::<Vec<_>>(), [1, 2], "each column has the number of its first run");
    assert_eq!(line(&joined, Quantity::Decode), decode);
    assert_eq!(line(&joined, Quantity::MeanKld).changes, [None, Some(change)]);
    assert_eq!(joined.facts.iter().find(|fact| fact.name == "Kind").unwrap().values, ["Speed and Quality"; 2]);
    assert_eq!(joined.notes, ["run 2 was measured on another machine"]);

    let mixed = history.compare(&[3, 1]).unwrap();
    assert_eq!(line(&mixed, Quantity::Decode).changes, [None, None]);
    assert!(mixed.notes[0].contains("something other"), "{:?}", mixed.notes);
    assert_eq!(history.compare(&[1, 1]).unwrap().runs.len(), 1);
    assert_eq!(history.compare(&[1, 8]), Err(Error::UnknownRun { id: 8 }));
}

#[test]
fn a_tiny_change_of_peak_memory_means_nothing() {
    let (_dir, mut history) = new_history();
    let with_memory = |peak_memory_bytes| {
        let mut run = speed("Q8_0", &[40.0]);
        if let Measurement::Speed(run) = &mut run.measurement {
            run.peak_memory_bytes = peak_memory_bytes;
        }
        run
    };
    history.record(&[200_000_000, 200_004_096, 210_000_000, 200_000_000].map(with_memory)).unwrap();
    let comparison = history.compare(&[1, 2, 3, 4]).unwrap();
    let line = comparison.numbers.iter().find(|line| line.quantity == Quantity::PeakMemory).unwrap();
    let judgements: Vec<_> = line.changes.iter().flatten().map(|change| change.judgement).collect();
    assert_eq!(judgements, [Judgement::Unclear, Judgement::Worse, Judgement::Same]);
}

#[test]
fn changes_are_told_with_sign_and_unit() {
    let check = |quantity: Quantity, value, low, high, expected: &str| {
        let change = Change { by: Interval { value, low, high }, judgement: Judgement::Better };
        assert_eq!(quantity.change_text(&change), expected);
    };
    check(Quantity::Decode, 0.125, 0.08, 0.171, "+12.5 % (+8.00 to +17.1)");
    check(Quantity::Size, -0.5, -0.5, -0.5, "−50.0 %");
    check(Quantity::MeanKld, -0.0031, -0.004, -0.0022, "−0.0031 (−0.0040 to −0.0022)");
    check(Quantity::SameTop, 0.02, 0.01, 0.03, "+2.00 points (+1.00 to +3.00)");
    let same = Change { by: Interval::exact(0.0), judgement: Judgement::Same };
    assert_eq!(Quantity::Size.change_text(&same), "no change");
}

/// A file as an earlier version left it.
fn of_version(path: &Path, version: usize) {
    drop(schema::open(path, &schema::MIGRATIONS[..version]).unwrap());
}

#[test]
fn a_history_of_every_earlier_version_is_brought_up_to_date_with_its_runs() {
    for version in 0..schema::MIGRATIONS.len() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.sqlite3");
        of_version(&path, version);
        if version >= 1 {
            let old = Connection::open(&path).unwrap();
            let columns = "recorded_unix_secs, kind, model_name, path, size_bytes, runtime, backend, machine, n_threads, \
                           power_source, planish, run";
            let values = "1, 'speed', 'old.gguf', '/old.gguf', 5, 'r', 'b', 'm', 2, 'battery', '0.0.1', '{}'";
            old.execute_batch(&format!("INSERT INTO runs ({columns}) VALUES ({values})")).unwrap();
        }
        let mut history = History::open(&path).unwrap();
        let rows = history.list(&Filter::default()).unwrap();
        assert_eq!(rows.len(), version.min(1), "from version {version}");
        assert!(rows.iter().all(|row| row.power_source == PowerSource::Battery && row.size_bytes == 5));
        history.record(&[speed("Q8_0", &[1.0])]).unwrap();
        let identity = FileIdentity::of(std::slice::from_ref(&path)).unwrap();
        assert_eq!(history.known_sha256(&identity), Ok(None), "from version {version}");
    }
}

#[test]
fn details_of_another_version_are_exported_though_they_cannot_be_read() {
    let (_dir, mut history) = new_history();
    history.record(&[speed("Q8_0", &[40.0]), speed("Q4_0", &[60.0])]).unwrap();
    history.connection.execute("UPDATE runs SET run = '{\"future\": 7}' WHERE id = 2", []).unwrap();
    let error = history.get(&[1, 2]).unwrap_err();
    assert!(error.to_string().contains("run 2 was written by another version"), "{error}");
    assert!(history.export(&[2], ExportFormat::Json).unwrap().contains("\"future\": 7"));
    let comparison = history.compare(&[1, 2]).unwrap();
    assert!(comparison.notes[0].contains("another version"));
    let decode = comparison.numbers.iter().find(|line| line.quantity == Quantity::Decode).unwrap();
    assert!((decode.changes[1].unwrap().by.value - 0.5).abs() < 1e-12, "the row still knows it");
}

#[test]
fn a_history_of_a_later_version_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.sqlite3");
    of_version(&path, schema::MIGRATIONS.len());
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let before = std::fs::read(&path).unwrap();
    let error = History::open(&path).unwrap_err();
    assert_eq!(error, Error::HistoryTooNew { found: 99, known: schema::MIGRATIONS.len(), path: path.clone() });
    assert!(error.hint().contains("update Planish"));
    assert!(std::fs::read(&path).unwrap() == before);
}

#[test]
fn files_that_are_no_history_are_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let check = |name: &str, make: &dyn Fn(&Path), expected: &str| {
        let path = dir.path().join(name);
        make(&path);
        let before = std::fs::read(&path).unwrap();
        let error = History::open(&path).unwrap_err();
        assert!(matches!(&error, Error::NotAHistory { .. }) && error.to_string().contains(expected), "{name}: {error}");
        assert!(std::fs::read(&path).unwrap() == before, "{name} was written to");
    };
    check("short.txt", &|path| std::fs::write(path, "my notes").unwrap(), "another kind of file");
    check("long.txt", &|path| std::fs::write(path, vec![b'x'; 100_000]).unwrap(), "another kind of file");
    let of_others = |path: &Path| Connection::open(path).unwrap().execute_batch("CREATE TABLE bookmarks (url TEXT)").unwrap();
    check("places.sqlite", &of_others, "another program");
    let named = |path: &Path| Connection::open(path).unwrap().pragma_update(None, "application_id", 7).unwrap();
    check("named.sqlite", &named, "another program");
    let cut = |path: &Path| {
        of_version(path, schema::MIGRATIONS.len());
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(5000).unwrap();
    };
    check("cut.sqlite", &cut, "damaged");
}

#[test]
fn a_folder_in_place_of_the_file_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let error = History::open(dir.path()).unwrap_err();
    assert!(matches!(&error, Error::History { action: "open", .. }), "{error}");
}

#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_written_is_an_error_with_its_path() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let closed = dir.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o555)).unwrap();
    if std::fs::write(closed.join("probe"), "").is_ok() {
        println!("SKIPPED in part: this user may write everywhere; a folder of the kernel stands in");
    } else {
        assert!(matches!(History::open(&closed.join("history.sqlite3")), Err(Error::History { action: "open", .. })));
        assert!(matches!(History::open(&closed.join("deep/history.sqlite3")), Err(Error::Io { action: "create", .. })));
    }
    if cfg!(target_os = "linux") {
        let error = History::open(Path::new("/proc/history.sqlite3")).unwrap_err();
        assert!(matches!(&error, Error::History { action: "open", .. }) && error.to_string().contains("/proc/"), "{error}");
        assert!(matches!(History::open(Path::new("/proc/deep/history.sqlite3")), Err(Error::Io { action: "create", .. })));
    }
}

#[test]
fn programs_that_open_and_write_at_once_lose_nothing() {
    const N_WRITERS: usize = 4;
    const N_RUNS: usize = 25;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.sqlite3");
    // All of them make the file, bring it up to date and switch to the log at the same moment.
    std::thread::scope(|scope| {
        for writer in 0..N_WRITERS {
            let path = &path;
            scope.spawn(move || {
                for _ in 0..N_RUNS {
                    let mut history = History::open(path).unwrap();
                    history.record(&[speed(&format!("w{writer}"), &[1.0])]).unwrap();
                    history.list(&Filter::default()).unwrap();
                }
            });
        }
    });
    let rows = History::open(&path).unwrap().list(&Filter::default()).unwrap();
    assert_eq!(rows.len(), N_WRITERS * N_RUNS);
    for writer in 0..N_WRITERS {
        let level = format!("w{writer}");
        assert_eq!(rows.iter().filter(|row| row.level.as_ref() == Some(&level)).count(), N_RUNS);
    }
}

/// A model file of one tensor whose bytes are all `fill`, changed a minute ago.
fn model_file(path: &Path, fill: u8) {
    let spec = TensorSpec { name: "t".into(), dtype: DType::F32, shape: vec![64] };
    let layout = Layout::plan(&Metadata::default(), &[spec], 32).unwrap();
    let mut writer = Writer::start(std::fs::File::create(path).unwrap(), layout, path).unwrap();
    writer.write_tensor(&[fill; 256]).unwrap();
    writer.finish().unwrap();
    set_age(path, Duration::from_mins(1));
}

fn set_age(path: &Path, age: Duration) {
    std::fs::OpenOptions::new().write(true).open(path).unwrap().set_modified(SystemTime::now() - age).unwrap();
}

/// The hash, and whether the file was read for it.
fn hashed(history: Option<&History>, path: &Path) -> (String, bool) {
    let n_reports = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&n_reports);
    let monitor = Monitor::new(Arc::default(), move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
    });
    let sha256 = sha256_with(history, &[path.to_path_buf()], &monitor).unwrap();
    (sha256, n_reports.load(Ordering::Relaxed) > 0)
}

#[test]
fn a_model_is_read_once_and_again_only_when_it_has_changed() {
    let (dir, history) = new_history();
    let path = dir.path().join("m.gguf");
    model_file(&path, 1);
    let (first, was_read) = hashed(Some(&history), &path);
    assert!(was_read && first.len() == 64);
    let again = |expected: (&String, bool), why: &str| {
        // As the next program finds it.
        let history = History::open(history.path()).unwrap();
        let (sha256, was_read) = hashed(Some(&history), &path);
        assert_eq!((&sha256 == expected.0, was_read), (true, expected.1), "{why}");
    };
    again((&first, false), "unchanged");
    set_age(&path, Duration::from_mins(2));
    again((&first, true), "another time of change");
    again((&first, false), "remembered again");
    // Another file of the same size and time under the same name: told by its inode.
    let other = dir.path().join("other.gguf");
    model_file(&other, 2);
    let time = std::fs::metadata(&path).unwrap().modified().unwrap();
    std::fs::OpenOptions::new().write(true).open(&other).unwrap().set_modified(time).unwrap();
    std::fs::rename(&other, &path).unwrap();
    let (second, was_read) = hashed(Some(&history), &path);
    assert!(cfg!(not(unix)) || (was_read && second != first));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.push(0);
    std::fs::write(&path, bytes).unwrap();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_modified(time).unwrap();
    let (third, was_read) = hashed(Some(&history), &path);
    assert!(was_read && third != second, "another size");
}

#[test]
fn a_model_that_has_just_been_changed_is_not_remembered() {
    let (dir, history) = new_history();
    let path = dir.path().join("m.gguf");
    model_file(&path, 1);
    for age in [Duration::ZERO, Duration::from_secs(1)] {
        set_age(&path, age);
        assert!(hashed(Some(&history), &path).1 && hashed(Some(&history), &path).1, "{age:?}");
    }
}

#[test]
fn a_model_is_hashed_without_a_history_too() {
    let (dir, history) = new_history();
    let path = dir.path().join("m.gguf");
    model_file(&path, 1);
    assert_eq!(hashed(None, &path), hashed(Some(&history), &path));
    assert!(hashed(None, &path).1);
}
