//! Where the reference's answers are kept: a folder for each pair of reference and text, found again by what the answers depend on.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::calibrate::text::Corpus;
use crate::error::{Error, Result};
use crate::runtime::{RuntimeInfo, hex};

/// The most bytes that the answers of all references may take together; the longest unused go first.
const MAX_CACHE_BYTES: u64 = 2 << 30;
/// A folder used this recently may belong to a measurement of another program, so it stays.
const RECENT: Duration = Duration::from_hours(1);
/// Changes when the same key would mean other contents.
const VERSION: u32 = 1;
const PLAN_FILE: &str = "plan.json";
const TEXT_FILE: &str = "text.json";

/// How a model splits the text; the reference's is kept, so that it is known without loading the reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TextPlan {
    /// Entries of the vocabulary.
    pub n_vocab: u32,
    /// Tokens of the whole text.
    pub n_tokens: u64,
    /// For each chunk the index of its part.
    pub chunk_parts: Vec<u32>,
    /// SHA-256 of the tokens.
    pub tokens_sha256: String,
}

/// What the reference's answers depend on.
pub(super) struct Key<'a> {
    pub reference_sha256: &'a str,
    pub text_sha256: &'a str,
    pub n_ctx: u32,
    pub n_threads: u32,
    pub info: &'a RuntimeInfo,
}

/// The folder of one reference on one text.
pub(super) struct Cache {
    pub dir: PathBuf,
}

impl Cache {
    /// Finds or makes the folder below `base`, or below the user's cache folder, and puts the text into it.
    pub(super) fn open(base: Option<&Path>, key: &Key, corpus: &Corpus) -> Result<Self> {
        let base = match base {
            Some(base) => base.to_path_buf(),
            None => default_base().ok_or_else(|| Error::Internal { message: "the system names no cache folder".into() })?,
        };
        // Threads and CPU module change the order of additions, and with it the last bits.
        let text = format!(
            "{VERSION}|{}|{}|{}|{}|{}|{}",
            key.reference_sha256, key.text_sha256, key.n_ctx, key.n_threads, key.info.version, key.info.backend
        );
        let name = hex(&Sha256::digest(text)).chars().take(32).collect::<String>();
        let dir = base.join(name);
        std::fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
        make_room(&base, &dir, MAX_CACHE_BYTES);
        let cache = Self { dir };
        // Written every time: its time of change says when the folder was used last.
        cache.write(TEXT_FILE, &corpus.parts)?;
        Ok(cache)
    }

    /// The file with the text for the children.
    pub(super) fn text_path(&self) -> PathBuf {
        self.dir.join(TEXT_FILE)
    }

    /// The plan of an earlier measurement; `None` where there is none.
    pub(super) fn plan(&self) -> Option<TextPlan> {
        serde_json::from_slice(&std::fs::read(self.dir.join(PLAN_FILE)).ok()?).ok()
    }

    pub(super) fn keep_plan(&self, plan: &TextPlan) -> Result<()> {
        self.write(PLAN_FILE, plan)
    }

    fn write(&self, name: &str, value: &impl Serialize) -> Result<()> {
        let path = self.dir.join(name);
        let part = self.dir.join(format!("{name}.{}.part", std::process::id()));
        let bytes = serde_json::to_vec(value).map_err(|error| Error::Internal { message: error.to_string() })?;
        std::fs::write(&part, bytes).and_then(|()| std::fs::rename(&part, &path)).map_err(Error::io("write", &path))
    }
}

fn default_base() -> Option<PathBuf> {
    Some(directories::ProjectDirs::from("", "", "planish")?.cache_dir().join("reference"))
}

/// Removes the longest unused folders until all together take at most `max_bytes`. `own`, recently used folders and what cannot
/// be removed stay: this only saves space.
fn make_room(base: &Path, own: &Path, max_bytes: u64) {
    let Ok(entries) = std::fs::read_dir(base) else { return };
    let mut folders: Vec<(SystemTime, u64, PathBuf)> = entries
        .filter_map(|entry| {
            let dir = entry.ok()?.path();
            let used =
                std::fs::metadata(dir.join(TEXT_FILE)).and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            let files = std::fs::read_dir(&dir).ok()?;
            let size_bytes = files.filter_map(|file| file.ok()?.metadata().ok()).map(|metadata| metadata.len()).sum();
            Some((used, size_bytes, dir))
        })
        .collect();
    folders.sort();
    let mut total_bytes: u64 = folders.iter().map(|folder| folder.1).sum();
    for (used, size_bytes, dir) in folders {
        let is_recent = used.elapsed().is_ok_and(|age| age < RECENT);
        if total_bytes <= max_bytes || is_recent || dir == own {
            continue;
        }
        if std::fs::remove_dir_all(&dir).is_ok() {
            total_bytes -= size_bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::text::{TextSource, corpus};

    #[test]
    fn the_folder_is_found_again_and_differs_for_other_facts() {
        let base = tempfile::tempdir().unwrap();
        let corpus = corpus(&TextSource::Pasted("some text".into())).unwrap();
        let info = RuntimeInfo { version: "1".into(), ..RuntimeInfo::default() };
        let dir = |reference_sha256: &str, n_ctx: u32, info: &RuntimeInfo| {
            let key = Key { reference_sha256, text_sha256: &corpus.sha256, n_ctx, n_threads: 2, info };
            Cache::open(Some(base.path()), &key, &corpus).unwrap().dir
        };
        let first = dir("a", 512, &info);
        assert_eq!(first, dir("a", 512, &info));
        for other in [dir("b", 512, &info), dir("a", 256, &info), dir("a", 512, &RuntimeInfo::default())] {
            assert_ne!(first, other);
        }
        let cache = Cache { dir: first };
        assert_eq!(cache.plan(), None);
        let plan = TextPlan { n_vocab: 7, n_tokens: 9, chunk_parts: vec![0], tokens_sha256: "x".into() };
        cache.keep_plan(&plan).unwrap();
        assert_eq!(cache.plan(), Some(plan));
        assert!(cache.text_path().is_file());
    }

    #[test]
    fn the_longest_unused_goes_first_and_the_own_stays() {
        let base = tempfile::tempdir().unwrap();
        let make = |name: &str, age_secs: u64| {
            let dir = base.path().join(name);
            std::fs::create_dir(&dir).unwrap();
            std::fs::write(dir.join("chunk-00000.bin"), vec![0; 1000]).unwrap();
            let text = std::fs::File::create(dir.join(TEXT_FILE)).unwrap();
            text.set_modified(SystemTime::now() - Duration::from_secs(age_secs)).unwrap();
            dir
        };
        let (oldest, old, own, fresh) = (make("a", 90_000), make("b", 80_000), make("c", 100_000), make("d", 60));
        make_room(base.path(), &own, 3_500);
        assert_eq!([&oldest, &old, &own, &fresh].map(|dir| dir.exists()), [false, true, true, true]);
        make_room(base.path(), &own, 0);
        assert_eq!([&old, &own, &fresh].map(|dir| dir.exists()), [false, true, true]);
    }
}
