//! WordPiece vocabularies: those of BERT.

use super::bpe::{Base, read_base};
use super::entries::{Entries, TokenType};
use super::files::Folder;
use super::normalizer;
use super::special::{Special, Wanted};
use crate::error::Result;
use crate::format::config_value::whole_of;
use crate::model::{CheckpointConfig, Text};

/// Writes a WordPiece vocabulary: a ▁ before each piece that begins a word, nothing before the others.
///
/// Source: `BertModel.set_vocab` in `conversion/bert.py`, llama.cpp of 2026-08-21.
///
/// # Errors
/// As `read_base`.
pub(super) fn add_wordpiece(
    folder: &Folder,
    config: &CheckpointConfig,
    n_vocab: u64,
    entries: &mut Entries,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let Base { mut tokens, pre, json } = read_base(folder, n_vocab)?;
    if json.kind() != "WordPiece" {
        let what = format!("this model's vocabulary consists of word pieces, tokenizer.json holds a {} model", json.kind());
        return Err(folder.unknown(what));
    }
    let n_types = config.json.get("type_vocab_size").and_then(|n_types| whole_of(n_types).ok()?).unwrap_or(2);
    entries.number("token_type_count", u32::try_from(n_types).unwrap_or(u32::MAX));
    for (text, kind) in tokens.texts.iter_mut().zip(&tokens.types) {
        if *kind == TokenType::Control {
            continue;
        }
        let own = text.lossy().into_owned();
        *text = match own.strip_prefix("##") {
            Some(inside) => Text::from(inside),
            None => Text::from(format!("\u{2581}{own}").as_str()),
        };
    }
    warnings.extend(tokens.make_unique());
    warnings.extend(normalizer::warning(&json, normalizer::Kind::Words));
    let n_tokens = tokens.texts.len();
    entries.vocabulary("bert", &pre.name, tokens);
    let found = Some(&json).filter(|_| folder.has("tokenizer.json"));
    let mut special = Special::read(folder, found, Wanted { n_tokens: Some(n_tokens), ..Wanted::default() })?;
    warnings.append(&mut special.warnings);
    special.add_to(entries);
    Ok(())
}
