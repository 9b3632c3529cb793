//! Taking an output away again, with what stands beside it.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::manifest::may_be_written;
use super::{folder, manifest_path};
use crate::error::{Error, Result};

/// Where an output goes when it is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Removal {
    /// To the system's bin, from which it can be restored.
    Bin,
    /// Nowhere.
    ForGood,
}

/// Removes those of several outputs that can be removed, as [`remove_output`] does; `on_gone` gets each that is gone.
///
/// Returns why the others are still there: first one `Error::NoBin` for all that could be removed for good, then one error
/// for each of the rest.
#[must_use]
pub fn remove_outputs(paths: &[PathBuf], removal: Removal, mut on_gone: impl FnMut(&Path)) -> Vec<Error> {
    let mut without_bin: Option<(String, Vec<PathBuf>)> = None;
    let mut others = Vec::new();
    for path in paths {
        match remove_output(path, removal) {
            Ok(()) => on_gone(path),
            Err(Error::NoBin { reason, paths }) => without_bin.get_or_insert_with(|| (reason, Vec::new())).1.extend(paths),
            Err(error) => others.push(error),
        }
    }
    without_bin.map(|(reason, paths)| Error::NoBin { reason, paths }).into_iter().chain(others).collect()
}

/// Removes an output and its manifest; from a folder, only what Planish wrote.
///
/// # Errors
/// `Error::NoBin` when the system has none for this file: it is still there, and can be removed for good. `Error::Io`, `Error::NotOurFolder`.
pub fn remove_output(path: &Path, removal: Removal) -> Result<()> {
    let metadata = std::fs::symlink_metadata(path).map_err(Error::io("find", path))?;
    if metadata.is_dir() {
        return remove_folder(path, removal);
    }
    let manifest = manifest_path(path);
    // Whatever else has that name is somebody else's.
    let is_ours = manifest.is_file() && may_be_written(&manifest);
    let files: Vec<PathBuf> = std::iter::once(path.to_path_buf()).chain(is_ours.then_some(manifest)).collect();
    match removal {
        Removal::Bin => move_to_bin(&files).map_err(|reason| Error::NoBin { reason, paths: vec![path.to_path_buf()] }),
        Removal::ForGood => files.iter().try_for_each(|file| std::fs::remove_file(file).map_err(Error::io("delete", file))),
    }
}

fn remove_folder(path: &Path, removal: Removal) -> Result<()> {
    let files = folder::own_files(path).ok_or_else(|| Error::NotOurFolder { path: path.to_path_buf() })?;
    match removal {
        Removal::Bin => {
            let no_bin = |reason| Error::NoBin { reason, paths: vec![path.to_path_buf()] };
            move_to_bin(&bound_for_bin(path, files)).map_err(no_bin)
        }
        Removal::ForGood => folder::remove(path),
    }
}

/// The folder where nothing else is in it, else those of its own files that are there: others' files stay where they are.
fn bound_for_bin(folder: &Path, own_files: Vec<PathBuf>) -> Vec<PathBuf> {
    if folder::has_own_files_alone(folder) {
        return vec![folder.to_path_buf()];
    }
    own_files.into_iter().filter(|file| file.exists()).collect()
}

fn move_to_bin(files: &[PathBuf]) -> std::result::Result<(), String> {
    // Unit tests must not fill the bin of the person who runs them.
    if cfg!(test) {
        return Err("there is no bin in tests".into());
    }
    trash::delete_all(files).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::{ConvertRequest, convert, open_model, unpack_sample};
    use crate::monitor::Monitor;

    #[test]
    fn a_file_goes_with_its_manifest_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let manifest = "{\n  \"planish_manifest\": 1}";
        for (name, text) in [
            ("a.gguf", "a"),
            ("a.gguf.manifest.json", manifest),
            ("b.gguf", "b"),
            ("b.gguf.manifest.json", "mine"),
            ("ab.gguf", "ab"),
        ] {
            std::fs::write(at(name), text).unwrap();
        }
        let names = || {
            let mut names: Vec<_> =
                std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names.join(" ")
        };
        let refused = remove_output(&at("a.gguf"), Removal::Bin);
        assert!(matches!(&refused, Err(Error::NoBin { paths, .. }) if *paths == [at("a.gguf")]), "{refused:?}");
        assert!(refused.unwrap_err().hint().contains("for good"));
        assert!(names().starts_with("a.gguf a.gguf.manifest.json"), "nothing is gone");
        remove_output(&at("a.gguf"), Removal::ForGood).unwrap();
        remove_output(&at("b.gguf"), Removal::ForGood).unwrap();
        assert_eq!(names(), "ab.gguf b.gguf.manifest.json");
        assert!(matches!(remove_output(&at("a.gguf"), Removal::ForGood), Err(Error::Io { action: "find", .. })));
        assert!(matches!(remove_output(dir.path(), Removal::ForGood), Err(Error::NotOurFolder { .. })));
    }

    #[test]
    fn each_of_several_outputs_is_dealt_with() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let wanted = ["missing.gguf", "a.gguf", "b.gguf"].map(at);
        for path in &wanted[1..] {
            std::fs::write(path, "x").unwrap();
        }
        let mut gone = Vec::new();
        let failures = remove_outputs(&wanted, Removal::Bin, |path| gone.push(path.to_path_buf()));
        assert!(matches!(&failures[0], Error::NoBin { paths, .. } if *paths == wanted[1..]), "{failures:?}");
        assert!(matches!(&failures[1..], [Error::Io { path, .. }] if *path == wanted[0]), "{failures:?}");
        let failures = remove_outputs(&wanted, Removal::ForGood, |path| gone.push(path.to_path_buf()));
        assert_eq!((failures.len(), gone.as_slice()), (1, &wanted[1..]));
    }

    #[test]
    fn a_folder_goes_whole_only_where_every_entry_is_ours() {
        let dir = tempfile::tempdir().unwrap();
        let model = open_model(&unpack_sample(dir.path()).unwrap()).unwrap();
        let request = ConvertRequest::new(vec!["mlx:4-bit".parse().unwrap()], dir.path().join("out"));
        let path = convert(&model, &request, &Monitor::silent()).unwrap().remove(0).path;
        let bound = || bound_for_bin(&path, folder::own_files(&path).unwrap());
        assert_eq!(bound(), std::slice::from_ref(&path));
        // As many entries as files of ours, but one is somebody else's.
        std::fs::remove_file(path.join("README.md")).unwrap();
        std::fs::write(path.join("notes.txt"), "mine").unwrap();
        let files = bound();
        assert!(files.contains(&path.join("config.json")) && files.iter().all(|file| file.is_file()), "{files:?}");
        assert!(!files.contains(&path.join("notes.txt")));
        std::fs::remove_file(path.join("notes.txt")).unwrap();
        assert_eq!(bound(), std::slice::from_ref(&path), "one of ours is missing, and nothing else is there");
    }
}
