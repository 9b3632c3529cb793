//! Tokenizers that are odd, damaged or hostile.

use std::path::Path;

use serde_json::{Value as Json, json};

use super::json::TokenizerJson;
use super::sentencepiece::SentencePiece;
use super::{TokenizerMetadata, tokenizer_metadata};
use crate::error::{Error, Result};
use crate::format::read_checkpoint;
use crate::model::{Array, Text, Value};

/// Writes files into a new folder.
fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

fn read(folder: &Path) -> Result<TokenizerMetadata> {
    tokenizer_metadata(&read_checkpoint(folder).unwrap())
}

fn config(class: &str, n_tokens: u64) -> Vec<u8> {
    serde_json::to_vec(&json!({"architectures": [class], "vocab_size": n_tokens})).unwrap()
}

/// A byte-level vocabulary of three letters and a word.
fn small() -> Json {
    json!({
        "added_tokens": [{"id": 5, "content": "<|end|>", "special": true, "normalized": false}],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "Ġ": 3, "Ġab": 4}, "merges": ["a b", "Ġ ab"]},
    })
}

fn with(path: &str, value: Json) -> Json {
    let mut json = small();
    *json.pointer_mut(path).unwrap() = value;
    json
}

/// What becomes of a `tokenizer.json` and a `tokenizer_config.json`.
fn of(class: &str, n_tokens: u64, json: &Json, settings: &Json) -> Result<TokenizerMetadata> {
    let (json, settings) = (serde_json::to_vec(json).unwrap(), serde_json::to_vec(settings).unwrap());
    let config = config(class, n_tokens);
    read(folder(&[("config.json", &config), ("tokenizer.json", &json), ("tokenizer_config.json", &settings)]).path())
}

fn value(metadata: &TokenizerMetadata, key: &str) -> Option<Value> {
    metadata.entries.iter().find(|(own, _)| own == key).map(|(_, value)| value.clone())
}

#[test]
fn a_vocabulary_is_filled_up_and_its_pre_tokenizer_told() {
    let found = of("GPT2LMHeadModel", 8, &small(), &json!({})).unwrap();
    let texts = ["a", "b", "ab", "Ġ", "Ġab", "<|end|>", "[PAD6]", "[PAD7]"].map(Text::from).to_vec();
    assert_eq!(value(&found, "tokenizer.ggml.tokens"), Some(Value::Array(Array::Str(texts))));
    assert_eq!(value(&found, "tokenizer.ggml.token_type"), Some(Value::Array(Array::I32(vec![1, 1, 1, 1, 1, 3, 5, 5]))));
    assert_eq!(value(&found, "tokenizer.ggml.pre"), Some(Value::Str(Text::from("gpt-2"))));
    assert!(
        found.warnings.iter().any(|warning| warning.contains("recognised by its definition as gpt-2")),
        "{:?}",
        found.warnings
    );
}

#[test]
fn spaces_in_merges_are_encoded() {
    let json = with("/model", json!({"type": "BPE", "vocab": {"a": 0, " ": 1, " a": 2}, "merges": [[" ", "a"]]}));
    let found = of("GPT2LMHeadModel", 8, &json, &json!({})).unwrap();
    assert_eq!(value(&found, "tokenizer.ggml.merges"), Some(Value::Array(Array::Str(vec![Text::from("Ġ a")]))));
}

