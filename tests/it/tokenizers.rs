//! Real vocabularies: turned back into Hugging Face's files, converted by us, and run by llama.cpp on its own test strings.
#![cfg(feature = "llama-cpp")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::token::LlamaToken;
use planish::format::{Layout, read_checkpoint, read_gguf};
use planish::import::tokenizer::{Splitter, tokenizer_metadata};
use planish::model::{Array, Metadata, Text, Value};
use serde_json::{Map, Value as Json, json};

/// A vocabulary of llama.cpp with its test strings.
struct Vocabulary {
    name: &'static str,
    metadata: Metadata,
    tokens: Vec<String>,
    types: Vec<i32>,
}

const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;

fn path_of(name: &str) -> PathBuf {
    let path = crate::common::smollm2().with_file_name("vocabularies").join(format!("ggml-vocab-{name}.gguf"));
    assert!(path.is_file(), "{} is missing: run tests/fetch_fixtures.sh", path.display());
    path
}

fn texts(metadata: &Metadata, key: &str) -> Vec<String> {
    match metadata.find(key) {
        Some(Value::Array(Array::Str(texts))) => texts.iter().map(|text| String::from_utf8(text.0.clone()).unwrap()).collect(),
        other => panic!("{key} is {other:?}"),
    }
}

fn types(metadata: &Metadata) -> Vec<i32> {
    match metadata.find("tokenizer.ggml.token_type") {
        Some(Value::Array(Array::I32(types))) => types.clone(),
        other => panic!("{other:?}"),
    }
}

fn scores(metadata: &Metadata) -> Vec<f32> {
    match metadata.find("tokenizer.ggml.scores") {
        Some(Value::Array(Array::F32(scores))) => scores.clone(),
        other => panic!("{other:?}"),
    }
}

impl Vocabulary {
    fn read(name: &'static str) -> Self {
        let metadata = read_gguf(&path_of(name)).unwrap().metadata;
        let (tokens, types) = (texts(&metadata, "tokenizer.ggml.tokens"), types(&metadata));
        Self { name, metadata, tokens, types }
    }

    /// True for a token that a converter added to fill the vocabulary up.
    fn is_pad(&self, id: usize) -> bool {
        self.tokens[id] == format!("[PAD{id}]")
    }

    fn id(&self, key: &str) -> Option<u32> {
        match self.metadata.find(&format!("tokenizer.ggml.{key}"))? {
            Value::U32(id) => Some(*id),
            other => panic!("{other:?}"),
        }
    }

    fn token(&self, key: &str) -> Option<&str> {
        self.id(key).map(|id| self.tokens[id as usize].as_str())
    }

    /// `(text, expected tokens)`.
    fn strings(&self) -> Vec<(String, Vec<i32>)> {
        let path = path_of(self.name);
        let read = |ending: &str| std::fs::read_to_string(format!("{}{ending}", path.display())).unwrap();
        let (inputs, outputs) = (read(".inp"), read(".out"));
        let inputs: Vec<&str> = inputs.split_terminator("\n__ggml_vocab_test__\n").collect();
        let outputs: Vec<&str> = outputs.lines().collect();
        assert_eq!(inputs.len(), outputs.len(), "{}", self.name);
        let ids = |line: &str| line.split_whitespace().map(|id| id.parse().unwrap()).collect();
        inputs.iter().zip(outputs).map(|(text, line)| ((*text).to_string(), ids(line))).collect()
    }

    fn config(&self, class: &str, model_type: &str) -> Json {
        json!({"architectures": [class], "model_type": model_type, "vocab_size": self.tokens.len()})
    }

    fn settings(&self) -> Map<String, Json> {
        let mut settings = Map::new();
        for (key, role) in [
            ("bos_token_id", "bos_token"),
            ("eos_token_id", "eos_token"),
            ("unknown_token_id", "unk_token"),
            ("padding_token_id", "pad_token"),
            ("seperator_token_id", "sep_token"),
            ("cls_token_id", "cls_token"),
            ("mask_token_id", "mask_token"),
        ] {
            if let Some(token) = self.token(key) {
                settings.insert(role.into(), token.into());
            }
        }
        settings
    }

    fn added_tokens(&self) -> Vec<Json> {
        let is_added = |&id: &usize| !self.is_pad(id) && [CONTROL, USER_DEFINED].contains(&self.types[id]);
        let ids = (0..self.tokens.len()).filter(is_added);
        let token = |id: usize| {
            json!({
                "id": id, "content": self.tokens[id], "special": self.types[id] == CONTROL,
                "normalized": self.types[id] != CONTROL,
                "single_word": false, "lstrip": false, "rstrip": false,
            })
        };
        ids.map(token).collect()
    }

