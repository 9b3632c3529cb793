//! What the header of a GGUF file tells about a model that cannot run.

use super::obstacles::of;
use crate::model::{Array, DType, Hyperparameters, Metadata, Model, Tensor, Text, Value};

const N_LAYERS: u64 = 4;
const N_TOKENS: u64 = 300;

fn tensor(name: &str, shape: &[u64]) -> Tensor {
    Tensor { name: name.into(), dtype: DType::F32, shape: shape.into(), file_idx: 0, offset: 0, size_bytes: 0 }
}

/// A model of the architecture llama that llama.cpp loads: width 64, 4 heads, 2 key heads, feed-forward 96.
fn sound() -> Model {
    let number = |key: &str, value| (format!("llama.{key}"), Value::U32(value));
    let tokens: Vec<Text> = (0..N_TOKENS).map(|id| Text::from(format!("t{id}").as_str())).collect();
    let metadata = Metadata(vec![
        ("general.architecture".into(), Value::Str("llama".into())),
        number("context_length", 128),
        number("embedding_length", 64),
        number("block_count", 4),
        number("feed_forward_length", 96),
        number("attention.head_count", 4),
        number("attention.head_count_kv", 2),
        ("llama.attention.layer_norm_rms_epsilon".into(), Value::F32(1e-5)),
        ("tokenizer.ggml.model".into(), Value::Str("gpt2".into())),
        ("tokenizer.ggml.tokens".into(), Value::Array(Array::Str(tokens))),
        ("tokenizer.ggml.token_type".into(), Value::Array(Array::I32(vec![1; 300]))),
        ("tokenizer.ggml.merges".into(), Value::Array(Array::Str(vec!["t1 2".into(), "t 3".into()]))),
        ("tokenizer.ggml.eos_token_id".into(), Value::U32(2)),
    ]);
    let mut tensors = vec![tensor("token_embd.weight", &[64, N_TOKENS]), tensor("output_norm.weight", &[64])];
    for idx in 0..N_LAYERS {
        for (ending, shape) in [
            ("attn_norm.weight", &[64][..]),
            ("attn_q.weight", &[64, 64]),
            ("attn_k.weight", &[64, 32]),
            ("attn_v.weight", &[64, 32]),
            ("attn_output.weight", &[64, 64]),
            ("ffn_norm.weight", &[64]),
            ("ffn_gate.weight", &[64, 96]),
            ("ffn_up.weight", &[64, 96]),
            ("ffn_down.weight", &[96, 64]),
        ] {
            tensors.push(tensor(&format!("blk.{idx}.{ending}"), shape));
        }
    }
    Model {
        path: "m.gguf".into(),
        files: Vec::new(),
        size_bytes: 0,
        format_name: String::new(),
        alignment: 32,
        hyperparameters: Hyperparameters::from_metadata(&metadata),
        metadata,
        tensors,
        warnings: Vec::new(),
        obstacles: Vec::new(),
        unknown: Vec::new(),
        import: None,
        others: Vec::new(),
    }
}

fn changed(change: impl FnOnce(&mut Model)) -> Model {
    let mut model = sound();
    change(&mut model);
    model.hyperparameters = Hyperparameters::from_metadata(&model.metadata);
    model
}

/// Checks that a change makes exactly one obstacle, with this text.
fn blocked(expected: &str, change: impl FnOnce(&mut Model)) {
    let found = of(&changed(change));
    assert_eq!(found.obstacles, [expected], "warnings: {:?}", found.warnings);
}

/// Checks that a change makes exactly one warning, with this text, and nothing else.
fn warned(expected: &str, change: impl FnOnce(&mut Model)) {
    let found = of(&changed(change));
    assert_eq!((found.obstacles.as_slice(), found.warnings), (&[] as &[String], vec![expected.to_string()]));
    assert_eq!(found.unknown, [] as [String; 0]);
}

fn set(model: &mut Model, key: &str, value: Value) {
    model.metadata.set(key, value);
}

fn strings(n: usize, text: impl Fn(usize) -> String) -> Value {
    Value::Array(Array::Str((0..n).map(|idx| Text::from(text(idx).as_str())).collect()))
}

