//! Tokens, merges and what belongs to them: whether they add up, and whether llama.cpp knows their kind.

use std::collections::HashMap;

use super::{Found, listed, type_text};
use crate::model::{Array, Metadata, Model, Tensor, Text, Value, ValueType};
use crate::path_text::one_line;

/// Most merges that are looked up, so that the header of a large vocabulary is still read in milliseconds.
const MAX_MERGES: usize = 20_000;
/// Kinds of vocabularies that llama.cpp knows, besides none.
///
/// Source: `llama_vocab::impl::load` in llama-vocab.cpp, llama.cpp of 2026-08-21; the lists below are from the same place.
const KINDS: [&str; 10] = ["llama", "bert", "gpt2", "hybriddna", "whitespace", "t5", "rwkv", "test", "plamo2", "gemma4"];
/// Kinds whose texts a pre-tokenizer splits; the pre-tokenizer of `gemma4` is always the same.
const WITH_PRE_TOKENIZERS: [&str; 3] = ["gpt2", "hybriddna", "whitespace"];
/// Kinds that need merges.
const WITH_MERGES: [&str; 4] = ["gpt2", "hybriddna", "whitespace", "gemma4"];
/// Names of pre-tokenizers.
const PRE_TOKENIZERS: [&str; 92] = [
    "a.x-4.0",
    "afmoe",
    "bailingmoe",
    "bailingmoe2",
    "bloom",
    "chameleon",
    "chatglm-bpe",
    "codeshell",
    "cohere2moe",
    "command-r",
    "dbrx",
    "deepseek-coder",
    "deepseek-llm",
    "deepseek-r1-qwen",
    "deepseek-v3",
    "default",
    "exaone",
    "exaone-moe",
    "exaone4",
    "f2llmv2",
    "falcon",
    "falcon-h1",
    "falcon3",
    "gemma4",
    "gigachat",
    "glm4",
    "glm5",
    "gpt-2",
    "gpt-4o",
    "gpt3-finnish",
    "granite-docling",
    "granite-embed-multi-311m",
    "granite-embed-multi-97m",
    "grok-2",
    "hunyuan",
    "hunyuan-dense",
    "hy_v4",
    "jais",
    "jais-2",
    "jina-de",
    "jina-es",
    "jina-v1-en",
    "jina-v2-code",
    "jina-v2-de",
    "jina-v2-es",
    "jina-v5-nano",
    "joyai-llm",
    "kanana2",
    "kimi-k2",
    "kormo",
    "laguna",
    "lfm2",
    "llada-moe",
    "llama-bpe",
    "llama-v3",
    "llama3",
    "llama4",
    "megrez",
    "mellum",
    "mellum2",
    "midm-2.0",
    "minerva-7b",
    "minicpm5",
    "minimax-m2",
    "mmbert",
    "modern-bert",
    "mpt",
    "olmo",
    "phi-2",
    "pixtral",
    "poro-chat",
    "qwen2",
    "qwen35",
    "refact",
    "roberta-bpe",
    "sarvam-moe",
    "seed-coder",
    "smaug-bpe",
    "smollm",
    "solar-open",
    "spark2_5",
    "stablelm2",
    "starcoder",
    "superbpe",
    "talkie",
    "tekken",
    "tiny_aya",
    "trillion",
    "ufakzeka",
    "viking",
    "whitespace",
    "youtu",
];

