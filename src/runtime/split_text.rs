//! A text in llama.cpp's tokens, cut into chunks as llama-imatrix does it.

use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;

use super::Corpus;
use super::text_plan::Chunk;

/// Logits that are kept at a time: llama.cpp computes the head only for tokens that have some.
const MAX_LOGITS_BYTES: usize = 576 << 20;
/// The fewest rows that are computed at a time: fewer make the products slow.
const MIN_ROWS: usize = 64;

/// The parts of a text in a model's tokens.
pub(super) struct SplitText {
    parts: Vec<Vec<LlamaToken>>,
    /// What starts a text, where the model wants that.
    bos: Option<LlamaToken>,
}

impl SplitText {
    pub(super) fn of(model: &LlamaModel, corpus: &Corpus) -> Self {
        let vocab = model.vocab();
        let parts = corpus.parts.iter().map(|part| vocab.tokenize(part.text.as_bytes(), true, false)).collect();
        Self { parts, bos: vocab.should_add_bos().then(|| vocab.bos()) }
    }

    /// Tokens of each part.
    pub(super) fn lens(&self) -> Vec<usize> {
        self.parts.iter().map(Vec::len).collect()
    }

    /// The tokens of chunks of `n_ctx`, the first of each replaced by the one that starts a text.
    pub(super) fn tokens_of(&self, chunks: &[Chunk], n_ctx: usize) -> Result<Vec<Vec<LlamaToken>>, String> {
        let tokens_of = |chunk: &Chunk| {
            let part = self.parts.get(chunk.part_idx as usize).ok_or("no such part")?;
            let mut tokens = part.get(chunk.start..chunk.start + n_ctx).ok_or("no such tokens")?.to_vec();
            if let (Some(first), Some(bos)) = (tokens.first_mut(), self.bos) {
                *first = bos;
            }
            Ok(tokens)
        };
        chunks.iter().map(tokens_of).collect()
    }
}

/// Rows whose logits can be kept together.
pub(super) fn n_rows_with_logits(n_vocab: usize) -> usize {
    (MAX_LOGITS_BYTES / (4 * n_vocab.max(1))).max(MIN_ROWS)
}
