//! A folder that stands for `/`: the real one, or the recorded tree of another machine.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The longest text that is read; `pci.ids`, the longest file that a probe needs, has 1.5 MB.
const MAX_TEXT_BYTES: u64 = 4 << 20;

/// The most entries of a folder that are looked at; a server has some hundred PCI devices.
const MAX_ENTRIES: usize = 4096;

/// Where a probe reads. All paths are absolute, as on the machine itself: `/proc/cpuinfo`.
#[derive(Debug, Clone)]
pub(super) struct Root {
    dir: PathBuf,
}

impl Root {
    /// This machine.
    pub(super) fn real() -> Self {
        Self::at("/")
    }

    /// The recorded tree below `dir`.
    pub(super) fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Where `path` lies on this machine.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.dir.join(path.trim_start_matches('/'))
    }

    /// A file's text without white space and NULs at its ends; `None` when it is missing, unreadable or no regular file.
    ///
    /// At most 4 MiB are read, and bytes that are not UTF-8 are replaced: a broken driver's file must not stop the other probes.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        read_text(&self.path(path))
    }

    /// A file's text as a decimal number.
    pub(super) fn number<T: FromStr>(&self, path: &str) -> Option<T> {
        self.text(path)?.parse().ok()
    }

    /// A file's text as a hexadecimal number, with or without `0x`.
    pub(super) fn hex(&self, path: &str) -> Option<u32> {
        hex_from_text(&self.text(path)?)
    }

    /// True when there is anything under that name.
    pub(super) fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// The names in a folder, sorted; none when it cannot be read.
    pub(super) fn list(&self, path: &str) -> Vec<String> {
        list_names(&self.path(path), MAX_ENTRIES)
    }

    /// The value of `KEY=value` in a `uevent` file.
    pub(super) fn uevent(&self, folder: &str, key: &str) -> Option<String> {
        let text = self.text(&format!("{folder}/uevent"))?;
        text.lines()
            .find_map(|line| line.split_once('=').filter(|(name, _)| *name == key))
            .map(|(_, value)| value.trim().to_string())
    }
}

/// A hexadecimal number, with or without `0x`.
pub(super) fn hex_from_text(text: &str) -> Option<u32> {
    let text = text.trim();
    u32::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
}

/// The names in a folder, sorted, of at most `max` entries; none when it cannot be read.
pub(super) fn list_names(dir: &Path, max: usize) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.take(max).flatten().map(|entry| crate::path_text::searchable(&entry.file_name()).into_owned()).collect();
    names.sort_unstable();
    names
}

fn read_text(path: &Path) -> Option<String> {
    // Opening a FIFO would wait for a writer.
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(MAX_TEXT_BYTES).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    Some(text.trim_matches(|c: char| c.is_whitespace() || c == '\0').to_string())
}
