//! Downloads that have not ended.

use std::path::Path;

use super::checkpoint::Listing;

/// How many are told.
const MAX_NAMES: usize = 8;

/// Downloads that have not ended: in the folder, where `hf download --local-dir` keeps them, and among the blobs of the cache.
pub(super) fn unfinished_files(folder: &Path, listed: &Listing) -> Vec<String> {
    const ENDINGS: [&str; 9] = ["crdownload", "part", "partial", "incomplete", "download", "opdownload", "aria2", "!ut", "tmp"];
    let is_unfinished = |name: &&String| {
        let extension = Path::new(name).extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
        // What a conversion of this program has left is none of them.
        let is_own = [".gguf.part", ".json.part"].iter().any(|ending| name.ends_with(ending));
        !is_own && extension.is_some_and(|extension| ENDINGS.contains(&extension.as_str()))
    };
    let mut all: Vec<String> = listed.0.iter().filter(is_unfinished).cloned().collect();
    let blobs = folder.ancestors().nth(2).filter(|_| folder.parent().is_some_and(|parent| parent.ends_with("snapshots")));
    for other in [Some(folder.join(".cache/huggingface/download")), blobs.map(|model| model.join("blobs"))].into_iter().flatten()
    {
        let names = Listing::read(&other).map(|listed| listed.0).unwrap_or_default();
        all.extend(names.into_iter().filter(|name| name.ends_with(".incomplete")));
    }
    all.truncate(MAX_NAMES);
    all
}
