//! What to do with outputs that exist.

use std::path::{Path, PathBuf};

use super::manifest_path;
use super::paths::{output_path_by, without_marks};
use super::preflight::PlannedOutput;
use super::{ConvertRequest, Overwrite};
use crate::advise::Overrides;
use crate::model::{ArtifactKind, Level, Model};

/// What to do with one output that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Existing {
    /// Leave it as it is and make no other.
    Skip,
    /// Replace it once the new one is complete: atomically, except for a folder where the system cannot swap two.
    Replace,
    /// Leave it as it is and give the new one a number: `a-Q4_K_M-2.gguf`.
    KeepBoth,
}

impl Existing {
    /// All of them in the order of the screen.
    pub const ALL: [Self; 3] = [Self::Skip, Self::Replace, Self::KeepBoth];

    /// The word on screen.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Skip => "Skip",
            Self::Replace => "Replace",
            Self::KeepBoth => "Keep both",
        }
    }
}

/// Those of the levels whose output exists already, each with its path.
#[must_use]
pub fn existing_outputs(model: &Model, levels: &[Level], overrides: &Overrides, out_dir: &Path) -> Vec<(Level, PathBuf)> {
    let outputs = levels.iter().map(|&level| (level, output_path_by(model, level, overrides, out_dir)));
    outputs.filter(|(_, path)| is_taken(path)).collect()
}

/// The output as the request wants it where its name is taken; `None` if it is to be skipped.
pub(super) fn placed(mut output: PlannedOutput, request: &ConvertRequest) -> Option<PlannedOutput> {
    output.overwrite = request.overwrite;
    let answer = request.existing.get(&output.level).filter(|_| is_taken(&output.path));
    match answer {
        None => {}
        Some(Existing::Skip) => return None,
        Some(Existing::Replace) => output.overwrite = Overwrite::Allowed,
        Some(Existing::KeepBoth) => {
            output.path = numbered_path(&output.path, output.level.framework().artifact());
            output.overwrite = Overwrite::Never;
        }
    }
    Some(output)
}

fn is_taken(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

/// The first free name behind this one: `a-Q4_K_M-2.gguf`.
fn numbered_path(path: &Path, kind: ArtifactKind) -> PathBuf {
    let numbered = |n: u32| {
        let mut name = crate::path_text::stem_of(path);
        name.push(format!("-{n}{}", kind.ending()));
        path.with_file_name(name)
    };
    let free = (2..u32::MAX).map(numbered).find(|path| !is_taken(path) && !is_taken(&manifest_path(path)));
    free.unwrap_or_else(|| path.to_path_buf())
}

/// The number in the name of a file that was kept beside another of the same level: 2 for `a-Q4_K_M-2.gguf`; `None` for others.
#[must_use]
pub fn copy_number(path: &Path, level: Level) -> Option<u32> {
    let stem = crate::path_text::stem(path);
    let (front, number) = stem.rsplit_once('-')?;
    let number = number.parse().ok().filter(|n| *n >= 2)?;
    without_marks(front).ends_with(&level.file_name()).then_some(number)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::convert::{Conversion, convert, open_model, unpack_sample};
    use crate::error::Error;
    use crate::monitor::Monitor;

    #[test]
    fn an_existing_file_is_left_replaced_or_joined_by_another() {
        let dir = tempfile::tempdir().unwrap();
        let model = open_model(&unpack_sample(dir.path()).unwrap()).unwrap();
        let plain = ConvertRequest::new(vec![Level::Q8_0, Level::Q4_0, Level::Q2_K], dir.path());
        let paths = plain.levels.iter().map(|level| output_path_by(&model, *level, &plain.overrides, dir.path()));
        let [q8, q4, q2] = <[PathBuf; 3]>::try_from(paths.collect::<Vec<_>>()).unwrap();
        for path in [&q8, &q4, &q2] {
            std::fs::write(path, "mine").unwrap();
        }
        assert_eq!(existing_outputs(&model, &plain.levels, &plain.overrides, dir.path()).len(), 3);
        assert_eq!(convert(&model, &plain, &Monitor::silent()), Err(Error::OutputExists { path: q8.clone() }));
        let answers = [(Level::Q8_0, Existing::Skip), (Level::Q4_0, Existing::Replace), (Level::Q2_K, Existing::KeepBoth)];
        let request = ConvertRequest { existing: BTreeMap::from(answers), ..plain };
        let names = |made: &[Conversion]| made.iter().map(|made| (made.name(), made.path.clone())).collect::<Vec<_>>();
        let made = convert(&model, &request, &Monitor::silent()).unwrap();
        let kept = q2.with_file_name(format!("{}-2.gguf", q2.file_stem().unwrap().to_str().unwrap()));
        assert_eq!(names(&made), [("Q4_0".to_string(), q4.clone()), ("Q2_K (2)".to_string(), kept.clone())]);
        let is_mine = |path: &Path| std::fs::read(path).unwrap() == b"mine";
        assert!(is_mine(&q8) && !is_mine(&q4) && is_mine(&q2));
        assert!(open_model(&kept).is_ok() && manifest_path(&kept).is_file());
        // Once more: the next number.
        let made = convert(&model, &request, &Monitor::silent()).unwrap();
        assert_eq!(made.last().map(Conversion::name).as_deref(), Some("Q2_K (3)"));
        // Nothing is left to do.
        let request = ConvertRequest { levels: vec![Level::Q8_0], ..request };
        assert_eq!(convert(&model, &request, &Monitor::silent()), Ok(Vec::new()));
    }

    #[test]
    fn numbers_of_copies_are_read_from_names() {
        let check =
            |name: &str, expected: Option<u32>| assert_eq!(copy_number(Path::new(name), Level::Q4_K_M), expected, "{name}");
        check("a-Q4_K_M-2.gguf", Some(2));
        check("a-Q4_K_M-custom-12.gguf", Some(12));
        check("a-Q4_K_M-budget-2.gguf", Some(2));
        check("a-Q4_K_M-calibrated-custom-3.gguf", Some(3));
        check("a-Q4_K_M.gguf", None);
        check("a-Q4_K_M-1.gguf", None);
        check("a-Q4_0-2.gguf", None);
        check("phi-2.gguf", None);
    }
}
