//! Names of outputs, and whether two names are one file.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::advise::{BUDGETED, CALIBRATED, CUSTOM, Overrides};
use crate::model::{DType, Level, Model, Preset};
use crate::path_text;

/// Names at the end of published files that are neither a level nor a data type of ours.
///
/// Source: `LLAMA_FTYPE` names in llama-quantize's `QUANT_OPTIONS` (llama.cpp of 2026-08-21), and spellings seen on Hugging Face.
const OTHER_TYPE_NAMES: [&str; 10] =
    ["FP32", "FP16", "Q2_K_L", "Q2_K_XL", "Q3_K_XL", "Q4_K_L", "Q4_K_XL", "Q5_K_L", "Q5_K_XL", "Q6_K_L"];

/// What may follow the level in the name of an output, from its end on.
const MARKS: [&str; 3] = [CUSTOM, CALIBRATED, BUDGETED];

/// Where the output of `level` goes: `a.Q4_1.gguf` at `Q8_0` becomes `a-Q8_0.gguf`.
///
/// A level or type name at the end of the source's name is replaced, in any case and after any of `-`, `.` and `_`.
#[must_use]
pub fn output_path(model: &Model, level: Level, out_dir: &Path) -> PathBuf {
    let stem = model.file_stem_os();
    // All that is cut off is ASCII, so the rest of a name that is not UTF-8 keeps its bytes.
    let text = path_text::searchable(&stem);
    let mut name = path_text::without_end(&stem, text.len() - without_type_name(&text).len());
    if name.is_empty() {
        name.push("model");
    }
    name.push(format!("-{}{}", level.file_name(), level.framework().artifact().ending()));
    out_dir.join(name)
}

/// Where the output of `level` with these changes goes: to `a-Q4_K_M-custom.gguf` or `a-Q4_K_M-calibrated.gguf` if they change the level, else
/// to [`output_path`].
#[must_use]
pub fn output_path_by(model: &Model, level: Level, overrides: &Overrides, out_dir: &Path) -> PathBuf {
    let plain = output_path(model, level, out_dir);
    let marks = overrides.marks_of(level);
    if marks.is_empty() {
        return plain;
    }
    let ending = level.framework().artifact().ending();
    let mut name = path_text::without_end(plain.file_name().unwrap_or_default(), ending.len());
    name.push(format!("-{}{ending}", marks.replace(' ', "-")));
    plain.with_file_name(name)
}

/// True for a file with the name of a changed recipe.
#[must_use]
pub fn has_custom_name(path: &Path) -> bool {
    let stem = path_text::stem(path);
    let stem = without_number(&stem);
    without_marks(stem).len() < stem.len()
}

/// Where outputs go when the user does not say: beside the model; without one, and for a checkpoint inside the Hugging Face
/// cache, where nothing else should be put, into the user's home folder.
#[must_use]
pub fn default_output_dir(model: Option<&Model>) -> PathBuf {
    let is_in_cache = |model: &&Model| {
        !model.is_runnable() && model.path.components().any(|part| part.as_os_str().as_encoded_bytes().starts_with(b"models--"))
    };
    let beside = model.filter(|model| !is_in_cache(model)).and_then(|model| model.path.parent().map(Path::to_path_buf));
    beside
        .or_else(|| directories::UserDirs::new().map(|dirs| dirs.home_dir().to_path_buf()))
        .unwrap_or_else(|| PathBuf::from("."))
}

/// Path of an output until it is complete: its name with `.part` at the end.
pub(super) fn part_path(output: &Path) -> PathBuf {
    with_suffix(output, ".part")
}

/// Path of the journal of an unfinished output: `NAME.part.journal`.
pub(super) fn journal_path(output: &Path) -> PathBuf {
    with_suffix(output, ".part.journal")
}

