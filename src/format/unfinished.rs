//! Downloads that have not ended.

use std::ffi::OsStr;
use std::path::Path;

use super::checkpoint::Listing;
use crate::path_text;

/// Most names that are listed.
const MAX_NAMES: usize = 8;

/// Names of downloads that have not ended, from the folder itself, from where `hf download --local-dir` keeps them, and from
/// the blobs of the cache.
pub(super) fn unfinished_files(folder: &Path, listed: &Listing) -> Vec<String> {
    const ENDINGS: [&str; 9] = ["crdownload", "part", "partial", "incomplete", "download", "opdownload", "aria2", "!ut", "tmp"];
    let is_unfinished = |name: &OsStr, text: &str| {
        let is_one = |extension: &OsStr| ENDINGS.iter().any(|ending| extension.eq_ignore_ascii_case(ending));
        // What a conversion by Planish left behind is not a download.
        let is_own = [".gguf.part", ".json.part"].iter().any(|ending| text.ends_with(ending));
        !is_own && Path::new(name).extension().is_some_and(is_one)
    };
    let shown = |name: &OsStr| path_text::shown(Path::new(name));
    let mut all: Vec<String> =
        listed.names().filter(|(name, text)| is_unfinished(name, text)).map(|(name, _)| shown(name)).collect();
    let blobs = folder.ancestors().nth(2).filter(|_| folder.parent().is_some_and(|parent| parent.ends_with("snapshots")));
    for other in [Some(folder.join(".cache/huggingface/download")), blobs.map(|model| model.join("blobs"))].into_iter().flatten()
    {
        let Ok(listed) = Listing::read(&other) else { continue };
        all.extend(listed.names().filter(|(_, text)| text.ends_with(".incomplete")).map(|(name, _)| shown(name)));
    }
    all.truncate(MAX_NAMES);
    all
}
