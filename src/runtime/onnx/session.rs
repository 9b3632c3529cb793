//! One text: tokens in, logits out.

use std::ops::Range;

use super::graph::Graph;
use crate::runtime::session::Session;

/// The most tokens that the network computes at once.
const MAX_STEP: usize = 512;
/// The graph gives the logits of all tokens that it computes at once: this bounds their memory, in bytes.
const MAX_LOGITS_BYTES: usize = 128 << 20;
/// The fewest tokens that are computed at once of a text that has more: fewer would be slow with the largest vocabularies.
const MIN_STEP: usize = 16;

/// What becomes of the logits of some tokens.
type OnRows<'a> = &'a mut dyn FnMut(Range<usize>, &[f32]) -> Result<(), String>;

/// What computes one text.
pub(super) struct OnnxSession {
    graph: Graph,
    n_vocab: usize,
    /// Tokens so far.
    n_tokens: usize,
    /// Logits of the last token; empty before the first.
    last: Vec<f32>,
    rows: Vec<f32>,
}

impl OnnxSession {
    /// A session without tokens.
    pub(super) fn new(graph: Graph, n_vocab: u32) -> Self {
        Self { graph, n_vocab: n_vocab as usize, n_tokens: 0, last: Vec::new(), rows: Vec::new() }
    }

    /// Computes tokens and gives `on_rows` the logits of each step: the first token of the step, and one row for each token or for the last
    /// one alone.
    fn run(&mut self, tokens: &[u32], on_rows: OnRows) -> Result<(), String> {
        for step in steps(tokens.len(), self.n_vocab) {
            let Some(ids) = tokens.get(step.clone()) else { continue };
            if let Some(id) = ids.iter().find(|&&id| id as usize >= self.n_vocab) {
                return Err(format!("token {id} is outside the vocabulary of {}", self.n_vocab));
            }
            let logits = self.graph.run(ids, self.n_tokens, self.n_vocab)?;
            self.n_tokens += ids.len();
            on_rows(step, &logits)?;
        }
        Ok(())
    }
}

impl Session for OnnxSession {
    fn clear(&mut self) -> Result<(), String> {
        self.last.clear();
        self.n_tokens = 0;
        self.graph.forget_from(0)
    }

    fn forget_from(&mut self, position: u32) -> Result<bool, String> {
        let position = position as usize;
        if position > self.n_tokens {
            return Ok(false);
        }
        self.graph.forget_from(position)?;
        self.n_tokens = position;
        self.last.clear();
        Ok(true)
    }

    fn compute(&mut self, tokens: &[u32]) -> Result<(), String> {
        let n_vocab = self.n_vocab;
        let mut last = std::mem::take(&mut self.last);
        let done = self.run(tokens, &mut |step, logits| {
            if step.end == tokens.len() {
                last.clear();
                last.extend_from_slice(logits.rchunks_exact(n_vocab).next().unwrap_or_default());
            }
            Ok(())
        });
        self.last = last;
        done
    }

    fn last_logits(&mut self) -> Result<&[f32], String> {
        if self.last.is_empty() { Err("nothing has been computed".into()) } else { Ok(&self.last) }
    }

    fn rows(&mut self, tokens: &[u32], position: usize, first_wanted: usize) -> Result<&[f32], String> {
        if position != self.n_tokens {
            return Err(format!("the next token stands at {}, not at {position}", self.n_tokens));
        }
        let n_vocab = self.n_vocab;
        let mut rows = std::mem::take(&mut self.rows);
        rows.clear();
        let done = self.run(tokens, &mut |step, logits| {
            if logits.len() != step.len() * n_vocab {
                return Err("its graph gives the logits of the last token alone: they do not tell what it loses".into());
            }
            let n_unwanted = first_wanted.saturating_sub(step.start).min(step.len());
            rows.extend_from_slice(logits.get(n_unwanted * n_vocab..).unwrap_or_default());
            Ok(())
        });
        self.rows = rows;
        done.map(|()| self.rows.as_slice())
    }
}

/// Cuts a text into steps of nearly equal lengths.
///
/// None has a single token unless the text has: ONNX Runtime multiplies one row with 4- and 8-bit weights in another way than several, with
/// other results. Otherwise the steps do not matter: 400 tokens at once, in two steps and in 25 gave the same bits (1.32, December 2026).
fn steps(n_tokens: usize, n_vocab: usize) -> impl Iterator<Item = Range<usize>> {
    let longest = (MAX_LOGITS_BYTES / (4 * n_vocab.max(1))).clamp(MIN_STEP, MAX_STEP);
    let n_steps = n_tokens.div_ceil(longest);
    (0..n_steps).map(move |idx| idx * n_tokens / n_steps..(idx + 1) * n_tokens / n_steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_cover_a_text_and_none_is_a_single_token() {
        for n_vocab in [320, 49_152, 256_000, 4_000_000] {
            for n_tokens in (1..1100).chain([2048, 100_000]) {
                let all: Vec<Range<usize>> = steps(n_tokens, n_vocab).collect();
                assert_eq!((all[0].start, all[all.len() - 1].end), (0, n_tokens));
                assert!(all.windows(2).all(|pair| pair[0].end == pair[1].start), "{all:?}");
                let longest = all.iter().map(ExactSizeIterator::len).max().unwrap();
                assert!(longest <= MAX_STEP && (longest <= MIN_STEP || longest * n_vocab * 4 <= MAX_LOGITS_BYTES));
                assert!(n_tokens == 1 || all.iter().all(|step| step.len() > 1), "{n_tokens}: {all:?}");
            }
        }
        assert_eq!(steps(0, 320).count(), 0);
    }
}
