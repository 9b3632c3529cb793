//! Models under names that llama.cpp can be given: its binding takes paths in UTF-8 only.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::format::ShardName;
use crate::path_text::is_utf8;

/// A path in UTF-8 that leads to a model, for as long as the value lives.
#[derive(Debug)]
pub(super) struct Utf8Name {
    path: PathBuf,
    /// Links to the model's files; removed with the value.
    links: Option<PathBuf>,
}

impl Utf8Name {
    /// The path itself where it is UTF-8; else that of a link to it in the folder for temporary files. For a split model, whose
    /// parts llama.cpp finds by their names, all parts are linked.
    ///
    /// # Errors
    /// `Error::Io` where no link can be made.
    pub(super) fn of(path: &Path) -> Result<Self> {
        if is_utf8(path) {
            return Ok(Self { path: path.to_path_buf(), links: None });
        }
        let dir = folder();
        std::fs::create_dir(&dir).map_err(Error::io("create", &dir))?;
        let mut this = Self { path: dir.join("model.gguf"), links: Some(dir) };
        for (file, name) in parts(path) {
            let link = this.path.with_file_name(name);
            let file = std::path::absolute(&file).map_err(Error::io("find", &file))?;
            symlink(&file, &link).map_err(Error::io("link to", &file))?;
            if file.file_name() == path.file_name() {
                this.path = link;
            }
        }
        Ok(this)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Utf8Name {
    fn drop(&mut self) {
        if let Some(links) = &self.links {
            // Only links are in it; what cannot be removed is left to the system's own clean-up of its temporary files.
            let _ = std::fs::remove_dir_all(links);
        }
    }
}

/// A new folder with a name in UTF-8.
fn folder() -> PathBuf {
    let dir = std::env::temp_dir();
    let dir = if is_utf8(&dir) { dir } else { PathBuf::from("/tmp") };
    dir.join(format!("planish-{}-{:016x}", std::process::id(), fastrand::u64(..)))
}

/// All files of a model and what their links are called.
fn parts(path: &Path) -> Vec<(PathBuf, OsString)> {
    let Some(name) = ShardName::parse(path) else { return vec![(path.to_path_buf(), "model.gguf".into())] };
    let linked = ShardName { prefix: "model".into(), ..name.clone() };
    (1..=name.count).map(|number| (name.sibling(path, number), linked.named(number.into()))).collect()
}

#[cfg(unix)]
fn symlink(file: &Path, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(file, link)
}

/// Elsewhere a path that is not Unicode holds half a surrogate pair, which no program writes.
#[cfg(not(unix))]
fn symlink(_: &Path, _: &Path) -> std::io::Result<()> {
    Err(std::io::Error::new(std::io::ErrorKind::InvalidFilename, "its name is not Unicode: rename it"))
}

#[cfg(all(test, unix))]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    #[test]
    fn a_model_of_any_name_has_one_in_utf8() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &[u8]| {
            let path = dir.path().join(OsStr::from_bytes(name));
            std::fs::write(&path, name).unwrap();
            path
        };
        let plain = put("Größe.gguf".as_bytes());
        assert_eq!(Utf8Name::of(&plain).unwrap().path(), plain);
        let odd = put(b"caf\xe9.gguf");
        let name = Utf8Name::of(&odd).unwrap();
        assert!(is_utf8(name.path()));
        assert_eq!(std::fs::read(name.path()).unwrap(), b"caf\xe9.gguf");
        let folder = name.path().parent().unwrap().to_path_buf();
        drop(name);
        assert!(!folder.exists() && odd.exists());
    }

    #[test]
    fn all_parts_of_a_split_model_are_linked() {
        let dir = tempfile::tempdir().unwrap();
        for number in 1..=3 {
            let name = [b"\xff-0000", number.to_string().as_bytes(), b"-of-00003.gguf"].concat();
            std::fs::write(dir.path().join(OsStr::from_bytes(&name)), number.to_string()).unwrap();
        }
        let name = Utf8Name::of(&dir.path().join(OsStr::from_bytes(b"\xff-00001-of-00003.gguf"))).unwrap();
        assert!(name.path().ends_with("model-00001-of-00003.gguf"));
        let third = name.path().with_file_name("model-00003-of-00003.gguf");
        assert_eq!(std::fs::read_to_string(third).unwrap(), "3");
    }
}