fn rename(model: &mut Model, architecture: &str) {
    for (key, value) in &mut model.metadata.0 {
        if let Some(suffix) = key.strip_prefix("llama.") {
            *key = format!("{architecture}.{suffix}");
        } else if key == "general.architecture" {
            *value = Value::Str(architecture.into());
        }
    }
}

#[test]
fn a_sound_model_has_nothing_against_it() {
    assert_eq!(of(&sound()), super::obstacles::Found::default());
    // Fused projections, a separate head and factors of RoPE are as good.
    let fused = changed(|model| {
        model.tensors.retain(|tensor| !["attn_q", "attn_k", "attn_v"].iter().any(|part| tensor.name.contains(part)));
        let layers = (0..N_LAYERS).map(|idx| tensor(&format!("blk.{idx}.attn_qkv.weight"), &[64, 128]));
        model.tensors.extend(layers);
        model.tensors.extend([tensor("output.weight", &[64, N_TOKENS]), tensor("rope_freqs.weight", &[8])]);
    });
    assert_eq!(of(&fused), super::obstacles::Found::default());
}

#[test]
fn tensors_that_are_missing_or_have_another_shape_are_named() {
    blocked("a tensor is missing: blk.2.ffn_up.weight", |model| model.tensors.retain(|t| t.name != "blk.2.ffn_up.weight"));
    blocked("a tensor is missing: output_norm.weight", |model| model.tensors.retain(|t| t.name != "output_norm.weight"));
    let expected = "9 tensors are missing: blk.3.attn_norm.weight, blk.3.attn_output.weight, blk.3.ffn_norm.weight and 6 more";
    blocked(expected, |model| model.tensors.retain(|t| !t.name.starts_with("blk.3.")));
    blocked("llama.block_count says 3 layers, the tensors have 4", |model| set(model, "llama.block_count", Value::U32(3)));
    warned("a tensor is not looked for by llama.cpp, which refuses such a file: blk.0.attn_extra.weight", |model| {
        model.tensors.push(tensor("blk.0.attn_extra.weight", &[8]));
    });
    blocked("a tensor is of another shape than the keys say: blk.1.attn_k.weight is 64 × 64, expected 64 × 32", |model| {
        model.tensors.iter_mut().find(|t| t.name == "blk.1.attn_k.weight").unwrap().shape = vec![64, 64];
    });
}

#[test]
fn keys_that_do_not_add_up_are_named() {
    blocked("keys are missing: llama.context_length", |model| model.metadata.remove("llama.context_length"));
    blocked("keys are missing: llama.attention.layer_norm_rms_epsilon", |model| {
        model.metadata.remove("llama.attention.layer_norm_rms_epsilon");
    });
    let found = of(&changed(|model| set(model, "llama.attention.head_count_kv", Value::U32(3))));
    assert_eq!(found.obstacles[0], "layer 0 has 4 query heads, not a multiple of its 3 key heads");
    blocked("llama.rope.dimension_count is 8, a head has 16", |model| set(model, "llama.rope.dimension_count", Value::U32(8)));
    let found = of(&changed(|model| set(model, "llama.block_count", Value::U32(0))));
    assert_eq!(found.obstacles[0], "llama.block_count is 0, llama.cpp takes 1 to 512 layers");
    let found = of(&changed(|model| set(model, "llama.expert_used_count", Value::U32(2))));
    assert_eq!(found.obstacles[0], "each token passes through 2 of 0 experts");
}

