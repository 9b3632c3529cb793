//! Folders for ONNX Runtime GenAI.

use std::path::Path;

use super::super::genai_config::{GENAI_CONFIG, read_genai_config};
use super::super::gguf_reader::map::map_start;
use super::super::open::{is_plain_name, open_regular};
use super::onnx_summary::OnnxSummary;
use super::{Artifact, files_of, total_bytes};
use crate::error::{Error, Result};
use crate::model::Framework;

const FORMAT: &str = "ONNX file";
/// Protocol buffers hold no more: larger networks keep their weights in other files.
const MAX_NETWORK_BYTES: u64 = 2 << 30;

/// Reads a folder with `genai_config.json` and the network that it names. `None` for anything else.
///
/// The files are the network, those that hold its weights, and what belongs to the model beside them.
pub(super) fn onnx_folder(path: &Path) -> Result<Option<Artifact>> {
    if !path.join(GENAI_CONFIG).is_file() {
        return Ok(None);
    }
    let config = read_genai_config(path)?;
    let network = path.join(&config.model_file);
    let summary = read_summary(&network)?;
    let mut weights = vec![config.model_file.as_str()];
    for name in &summary.data_files {
        let name = name.strip_prefix("./").unwrap_or(name);
        if !is_plain_name(name) {
            let what = format!("it names a file that is not in its folder: {}", name.escape_debug());
            return Err(Error::DamagedFile { format: FORMAT, what, path: network });
        }
        // The error for one that is missing.
        open_regular(&path.join(name))?;
        weights.push(name);
    }
    let mut files = files_of(path)?;
    files.retain(|file| weights.contains(&file.name.as_str()) || file.is_beside());
    Ok(Some(Artifact {
        path: path.to_path_buf(),
        framework: Framework::OnnxRuntime,
        size_bytes: total_bytes(&files),
        files: files.into_iter().map(|file| file.path).collect(),
        recipe: summary.recipe_text(),
        level: summary.level.and_then(|name| name.parse().ok()),
        model: None,
    }))
}

fn read_summary(network: &Path) -> Result<OnnxSummary> {
    let damaged = |what: String| Error::DamagedFile { format: FORMAT, what, path: network.to_path_buf() };
    let (file, size_bytes) = open_regular(network)?;
    if size_bytes == 0 || size_bytes > MAX_NETWORK_BYTES {
        return Err(damaged(format!("it has {size_bytes} bytes, such files have up to 2 GiB")));
    }
    let n_bytes = usize::try_from(size_bytes).map_err(|error| damaged(error.to_string()))?;
    let map = map_start(&file, n_bytes).map_err(Error::io("read", network))?;
    OnnxSummary::read(&map).map_err(damaged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RuntimeId;
    use crate::path_text;

    fn golden(name: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/onnx").join(name)).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
        }
        dir
    }

    #[test]
    fn a_folder_is_known_by_its_configuration_and_its_network() {
        let check = |name: &str, recipe: &str, expected: &[&str]| {
            let dir = golden(name);
            std::fs::write(dir.path().join(super::super::FOLDER_MANIFEST), "{}").unwrap();
            std::fs::write(dir.path().join("other.onnx"), "no part of it").unwrap();
            let artifact = Artifact::open(dir.path()).unwrap();
            assert_eq!((artifact.framework, artifact.runtime()), (Framework::OnnxRuntime, Ok(RuntimeId::OnnxRuntime)));
            assert_eq!((artifact.recipe.as_str(), artifact.run_path()), (recipe, dir.path()));
            let names: Vec<_> = artifact.files.iter().map(|path| path_text::file_name(path)).collect();
            assert_eq!(names, expected);
            let size: u64 = artifact.files.iter().map(|path| path.metadata().unwrap().len()).sum();
            assert_eq!(artifact.size_bytes, size);
        };
        let beside = ["genai_config.json", "model.onnx", "tokenizer.json", "tokenizer_config.json"];
        check("int4", "MatMulNBits, 4 bits, blocks of 32", &beside);
        check("f16", "F16", &beside);
        let with_data = ["genai_config.json", "model.onnx", "model.onnx.data", "tokenizer.json", "tokenizer_config.json"];
        check("f32", "float32 throughout", &with_data);
    }

    #[test]
    fn a_damaged_folder_is_told() {
        let dir = golden("f32");
        let check = |expected: &str| {
            let error = Artifact::open(dir.path()).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        };
        let (network, data) = (dir.path().join("model.onnx"), dir.path().join("model.onnx.data"));
        std::fs::remove_file(&data).unwrap();
        check("model.onnx.data");
        let bytes = std::fs::read(&network).unwrap();
        std::fs::write(&network, &bytes[..bytes.len() - 9]).unwrap();
        check("ONNX file");
        std::fs::write(&network, "").unwrap();
        check("0 bytes");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(text.contains("model.onnx.data"), "the name is there to be replaced");
        let at = bytes.windows(15).position(|window| window == b"model.onnx.data").unwrap();
        let mut elsewhere = bytes.clone();
        elsewhere[at..at + 15].copy_from_slice(b"../../etc/passw");
        std::fs::write(&network, elsewhere).unwrap();
        check("not in its folder");
        std::fs::remove_file(&network).unwrap();
        check("model.onnx");
        std::fs::write(dir.path().join(GENAI_CONFIG), "{").unwrap();
        check("genai_config.json");
    }
}
