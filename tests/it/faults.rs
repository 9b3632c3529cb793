//! What is left behind when a conversion is killed, interrupted or starved of disk: nothing that looks finished.
//!
//! In full, with 200 kills and 50 full disks: `PLANISH_FAULTS=full cargo nextest run --no-capture faults`.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use planish::convert::manifest_path;
use planish::format::inspect;
use planish::model::{Framework, Level};
use rustix::process::Signal;

use crate::common;
use crate::convert::{assert_refused, convert, names, smollm2_output};

const LEVELS: [Level; 2] = [Level::Q8_0, Level::Q4_K_M];
const LEVEL_LIST: &str = "Q8_0,Q4_K_M";

/// How often something is tried: `usual` times, or `full` times with `PLANISH_FAULTS=full`.
pub fn n_tries(usual: u32, full: u32) -> u32 {
    if std::env::var_os("PLANISH_FAULTS").is_some_and(|wanted| wanted == "full") { full } else { usual }
}

pub fn start(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits for the end; kills and fails after a minute.
pub fn wait(mut child: Child) -> Output {
    let deadline = Instant::now() + Duration::from_mins(1);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("still running after a minute");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.wait_with_output().unwrap()
}

/// Waits until `condition` holds, for ten seconds at most, and tells whether it does.
pub fn eventually(mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    false
}

/// True once each of `n_outputs` in `dir` has its size. All get it, one after the other, before the first byte is written; on a
/// busy machine that can take longer than any fixed pause.
pub fn have_their_size(dir: &Path, n_outputs: usize) -> bool {
    let has_bytes = |path: &Path| path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0);
    let has_size = |name: &String| {
        let path = dir.join(name);
        has_bytes(&path) || std::fs::read_dir(&path).is_ok_and(|files| files.flatten().any(|file| has_bytes(&file.path())))
    };
    // A manifest on its way stands beside its output, which may be the first of several.
    let outputs: Vec<String> = names(dir).into_iter().filter(|name| !name.contains(".manifest.json")).collect();
    outputs.len() == n_outputs && outputs.iter().all(has_size)
}

fn send(signal: Signal, child: &Child) {
    rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).unwrap();
}

/// How long a run without faults takes, and the bytes of its outputs.
fn undisturbed(source: &Path, out_dir: &Path) -> (Duration, [Vec<u8>; LEVELS.len()]) {
    let started = Instant::now();
    assert!(wait(start(&mut convert(source, LEVEL_LIST, out_dir))).status.success());
    (started.elapsed(), LEVELS.map(|level| std::fs::read(smollm2_output(out_dir, level)).unwrap()))
}

#[test]
fn a_kill_at_any_time_leaves_no_file_that_looks_finished() {
    let n_kills = n_tries(12, 200);
    let dir = tempfile::tempdir().unwrap();
    let source = common::smollm2();
    let (whole_run, expected) = undisturbed(&source, &dir.path().join("expected"));
    let out_dir = dir.path().join("out");
    let mut n_killed = 0;
    let mut random = fastrand::Rng::with_seed(1);
    for kill in 0..n_kills {
        let mut child = start(&mut convert(&source, LEVEL_LIST, &out_dir));
        std::thread::sleep(whole_run.mul_f64(random.f64()));
        child.kill().unwrap();
        let status: ExitStatus = wait(child).status;
        n_killed += u32::from(status.code().is_none());
        for (level, expected) in LEVELS.into_iter().zip(&expected) {
            let path = smollm2_output(&out_dir, level);
            if path.exists() {
                assert!(&std::fs::read(&path).unwrap() == expected, "{level} after kill {kill} is not complete");
                std::fs::remove_file(&path).unwrap();
                let _ = std::fs::remove_file(manifest_path(&path));
            }
        }
        assert_only_parts(&out_dir);
    }
    println!("{n_killed} of {n_kills} runs were killed before they ended");
    assert!(n_killed >= n_kills / 2);
    // What the killed runs left does not get in the way.
    let output = wait(start(&mut convert(&source, LEVEL_LIST, &out_dir)));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for (level, expected) in LEVELS.into_iter().zip(&expected) {
        assert!(&std::fs::read(smollm2_output(&out_dir, level)).unwrap() == expected, "{level}");
    }
    assert_eq!(names(&out_dir).len(), LEVELS.len());
}