#[test]
fn special_tokens_given_as_objects_have_their_roles() {
    let template = json!({"type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|end|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}], "pair": []});
    let json = with("/post_processor", template);
    let token = json!({"__type": "AddedToken", "content": "<|end|>"});
    let found = of("GPT2LMHeadModel", 8, &json, &json!({"bos_token": token, "add_bos_token": true})).unwrap();
    assert_eq!(value(&found, "tokenizer.ggml.bos_token_id"), Some(Value::U32(5)));
    assert_eq!(value(&found, "tokenizer.ggml.add_bos_token"), Some(Value::Bool(true)));
}

#[test]
fn a_number_that_no_token_can_have_is_left_out() {
    let config =
        br#"{"architectures":["GPT2LMHeadModel"],"vocab_size":8,"pad_token_id":-1,"bos_token_id":0,"eos_token_id":[0,5]}"#;
    let json = serde_json::to_vec(&small()).unwrap();
    let found = read(folder(&[("config.json", config), ("tokenizer.json", &json)]).path()).unwrap();
    assert_eq!(value(&found, "tokenizer.ggml.padding_token_id"), None);
    // The first of a list ends a text, and llama.cpp ends an answer at the second as well.
    assert_eq!(value(&found, "tokenizer.ggml.eos_token_id"), Some(Value::U32(0)));
    assert_eq!(value(&found, "tokenizer.ggml.eot_token_id"), Some(Value::U32(5)));
    assert_eq!(value(&found, "tokenizer.ggml.bos_token_id"), Some(Value::U32(0)));
    assert!(found.warnings.iter().any(|warning| warning.contains("pad_token_id is -1")), "{:?}", found.warnings);
}

#[test]
fn pre_tokenizers_are_recognised_by_their_definition() {
    let split = |regex: &str| json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
    let sequence = |steps: Vec<Json>| json!({"type": "Sequence", "pretokenizers": steps});
    let bytes =
        |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
    let digits = json!({"type": "Digits", "individual_digits": true});
    let llama =
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    let check = |pre_tokenizer: Json, settings: Json, expected: &str| {
        let json = with("/pre_tokenizer", pre_tokenizer);
        let pre = of("GPT2LMHeadModel", 8, &json, &settings).map(|found| value(&found, "tokenizer.ggml.pre"));
        assert_eq!(pre, Ok(Some(Value::Str(Text::from(expected)))));
    };
    check(bytes(true), json!({}), "gpt-2");
    check(sequence(vec![digits.clone(), bytes(true)]), json!({}), "smollm");
    check(sequence(vec![digits, bytes(true)]), json!({"clean_up_tokenization_spaces": true}), "starcoder");
    check(sequence(vec![split(llama), bytes(false)]), json!({}), "dbrx");
    check(sequence(vec![split(&llama.replace("{1,3}", "")), bytes(false)]), json!({}), "qwen2");
    // Line ends may stand for themselves.
    let plain = llama.replace("\\r", "\r").replace("\\n", "\n");
    check(sequence(vec![sequence(vec![split(&plain)]), bytes(false)]), json!({}), "dbrx");
    let error = |pre_tokenizer: Json| of("GPT2LMHeadModel", 8, &with("/pre_tokenizer", pre_tokenizer), &json!({})).unwrap_err();
    let check_error = |pre_tokenizer: Json, expected: &str| {
        let error = error(pre_tokenizer);
        assert!(matches!(&error, Error::UnknownTokenizer { what, .. } if what.contains(expected)), "{error}");
    };
    check_error(sequence(vec![split(r"\p{L}+"), bytes(false)]), r"no pre-tokenizer like this one: \p{L}+, then bytes");
    check_error(json!({"type": "Whitespace"}), "is a Whitespace");
    check_error(Json::Null, "like this one: none");
}

#[test]
fn a_missing_or_other_tokenizer_is_told() {
    let check = |files: &[(&str, &[u8])], expected: &str| {
        let error = read(folder(files).path()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!error.hint().is_empty());
    };
    let gpt2 = config("GPT2LMHeadModel", 8);
    check(&[("config.json", &gpt2)], "no tokenizer.json, no vocab.json");
    check(&[("config.json", &config("Gemma2ForCausalLM", 8))], "no tokenizer.model");
    check(&[("config.json", &config("Phi3ForCausalLM", 8))], "no tokenizer.model");
    check(
        &[("config.json", &config("BertModel", 8)), ("tokenizer.json", &serde_json::to_vec(&small()).unwrap())],
        "holds a BPE model",
    );
    let unigram = br#"{"model":{"type":"Unigram","vocab":[["a",-1.0]]}}"#;
    check(&[("config.json", &gpt2), ("tokenizer.json", unigram)], "holds a Unigram model, which needs tokenizer.model");
    check(
        &[("config.json", &config("GPT2LMHeadModel", 5)), ("tokenizer.json", &serde_json::to_vec(&small()).unwrap())],
        "the number 5, but the model has only 5",
    );
}

#[test]
fn hostile_descriptions_are_refused() {
    let check = |path: &str, part: Json, expected: &str| {
        let error = of("GPT2LMHeadModel", 8, &with(path, part), &json!({})).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    };
    let replace = json!({"type": "Replace", "pattern": {"Regex": "."}, "content": "aa"});
    check("/normalizer", json!({"type": "Sequence", "normalizers": vec![replace; 40]}), "times longer");
    check("/normalizer", json!({"type": "Prepend", "prepend": "a".repeat(1 << 19)}), "times longer");
    check("/normalizer", json!({"type": "Sequence", "normalizers": vec![json!({"type": "NFC"}); 65]}), "65 steps");
    check("/normalizer", json!(vec![0; 1 << 15]), "more than 16384 values");
    check("/normalizer", json!({"type": "Nonsense"}), "the tokenizer");
    let split = |regex: String| json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
    check("/pre_tokenizer", split("a".repeat(1 << 15)), "a pattern of 32768 bytes");
    check("/pre_tokenizer", split("(".into()), "the tokenizer");
    check("/pre_tokenizer", split("(a{1000}){1000}".into()), "");
    check("/model/vocab", json!({"a": 4_000_000_000_u32}), "the number 4000000000");
    check("/model/vocab", json!({}), "");
    check("/model/merges", json!(["a z"]), "the vocabulary");
    check("/model/merges", json!(["a b c"]), "not two tokens");
    check("/model/merges", json!([["a", "b", "c"]]), "not two tokens");
    check("/model/merges", json!([["a", 1]]), "");
    check(
        "/model",
        json!({"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"], "continuing_subword_prefix": "####"}),
        "the vocabulary",
    );
    check("/added_tokens", json!([{"id": 1_u64 << 40, "content": "x"}]), "at most");
    let too_many = of("GPT2LMHeadModel", 1 << 23, &small(), &json!({})).unwrap_err();
    assert!(too_many.to_string().contains("8388608 tokens"), "{too_many}");
}

#[test]
fn a_truncated_tokenizer_json_is_damaged() {
    let bytes = serde_json::to_vec(&small()).unwrap();
    for n_bytes in 0..bytes.len() {
        assert!(TokenizerJson::parse(&bytes[..n_bytes]).is_err(), "{n_bytes}");
    }
    let files = [("config.json", config("GPT2LMHeadModel", 8)), ("tokenizer.json", bytes[..100].to_vec())];
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    let error = read(folder(&files).path()).unwrap_err();
    assert!(matches!(error, Error::DamagedFile { format: "tokenizer.json", .. }), "{error}");
    let nested = format!("{{\"normalizer\":{}", "[".repeat(100_000));
    assert!(TokenizerJson::parse(nested.as_bytes()).unwrap_err().contains("recursion limit"));
}

#[test]
fn a_truncated_tokenizer_model_gives_fewer_pieces_or_an_error() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tokenizers/llama2/tokenizer.model");
    let bytes = std::fs::read(path).unwrap();
    let whole = SentencePiece::parse(&bytes).unwrap();
    for n_bytes in 0..bytes.len() {
        if let Ok(part) = SentencePiece::parse(&bytes[..n_bytes]) {
            assert!(part.pieces.len() <= whole.pieces.len() && part.pieces[..] == whole.pieces[..part.pieces.len()], "{n_bytes}");
        }
    }
    let check = |bytes: &[u8], expected: &str| {
        let error = SentencePiece::parse(bytes).unwrap_err();
        assert!(error.contains(expected), "{error}");
    };
    check(&[], "no pieces");
    check(&[0x0a, 0x03, 0x0a, 0x01, 0xff], "in piece 0: not UTF-8");
    check(&[0x0a, 0x02, 0x0a, 0x05], "in piece 0: a field needs 5 bytes");
    check(b"version https://git-lfs.github.com/spec/v1", "");
}