/// Path of the manifest beside an output: `NAME.manifest.json`.
#[must_use]
pub fn manifest_path(output: &Path) -> PathBuf {
    with_suffix(output, ".manifest.json")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// The model's part of a file's name, without level, shard number and ending: `m` for `m-Q4_K_M.gguf`.
#[must_use]
pub fn model_name_of(file_name: &str) -> &str {
    let stem = file_name.strip_suffix(".gguf").unwrap_or(file_name);
    let stem = stem.find("-00001-of-").and_then(|at| stem.get(..at)).unwrap_or(stem);
    without_type_name(stem)
}

/// The stem without the number of a file that was kept beside another of its level.
fn without_number(stem: &str) -> &str {
    match stem.rsplit_once('-') {
        Some((front, number)) if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => front,
        _ => stem,
    }
}

fn without_type_name(stem: &str) -> &str {
    let unnumbered = without_number(stem);
    if unnumbered.len() < stem.len() {
        // A number belongs to the name unless it stands behind a level.
        let front = without_type_name(unnumbered);
        return if front.len() < unnumbered.len() { front } else { stem };
    }
    // "custom" alone may be part of a name: it goes only with the level before it.
    let plain = without_marks(stem);
    let front = without_level_name(plain);
    if front.len() < plain.len() { front } else { without_level_name(stem) }
}

/// The stem without what changed recipes add to the level's name.
pub(super) fn without_marks(stem: &str) -> &str {
    MARKS.into_iter().fold(stem, |stem, mark| stem.strip_suffix(mark).and_then(|front| front.strip_suffix('-')).unwrap_or(stem))
}

fn without_level_name(stem: &str) -> &str {
    let names = Preset::all().map(Preset::name).chain(DType::all().map(DType::name)).chain(OTHER_TYPE_NAMES);
    names
        .filter_map(|name| {
            let cut = stem.len().checked_sub(name.len())?;
            let (front, back) = (stem.get(..cut)?, stem.get(cut..)?);
            back.eq_ignore_ascii_case(name).then(|| front.strip_suffix(['-', '.', '_'])).flatten()
        })
        .filter(|front| !front.is_empty())
        // The longest name wins, should one ever end in another.
        .min_by_key(|front| front.len())
        .unwrap_or(stem)
}

/// True when both names lead to one file that exists, through whatever links.
#[must_use]
pub fn is_same_file(one: &Path, other: &Path) -> bool {
    FileId::of(one).is_some_and(|id| Some(id) == FileId::of(other))
}

/// What tells a file from every other file on the machine, whatever it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileId(#[cfg(unix)] (u64, u64), #[cfg(not(unix))] PathBuf);

impl FileId {
    /// The file behind `path`, symlinks followed; `None` when there is none.
    pub(super) fn of(path: &Path) -> Option<Self> {
        #[cfg(unix)]
        return std::fs::metadata(path).ok().as_ref().map(Self::of_metadata);
        // std does not give out Windows' volume and file index yet: only on Unix are hard links known to be one file.
        #[cfg(not(unix))]
        return path.canonicalize().ok().map(Self);
    }

    /// Device and inode: equal for all hard links of a file.
    #[cfg(unix)]
    pub(super) fn of_metadata(metadata: &std::fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self((metadata.dev(), metadata.ino()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_name_at_the_end_is_replaced() {
        let check = |file: &str, expected: &str| {
            let model = super::super::tests::model_named(Path::new(file));
            assert_eq!(output_path(&model, Level::Q8_0, Path::new("out")), Path::new("out").join(expected), "{file}");
        };
        check("in/SmolLM2-135M-Instruct.Q4_1.gguf", "SmolLM2-135M-Instruct-Q8_0.gguf");
        check("Llama-3-8B-Q4_K_M.gguf", "Llama-3-8B-Q8_0.gguf");
        check("llama_q8_0.gguf", "llama-Q8_0.gguf");
        check("phi-4.bf16.gguf", "phi-4-Q8_0.gguf");
        check("phi-4-fp16.gguf", "phi-4-Q8_0.gguf");
        check("gemma-IQ4_XS.gguf", "gemma-Q8_0.gguf");
        check("gemma-Q2_K_S.gguf", "gemma-Q8_0.gguf");
        check("gpt-oss-20b-MXFP4.gguf", "gpt-oss-20b-Q8_0.gguf");
        check("gemma-Q4_K_M-custom.gguf", "gemma-Q8_0.gguf");
        check("gemma-custom.gguf", "gemma-custom-Q8_0.gguf");
        check("gemma-Q4_K_M-2.gguf", "gemma-Q8_0.gguf");
        check("gemma-Q4_K_M-custom-3.gguf", "gemma-Q8_0.gguf");
        check("gemma-Q4_K_M-calibrated.gguf", "gemma-Q8_0.gguf");
        check("gemma-Q4_K_M-calibrated-custom-2.gguf", "gemma-Q8_0.gguf");
        check("gemma-calibrated.gguf", "gemma-calibrated-Q8_0.gguf");
        check("gemma-2.gguf", "gemma-2-Q8_0.gguf");
        check("big-F16-00001-of-00003.gguf", "big-Q8_0.gguf");
        // Only at the end, only whole words, only one, and never the whole name.
        check("Q4_0-model.gguf", "Q4_0-model-Q8_0.gguf");
        check("modelQ4_0.gguf", "modelQ4_0-Q8_0.gguf");
        check("model-F16-Q4_0.gguf", "model-F16-Q8_0.gguf");
        check("Q4_0.gguf", "Q4_0-Q8_0.gguf");
        check("-Q4_0.gguf", "-Q4_0-Q8_0.gguf");
        check("Modell-Größe.gguf", "Modell-Größe-Q8_0.gguf");
        check("größe.gguf", "größe-Q8_0.gguf");
        // Only .gguf is an extension.
        check("Qwen2.5-0.5B", "Qwen2.5-0.5B-Q8_0.gguf");
        check("phi-4.5.F16", "phi-4.5-Q8_0.gguf");
    }

    #[cfg(unix)]
    #[test]
    fn the_bytes_of_a_name_stay() {
        use std::os::unix::ffi::OsStrExt as _;
        let path = |bytes: &'static [u8]| Path::new(std::ffi::OsStr::from_bytes(bytes));
        let check = |file: &'static [u8], expected: &'static [u8]| {
            let model = super::super::tests::model_named(path(file));
            assert_eq!(output_path(&model, Level::Q8_0, Path::new("out")), path(expected));
        };
        check(b"in/caf\xe9-F32.gguf", b"out/caf\xe9-Q8_0.gguf");
        check(b"in/\xe9\xff", b"out/\xe9\xff-Q8_0.gguf");
        check(b"in/big\xe9-F16-00001-of-00003.gguf", b"out/big\xe9-Q8_0.gguf");
    }

    #[test]
    fn files_of_one_model_are_told_by_their_names() {
        let check = |file: &str, expected: &str| assert_eq!(model_name_of(file), expected, "{file}");
        check("m-Q4_K_M.gguf", "m");
        check("m-Q4_K_M-custom.gguf", "m");
        check("m.F16.gguf", "m");
        check("m-F16-00001-of-00003.gguf", "m");
        check("m", "m");
        check("Q4_0.gguf", "Q4_0");
    }

    #[test]
    fn a_changed_recipe_has_a_name_of_its_own() {
        let model = super::super::tests::model_named(Path::new("in/gemma-v1.5.F16.gguf"));
        let path = |overrides: &Overrides| output_path_by(&model, Level::Q4_K_M, overrides, Path::new("out"));
        assert_eq!(path(&Overrides::default()), Path::new("out/gemma-v1.5-Q4_K_M.gguf"));
        let floats = output_path_by(&model, Level::F16, &Overrides { pure: true, ..Overrides::default() }, Path::new("out"));
        assert_eq!(floats, Path::new("out/gemma-v1.5-F16.gguf"));
        assert_eq!(path(&Overrides { pure: true, ..Overrides::default() }), Path::new("out/gemma-v1.5-Q4_K_M-custom.gguf"));
        let calibrated = Overrides { calibrated: true, ..Overrides::default() };
        assert_eq!(path(&calibrated), Path::new("out/gemma-v1.5-Q4_K_M-calibrated.gguf"));
        let both = Overrides { pure: true, ..calibrated.clone() };
        assert_eq!(path(&both), Path::new("out/gemma-v1.5-Q4_K_M-calibrated-custom.gguf"));
        let floats = output_path_by(&model, Level::F16, &calibrated, Path::new("out"));
        assert_eq!(floats, Path::new("out/gemma-v1.5-F16.gguf"));
    }

    #[cfg(unix)]
    #[test]
    fn links_are_the_same_file() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("a"), "x").unwrap();
        std::fs::write(at("other"), "x").unwrap();
        std::os::unix::fs::symlink(at("a"), at("symlink")).unwrap();
        std::fs::hard_link(at("a"), at("hard_link")).unwrap();
        let check = |name: &str, same: bool| assert_eq!(FileId::of(&at(name)) == FileId::of(&at("a")), same, "{name}");
        check("symlink", true);
        check("hard_link", true);
        check("other", false);
        check("missing", false);
    }
}