/// Nothing that looks finished.
fn assert_only_parts(dir: &Path) {
    let is_part = |name: &String| [".gguf.part", ".manifest.json.part", ".part.journal"].iter().any(|end| name.ends_with(end));
    let left: Vec<_> = names(dir).into_iter().filter(|name| !is_part(name)).collect();
    assert_eq!(left, [""; 0]);
}

#[test]
fn after_any_kills_a_resumed_run_gives_the_same_bytes() {
    let n_kills = n_tries(12, 200);
    let dir = tempfile::tempdir().unwrap();
    let source = common::smollm2();
    let (whole_run, expected) = undisturbed(&source, &dir.path().join("expected"));
    let out_dir = dir.path().join("out");
    let (mut n_killed, mut n_continued, mut n_finished) = (0, 0, 0);
    let mut random = fastrand::Rng::with_seed(3);
    while n_killed < n_kills || n_finished < n_kills / 4 {
        n_continued += u32::from(std::fs::read_dir(&out_dir).is_ok_and(|mut entries| {
            entries.any(|entry| entry.unwrap().file_name().to_string_lossy().ends_with(".part.journal"))
        }));
        let mut child = start(convert(&source, LEVEL_LIST, &out_dir).arg("--resume"));
        std::thread::sleep(whole_run.mul_f64(random.f64()));
        child.kill().unwrap();
        let output = wait(child);
        if output.status.code().is_none() {
            n_killed += 1;
            // Killed while its outputs got their names: those that have one are complete, and what is left belongs to the others.
            let is_named: Vec<_> = LEVELS.into_iter().filter(|&level| smollm2_output(&out_dir, level).exists()).collect();
            if is_named.is_empty() {
                continue;
            }
            let rest: Vec<_> = LEVELS.into_iter().filter(|level| !is_named.contains(level)).map(Level::name).collect();
            if !rest.is_empty() {
                let output = wait(start(convert(&source, &rest.join(","), &out_dir).arg("--resume")));
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            }
        } else {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        n_finished += 1;
        for (level, expected) in LEVELS.into_iter().zip(&expected) {
            assert!(&std::fs::read(smollm2_output(&out_dir, level)).unwrap() == expected, "{level} after {n_killed} kills");
        }
        std::fs::remove_dir_all(&out_dir).unwrap();
    }
    println!("{n_killed} kills, {n_continued} runs went on with what was left, {n_finished} results compared");
    assert!(n_continued > 0);
}

/// All levels: long enough to be interrupted in the middle.
fn many_levels() -> Vec<String> {
    let needs_matrix = |level: &Level| level.preset().unwrap().needs_imatrix();
    Level::of(Framework::LlamaCpp).filter(|level| !needs_matrix(level)).map(|level| level.to_string()).collect()
}

#[test]
fn a_signal_cancels_and_leaves_nothing() {
    let levels = many_levels();
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let dir = tempfile::tempdir().unwrap();
        let out_dir = dir.path().join("out");
        let child = start(&mut convert(&common::smollm2(), &levels.join(","), &out_dir));
        assert!(eventually(|| have_their_size(&out_dir, levels.len())), "the conversion never started");
        std::thread::sleep(Duration::from_millis(100));
        let interrupted = Instant::now();
        send(signal, &child);
        let output = wait(child);
        let took = interrupted.elapsed();
        assert_eq!(output.status.code(), Some(130), "{signal:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(names(&out_dir), [""; 0], "{signal:?}");
        // 300 ms to stop, the rest to remove the files and to leave.
        assert!(took < Duration::from_secs(1), "{signal:?}: {took:?}");
    }
}

#[test]
fn a_hangup_does_not_reach_what_was_started_to_outlive_its_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let out_dir = dir.path().join("out");
    let plain = convert(&common::smollm2(), LEVEL_LIST, &out_dir);
    // As nohup does.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]).arg(plain.get_program()).args(plain.get_args());
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let child = start(&mut command);
    assert!(eventually(|| have_their_size(&out_dir, LEVELS.len())), "the conversion never started");
    send(Signal::HUP, &child);
    let output = wait(child);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(names(&out_dir).len(), LEVELS.len());
}