/// Checks the tokens and the lists that go with them. `is_known` is true for an architecture in `needs`.
pub(super) fn vocabulary(model: &Model, is_known: bool, found: &mut Found) {
    let metadata = &model.metadata;
    let kind = metadata.str("tokenizer.ggml.model").unwrap_or_default();
    if metadata.find("tokenizer.ggml.model").is_none() {
        found.unknown.push("tokenizer missing: text cannot be turned into tokens, llama.cpp cannot run it".into());
    }
    if matches!(&*kind, "" | "none" | "no_vocab") {
        return;
    }
    if !KINDS.contains(&&*kind) {
        found.lacks("tokenizer", &kind);
    } else if WITH_PRE_TOKENIZERS.contains(&&*kind)
        && let Some(pre) = metadata.str("tokenizer.ggml.pre").filter(|pre| !PRE_TOKENIZERS.contains(&&**pre))
    {
        found.lacks("pre-tokenizer", &pre);
    }
    let tokens = match metadata.find("tokenizer.ggml.tokens") {
        Some(Value::Array(Array::Str(tokens))) => tokens,
        Some(other) => {
            let what = format!("tokenizer.ggml.tokens is not a list of texts but {}", type_text(other));
            return found.obstacles.push(what);
        }
        None => return found.obstacles.push("tokenizer.ggml.tokens is missing: the tokenizer has no vocabulary".into()),
    };
    let ids = doubled_tokens(tokens, found);
    for (key, types) in [("scores", &[ValueType::F32, ValueType::I32][..]), ("token_type", &[ValueType::I32][..])] {
        let key = format!("tokenizer.ggml.{key}");
        match metadata.find(&key) {
            None => {}
            Some(Value::Array(values)) if types.contains(&values.element_type()) => {
                let (n, n_tokens) = (values.len(), tokens.len());
                let what = format!("{key} has {n} entries for {n_tokens} tokens");
                if n < n_tokens {
                    found.obstacles.push(what);
                } else if n > n_tokens {
                    found.warnings.push(what);
                }
            }
            Some(other) => found.obstacles.push(format!("{key} is not a list of numbers but {}", type_text(other))),
        }
    }
    merges(metadata, &kind, &ids, found);
    for (key, value) in &metadata.0 {
        let is_id = key.starts_with("tokenizer.ggml.") && key.ends_with("_token_id");
        if let Some(id) = value.as_u64().filter(|&id| is_id && id >= tokens.len() as u64 && id != u64::from(u32::MAX)) {
            found.warnings.push(format!("{key} is {id}, the vocabulary has only {} tokens", tokens.len()));
        }
    }
    let embeddings = model.tensors.iter().find(|tensor| tensor.name == "token_embd.weight");
    if let Some(n_rows) = embeddings.map(Tensor::n_rows).filter(|&n_rows| n_rows != tokens.len() as u64) {
        let what = format!("the tokenizer has {} tokens but token_embd.weight has {n_rows} rows", tokens.len());
        if is_known { found.obstacles.push(what) } else { found.warnings.push(what) }
    }
}

/// The ids of the tokens by their text. llama.cpp looks them up like this and aborts when two have the same text; it renames
/// empty ones.
fn doubled_tokens<'a>(tokens: &'a [Text], found: &mut Found) -> HashMap<&'a [u8], usize> {
    let mut seen: HashMap<&[u8], usize> = HashMap::with_capacity(tokens.len());
    let mut doubled = Vec::new();
    for (id, token) in tokens.iter().enumerate().filter(|(_, token)| !token.0.is_empty()) {
        if let Some(first) = seen.insert(&token.0, id) {
            doubled.push(format!("{} (ids {first} and {id})", shown_token(token)));
        }
    }
    if !doubled.is_empty() {
        let n = doubled.len();
        let what = if n == 1 { "a token appears twice".into() } else { format!("{n} tokens appear twice") };
        found.obstacles.push(format!("{what} in the vocabulary: {}", listed(&doubled)));
    }
    seen
}

fn shown_token(token: &Text) -> String {
    let text = token.lossy();
    let start: String = text.chars().take(40).collect();
    format!("\"{}{}\"", one_line(&start), if text.chars().nth(40).is_some() { "…" } else { "" })
}

/// Checks the merges of a byte-level BPE: each is two pieces with a space between them that together are a token.
fn merges(metadata: &Metadata, kind: &str, ids: &HashMap<&[u8], usize>, found: &mut Found) {
    const KEY: &str = "tokenizer.ggml.merges";
    if !WITH_MERGES.contains(&kind) {
        return;
    }
    let merges = match metadata.find(KEY) {
        Some(Value::Array(Array::Str(merges))) => merges,
        Some(other) => return found.obstacles.push(format!("{KEY} is not a list of texts but {}", type_text(other))),
        // The only tokenizer of this kind that has no merges.
        None if metadata.str("tokenizer.ggml.pre").as_deref() == Some("kimi-k2") => return,
        None => return found.obstacles.push(format!("{KEY} is missing: the tokenizer cannot join bytes to tokens")),
    };
    let (mut n_whole, mut n_unknown) = (0, 0);
    for (idx, merge) in merges.iter().enumerate() {
        let space = merge.0.iter().skip(1).position(|&byte| byte == b' ').map(|at| at + 1);
        let Some((first, second)) = space.and_then(|at| Some((merge.0.get(..at)?, merge.0.get(at + 1..)?))) else {
            n_whole += 1;
            continue;
        };
        if idx < MAX_MERGES && !ids.contains_key([first, second].concat().as_slice()) {
            n_unknown += 1;
        }
    }
    let n = merges.len();
    if n_whole > 0 {
        found.warnings.push(format!("{n_whole} of {n} merges of the tokenizer are not two pieces with a space between them"));
    }
    // A few are left over in vocabularies that were cut.
    let n_checked = n.min(MAX_MERGES);
    if n_unknown * 10 > n_checked {
        found.warnings.push(format!("{n_unknown} of {n_checked} merges of the tokenizer make no token of its vocabulary"));
    }
    if n == 0 && ids.len() > 512 {
        found.warnings.push("the tokenizer has no merges: it splits every text into single bytes".into());
    }
}