#[test]
fn a_vocabulary_that_does_not_add_up_is_told() {
    let tokens = "tokenizer.ggml.tokens";
    blocked("a token appears twice in the vocabulary: \"t50\" (ids 50 and 100)", |model| {
        set(model, tokens, strings(300, |id| format!("t{}", if id == 100 { 50 } else { id })));
    });
    blocked("a token appears twice in the vocabulary: \"\\u{1b}[31m\" (ids 7 and 8)", |model| {
        set(model, tokens, strings(300, |id| if id == 7 || id == 8 { "\u{1b}[31m".into() } else { format!("t{id}") }));
    });
    blocked("the tokenizer has 299 tokens but token_embd.weight has 300 rows", |model| {
        set(model, tokens, strings(299, |id| format!("t{id}")));
        set(model, "tokenizer.ggml.token_type", Value::Array(Array::I32(vec![1; 299])));
    });
    blocked("tokenizer.ggml.token_type has 299 entries for 300 tokens", |model| {
        set(model, "tokenizer.ggml.token_type", Value::Array(Array::I32(vec![1; 299])));
    });
    blocked("tokenizer.ggml.token_type is not a list of numbers but a list of U8", |model| {
        set(model, "tokenizer.ggml.token_type", Value::Array(Array::U8(vec![1; 300])));
    });
    blocked("tokenizer.ggml.scores has 3 entries for 300 tokens", |model| {
        set(model, "tokenizer.ggml.scores", Value::Array(Array::F32(vec![0.0; 3])));
    });
    blocked("tokenizer.ggml.tokens is missing: the tokenizer has no vocabulary", |model| model.metadata.remove(tokens));
    blocked("tokenizer.ggml.merges is missing: the tokenizer cannot join bytes to tokens", |model| {
        model.metadata.remove("tokenizer.ggml.merges");
    });
    // llama.cpp gives empty tokens names of their own, and without a tokenizer nothing is looked up.
    let empty = changed(|model| set(model, tokens, strings(300, |id| if id < 9 { String::new() } else { format!("t{id}") })));
    assert_eq!(of(&empty).obstacles, [] as [String; 0]);
    let none = changed(|model| {
        set(model, tokens, strings(300, |_| "same".into()));
        set(model, "tokenizer.ggml.model", Value::Str("no_vocab".into()));
    });
    assert_eq!(of(&none).obstacles, [] as [String; 0]);
}

#[test]
fn oddities_of_a_tokenizer_are_warnings() {
    let merges = "tokenizer.ggml.merges";
    warned("2 of 4 merges of the tokenizer are not two pieces with a space between them", |model| {
        set(model, merges, strings(4, |idx| ["t1 2", "t12", "t 4", " "][idx].into()));
    });
    warned("1 of 2 merges of the tokenizer make no token of its vocabulary", |model| {
        set(model, merges, strings(2, |idx| ["t1 2", "x y"][idx].into()));
    });
    warned("tokenizer.ggml.eos_token_id is 300, the vocabulary has only 300 tokens", |model| {
        set(model, "tokenizer.ggml.eos_token_id", Value::U32(300));
    });
}

#[test]
fn of_an_architecture_that_is_not_known_only_the_sure_is_an_obstacle() {
    let other = |change: fn(&mut Model)| {
        of(&changed(|model| {
            rename(model, "novel");
            change(model);
        }))
    };
    let unknown = "the llama.cpp of this version does not know the architecture novel: it cannot run it";
    let expected = super::obstacles::Found { unknown: vec![unknown.into()], ..Default::default() };
    assert_eq!(other(|_| {}), expected);
    let found = other(|model| model.tensors.retain(|t| t.name != "blk.2.ffn_up.weight"));
    assert_eq!(
        (found.obstacles.len(), found.warnings[0].as_str()),
        (0, "layer 2 lacks what every other layer has: blk.2.ffn_up.weight")
    );
    let found = other(|model| model.tensors.retain(|t| !t.name.starts_with("blk.2.")));
    assert_eq!(found.warnings, ["there is no tensor of layer 2"]);
    // A dense layer before layers with experts lacks nothing.
    let found = other(|model| {
        for t in &mut model.tensors {
            if !t.name.starts_with("blk.0.") {
                t.name = t.name.replace("ffn_up.", "ffn_up_exps.");
            }
        }
    });
    assert_eq!(found, expected);
    let found = other(|model| set(model, "tokenizer.ggml.tokens", strings(300, |id| format!("t{}", id / 2))));
    assert_eq!(found.obstacles.len(), 1, "llama.cpp aborts on doubled tokens whatever the architecture");
    let found = other(|model| set(model, "novel.block_count", Value::U32(3)));
    assert_eq!(found.obstacles, [] as [String; 0]);
}