    /// Puts a token before a text if the vocabulary says so. Llama 3's does not, but is recognized as Llama 3's only with it.
    fn post_processor(&self) -> Json {
        let adds_bos = self.metadata.find("tokenizer.ggml.add_bos_token") == Some(&Value::Bool(true)) || self.name == "llama-bpe";
        match self.token("bos_token_id").filter(|_| adds_bos) {
            None => Json::Null,
            Some(token) => json!({
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": token, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [], "special_tokens": {},
            }),
        }
    }

    fn byte_level(&self, pre_tokenizer: &Json, normalizer: &Json, ignores_merges: bool) -> Json {
        let ids = (0..self.tokens.len()).filter(|&id| !self.is_pad(id));
        let vocab: Map<String, Json> = ids.map(|id| (self.tokens[id].clone(), id.into())).collect();
        json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": self.added_tokens(),
            "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "post_processor": self.post_processor(),
            "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "", "end_of_word_suffix": "",
                "fuse_unk": false, "byte_fallback": false, "ignore_merges": ignores_merges, "vocab": vocab,
                "merges": texts(&self.metadata, "tokenizer.ggml.merges"),
            },
        })
    }
}

/// A checkpoint's folder with these files.
fn write_files(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

fn bytes(json: &Json) -> Vec<u8> {
    serde_json::to_vec(json).unwrap()
}

/// The tokenizer's metadata that we make from a folder; without warnings unless one is expected.
fn converted(folder: &Path, warning: Option<&str>) -> Metadata {
    let found = tokenizer_metadata(&read_checkpoint(folder).unwrap()).unwrap();
    match warning {
        None => assert_eq!(found.warnings, Vec::<String>::new()),
        Some(warning) => assert!(found.warnings.iter().any(|own| own.contains(warning)), "{:?}", found.warnings),
    }
    Metadata(found.entries)
}

/// Checks the tokens that llama.cpp gives for the test strings with the key-values, and that `splitter` gives the same, also with what
/// starts a text.
fn check_strings(
    backend: &LlamaBackend,
    vocabulary: &Vocabulary,
    entries: &Metadata,
    architecture: &str,
    splitter: Option<&Splitter>,
) {
    let mut metadata = Metadata::default();
    metadata.set("general.architecture", Value::Str(Text::from(architecture)));
    metadata.set("general.type", Value::Str(Text::from("model")));
    for (key, value) in &entries.0 {
        metadata.set(key, value.clone());
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vocabulary.gguf");
    std::fs::write(&path, Layout::plan(&metadata, &[], 32).unwrap().header).unwrap();
    let params = LlamaModelParams::default().with_vocab_only(true);
    let model = LlamaModel::load_from_file(backend, &path, &params).unwrap();
    for (text, expected) in vocabulary.strings() {
        let found: Vec<i32> = model.vocab().tokenize(text.as_bytes(), false, false).into_iter().map(|token| token.0).collect();
        assert_eq!(found, expected, "{}: {text:?}", vocabulary.name);
        let Some(splitter) = splitter else { continue };
        let ids = |tokens: Vec<LlamaToken>| tokens.into_iter().map(|token| u32::try_from(token.0).unwrap()).collect::<Vec<_>>();
        let marked = ids(model.vocab().tokenize(text.as_bytes(), true, false));
        assert_eq!(splitter.split_framed(&text).unwrap(), marked, "{}: {text:?}", vocabulary.name);
    }
    if let Some(splitter) = splitter {
        let bos = Some(model.vocab().bos().0).filter(|_| model.vocab().should_add_bos());
        assert_eq!(splitter.bos(), bos.map(|bos| u32::try_from(bos).unwrap()), "{}", vocabulary.name);
    }
}

fn split(regex: &str) -> Json {
    json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false})
}

fn byte_step(use_regex: bool) -> Json {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex})
}

fn digits() -> Json {
    json!({"type": "Digits", "individual_digits": true})
}

fn sequence(steps: &[Json]) -> Json {
    json!({"type": "Sequence", "pretokenizers": steps})
}

const LLAMA3: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DEEPSEEK_LETTERS: &str = "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\u{1f7d}ᾀ-ᾴᾶ-ᾼ\u{1fbe}ῂ-ῄῆ-ῌῐ-\u{1fd3}ῖ-\u{1fdb}ῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u{2126}ℨ\u{212a}-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";

