//! Conversions that go on where an earlier run was stopped, and what `verify` says of their outputs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::paths::{journal_path, part_path};
use super::tests::{Fixture, data, read_model};
use super::*;
use crate::error::Error;
use crate::format::inspect;
use crate::model::DType;
use crate::monitor::{Leftovers, Monitor};

const LEVELS: [Level; 2] = [Level::Q8_0, Level::Q4_K_M];

/// A monitor that cancels once `n_bytes` of the source are done.
pub(super) fn cancelling_at(n_bytes: u64) -> Monitor {
    let cancelled = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&cancelled);
    Monitor::new(cancelled, move |progress| {
        if progress.done >= n_bytes {
            flag.store(true, Ordering::Relaxed);
        }
    })
}

fn resuming(fixture: &Fixture, levels: &[Level]) -> ConvertRequest {
    ConvertRequest { resume: Resume::Required, keep_unfinished: true, ..fixture.request(levels) }
}

fn path(request: &ConvertRequest, level: Level) -> PathBuf {
    request.out_dir.join(format!("tiny-{level}.gguf"))
}

/// Bytes of both outputs from a run without interruption.
fn uninterrupted(fixture: &Fixture) -> Vec<Vec<u8>> {
    let request = ConvertRequest { out_dir: fixture.dir.path().join("whole"), ..fixture.request(&LEVELS) };
    let made = convert(&fixture.model, &request, &Monitor::silent()).unwrap();
    made.iter().map(|made| std::fs::read(&made.path).unwrap()).collect()
}

/// Stops a run in the middle; returns how many lines the journal of the first level has.
fn stopped(fixture: &Fixture, request: &ConvertRequest) -> usize {
    let monitor = cancelling_at(fixture.model.tensor_bytes() / 2);
    assert_eq!(convert(&fixture.model, request, &monitor), Err(Error::Cancelled));
    let output = path(request, Level::Q8_0);
    assert!(!output.exists() && part_path(&output).exists());
    std::fs::read_to_string(journal_path(&output)).map_or(0, |text| text.lines().count())
}

#[test]
fn a_resumed_run_gives_the_bytes_of_an_uninterrupted_one() {
    let fixture = Fixture::new();
    let expected = uninterrupted(&fixture);
    let request = resuming(&fixture, &LEVELS);
    let n_lines = stopped(&fixture, &request);
    assert!(n_lines >= 2, "{n_lines} lines");
    // One level alone may go on too, with any number of threads, and stop again.
    let alone = ConvertRequest { levels: vec![Level::Q8_0], n_threads: Some(5), ..request.clone() };
    let made = convert(&fixture.model, &alone, &Monitor::silent()).unwrap();
    assert!(std::fs::read(&made[0].path).unwrap() == expected[0]);
    let rest = ConvertRequest { levels: vec![Level::Q4_K_M], ..request };
    let made = convert(&fixture.model, &rest, &Monitor::silent()).unwrap();
    assert!(std::fs::read(&made[0].path).unwrap() == expected[1]);
    assert_eq!(fixture.outputs(), ["tiny-Q4_K_M.gguf", "tiny-Q8_0.gguf"]);
}

#[test]
fn a_run_that_has_to_be_resumable_writes_down_all_that_is_complete() {
    let fixture = Fixture::new();
    let request = ConvertRequest { keep_unfinished: false, ..resuming(&fixture, &LEVELS) };
    let monitor = cancelling_at(fixture.model.tensor_bytes());
    assert_eq!(convert(&fixture.model, &request, &monitor), Err(Error::Cancelled));
    for level in LEVELS {
        let journal = std::fs::read_to_string(journal_path(&path(&request, level))).unwrap();
        assert_eq!(journal.lines().count(), 1 + fixture.model.tensors.len(), "{level}: what it is made of, and each tensor");
    }
}

#[test]
fn whoever_ends_a_run_decides_what_stays_of_it() {
    let check = |asked: bool, decided: bool| {
        let fixture = Fixture::new();
        let expected = uninterrupted(&fixture);
        let request = ConvertRequest { keep_unfinished: asked, resume: Resume::IfSame, ..fixture.request(&LEVELS) };
        let leftovers = Leftovers::default();
        leftovers.set(decided);
        let monitor = cancelling_at(fixture.model.tensor_bytes() / 2).with_leftovers(leftovers);
        assert_eq!(convert(&fixture.model, &request, &monitor), Err(Error::Cancelled));
        let output = path(&request, Level::Q8_0);
        assert_eq!((part_path(&output).exists(), journal_path(&output).exists()), (decided, decided), "{asked}");
        let made = convert(&fixture.model, &request, &Monitor::silent()).unwrap();
        assert!(std::fs::read(&made[0].path).unwrap() == expected[0]);
    };
    check(false, true);
    check(true, false);
}

