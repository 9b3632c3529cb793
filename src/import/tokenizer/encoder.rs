//! Hugging Face's own encoder, built from `tokenizer.json` as transformers would have it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};
use tokenizers::models::ModelWrapper;
use tokenizers::models::bpe::BPE;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::{AddedToken, DecoderWrapper, NormalizerWrapper, PreTokenizerWrapper, Tokenizer};

use super::files::text_of;
use super::json::{AddedEntry, MAX_TOKENS, ModelJson, TokenizerJson};
use super::settings::Settings;

/// How many times longer a normalizer may make a text. Real ones replace a space by three bytes.
const MAX_GROWTH: u64 = 1 << 12;
/// Longest regular expression; real ones have up to 2,000 bytes.
const MAX_REGEX_BYTES: usize = 16 << 10;
/// Most steps of a normalizer or a pre-tokenizer.
const MAX_STEPS: usize = 64;

/// A tokenizer that encodes, without special tokens before or after a text.
pub(super) struct Encoder {
    tokenizer: Tokenizer,
}

type Result<T> = std::result::Result<T, String>;

/// Runs a part of the library and catches its panics: it is not written for hostile files.
fn guarded<T>(what: &str, work: impl FnOnce() -> tokenizers::Result<T>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            let reason: String = error.to_string().chars().filter(|c| !c.is_control()).take(200).collect();
            Err(format!("{what}: {reason}"))
        }
        Err(_) => Err(format!("{what}: the tokenizers library stopped in the middle")),
    }
}

impl Encoder {
    /// Builds the encoder. It takes the vocabulary out of `json`, which keeps the rest.
    ///
    /// # Errors
    /// What contradicts itself or exceeds the limits.
    pub fn new(json: &mut TokenizerJson, settings: &Settings) -> Result<Self> {
        let model = guarded("the vocabulary", || model_of(json.kind().to_string().as_str(), &mut json.model))?;
        let normalizer = bert_normalizer(&json.normalizer.0, settings);
        check_normalizer(&json.normalizer.steps("normalizers"))?;
        let pre_tokenizer = prefixed(&json.pre_tokenizer.0, settings);
        check_pre_tokenizer(&json.pre_tokenizer.steps("pretokenizers"))?;
        let decoder = json.decoder.0.clone();
        let added = json.added_tokens().to_vec();
        let more = settings.tokens_to_add(json);
        let tokenizer = guarded("the tokenizer", || {
            let mut tokenizer = Tokenizer::new(model);
            tokenizer.with_normalizer(part::<NormalizerWrapper>(normalizer)?)?;
            tokenizer.with_pre_tokenizer(part::<PreTokenizerWrapper>(pre_tokenizer)?);
            tokenizer.with_decoder(part::<DecoderWrapper>(decoder)?);
            tokenizer.add_tokens(added.into_iter().map(added_token))?;
            tokenizer.add_tokens(more.into_iter().map(added_token))?;
            Ok(tokenizer)
        })?;
        Ok(Self { tokenizer })
    }

    /// The same encoder, for which what stands for a special token is text like any other.
    pub fn with_marks_as_text(mut self) -> Self {
        self.tokenizer.set_encode_special_tokens(true);
        self
    }

    /// The token ids of a text in which what stands for a special token is one: a conversation in the model's template.
    ///
    /// Takes a copy of the vocabulary, some milliseconds to a tenth of a second: once for each question, not for each line.
    pub fn encode_with_marks(&self, text: &str) -> Result<Vec<u32>> {
        let mut tokenizer = self.tokenizer.clone();
        tokenizer.set_encode_special_tokens(false);
        Self { tokenizer }.encode(text)
    }

    /// The token ids of a text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        guarded("encoding", || Ok(self.tokenizer.encode(text, false)?.get_ids().to_vec()))
    }

    /// The id of a token; `None` for a text that is not a token.
    pub fn id_of(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
    }

    /// All tokens by id, including added ones.
    pub fn tokens(&self) -> BTreeMap<u32, String> {
        let all = self.tokenizer.get_vocab(true).into_iter();
        let mut tokens: BTreeMap<u32, String> = all.map(|(text, id)| (id, text)).collect();
        // Of two texts with the same id, the added token counts.
        for (id, token) in self.tokenizer.get_added_tokens_decoder() {
            tokens.insert(id, token.content);
        }
        tokens
    }

    /// The added tokens by id.
    pub fn added(&self) -> BTreeMap<u32, AddedToken> {
        self.tokenizer.get_added_tokens_decoder().into_iter().collect()
    }

    /// Number of tokens in the vocabulary proper.
    pub fn n_base_tokens(&self) -> usize {
        self.tokenizer.get_vocab_size(false)
    }
}

