//! Vocabularies whose tokens are bytes written as printable characters, merged pair by pair: those of GPT-2, Llama 3, Qwen.

use std::collections::{HashMap, HashSet};

use serde_json::json;

use super::encoder::Encoder;
use super::entries::{Entries, TokenType, Tokens, pad_text};
use super::files::Folder;
use super::json::{AddedEntry, AddedTokens, MAX_TOKENS, Merges, ModelJson, Part, TokenizerJson, Vocab};
use super::normalizer;
use super::pre::{Pre, ignores_merges, pre_tokenizer_of};
use super::settings::Settings;
use super::special::{Special, Wanted, read_merges};
use crate::error::Result;
use crate::model::Text;

/// Qwen2's pre-tokenizer, for a checkpoint without `tokenizer.json`.
///
/// Source: `Qwen2Converter` in `convert_slow_tokenizer.py`, transformers 4.57.
const QWEN2_REGEX: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// A vocabulary with its pre-tokenizer.
pub(super) struct Base {
    /// All tokens, including the ones that fill up the model's vocabulary.
    pub tokens: Tokens,
    /// Its pre-tokenizer.
    pub pre: Pre,
    /// `tokenizer.json`, or what stands in for it, without its vocabulary.
    pub json: TokenizerJson,
}

/// Reads the vocabulary of `tokenizer.json`, else of `vocab.json` and `merges.txt`, else of `vocab.txt`.
///
/// Source: `get_vocab_base` in `conversion/base.py`, llama.cpp of 2026-08-21. `n_vocab` is the model's number of tokens, 0 where it is not
/// known.
///
/// # Errors
/// `Error::UnknownTokenizer` for what is missing, unknown or contradicts itself.
pub(super) fn read_base(folder: &Folder, n_vocab: u64) -> Result<Base> {
    let settings = Settings::read(folder)?;
    let mut json = match TokenizerJson::read(folder)? {
        Some(json) => json,
        None => from_parts(folder, &settings)?,
    };
    if !matches!(json.kind(), "BPE" | "WordPiece") {
        let kind: String = json.kind().chars().take(32).collect();
        return Err(folder.unknown(format!("tokenizer.json holds a {kind} model, which needs tokenizer.model")));
    }
    let encoder = Encoder::new(&mut json, &settings).map_err(|what| folder.unknown(what))?;
    let pre = pre_tokenizer_of(&encoder, &json, &settings).map_err(|what| folder.unknown(what))?;
    let tokens = base_tokens(folder, &encoder, n_vocab)?;
    Ok(Base { tokens, pre, json })
}

/// The token ids of a text; `None` for other tokenizers than byte-level BPE, and without `tokenizer.json`.
pub fn encode(folder: &Folder, text: &str) -> Result<Option<Vec<u32>>> {
    let settings = Settings::read(folder)?;
    let Some(mut json) = TokenizerJson::read(folder)? else { return Ok(None) };
    let is_byte_level = json.kind() == "BPE" && json.pre_tokenizer.0.to_string().contains("ByteLevel");
    if !is_byte_level {
        return Ok(None);
    }
    let encoder = Encoder::new(&mut json, &settings).map_err(|what| folder.unknown(what))?;
    encoder.encode(text).map(Some).map_err(|what| folder.unknown(what))
}

/// All tokens. An added one keeps its own text, which llama.cpp looks for in its input as it is; `convert_hf_to_gguf.py`
/// encodes and decodes it, and loses the letters that a byte-level decoder takes for bytes: `déjà`.
fn base_tokens(folder: &Folder, encoder: &Encoder, n_vocab: u64) -> Result<Tokens> {
    let (texts, added) = (encoder.tokens(), encoder.added());
    let last = texts.last_key_value().map(|(&id, text)| (u64::from(id), text.clone()));
    let (largest, token) = last.ok_or_else(|| folder.unknown("the vocabulary is empty"))?;
    let n_tokens = if n_vocab == 0 { texts.len() as u64 } else { n_vocab };
    if n_tokens > MAX_TOKENS {
        return Err(folder.unknown(format!("the model has {n_tokens} tokens, at most {MAX_TOKENS} are read")));
    }
    if largest >= n_tokens {
        return Err(folder.beyond(token, largest, n_tokens));
    }
    let mut tokens = Tokens::default();
    for id in 0..u32::try_from(n_tokens).unwrap_or(0) {
        let (text, kind) = match (texts.get(&id), added.get(&id)) {
            (None, _) => (pad_text(id.into()), TokenType::Unused),
            (Some(text), None) => (Text::from(text.as_str()), TokenType::Normal),
            (Some(text), Some(token)) => {
                if token.special || looks_special(text) {
                    (Text::from(text.as_str()), TokenType::Control)
                } else {
                    // Spaces are often written as this character in added tokens.
                    (Text::from(text.replace('\u{2581}', " ").as_str()), TokenType::UserDefined)
                }
            }
        };
        tokens.texts.push(text);
        tokens.types.push(kind);
    }
    Ok(tokens)
}

/// True for a token that counts as a control token whatever its file says.
///
/// Source: `does_token_look_special` in `conversion/base.py`, llama.cpp of 2026-08-21.
pub(super) fn looks_special(token: &str) -> bool {
    let is_between = |start: &str, end: &str| token.starts_with(start) && token.ends_with(end);
    ["<pad>", "<mask>", "<2mass>", "[@BOS@]"].contains(&token)
        || is_between("<|", "|>")
        || is_between("<\u{ff5c}", "\u{ff5c}>")
        || is_between("<unused", ">")
}