#[test]
fn what_an_earlier_run_left_is_checked() {
    let fixture = Fixture::new();
    let expected = uninterrupted(&fixture);
    let request = resuming(&fixture, &LEVELS);
    stopped(&fixture, &request);
    // The first tensor is there and recorded: damage it.
    let part = part_path(&path(&request, Level::Q8_0));
    let mut bytes = std::fs::read(&part).unwrap();
    let first = inspect(&fixture.dir.path().join("whole/tiny-Q8_0.gguf")).unwrap().tensors[0].offset;
    bytes[usize::try_from(first).unwrap() + 100] ^= 1;
    std::fs::write(&part, bytes).unwrap();
    let made = convert(&fixture.model, &request, &Monitor::silent()).unwrap();
    for (made, expected) in made.iter().zip(&expected) {
        assert!(&std::fs::read(&made.path).unwrap() == expected, "{}", made.level);
    }
}

#[test]
fn a_changed_source_or_recipe_is_refused_and_loses_nothing() {
    let fixture = Fixture::new();
    let request = resuming(&fixture, &LEVELS);
    stopped(&fixture, &request);
    let part = part_path(&path(&request, Level::Q4_K_M));
    let left = std::fs::read(&part).unwrap();
    let check = |model: &Model, request: &ConvertRequest, expected: &str| {
        let refused = convert(model, request, &Monitor::silent()).unwrap_err();
        assert!(matches!(&refused, Error::CannotResume { why, .. } if why == expected), "{refused}");
        assert!(std::fs::read(&part).unwrap() == left);
    };
    let mut other = fixture.model.clone();
    other.metadata.set("general.name", crate::model::Value::U32(1));
    check(&other, &request, "the recipe is a different one");
    let source = std::fs::File::options().write(true).open(&fixture.model.path).unwrap();
    source.set_modified(std::time::SystemTime::now() + std::time::Duration::from_secs(5)).unwrap();
    check(&fixture.model, &request, "the source has changed");
    // Without the wish to resume it starts over.
    let made = convert(&fixture.model, &fixture.request(&LEVELS), &Monitor::silent()).unwrap();
    assert_eq!(made.len(), 2);
    assert_eq!(fixture.outputs(), ["tiny-Q4_K_M.gguf", "tiny-Q8_0.gguf"]);
}

#[test]
fn where_it_is_the_same_it_goes_on_without_being_asked() {
    let fixture = Fixture::new();
    let expected = uninterrupted(&fixture);
    let request = |dir: &str| ConvertRequest { out_dir: fixture.dir.path().join(dir), ..resuming(&fixture, &LEVELS) };
    let if_same = |dir: &str| ConvertRequest { resume: Resume::IfSame, keep_unfinished: false, ..request(dir) };
    let is_taken_over = |dir: &str| {
        let stages = Arc::new(std::sync::Mutex::new(Vec::new()));
        let seen = Arc::clone(&stages);
        let monitor = Monitor::new(Arc::default(), move |progress| seen.lock().unwrap().push(progress.stage));
        let made = convert(&fixture.model, &if_same(dir), &monitor).unwrap();
        for (made, expected) in made.iter().zip(&expected) {
            assert!(&std::fs::read(&made.path).unwrap() == expected, "{}", made.level);
        }
        let stages = stages.lock().unwrap();
        stages.iter().any(|stage| stage.starts_with("checking what an earlier run left of"))
    };
    stopped(&fixture, &request("same"));
    assert!(is_taken_over("same"));
    // From something else it starts over, and when cancelled it leaves nothing.
    stopped(&fixture, &request("other"));
    let source = std::fs::File::options().write(true).open(&fixture.model.path).unwrap();
    source.set_modified(std::time::SystemTime::now() + std::time::Duration::from_secs(5)).unwrap();
    let fresh = |request: &ConvertRequest| {
        let model = read_model(&fixture.model.path);
        convert(&model, request, &cancelling_at(model.tensor_bytes() / 2))
    };
    assert_eq!(fresh(&if_same("other")), Err(Error::Cancelled));
    assert_eq!(std::fs::read_dir(if_same("other").out_dir).unwrap().count(), 0);
}

#[test]
fn resuming_nothing_is_starting() {
    let fixture = Fixture::new();
    let expected = uninterrupted(&fixture);
    let request = resuming(&fixture, &LEVELS);
    // What some other program left under the name, without a journal.
    std::fs::create_dir_all(&request.out_dir).unwrap();
    std::fs::write(part_path(&path(&request, Level::Q8_0)), "left over").unwrap();
    let made = convert(&fixture.model, &request, &Monitor::silent()).unwrap();
    assert!(std::fs::read(&made[0].path).unwrap() == expected[0]);
}

fn verified(path: &Path) -> Result<Verification> {
    verify(&VerifyRequest { path: path.to_path_buf(), source: None, imatrix: None }, &Monitor::silent())
}