/// Checks byte-level BPE, the kind of vocabulary that most models have. The case is `(name, class, model_type, pre-tokenizer,
/// normalizer, whether merges are ignored, the pre-tokenizer's name in llama.cpp)`.
fn check_byte_level(backend: &LlamaBackend, case: (&'static str, &str, &str, Json, Json, bool, &str)) {
    let (name, class, model_type, pre_tokenizer, normalizer, ignores_merges, pre) = case;
    let vocabulary = Vocabulary::read(name);
    let folder = write_files(&[
        ("config.json", bytes(&vocabulary.config(class, model_type))),
        ("tokenizer.json", bytes(&vocabulary.byte_level(&pre_tokenizer, &normalizer, ignores_merges))),
        ("tokenizer_config.json", bytes(&vocabulary.settings().into())),
    ]);
    // No warning about the pre-tokenizer: the hash of the test text identified it.
    let expected = normalizer["type"].as_str().map(|name| format!("llama.cpp does not have the tokenizer's normalizer {name}: "));
    let found = tokenizer_metadata(&read_checkpoint(folder.path()).unwrap()).unwrap();
    let is_told = |warning: &String| expected.as_ref().is_some_and(|expected| warning.starts_with(expected));
    let is_right = found.warnings.len() == usize::from(expected.is_some()) && found.warnings.iter().all(is_told);
    assert!(is_right, "{name}: {:?}", found.warnings);
    let entries = Metadata(found.entries);
    assert_eq!(entries.str("tokenizer.ggml.pre").as_deref(), Some(pre), "{name}");
    assert_eq!(texts(&entries, "tokenizer.ggml.merges"), texts(&vocabulary.metadata, "tokenizer.ggml.merges"));
    let (tokens, types) = (texts(&entries, "tokenizer.ggml.tokens"), types(&entries));
    assert_eq!(tokens.len(), vocabulary.tokens.len(), "{name}");
    for id in 0..tokens.len() {
        assert_eq!(tokens[id], vocabulary.tokens[id], "{name}");
        // Older converters took tokens that only fill the vocabulary up, or only look special, for user-defined ones.
        let looks_special = tokens[id].starts_with("<|") && tokens[id].ends_with("|>")
            || tokens[id].starts_with("<\u{ff5c}")
            || tokens[id] == "<pad>";
        let expected = match vocabulary.types[id] {
            _ if vocabulary.is_pad(id) => 5,
            USER_DEFINED if looks_special => CONTROL,
            kind => kind,
        };
        assert_eq!(types[id], expected, "{name}: token {id}, {:?}", tokens[id]);
    }
    for key in ["bos_token_id", "eos_token_id", "unknown_token_id", "padding_token_id"] {
        let key = format!("tokenizer.ggml.{key}");
        assert_eq!(entries.find(&key), vocabulary.metadata.find(&key), "{name}: {key}");
    }
    let splitter = Splitter::read(&read_checkpoint(folder.path()).unwrap()).unwrap();
    // llama.cpp has no normalizer: some of its tokens are others.
    check_strings(backend, &vocabulary, &entries, "gpt2", Some(&splitter).filter(|_| normalizer.is_null()));
}

fn check_all_byte_level(backend: &LlamaBackend) {
    let nfc = json!({"type": "NFC"});
    let none = Json::Null;
    let gpt2 = byte_step(true);
    let starcoder = sequence(&[digits(), byte_step(true)]);
    let falcon = sequence(&[
        json!({"type": "Punctuation", "behavior": "Contiguous"}),
        byte_step(true),
        json!({"type": "Digits", "individual_digits": false}),
        split("[0-9][0-9][0-9]"),
    ]);
    let deepseek_llm = sequence(&[
        split("[\r\n]"),
        split(DEEPSEEK_LETTERS),
        split(r"\s?[!-/:-~！-／：-～‘-‟　-。]+"),
        split(r"\s+$"),
        split("[一-龥ࠀ-一가-퟿]+"),
        digits(),
        byte_step(false),
    ]);
    let deepseek_coder = sequence(&[
        split("[\r\n]"),
        split(r"\s?\p{L}+"),
        split(r"\s?\p{P}+"),
        split("[一-龥ࠀ-一가-퟿]+"),
        digits(),
        byte_step(false),
    ]);
    let of_regex = |regex: &str| sequence(&[split(regex), byte_step(false)]);
    for case in [
        ("gpt-2", "GPT2LMHeadModel", "gpt2", gpt2.clone(), none.clone(), false, "gpt-2"),
        // Two names of one pre-tokenizer: the later one in the list of hashes counts.
        ("mpt", "Olmo2ForCausalLM", "olmo2", gpt2, nfc.clone(), false, "olmo"),
        ("starcoder", "Starcoder2ForCausalLM", "starcoder2", starcoder.clone(), none.clone(), false, "starcoder"),
        ("refact", "Starcoder2ForCausalLM", "starcoder2", starcoder.clone(), none.clone(), false, "refact"),
        ("command-r", "Olmo2ForCausalLM", "olmo2", starcoder, nfc.clone(), false, "command-r"),
        ("falcon", "FalconForCausalLM", "falcon", falcon, none.clone(), false, "falcon"),
        ("deepseek-llm", "LlamaForCausalLM", "llama", deepseek_llm, none.clone(), false, "deepseek-llm"),
        ("deepseek-coder", "LlamaForCausalLM", "llama", deepseek_coder, none.clone(), false, "deepseek-coder"),
        ("llama-bpe", "LlamaForCausalLM", "llama", of_regex(LLAMA3), none, true, "llama-bpe"),
        ("qwen2", "Qwen2ForCausalLM", "qwen2", of_regex(QWEN2), nfc, false, "qwen2"),
    ] {
        check_byte_level(backend, case);
    }
}

fn varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(0x80 | u8::try_from(number & 0x7f).unwrap());
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap());
}

