//! The bundled sample: a small trained model as a checkpoint, for trying everything without a download.

use std::path::{Path, PathBuf};

use super::{Overwrite, write_whole};
use crate::error::{Error, Result};
use crate::model::Level;

/// Name of its folder, which becomes the model's.
const FOLDER_NAME: &str = "planish-sample";
/// Its files with their contents; see `assets/sample/README.md`.
const FILES: [(&str, &[u8]); 6] = [
    ("README.md", include_bytes!("../../assets/sample/README.md")),
    ("config.json", include_bytes!("../../assets/sample/config.json")),
    ("generation_config.json", include_bytes!("../../assets/sample/generation_config.json")),
    ("tokenizer.json", include_bytes!("../../assets/sample/tokenizer.json")),
    ("tokenizer_config.json", include_bytes!("../../assets/sample/tokenizer_config.json")),
    // The last one: where it is complete, so are the others.
    ("model.safetensors", include_bytes!("../../assets/sample/model.safetensors")),
];

/// Levels that show what quantization does, each a clear step from the next.
pub const SAMPLE_LEVELS: [Level; 5] = [Level::Q8_0, Level::Q6_K, Level::Q4_K_M, Level::Q3_K_M, Level::Q2_K];

/// The folder of the sample below `parent`.
#[must_use]
pub fn sample_path(parent: &Path) -> PathBuf {
    parent.join(FOLDER_NAME)
}

/// Where the window keeps the sample and what is made from it: below the user's data folder; `None` where the system names none.
#[must_use]
pub fn sample_parent() -> Option<PathBuf> {
    // Unit tests must not write into the data folder of the person who runs them.
    if cfg!(test) {
        return Some(std::env::temp_dir().join(format!("planish-unit-tests-{}", std::process::id())).join("sample"));
    }
    directories::ProjectDirs::from("", "", "planish").map(|dirs| dirs.data_dir().join("sample"))
}

/// Writes the sample's folder below `parent`, unless it is there as it should be; returns it.
///
/// # Errors
/// `Error::Io` when it cannot be written.
pub fn unpack_sample(parent: &Path) -> Result<PathBuf> {
    let folder = sample_path(parent);
    std::fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
    for (name, bytes) in FILES {
        let path = folder.join(name);
        let is_there = std::fs::metadata(&path).is_ok_and(|metadata| metadata.len() == bytes.len() as u64)
            && std::fs::read(&path).is_ok_and(|found| found == bytes);
        if !is_there {
            write_whole(&path, bytes, Overwrite::Allowed)?;
        }
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::check_checkpoint;
    use crate::format::{Opened, read_any};

    #[test]
    fn the_sample_is_a_checkpoint_whose_every_matrix_takes_k_quants() {
        let parent = tempfile::tempdir().unwrap();
        let folder = unpack_sample(parent.path()).unwrap();
        let Opened::Checkpoint(checkpoint) = read_any(&folder).unwrap() else { panic!("no checkpoint") };
        let checked = check_checkpoint(*checkpoint);
        let model = checked.model.unwrap_or_else(|| panic!("{:?}", checked.checklist));
        assert_eq!(model.own_level(), Some(Level::BF16));
        let matrices: Vec<_> = model.tensors.iter().filter(|tensor| tensor.shape.len() > 1).collect();
        assert!(matrices.len() > 10 && matrices.iter().all(|tensor| tensor.row_len().is_multiple_of(256)));
    }

    #[test]
    fn a_damaged_copy_is_written_again() {
        let parent = tempfile::tempdir().unwrap();
        let folder = unpack_sample(parent.path()).unwrap();
        let weights = folder.join("model.safetensors");
        let whole = std::fs::read(&weights).unwrap();
        std::fs::write(&weights, vec![0; whole.len()]).unwrap();
        std::fs::remove_file(folder.join("config.json")).unwrap();
        assert_eq!(unpack_sample(parent.path()).unwrap(), folder);
        assert!(std::fs::read(&weights).unwrap() == whole && folder.join("config.json").is_file());
    }
}