#[test]
fn an_output_vouches_for_itself() {
    let fixture = Fixture::new();
    let made = convert(&fixture.model, &fixture.request(&LEVELS), &Monitor::silent()).unwrap();
    let path = &made[1].path;
    let request = VerifyRequest { path: path.clone(), source: Some(fixture.model.path.clone()), imatrix: None };
    let found = verify(&request, &Monitor::silent()).unwrap();
    assert_eq!((found.findings.len(), found.outcome()), (0, Ok(())));
    assert_eq!(found.recipe, "Q4_K_M");
    assert_eq!(found.source_name.as_deref(), Some("tiny-F16.gguf"));
    assert_eq!(found.compared, ["manifest", "source"]);
    // The other level is another source.
    let request = VerifyRequest { source: Some(made[0].path.clone()), ..request };
    let found = verify(&request, &Monitor::silent()).unwrap();
    assert!(found.findings.len() == 1 && found.findings[0].starts_with("it was not made from"), "{:?}", found.findings);
    let refused = verified(&fixture.model.path);
    assert_eq!(refused, Err(Error::NoChecksums { path: fixture.model.path.clone() }));
}

#[test]
fn damage_anywhere_is_found() {
    let fixture = Fixture::new();
    let made = convert(&fixture.model, &fixture.request(&LEVELS), &Monitor::silent()).unwrap();
    let path = &made[1].path;
    let model = inspect(path).unwrap();
    let intact = std::fs::read(path).unwrap();
    let manifest = std::fs::read(manifest_path(path)).unwrap();
    let check = |bytes: &[u8], expected: &[&str]| {
        std::fs::write(path, bytes).unwrap();
        assert_eq!(verified(path).unwrap().findings, expected);
    };
    let flipped = |at: u64| {
        let mut bytes = intact.clone();
        bytes[usize::try_from(at).unwrap()] ^= 1;
        bytes
    };
    let place = |text: &str| intact.windows(text.len()).position(|window| window == text.as_bytes()).unwrap() as u64;
    check(&intact, &[]);
    let second = &model.tensors[1];
    check(&flipped(second.offset), &["1 of 10 tensors is not what was written (blk.0.attn_norm.weight)"]);
    let metadata = "its metadata is not what was written";
    check(&flipped(place("Q4_K_M")), &[metadata]);
    check(
        &[intact.as_slice(), &[0; 32]].concat(),
        &[&format!("it has {} bytes, its tensors end at {}", intact.len() + 32, {
            let last = model.tensors.last().unwrap();
            last.offset + last.size_bytes
        })],
    );
    // Without the manifest it is not known which tensor.
    std::fs::remove_file(manifest_path(path)).unwrap();
    check(&intact, &[]);
    check(&flipped(second.offset), &["its tensors are not what was written"]);
    let other = String::from_utf8(manifest).unwrap().replace("\"blk.0.attn_q.weight\"", "\"blk.1.attn_q.weight\"");
    std::fs::write(manifest_path(path), &other).unwrap();
    check(&intact, &["the manifest beside it belongs to another file"]);
    std::fs::write(manifest_path(path), &other[..100]).unwrap();
    assert!(matches!(verified(path), Err(Error::Damaged { .. })));
}

#[test]
fn a_made_file_says_anew_where_it_comes_from() {
    let fixture = Fixture::with(&[("token_embd.weight", DType::F16, &[256, 4], data(1, DType::F16, &[256, 4]))]);
    let first = convert(&fixture.model, &fixture.request(&[Level::Q8_0]), &Monitor::silent()).unwrap();
    let model = read_model(&first[0].path);
    let request = ConvertRequest { out_dir: fixture.dir.path().join("second"), ..fixture.request(&[Level::Q4_0]) };
    let second = convert(&model, &request, &Monitor::silent()).unwrap();
    let found =
        verify(&VerifyRequest { path: second[0].path.clone(), source: Some(model.path), imatrix: None }, &Monitor::silent());
    let found = found.unwrap();
    assert_eq!((found.outcome(), found.recipe.as_str()), (Ok(()), "Q4_0"));
    let metadata = inspect(&second[0].path).unwrap().metadata;
    assert_eq!(metadata.0.iter().filter(|(key, _)| key.starts_with("planish.")).count(), 6);
    assert_eq!(
        metadata.str(crate::model::QUANTIZED_SOURCE_KEY).as_deref(),
        Some("Q8_0"),
        "its weights had lost something before"
    );
}

#[test]
fn a_file_of_others_under_the_name_of_the_manifest_is_kept() {
    let fixture = Fixture::new();
    let request = fixture.request(&[Level::Q8_0]);
    let manifest = manifest_path(&path(&request, Level::Q8_0));
    std::fs::create_dir_all(&request.out_dir).unwrap();
    std::fs::write(&manifest, "precious").unwrap();
    let refused = convert(&fixture.model, &request, &Monitor::silent());
    assert_eq!(refused, Err(Error::OutputExists { path: manifest.clone() }));
    assert_eq!(std::fs::read_to_string(&manifest).unwrap(), "precious");
    let forced = ConvertRequest { overwrite: Overwrite::Allowed, ..request };
    convert(&fixture.model, &forced, &Monitor::silent()).unwrap();
    assert!(Manifest::read(&manifest).unwrap().is_some());
}