/// Writes a byte-level vocabulary.
///
/// Source: `_set_vocab_gpt2` in `conversion/base.py`, llama.cpp of 2026-08-21.
///
/// # Errors
/// As `read_base`.
pub(super) fn add_bpe(folder: &Folder, n_vocab: u64, entries: &mut Entries, warnings: &mut Vec<String>) -> Result<()> {
    let Base { mut tokens, pre, json } = read_base(folder, n_vocab)?;
    if json.kind() != "BPE" {
        return Err(
            folder.unknown(format!("this model's vocabulary is merged from bytes, tokenizer.json holds a {} model", json.kind()))
        );
    }
    warnings.extend(tokens.make_unique());
    warnings.extend(normalizer::warning(&json, normalizer::Kind::Bytes));
    // Without tokenizer.json the other files say everything.
    let found = Some(&json).filter(|_| folder.has("tokenizer.json"));
    let wanted = Wanted { merges: true, n_tokens: Some(tokens.texts.len()), ..Wanted::default() };
    let mut special = Special::read(folder, found, wanted)?;
    special.find_end(folder, &tokens.texts)?;
    entries.vocabulary("gpt2", &pre.name, tokens);
    if pre.is_by_definition {
        warnings.push(format!(
            "the pre-tokenizer was recognised by its definition as {}: llama.cpp does not list this vocabulary",
            pre.name
        ));
        if ignores_merges(&pre.name) != json.model.ignore_merges.unwrap_or(false) {
            warnings.push(format!(
                "with the pre-tokenizer {}, llama.cpp merges whole-word tokens in another way: some may be split differently",
                pre.name
            ));
        }
        // With these llama.cpp puts a token before each text unless it is told not to.
        if special.adds_bos().is_none() && matches!(pre.name.as_str(), "llama-bpe" | "tekken") {
            special.set_adds_bos(!json.frame().0.is_empty());
        }
    }
    warnings.append(&mut special.warnings);
    special.add_to(entries);
    Ok(())
}

/// What transformers makes of the older files.
fn from_parts(folder: &Folder, settings: &Settings) -> Result<TokenizerJson> {
    if folder.has("vocab.json") {
        return from_vocab_json(folder, settings);
    }
    match folder.text("vocab.txt")? {
        Some(text) => Ok(from_vocab_txt(&text, settings)),
        None => Err(folder.unknown("there is no tokenizer.json, no vocab.json with merges.txt and no vocab.txt")),
    }
}

fn model(kind: &str, vocab: HashMap<String, u32>, merges: Merges, unk_token: Option<&str>) -> ModelJson {
    ModelJson {
        kind: Some(kind.into()),
        vocab: Vocab(vocab),
        merges,
        unk_token: unk_token.map(String::from),
        continuing_subword_prefix: None,
        end_of_word_suffix: None,
        fuse_unk: None,
        byte_fallback: None,
        ignore_merges: None,
        max_input_chars_per_word: None,
    }
}

fn with_model(model: ModelJson, settings: &Settings) -> TokenizerJson {
    // Tokens of the vocabulary that have a role are added tokens too.
    let mut added = settings.added.clone();
    let mut known: HashSet<String> = added.iter().map(|token| token.content.clone()).collect();
    for (_, text) in &settings.specials {
        if let Some(&id) = model.vocab.0.get(text)
            && known.insert(text.clone())
        {
            added.push(AddedEntry { id: id.into(), content: text.clone(), special: true, ..AddedEntry::default() });
        }
    }
    added.sort_by_key(|token| token.id);
    TokenizerJson {
        added_tokens: AddedTokens(added),
        normalizer: Part::default(),
        pre_tokenizer: Part::default(),
        post_processor: Part::default(),
        decoder: Part::default(),
        model,
    }
}

fn from_vocab_json(folder: &Folder, settings: &Settings) -> Result<TokenizerJson> {
    const NAME: &str = "vocab.json";
    let bytes = folder.bytes(NAME)?.unwrap_or_default();
    let vocab = TokenizerJson::parse_vocab(&bytes).map_err(|what| folder.damaged(NAME, what))?;
    let mut json = with_model(model("BPE", vocab.0, read_merges(folder)?, None), settings);
    let bytes =
        |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
    if settings.class == "Qwen2Tokenizer" {
        json.normalizer = Part(json!({"type": "NFC"}));
        let split = json!({"type": "Split", "pattern": {"Regex": QWEN2_REGEX}, "behavior": "Isolated", "invert": false});
        json.pre_tokenizer = Part(json!({"type": "Sequence", "pretokenizers": [split, bytes(false)]}));
    } else {
        json.pre_tokenizer = Part(bytes(true));
    }
    json.decoder = Part(bytes(true));
    Ok(json)
}

/// A WordPiece vocabulary, one token a line.
///
/// Source: `BertConverter` in `convert_slow_tokenizer.py`, transformers 4.57.
fn from_vocab_txt(text: &str, settings: &Settings) -> TokenizerJson {
    let lines = text.split_terminator('\n').map(|line| line.trim_end_matches('\r'));
    let vocab = lines.zip(0..u32::MAX).map(|(line, id)| (line.to_string(), id)).collect();
    let unk = settings.special("unk_token").unwrap_or("[UNK]");
    let mut model = model("WordPiece", vocab, Merges::default(), Some(unk));
    model.continuing_subword_prefix = Some("##".into());
    let mut json = with_model(model, settings);
    let flag = |key: &str| settings.flag(key).unwrap_or(true);
    json.normalizer = Part(json!({
        "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": flag("tokenize_chinese_chars"),
        "strip_accents": settings.flag("strip_accents"), "lowercase": flag("do_lower_case"),
    }));
    json.pre_tokenizer = Part(json!({"type": "BertPreTokenizer"}));
    json.decoder = Part(json!({"type": "WordPiece", "prefix": "##", "cleanup": true}));
    json
}