#[test]
fn two_runs_do_not_write_one_output() {
    let dir = tempfile::tempdir().unwrap();
    let out_dir = dir.path().join("out");
    let source = common::smollm2();
    let first = start(&mut convert(&source, LEVEL_LIST, &out_dir));
    assert!(eventually(|| !names(&out_dir).is_empty()), "the conversion never started");
    let second = wait(start(&mut convert(&source, LEVEL_LIST, &out_dir)));
    assert_refused(&second, "another run is writing");
    assert!(wait(first).status.success());
    assert_eq!(names(&out_dir).len(), LEVELS.len());
}

/// A small file system of its own, unmounted on drop.
pub struct Disk {
    /// Where it is mounted.
    pub at: PathBuf,
}

impl Disk {
    /// A disk of ext2, which cannot take space in advance, so that it really runs full in the middle. `None`, with a line that
    /// says so, without `mke2fs` or where mounting is not permitted.
    pub fn ext2(parent: &Path, n_bytes: u64, test: &str) -> Option<Self> {
        let image = parent.join("image");
        std::fs::File::create(&image).unwrap().set_len(n_bytes).unwrap();
        let made = Command::new("mke2fs").args(["-q", "-F", "-t", "ext2", "-m", "0"]).arg(&image).status();
        if !made.is_ok_and(|status| status.success()) {
            println!("SKIPPED: {test}: mke2fs failed or is missing");
            return None;
        }
        let what = ["-t", "ext2", "-o", "loop", image.to_str().unwrap()];
        Self::mount(&parent.join("disk"), &what, test)
    }

    /// Mounts a file system at `at`. `None`, with a line that says so, where mounting is not permitted.
    pub fn mount(at: &Path, what: &[&str], test: &str) -> Option<Self> {
        std::fs::create_dir(at).unwrap();
        let mounted = Command::new("mount").args(what).arg(at).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self { at: at.to_path_buf() }),
            Ok(output) => {
                println!("SKIPPED: {test}: mount: {}", String::from_utf8_lossy(&output.stderr).trim());
                None
            }
            Err(error) => {
                println!("SKIPPED: {test}: mount: {error}");
                None
            }
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.at).status();
    }
}

/// Writes until the disk is full.
pub fn fill(path: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).unwrap();
    let mut piece = vec![1; 1 << 20];
    while !piece.is_empty() {
        if file.write_all(&piece).is_err() {
            piece.truncate(piece.len() / 2);
        }
    }
}

#[test]
fn a_disk_that_is_too_small_is_refused_before_the_first_byte() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("disk");
    let Some(disk) = Disk::mount(&at, &["-t", "tmpfs", "-o", "size=40m", "planish-test"], "disk too small") else { return };
    assert_refused(&wait(start(&mut convert(&common::smollm2(), "Q8_0", &disk.at))), "are free in");
    assert_eq!(names(&disk.at), [""; 0]);
}

#[test]
fn space_is_taken_at_the_start_so_that_others_cannot_starve_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("disk");
    let Some(disk) = Disk::mount(&at, &["-t", "tmpfs", "-o", "size=300m", "planish-test"], "space taken") else { return };
    let child = start(&mut convert(&common::smollm2(), LEVEL_LIST, &disk.at));
    assert!(eventually(|| have_their_size(&disk.at, LEVELS.len())), "the conversion never started");
    fill(&disk.at.join("other"));
    let output = wait(child);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for level in LEVELS {
        assert!(inspect(&smollm2_output(&disk.at, level)).is_ok());
    }
}