/// A `tokenizer.model` of these pieces, merged by score.
fn sentencepiece(pieces: impl Iterator<Item = (String, f32, i32)>) -> Vec<u8> {
    let mut model = Vec::new();
    for (text, score, kind) in pieces {
        let mut piece = vec![0x0a];
        varint(&mut piece, text.len() as u64);
        piece.extend(text.as_bytes());
        piece.push(0x15);
        piece.extend(score.to_le_bytes());
        piece.extend([0x18, u8::try_from(kind).unwrap()]);
        model.push(0x0a);
        varint(&mut model, piece.len() as u64);
        model.extend(piece);
    }
    model.extend([0x12, 0x02, 0x18, 0x02]); // trainer_spec.model_type: BPE
    model
}

fn check_llama_spm(backend: &LlamaBackend) {
    let vocabulary = Vocabulary::read("llama-spm");
    let scores = scores(&vocabulary.metadata);
    let pieces = (0..scores.len()).map(|id| (vocabulary.tokens[id].clone(), scores[id], vocabulary.types[id]));
    let folder = write_files(&[
        ("config.json", bytes(&vocabulary.config("LlamaForCausalLM", "llama"))),
        ("tokenizer.model", sentencepiece(pieces)),
        ("tokenizer_config.json", bytes(&vocabulary.settings().into())),
    ]);
    let entries = converted(folder.path(), None);
    for key in ["tokens", "scores", "token_type", "model", "pre"] {
        let key = format!("tokenizer.ggml.{key}");
        assert_eq!(entries.find(&key), vocabulary.metadata.find(&key), "{key}");
    }
    check_strings(backend, &vocabulary, &entries, "llama", None);
}

/// Llama 2's vocabulary as transformers keeps it: merges instead of scores.
fn check_llama_without_model(backend: &LlamaBackend) {
    let vocabulary = Vocabulary::read("llama-spm");
    let scores = scores(&vocabulary.metadata);
    let ids: BTreeMap<&str, usize> = vocabulary.tokens.iter().enumerate().map(|(id, token)| (token.as_str(), id)).collect();
    let mut merges: Vec<(usize, [&str; 2])> = Vec::new();
    for (id, token) in vocabulary.tokens.iter().enumerate().filter(|(id, _)| vocabulary.types[*id] == 1) {
        let splits = token.char_indices().skip(1).map(|(at, _)| token.split_at(at));
        merges.extend(splits.filter(|(a, b)| ids.contains_key(a) && ids.contains_key(b)).map(|(a, b)| (id, [a, b])));
    }
    merges.sort_by(|(a, _), (b, _)| scores[*b].total_cmp(&scores[*a]));
    let special = ["<unk>", "<s>", "</s>"].iter().enumerate();
    let added: Vec<Json> = special
        .map(|(id, token)| {
            json!({"id": id, "content": token, "special": true, "normalized": false, "single_word": false, "lstrip": false, "rstrip": false})
        })
        .collect();
    let space = json!({"String": "\u{2581}"});
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "\u{2581}"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"},
        ]},
        "pre_tokenizer": null, "post_processor": null,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": space, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ]},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": true, "byte_fallback": true, "ignore_merges": false, "vocab": ids,
            "merges": merges.iter().map(|(_, pair)| pair).collect::<Vec<_>>(),
        },
    });
    let folder = write_files(&[
        ("config.json", bytes(&vocabulary.config("MistralForCausalLM", "mistral"))),
        ("tokenizer.json", bytes(&tokenizer)),
        ("tokenizer_config.json", bytes(&vocabulary.settings().into())),
    ]);
    let splitter = Splitter::read(&read_checkpoint(folder.path()).unwrap()).unwrap();
    check_strings(backend, &vocabulary, &converted(folder.path(), None), "llama", Some(&splitter));
}

