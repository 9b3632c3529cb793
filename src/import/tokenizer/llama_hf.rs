//! Llama 2's kind of vocabulary without `tokenizer.model`: BPE with bytes as a last resort, from `tokenizer.json`.

use std::collections::{BTreeSet, HashMap};

use super::encoder::Encoder;
use super::entries::{Entries, TokenType, Tokens};
use super::files::{Folder, text_of};
use super::json::{MAX_TOKENS, Merges, TokenizerJson};
use super::normalizer;
use super::settings::Settings;
use super::special::{Special, Wanted};
use crate::error::Result;
use crate::model::Text;

/// Writes such a vocabulary; false when there is no `tokenizer.json` or it is of another kind.
///
/// Source: `LlamaHfVocab` in `gguf-py/gguf/vocab.py` and `_set_vocab_llama_hf` in `conversion/base.py`, llama.cpp of 2026-08-21. Two things
/// differ: every token has the score -1000 there, so that llama.cpp merges from left to right whatever the vocabulary says, and the
/// vocabulary is not filled up to the model's, so that llama.cpp refuses the file.
///
/// # Errors
/// `Error::UnknownTokenizer` and `Error::DamagedFile` for files that are damaged or contradict themselves.
pub(super) fn add_llama_hf(folder: &Folder, n_vocab: u64, entries: &mut Entries, warnings: &mut Vec<String>) -> Result<bool> {
    let Some(mut json) = TokenizerJson::read(folder)? else { return Ok(false) };
    let is_sequence = json.decoder.object().is_some_and(|decoder| text_of(decoder, "type") == Some("Sequence"));
    if json.kind() != "BPE" || !json.model.byte_fallback.unwrap_or(false) || !is_sequence {
        return Ok(false);
    }
    let settings = Settings::read(folder)?;
    let encoder = Encoder::new(&mut json, &settings).map_err(|what| folder.unknown(what))?;
    let mut tokens = tokens_of(folder, &encoder, &settings, &json.model.merges, n_vocab)?;
    warnings.extend(tokens.make_unique());
    warnings.extend(normalizer::warning(&json, normalizer::Kind::Pieces));
    let n_tokens = tokens.texts.len();
    let mut special = Special::read(folder, Some(&json), Wanted { n_tokens: Some(n_tokens), ..Wanted::default() })?;
    special.find_end(folder, &tokens.texts)?;
    entries.vocabulary("llama", "default", tokens);
    warnings.append(&mut special.warnings);
    special.add_to(entries);
    Ok(true)
}

fn tokens_of(folder: &Folder, encoder: &Encoder, settings: &Settings, merges: &Merges, n_vocab: u64) -> Result<Tokens> {
    let texts = encoder.tokens();
    let n_base = encoder.n_base_tokens() as u64;
    let n_used = texts.last_key_value().map_or(0, |(&id, _)| u64::from(id) + 1);
    let n_tokens = if n_vocab == 0 { n_used } else { n_vocab };
    if n_tokens > MAX_TOKENS {
        return Err(folder.unknown(format!("the model has {n_tokens} tokens, at most {MAX_TOKENS} are read")));
    }
    if let Some((&id, text)) = texts.last_key_value().filter(|_| n_used > n_tokens) {
        return Err(folder.beyond(text.clone(), id.into(), n_tokens));
    }
    let special: BTreeSet<u32> = settings.specials.iter().filter_map(|(_, text)| encoder.id_of(text)).collect();
    let scores = merge_scores(merges);
    #[allow(clippy::cast_precision_loss, reason = "numbers of tokens are below 2^22")]
    let least = -(merges.0.len() as f32);
    let mut tokens = Tokens::unused(usize::try_from(n_tokens).unwrap_or(0));
    for (id, text) in texts {
        let is_base = u64::from(id) < n_base;
        let kind = match () {
            () if is_base && is_byte(&text) => TokenType::Byte,
            () if special.contains(&id) => TokenType::Control,
            () if is_base => TokenType::Normal,
            () => TokenType::UserDefined,
        };
        let score = scores.get(text.as_str()).copied().unwrap_or(least);
        tokens.put(usize::try_from(id).unwrap_or(usize::MAX), Text::from(text.as_str()), score, kind);
    }
    Ok(tokens)
}

/// The score of each token that a merge makes: the sooner it is merged, the higher, as in the SentencePiece model.
#[allow(clippy::cast_precision_loss, reason = "numbers of merges are below 2^22")]
fn merge_scores(merges: &Merges) -> HashMap<String, f32> {
    let mut scores = HashMap::with_capacity(merges.0.len());
    for (rank, (left, right)) in merges.0.iter().enumerate() {
        scores.entry(format!("{left}{right}")).or_insert(-(rank as f32));
    }
    scores
}

/// True for `<0x0A>`.
fn is_byte(text: &str) -> bool {
    let digits = text.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}
