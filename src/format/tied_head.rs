//! A head that `config.json` calls tied to the embedding but that is stored all the same: is it a copy of the embedding?

use std::fs::File;

use super::tensor_reader::read_exact_at;
use crate::error::{Error, Result};
use crate::model::{Checkpoint, CheckpointTensor};

/// Bytes that are compared at a time. Heads that differ mostly differ in the first piece.
const PIECE_BYTES: u64 = 1 << 20;
/// How the names of embeddings end.
const EMBEDDINGS: [&str; 3] = ["embed_tokens.weight", "wte.weight", "word_embeddings.weight"];
/// How the names of heads end.
const HEADS: [&str; 2] = ["lm_head.weight", "embed_out.weight"];

/// Unties a stored head that differs from the embedding, as transformers 5 does; `convert_hf_to_gguf.py` keeps such a head too.
///
/// # Errors
/// `Error::Io` when the weights cannot be read.
pub(super) fn settle_tied_head(checkpoint: &mut Checkpoint) -> Result<()> {
    if !checkpoint.config.as_ref().is_some_and(|config| config.has_tied_embeddings) {
        return Ok(());
    }
    let tensor = |endings: &[&str]| {
        let is_part =
            |name: &str, ending: &str| name.strip_suffix(ending).is_some_and(|start| start.is_empty() || start.ends_with('.'));
        let mut found = checkpoint.tensors.iter().filter(|tensor| endings.iter().any(|ending| is_part(&tensor.name, ending)));
        // With two of them nothing is certain; the check of the names reports them.
        found.next().filter(|_| found.next().is_none())
    };
    let (Some(head), Some(embedding)) = (tensor(&HEADS), tensor(&EMBEDDINGS)) else { return Ok(()) };
    if is_same(checkpoint, head, embedding)? {
        return Ok(());
    }
    let warning =
        format!("tie_word_embeddings is true in config.json, but {} differs from {}: it is kept", head.name, embedding.name);
    checkpoint.warnings.push(warning);
    if let Some(config) = &mut checkpoint.config {
        config.has_tied_embeddings = false;
    }
    Ok(())
}

/// Treats a model that was saved from its base class, without a head, as one whose head is its embedding: llama.cpp loads it
/// like that to make embeddings.
///
/// Qwen3-Embedding is published like this, under the class with the head.
pub(super) fn settle_missing_head(checkpoint: &mut Checkpoint) {
    let has =
        |endings: &[&str]| checkpoint.tensors.iter().any(|tensor| endings.iter().any(|ending| tensor.name.ends_with(ending)));
    let is_without_root = checkpoint.tensors.iter().any(|tensor| tensor.name == "embed_tokens.weight");
    let is_complete = checkpoint.missing_files.is_empty() && has(&EMBEDDINGS) && !has(&HEADS);
    let Some(config) = &mut checkpoint.config else { return };
    if is_complete && !config.has_tied_embeddings && (is_without_root || config.class_name.ends_with("Model")) {
        config.has_tied_embeddings = true;
        let warning = "it has no head (lm_head.weight): it makes embeddings, the tokens that it would generate mean nothing";
        checkpoint.warnings.push(warning.into());
    }
}

fn is_same(checkpoint: &Checkpoint, a: &CheckpointTensor, b: &CheckpointTensor) -> Result<bool> {
    if (a.dtype, &a.shape, a.size_bytes) != (b.dtype, &b.shape, b.size_bytes) {
        return Ok(false);
    }
    let opened = |tensor: &CheckpointTensor| {
        let path =
            checkpoint.files.get(tensor.file_idx).ok_or_else(|| Error::Internal { message: "a tensor without a file".into() })?;
        File::open(path).map(|file| (file, path)).map_err(Error::io("open", path))
    };
    let ((file_a, path_a), (file_b, path_b)) = (opened(a)?, opened(b)?);
    let piece = usize::try_from(PIECE_BYTES.min(a.size_bytes)).unwrap_or(0);
    let (mut bytes_a, mut bytes_b) = (vec![0; piece], vec![0; piece]);
    let mut at = 0;
    while at < a.size_bytes {
        let n = usize::try_from(PIECE_BYTES.min(a.size_bytes - at)).unwrap_or(0);
        let (Some(part_a), Some(part_b)) = (bytes_a.get_mut(..n), bytes_b.get_mut(..n)) else { break };
        read_exact_at(&file_a, part_a, a.offset + at).map_err(Error::io("read", path_a))?;
        read_exact_at(&file_b, part_b, b.offset + at).map_err(Error::io("read", path_b))?;
        if part_a != part_b {
            return Ok(false);
        }
        at += n as u64;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, SeekFrom, Write as _};

    use crate::format::read_checkpoint;
    use crate::format::test_checkpoints::{CONFIG, llama_tensors, write_described, write_safetensors};

    #[test]
    fn a_stored_head_is_tied_only_where_it_is_the_embedding() {
        let tied = CONFIG.replace(r#""tie_word_embeddings":false"#, r#""tie_word_embeddings":true"#);
        let check = |prefix: &str, last_byte: u8, is_tied: bool| {
            let dir = tempfile::tempdir().unwrap();
            write_described(dir.path(), &tied);
            let mut tensors = llama_tensors(3);
            for tensor in &mut tensors {
                tensor.0.insert_str(0, prefix);
            }
            let path = dir.path().join("model.safetensors");
            write_safetensors(&path, &tensors);
            // The head is the last tensor.
            let mut file = std::fs::File::options().write(true).open(&path).unwrap();
            file.seek(SeekFrom::End(-1)).unwrap();
            file.write_all(&[last_byte]).unwrap();
            let checkpoint = read_checkpoint(dir.path()).unwrap();
            assert_eq!(checkpoint.config.as_ref().unwrap().has_tied_embeddings, is_tied, "{prefix} {last_byte}");
            assert_eq!(checkpoint.warnings.iter().any(|warning| warning.contains("lm_head.weight differs")), !is_tied);
        };
        check("", 0, true);
        check("", 1, false);
        check("language_model.", 1, false);
    }

    #[test]
    fn a_base_class_has_no_head() {
        let check = |config: &str, prefix: &str, n_warnings: usize| {
            let dir = tempfile::tempdir().unwrap();
            write_described(dir.path(), config);
            let mut tensors = llama_tensors(3);
            tensors.pop();
            for tensor in &mut tensors {
                tensor.0 = tensor.0.replacen("model.", prefix, 1);
            }
            write_safetensors(&dir.path().join("model.safetensors"), &tensors);
            let checkpoint = read_checkpoint(dir.path()).unwrap();
            let found = checkpoint.warnings.iter().filter(|warning| warning.contains("no head")).count();
            assert_eq!((found, checkpoint.config.unwrap().has_tied_embeddings), (n_warnings, n_warnings == 1), "{prefix}");
        };
        check(CONFIG, "model.", 0);
        check(CONFIG, "", 1);
        check(&CONFIG.replace("LlamaForCausalLM", "LlamaModel"), "model.", 1);
    }
}