#[test]
fn keys_of_another_type_than_llama_cpp_reads_are_named() {
    let check = |key: &str, value: Value, expected: &str| {
        let found = of(&changed(|model| set(model, key, value)));
        let expected = format!("keys have other types than llama.cpp reads: {expected}");
        assert_eq!(found.obstacles.first(), Some(&expected), "{key}");
    };
    check("llama.block_count", Value::U64(4), "llama.block_count is U64, llama.cpp reads U32");
    check("llama.context_length", Value::F32(128.0), "llama.context_length is F32, llama.cpp reads U32");
    let epsilon = "llama.attention.layer_norm_rms_epsilon";
    check(epsilon, Value::F64(1e-5), &format!("{epsilon} is F64, llama.cpp reads F32"));
    check("llama.rope.freq_base", Value::U32(10_000), "llama.rope.freq_base is U32, llama.cpp reads F32");
    check("tokenizer.ggml.eos_token_id", Value::I32(2), "tokenizer.ggml.eos_token_id is I32, llama.cpp reads U32");
    check("tokenizer.ggml.add_bos_token", Value::U8(1), "tokenizer.ggml.add_bos_token is U8, llama.cpp reads Bool");
    check("general.name", Value::U32(7), "general.name is U32, llama.cpp reads Str");
    check("general.file_type", Value::I32(0), "general.file_type is I32, llama.cpp reads U32");
    check("split.count", Value::U32(1), "split.count is U32, llama.cpp reads U16");
    let list = |n: usize| Value::Array(Array::I32(vec![4; n]));
    check("llama.attention.head_count", list(3), "llama.attention.head_count has 3 entries for 4 layers");
    check("llama.attention.head_count", Value::Str("4".into()), "llama.attention.head_count is Str, llama.cpp reads U32");
    assert_eq!(of(&changed(|model| set(model, "llama.attention.head_count", list(4)))).obstacles, [] as [String; 0]);
    // Whatever the architecture.
    let found = of(&changed(|model| {
        rename(model, "mamba");
        set(model, "mamba.embedding_length", Value::I32(64));
    }));
    assert_eq!(found.obstacles.len(), 1, "{found:?}");
}

#[test]
fn what_llama_cpp_does_not_know_hinders_a_run_and_no_conversion() {
    let check = |expected: &str, change: fn(&mut Model)| {
        let found = of(&changed(change));
        assert_eq!((found.obstacles.as_slice(), found.unknown), (&[] as &[String], vec![expected.to_string()]));
    };
    check("the llama.cpp of this version does not know the pre-tokenizer new\\n: it cannot run it", |model| {
        set(model, "tokenizer.ggml.pre", Value::Str("new\n".into()));
    });
    check("the llama.cpp of this version does not know the tokenizer box: it cannot run it", |model| {
        set(model, "tokenizer.ggml.model", Value::Str("box".into()));
    });
    check("tokenizer missing: text cannot be turned into tokens, llama.cpp cannot run it", |model| {
        model.metadata.remove("tokenizer.ggml.model");
    });
    for (key, value) in [("pre", "llama-bpe"), ("pre", "qwen2"), ("model", "no_vocab")] {
        let found = of(&changed(|model| set(model, &format!("tokenizer.ggml.{key}"), Value::Str(value.into()))));
        assert_eq!(found.unknown, [] as [String; 0], "{value}");
    }
}

#[test]
fn tensors_that_need_not_be_there_have_their_shapes_too() {
    let check = |name: &str, shape: &[u64], expected: &str| {
        blocked(&format!("a tensor is of another shape than the keys say: {name} is {expected}"), |model| {
            model.tensors.push(tensor(name, shape));
        });
        let right: Vec<u64> = expected.split(", expected ").nth(1).unwrap().split(" × ").map(|n| n.parse().unwrap()).collect();
        assert_eq!(of(&changed(|model| model.tensors.push(tensor(name, &right)))), super::obstacles::Found::default());
    };
    check("output.weight", &[64, 299], "64 × 299, expected 64 × 300");
    check("rope_freqs.weight", &[16], "16, expected 8");
    check("blk.1.attn_q.bias", &[32], "32, expected 64");
    check("blk.1.attn_k.bias", &[64], "64, expected 32");
    check("blk.3.ffn_up.bias", &[64], "64, expected 96");
    blocked("a tensor is of another shape than the keys say: blk.0.attn_qkv.weight is 64 × 192, expected 64 × 128", |model| {
        model
            .tensors
            .retain(|t| !["blk.0.attn_q.", "blk.0.attn_k.", "blk.0.attn_v."].iter().any(|part| t.name.starts_with(part)));
        model.tensors.push(tensor("blk.0.attn_qkv.weight", &[64, 192]));
    });
}