fn model_of(kind: &str, model: &mut ModelJson) -> tokenizers::Result<ModelWrapper> {
    let vocab = std::mem::take(&mut model.vocab.0);
    match kind {
        "BPE" => {
            let mut builder = BPE::builder()
                .vocab_and_merges(vocab.into_iter().collect::<tokenizers::models::bpe::Vocab>(), model.merges.0.clone())
                // The library's cache would outlive the tokenizer.
                .cache_capacity(0)
                .fuse_unk(model.fuse_unk.unwrap_or(false))
                .byte_fallback(model.byte_fallback.unwrap_or(false))
                .ignore_merges(model.ignore_merges.unwrap_or(false));
            if let Some(token) = &model.unk_token {
                builder = builder.unk_token(token.clone());
            }
            if let Some(prefix) = model.continuing_subword_prefix.as_ref().filter(|prefix| !prefix.is_empty()) {
                builder = builder.continuing_subword_prefix(prefix.clone());
            }
            if let Some(suffix) = model.end_of_word_suffix.as_ref().filter(|suffix| !suffix.is_empty()) {
                builder = builder.end_of_word_suffix(suffix.clone());
            }
            Ok(builder.build()?.into())
        }
        "WordPiece" => {
            let mut builder = WordPiece::builder().vocab(vocab.into_iter().collect::<tokenizers::models::bpe::Vocab>());
            if let Some(token) = &model.unk_token {
                builder = builder.unk_token(token.clone());
            }
            if let Some(prefix) = &model.continuing_subword_prefix {
                builder = builder.continuing_subword_prefix(prefix.clone());
            }
            if let Some(n_chars) = model.max_input_chars_per_word {
                builder = builder.max_input_chars_per_word(usize::try_from(n_chars).unwrap_or(usize::MAX));
            }
            Ok(builder.build()?.into())
        }
        other => Err(format!("a model of type {:?} is not known", other.chars().take(32).collect::<String>()).into()),
    }
}

fn part<T: DeserializeOwned>(json: Json) -> tokenizers::Result<Option<T>> {
    if json.is_null() { Ok(None) } else { Ok(Some(serde_json::from_value(json)?)) }
}

fn added_token(entry: AddedEntry) -> AddedToken {
    AddedToken {
        normalized: entry.normalized.unwrap_or(!entry.special),
        content: entry.content,
        single_word: entry.single_word,
        lstrip: entry.lstrip,
        rstrip: entry.rstrip,
        special: entry.special,
    }
}

/// The normalizer; for the class `BertTokenizer`, `tokenizer_config.json` overrides the flags of a `BertNormalizer`.
///
/// Source: `BertTokenizerFast.__init__` in transformers 4.57.
fn bert_normalizer(normalizer: &Json, settings: &Settings) -> Json {
    let mut normalizer = normalizer.clone();
    if let Some(fields) = normalizer.as_object_mut()
        && settings.class == "BertTokenizer"
        && text_of(fields, "type") == Some("BertNormalizer")
    {
        fields.insert("lowercase".into(), settings.flag("do_lower_case").unwrap_or(true).into());
        fields.insert("handle_chinese_chars".into(), settings.flag("tokenize_chinese_chars").unwrap_or(true).into());
        fields.insert("strip_accents".into(), settings.flag("strip_accents").map_or(Json::Null, Json::from));
    }
    normalizer
}

/// The pre-tokenizer, which puts a space before the text only if `tokenizer_config.json` says so.
///
/// Source: the end of `PreTrainedTokenizerFast.__init__` in transformers 4.57.
fn prefixed(pre_tokenizer: &Json, settings: &Settings) -> Json {
    let mut pre_tokenizer = pre_tokenizer.clone();
    if let Some(fields) = pre_tokenizer.as_object_mut()
        && fields.contains_key("add_prefix_space")
    {
        fields.insert("add_prefix_space".into(), settings.flag("add_prefix_space").unwrap_or(false).into());
    }
    pre_tokenizer
}

/// `{"String": "x"}` or `{"Regex": "x"}`.
fn pattern_of(step: &Map<String, Json>) -> Option<(bool, &str)> {
    let pattern = step.get("pattern")?.as_object()?;
    text_of(pattern, "Regex").map(|text| (true, text)).or_else(|| text_of(pattern, "String").map(|text| (false, text)))
}

/// Refuses a normalizer that could blow a text up: replacements multiply.
fn check_normalizer(steps: &[&Map<String, Json>]) -> Result<()> {
    check_regexes(steps)?;
    let mut growth = 1_u64;
    for step in steps {
        let len = |key: &str| text_of(step, key).map_or(0, str::len) as u64;
        let factor = match text_of(step, "type") {
            Some("Replace") => match pattern_of(step) {
                Some((false, pattern)) if !pattern.is_empty() => len("content").div_ceil(pattern.len() as u64),
                _ => 1 + len("content"),
            },
            Some("Prepend") => 1 + len("prepend"),
            // A character can become eighteen.
            Some("NFKC" | "NFKD" | "Precompiled") => 2,
            _ => 1,
        };
        growth = growth.saturating_mul(factor.max(1));
    }
    if growth > MAX_GROWTH {
        return Err(format!("the normalizer makes a text up to {growth} times longer"));
    }
    Ok(())
}

fn check_pre_tokenizer(steps: &[&Map<String, Json>]) -> Result<()> {
    check_regexes(steps)?;
    let replaced = steps.iter().filter_map(|step| text_of(step, "replacement")).map(str::len).max();
    match replaced {
        Some(n_bytes) if n_bytes > 16 => Err(format!("the pre-tokenizer replaces a space by {n_bytes} bytes")),
        _ => Ok(()),
    }
}

fn check_regexes(steps: &[&Map<String, Json>]) -> Result<()> {
    if steps.len() > MAX_STEPS {
        return Err(format!("{} steps in one part, at most {MAX_STEPS} are read", steps.len()));
    }
    match steps.iter().filter_map(|step| pattern_of(step)).map(|(_, text)| text.len()).max() {
        Some(n_bytes) if n_bytes > MAX_REGEX_BYTES => {
            Err(format!("a pattern of {n_bytes} bytes, at most {MAX_REGEX_BYTES} are read"))
        }
        _ => Ok(()),
    }
}

const _: () = assert!(MAX_TOKENS < u32::MAX as u64);