fn check_phi3(backend: &LlamaBackend) {
    let vocabulary = Vocabulary::read("phi-3");
    let base = Vocabulary::read("llama-spm");
    let base_scores = scores(&base.metadata);
    let pieces = (0..base.tokens.len()).map(|id| (base.tokens[id].clone(), base_scores[id], base.types[id]));
    let own_scores = scores(&vocabulary.metadata);
    let is_added =
        |&id: &usize| !vocabulary.is_pad(id) && (own_scores[id] + 1000.0).abs() < f32::EPSILON && id < own_scores.len();
    let added: Map<String, Json> = (0..vocabulary.tokens.len())
        .filter(is_added)
        .filter(|&id| id >= base.tokens.len() || [CONTROL, USER_DEFINED].contains(&vocabulary.types[id]))
        .map(|id| (id.to_string(), json!({"content": vocabulary.tokens[id], "special": vocabulary.types[id] == CONTROL})))
        .collect();
    let mut settings = vocabulary.settings();
    settings.insert("added_tokens_decoder".into(), added.into());
    settings.insert("tokenizer_class".into(), "LlamaTokenizer".into());
    let folder = write_files(&[
        ("config.json", bytes(&vocabulary.config("Phi3ForCausalLM", "phi3"))),
        ("tokenizer.model", sentencepiece(pieces)),
        ("tokenizer_config.json", bytes(&settings.into())),
    ]);
    let entries = converted(folder.path(), None);
    let (tokens, types) = (texts(&entries, "tokenizer.ggml.tokens"), types(&entries));
    assert_eq!(tokens, vocabulary.tokens);
    for id in (0..tokens.len()).filter(|&id| !vocabulary.is_pad(id)) {
        assert_eq!(types[id], vocabulary.types[id], "token {id}, {:?}", tokens[id]);
    }
    check_strings(backend, &vocabulary, &entries, "phi3", None);
}

fn check_bert(backend: &LlamaBackend) {
    let vocabulary = Vocabulary::read("bert-bge");
    let is_bracketed = |token: &str| token.starts_with('[') && token.ends_with(']') && token.len() > 2;
    let own = |token: &str| match token.strip_prefix('\u{2581}') {
        Some(word) => word.to_string(),
        None if is_bracketed(token) => token.to_string(),
        None => format!("##{token}"),
    };
    let vocab: Map<String, Json> = vocabulary.tokens.iter().enumerate().map(|(id, token)| (own(token), id.into())).collect();
    assert_eq!(vocab.len(), vocabulary.tokens.len());
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": vocabulary.added_tokens(),
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
            "pair": [],
            "special_tokens": {},
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": vocab},
    });
    let folder = write_files(&[
        ("config.json", bytes(&vocabulary.config("BertModel", "bert"))),
        ("tokenizer.json", bytes(&tokenizer)),
        ("tokenizer_config.json", bytes(&vocabulary.settings().into())),
    ]);
    let entries = converted(folder.path(), None);
    // Two names of one vocabulary: the later one in the list of hashes counts.
    assert_eq!(entries.str("tokenizer.ggml.pre").as_deref(), Some("jina-v2-en"));
    for (found, token) in texts(&entries, "tokenizer.ggml.tokens").iter().zip(&vocabulary.tokens) {
        // Older converters put nothing before these.
        assert!(found == token || is_bracketed(token) && *found == format!("\u{2581}{token}"), "{found:?}, expected {token:?}");
    }
    check_strings(backend, &vocabulary, &entries, "bert", None);
}

/// One test: llama.cpp is set up once in a process.
#[test]
fn llama_cpp_tokenizes_as_it_should_with_converted_vocabularies() {
    let mut backend = LlamaBackend::init().unwrap();
    backend.void_logs();
    check_all_byte_level(&backend);
    check_llama_spm(&backend);
    check_llama_without_model(&backend);
    check_phi3(&backend);
    check_bert(&backend);
}