#[test]
fn a_disk_that_fills_meanwhile_ends_in_an_error_and_leaves_nothing() {
    const TEST: &str = "disk filled meanwhile";
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::ext2(dir.path(), 400 << 20, TEST) else { return };
    let (out_dir, other) = (disk.at.join("out"), disk.at.join("other"));
    let (_, expected) = undisturbed(&common::smollm2(), &dir.path().join("expected"));
    let n_disks = n_tries(2, 50);
    let mut n_starved = 0;
    let mut random = fastrand::Rng::with_seed(2);
    for disk_idx in 0..n_disks {
        // Every other run leaves what it has for the next.
        let resume: &[&str] = if disk_idx % 2 == 1 { &["--resume"] } else { &[] };
        let child = start(convert(&common::smollm2(), LEVEL_LIST, &out_dir).args(resume));
        assert!(eventually(|| have_their_size(&out_dir, LEVELS.len())), "the conversion never started");
        std::thread::sleep(Duration::from_millis(random.u64(0..200)));
        fill(&other);
        let output = wait(child);
        if output.status.success() {
            for level in LEVELS {
                assert!(inspect(&smollm2_output(&out_dir, level)).is_ok());
            }
        } else {
            n_starved += 1;
            assert_refused(&output, "cannot write");
            assert!(String::from_utf8_lossy(&output.stderr).contains("free some space"));
            if resume.is_empty() {
                assert_eq!(names(&out_dir), [""; 0]);
            } else {
                assert_only_parts(&out_dir);
                std::fs::write(&other, "").unwrap();
                let output = wait(start(convert(&common::smollm2(), LEVEL_LIST, &out_dir).args(resume)));
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                for (level, expected) in LEVELS.into_iter().zip(&expected) {
                    assert!(&std::fs::read(smollm2_output(&out_dir, level)).unwrap() == expected, "{level}");
                }
            }
        }
        std::fs::remove_dir_all(&out_dir).unwrap();
        std::fs::remove_file(&other).unwrap();
    }
    println!("{n_starved} of {n_disks} disks were full before the end");
    assert!(n_starved > 0);
}

#[test]
fn a_source_that_is_truncated_meanwhile_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let (source, out_dir) = (dir.path().join("source.gguf"), dir.path().join("out"));
    std::fs::copy(common::smollm2(), &source).unwrap();
    let child = start(&mut convert(&source, LEVEL_LIST, &out_dir));
    assert!(eventually(|| have_their_size(&out_dir, LEVELS.len())), "the conversion never started");
    std::fs::File::options().write(true).open(&source).unwrap().set_len(10_000_000).unwrap();
    assert_refused(&wait(child), "changed");
    assert_eq!(names(&out_dir), [""; 0]);
}

#[test]
fn an_output_folder_that_vanishes_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let out_dir = dir.path().join("out");
    let child = start(&mut convert(&common::smollm2(), LEVEL_LIST, &out_dir));
    assert!(eventually(|| have_their_size(&out_dir, LEVELS.len())), "the conversion never started");
    std::fs::remove_dir_all(&out_dir).unwrap();
    assert_refused(&wait(child), "cannot");
    assert!(!out_dir.exists());
}

#[test]
fn an_output_folder_that_becomes_read_only_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("disk");
    let Some(disk) = Disk::mount(&at, &["-t", "tmpfs", "-o", "size=300m", "planish-test"], "disk read-only") else { return };
    let remount =
        |how: &str| Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(&disk.at).status().unwrap().success();
    // With a file open for writing the disk cannot be remounted, so it turns read-only before the start. A folder that changes
    // later is tested as one that vanishes.
    assert!(remount("ro"));
    assert_refused(&wait(start(&mut convert(&common::smollm2(), LEVEL_LIST, &disk.at))), "cannot");
    assert!(remount("rw"));
    assert_eq!(names(&disk.at), [""; 0]);
}

#[test]
fn odd_names_are_no_obstacle_and_impossible_ones_are_refused() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    let odd = [b"with  spaces".as_slice(), b"not \xff\xfe utf-8", b"quote\"and'newline\n", "Ünï-✓".as_bytes(), &[b'n'; 255]];
    for name in odd {
        let folder = dir.path().join(std::ffi::OsStr::from_bytes(name));
        std::fs::create_dir(&folder).unwrap();
        let source = folder.join("SmolLM2-135M-Instruct.Q4_1.gguf");
        std::os::unix::fs::symlink(common::smollm2(), &source).unwrap();
        let out_dir = folder.join("out");
        let output = wait(start(&mut convert(&source, "Q8_0", &out_dir)));
        assert!(output.status.success(), "{name:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(names(&out_dir).len(), 1, "{name:?}");
        std::fs::remove_dir_all(&out_dir).unwrap();
    }
    let too_long = dir.path().join("n".repeat(256));
    assert_refused(&wait(start(&mut convert(&common::smollm2(), "Q8_0", &too_long))), "too long");
    let far_too_long = (0..41).fold(dir.path().to_path_buf(), |path, _| path.join("n".repeat(100)));
    assert_refused(&wait(start(&mut convert(&common::smollm2(), "Q8_0", &far_too_long))), "too long");
    assert_refused(&wait(start(&mut convert(&far_too_long, "Q8_0", dir.path()))), "too long");
}