#[test]
fn templates_under_odd_names_are_kept() {
    let templates =
        json!([{"name": "a b/c", "template": "1"}, {"name": "default", "template": "2"}, {"name": "", "template": "3"}, 7]);
    let found = of("GPT2LMHeadModel", 8, &small(), &json!({"chat_template": templates, "x": 1})).unwrap();
    assert_eq!(value(&found, "tokenizer.chat_template"), Some(Value::Str(Text::from("2"))));
    assert_eq!(value(&found, "tokenizer.chat_template.a_b_c"), Some(Value::Str(Text::from("1"))));
    assert_eq!(value(&found, "tokenizer.chat_templates"), Some(Value::Array(Array::Str(vec![Text::from("a_b_c")]))));
    let json = serde_json::to_vec(&small()).unwrap();
    let config = config("GPT2LMHeadModel", 8);
    let files: [(&str, &[u8]); 4] = [
        ("config.json", &config),
        ("tokenizer.json", &json),
        ("tokenizer_config.json", br#"{"bos_token":"a"}"#),
        ("chat_template.json", br#"{"chat_template":"4"}"#),
    ];
    let found = read(folder(&files).path()).unwrap();
    assert_eq!(value(&found, "tokenizer.chat_template"), Some(Value::Str(Text::from("4"))));
}

#[test]
fn code_llama_and_small_granite_have_their_own_rules() {
    let json = small();
    let found = of("LlamaForCausalLM", 32016, &json, &json!({"add_prefix_space": false})).unwrap();
    assert_eq!(value(&found, "tokenizer.ggml.eot_token_id"), Some(Value::U32(32010)));
    assert_eq!(value(&found, "tokenizer.ggml.add_space_prefix"), Some(Value::Bool(false)));
    let found = of("GraniteForCausalLM", 49152, &json, &json!({"add_bos_token": true})).unwrap();
    assert_eq!(value(&found, "tokenizer.ggml.add_bos_token"), Some(Value::Bool(false)));
}

/// The texts of all tokens.
fn tokens(metadata: &TokenizerMetadata) -> Vec<String> {
    match value(metadata, "tokenizer.ggml.tokens") {
        Some(Value::Array(Array::Str(texts))) => texts.iter().map(|text| text.lossy().into_owned()).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn added_tokens_keep_their_own_text() {
    // Letters of the byte alphabet.
    let added: Vec<Json> = ["déjà", "Straße", "Ġé", "ÿ<é>"]
        .iter()
        .enumerate()
        .map(|(idx, text)| json!({"id": 5 + idx, "content": text, "special": idx == 3, "normalized": false}))
        .collect();
    let found = of("GPT2LMHeadModel", 9, &with("/added_tokens", json!(added)), &json!({})).unwrap();
    assert_eq!(tokens(&found)[5..], ["déjà", "Straße", "Ġé", "ÿ<é>"]);
}

#[test]
fn a_filler_takes_no_name_of_a_token() {
    let json = with("/added_tokens", json!([{"id": 5, "content": "[PAD6]", "special": true, "normalized": false}]));
    let found = of("GPT2LMHeadModel", 8, &json, &json!({})).unwrap();
    assert_eq!(tokens(&found)[5..], ["[PAD6]", "[PAD6]_", "[PAD7]"]);
}

#[test]
fn a_token_beyond_the_model_is_named_with_a_remedy() {
    let error = of("GPT2LMHeadModel", 5, &small(), &json!({})).unwrap_err();
    assert!(matches!(&error, Error::TokenBeyondModel { token, number: 5, n_tokens: 5, .. } if token == "<|end|>"), "{error}");
    assert!(error.hint().contains("resize_token_embeddings"), "{}", error.hint());
}

/// The chat template that is written, and the file that `inspect` names.
fn chat(files: &[(&str, &str)]) -> (Option<String>, Option<String>) {
    let (config, json) = (config("GPT2LMHeadModel", 8), serde_json::to_vec(&small()).unwrap());
    let mut all: Vec<(&str, &[u8])> = vec![("config.json", &config), ("tokenizer.json", &json)];
    all.extend(files.iter().map(|(name, text)| (*name, text.as_bytes())));
    let dir = folder(&[]);
    for (name, bytes) in all {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let template = match value(&read(dir.path()).unwrap(), "tokenizer.chat_template") {
        Some(Value::Str(text)) => Some(text.lossy().into_owned()),
        _ => None,
    };
    (template, read_checkpoint(dir.path()).unwrap().chat_template_file)
}

#[test]
fn the_chat_template_is_that_of_transformers() {
    let check = |files: &[(&str, &str)], template: Option<&str>, file: Option<&str>| {
        let found = chat(files);
        assert_eq!((found.0.as_deref(), found.1.as_deref()), (template, file), "{files:?}");
    };
    let (jinja, old, json) = ("chat_template.jinja", "tokenizer_config.json", "chat_template.json");
    check(&[], None, None);
    check(&[(jinja, "NEW")], Some("NEW"), Some(jinja));
    check(&[(jinja, "NEW"), (old, r#"{"chat_template":null}"#)], Some("NEW"), Some(jinja));
    check(&[(jinja, "NEW"), (old, r#"{"chat_template":"OLD"}"#)], Some("NEW"), Some(jinja));
    check(&[(jinja, ""), (old, r#"{"chat_template":"OLD"}"#)], Some("OLD"), Some(old));
    check(&[(old, r#"{"chat_template":"OLD"}"#), (json, r#"{"chat_template":"3"}"#)], Some("OLD"), Some(old));
    check(&[(old, r#"{"chat_template":""}"#), (json, r#"{"chat_template":"3"}"#)], Some("3"), Some(json));
    check(&[(json, r#"{"chat_template":"3"}"#)], Some("3"), Some(json));
    let named = r#"{"chat_template":[{"name":"default","template":"A"},{"name":"tool_use","template":"B"}]}"#;
    check(&[(old, named)], Some("A"), Some(old));
    check(&[(old, r#"{"chat_template":{"default":"A","rag":"B"}}"#)], Some("A"), Some(old));
    check(&[(jinja, "NEW"), ("additional_chat_templates/tool_use.jinja", "T")], Some("NEW"), Some(jinja));
    // Neither names a value that holds no template.
    for stated in [r#"["T"]"#, "7", r#"{"default":null}"#, r#"[{"name":"default"}]"#] {
        check(&[(old, &format!(r#"{{"chat_template":{stated}}}"#))], None, None);
        check(&[(old, &format!(r#"{{"chat_template":{stated}}}"#)), (json, r#"{"chat_template":"3"}"#)], Some("3"), Some(json));
    }
    check(&[(json, r#"{"chat_template":null}"#)], None, None);
    check(&[("additional_chat_templates/README.md", "x")], None, None);
    check(&[(old, r#"{"chat_template":"OLD"}"#), ("additional_chat_templates/rag.jinja", "R")], Some("OLD"), Some(old));
}

#[test]
fn a_model_without_an_end_is_told() {
    let warned = |files: &Json| {
        let found = of("GPT2LMHeadModel", 8, &small(), files).unwrap();
        found.warnings.iter().any(|warning| warning.contains("end token"))
    };
    assert!(warned(&json!({})));
    assert!(!warned(&json!({"eos_token": "<|end|>"})));
    // A token of the vocabulary that no file calls an added one.
    assert!(!warned(&json!({"eos_token": "ab"})));
}

#[test]
fn another_tokenizer_model_beside_a_tokenizer_json_is_no_obstacle() {
    let (config, json) = (config("LlamaForCausalLM", 8), serde_json::to_vec(&small()).unwrap());
    for (model, kind) in [("IQ== 0\nIg== 1\n", "tiktoken's"), ("{\"config\":{}}", "JSON")] {
        let files: [(&str, &[u8]); 3] =
            [("config.json", &config), ("tokenizer.json", &json), ("tokenizer.model", model.as_bytes())];
        let dir = folder(&files);
        let found = read(dir.path()).unwrap();
        assert!(found.warnings.iter().any(|warning| warning.contains(kind)), "{:?}", found.warnings);
        assert!(super::encode(&read_checkpoint(dir.path()).unwrap(), "ab").unwrap().is_some());
        let error = read(folder(&[files[0], files[2]]).path()).unwrap_err();
        assert!(error.to_string().contains(kind), "{error}");
    }
}

#[test]
fn what_lies_in_the_place_of_a_file_is_named() {
    let (config, json) = (config("LlamaForCausalLM", 8), serde_json::to_vec(&small()).unwrap());
    for name in ["tokenizer.json", "tokenizer.model", "special_tokens_map.json", "chat_template.jinja", "added_tokens.json"] {
        let mut files: Vec<(&str, &[u8])> = vec![("config.json", &config), ("tokenizer.json", &json)];
        files.retain(|file| file.0 != name);
        files.push((name, b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 1\n"));
        let error = read(folder(&files).path()).unwrap_err();
        assert!(error.to_string().contains("a Git LFS pointer") && error.hint().contains("git lfs pull"), "{name}: {error}");
    }
}

#[test]
fn a_download_of_the_tokenizer_that_has_not_ended_is_told() {
    let config = config("LlamaForCausalLM", 8);
    let dir = folder(&[("config.json", &config), ("tokenizer.json.incomplete", b"x")]);
    let error = read(dir.path()).unwrap_err();
    assert!(error.to_string().contains("downloads that have not ended: tokenizer.json.incomplete"), "{error}");
}

#[test]
fn settings_of_another_kind_are_told() {
    let warned = |settings: &Json, expected: &str| {
        let found = of("GPT2LMHeadModel", 8, &small(), settings).unwrap();
        assert!(found.warnings.iter().any(|warning| warning.contains(expected)), "{settings} {:?}", found.warnings);
        found
    };
    warned(&json!({"chat_template": ["T"]}), r#"chat_template in tokenizer_config.json is ["T"], not a template"#);
    warned(&json!({"chat_template": {"rag": "R"}}), "no chat template in tokenizer_config.json is named default");
    warned(&json!({"add_bos_token": "perhaps"}), r#"add_bos_token is "perhaps", neither true nor false"#);
    let found = of("GPT2LMHeadModel", 8, &small(), &json!({"add_bos_token": "True"})).unwrap();
    assert_eq!(value(&found, "tokenizer.ggml.add_bos_token"), Some(Value::Bool(true)));
    let decoder = json!({"added_tokens_decoder": {"0": {"content": "a", "special": "perhaps"}}});
    let error = of("GPT2LMHeadModel", 8, &small(), &decoder).unwrap_err();
    assert!(error.to_string().contains(r#"special is "perhaps", neither true nor false"#), "{error}");
}

#[test]
fn a_list_of_one_number_is_that_number() {
    let config = br#"{"architectures":["GPT2LMHeadModel"],"vocab_size":8,"bos_token_id":[5],"pad_token_id":[1,2]}"#;
    let json = serde_json::to_vec(&small()).unwrap();
    let found = read(folder(&[("config.json", config), ("tokenizer.json", &json)]).path()).unwrap();
    assert_eq!(value(&found, "tokenizer.ggml.bos_token_id"), Some(Value::U32(5)));
    assert_eq!(value(&found, "tokenizer.ggml.padding_token_id"), None);
    assert!(found.warnings.iter().any(|warning| warning.contains("pad_token_id is [1,2]")), "{:?}", found.warnings);
}
