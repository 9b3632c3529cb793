//! Checkpoints become what llama.cpp's own converter makes of them.

use std::collections::BTreeMap;

use half::{bf16, f16};
use planish::Monitor;
use planish::convert::{ConvertRequest, convert};
use planish::format::{Opened, TensorReader, inspect, read_any};
use planish::import::{checked_model, decoder};
use planish::model::{Array, DType, Level, Metadata, Model, PrecisionClass, Value};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use crate::common;
use crate::golden_checkpoints::{cases, write};

/// Keys whose values differ on purpose, with the reason.
const EXCEPTIONS: [(&str, &str); 1] = [
    // Decided by the level.
    ("general.file_type", "the golden files have one for each output type"),
];

/// Type and value as the golden files write them.
fn golden_value(value: &Value) -> (String, Json) {
    let number = |number: f32| serde_json::from_str::<Json>(&number.to_string()).unwrap();
    match value {
        Value::U32(v) => ("UINT32".into(), (*v).into()),
        Value::I32(v) => ("INT32".into(), (*v).into()),
        Value::F32(v) => ("FLOAT32".into(), number(*v)),
        Value::Bool(v) => ("BOOL".into(), (*v).into()),
        Value::Str(v) => ("STRING".into(), v.lossy().into_owned().into()),
        Value::Array(Array::Bool(v)) => ("ARRAY[BOOL]".into(), v.clone().into()),
        Value::Array(Array::U32(v)) => ("ARRAY[UINT32]".into(), v.clone().into()),
        Value::Array(Array::I32(v)) => ("ARRAY[INT32]".into(), v.clone().into()),
        Value::Array(Array::F32(v)) => ("ARRAY[FLOAT32]".into(), v.iter().map(|v| number(*v)).collect()),
        Value::Array(Array::Str(v)) => ("ARRAY[STRING]".into(), v.iter().map(|text| text.lossy().into_owned()).collect()),
        other => panic!("{other:?}"),
    }
}

fn check_metadata(case: &str, metadata: &Metadata, golden: &Json) {
    let is_compared = |key: &str| !EXCEPTIONS.iter().any(|row| row.0 == key);
    // 1 and 1.0 are the same number in a golden file.
    let text = |kind: &str, value: &Json| match value.as_f64() {
        Some(number) => format!("{kind} {number}"),
        None => format!("{kind} {value}"),
    };
    let found: Vec<(String, String)> = metadata
        .0
        .iter()
        .filter(|(key, _)| is_compared(key))
        .map(|(key, value)| {
            let (kind, value) = golden_value(value);
            (key.clone(), text(&kind, &value))
        })
        .collect();
    let expected: Vec<(String, String)> = golden
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row[0].as_str().unwrap().to_string(), text(row[1].as_str().unwrap(), &row[2])))
        .filter(|(key, _)| is_compared(key))
        .collect();
    assert_eq!(found, expected, "{case}");
}

/// The bytes of a tensor as F32; blocks as they are.
fn as_f32(model: &Model, reader: &TensorReader, idx: usize) -> Vec<u8> {
    let tensor = &model.tensors[idx];
    let mut raw = vec![0; usize::try_from(tensor.size_bytes).unwrap()];
    reader.read(tensor, 0, &mut raw).unwrap();
    let halves = || raw.as_chunks::<2>().0.iter().map(|bytes| u16::from_le_bytes(*bytes));
    match tensor.dtype {
        DType::F32 | DType::MXFP4 => raw,
        DType::BF16 => halves().flat_map(|bits| bf16::from_bits(bits).to_f32().to_le_bytes()).collect(),
        DType::F16 => halves().flat_map(|bits| f16::from_bits(bits).to_f32().to_le_bytes()).collect(),
        other => panic!("{other}"),
    }
}

fn sha256(data: &[u8]) -> String {
    Sha256::digest(data).iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

fn check_tensors(case: &str, model: &Model, golden: &Json) {
    let reader = TensorReader::open(model).unwrap();
    let mut expected: BTreeMap<&str, (Json, String)> = BTreeMap::new();
    for tensor in golden.as_array().unwrap() {
        assert!(tensor["type"] == "F32" || tensor["type"] == "MXFP4", "{case}");
        let sha256 = tensor["sha256"].as_str().unwrap().to_string();
        expected.insert(tensor["name"].as_str().unwrap(), (tensor["shape"].clone(), sha256));
    }
    for (idx, tensor) in model.tensors.iter().enumerate() {
        let (shape, sha256) = expected.remove(tensor.name.as_str()).unwrap_or_else(|| panic!("{case}: {}", tensor.name));
        assert_eq!(Json::from(tensor.shape.clone()), shape, "{case}: {}", tensor.name);
        assert_eq!(self::sha256(&as_f32(model, &reader, idx)), sha256, "{case}: {}", tensor.name);
    }
    assert!(expected.is_empty(), "{case}: not made: {:?}", expected.keys());
}

#[test]
fn tensors_and_metadata_are_those_of_llama_cpps_converter() {
    let folder = tempfile::tempdir().unwrap();
    for (name, case) in cases() {
        let checkpoint = write(&case, &folder.path().join(&name));
        let model = checked_model(&checkpoint).unwrap_or_else(|error| panic!("{name}: {error}"));
        if case["config"].get("quantization_config").is_some() {
            assert_eq!(checkpoint.n_parameters(), model.n_parameters(), "{name}");
        }
        let golden = &case["gguf"]["f32"];
        check_tensors(&name, &model, &golden["tensors"]);
        check_metadata(&name, &model.metadata, &golden["metadata"]);
    }
}

/// What llama.cpp's own converter writes for each architecture must pass the checks of headers.
#[test]
fn no_header_of_a_converted_checkpoint_has_an_obstacle() {
    let folder = tempfile::tempdir().unwrap();
    for (name, case) in cases() {
        let model = checked_model(&write(&case, &folder.path().join(&name))).unwrap();
        let level =
            if model.own_level().is_some_and(|level| level.class() != PrecisionClass::Full) { model.own_level() } else { None };
        let request = ConvertRequest::new(vec![level.unwrap_or(Level::F32)], folder.path().join("out").join(&name));
        let made = convert(&model, &request, &Monitor::silent()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let written = inspect(&made[0].path).unwrap();
        assert_eq!(written.obstacles, [] as [String; 0], "{name}");
        let is_odd = |warning: &String| ["lacks", "looked for", "does not know"].iter().any(|part| warning.contains(part));
        assert!(!written.warnings.iter().any(is_odd), "{name}: {:?}", written.warnings);
    }
}

#[test]
fn types_without_loss_are_the_checkpoints_own() {
    let folder = tempfile::tempdir().unwrap();
    let mut n_checked = 0;
    for (name, case) in cases() {
        let dtypes: Vec<&str> =
            case["tensors"].as_array().unwrap().iter().map(|tensor| tensor["dtype"].as_str().unwrap()).collect();
        let Some(golden) = ["bf16", "f16"].iter().find_map(|outtype| {
            let is_all = dtypes.iter().all(|dtype| *dtype == "U8" || dtype.eq_ignore_ascii_case(outtype));
            case["gguf"].get(*outtype).filter(|_| is_all)
        }) else {
            continue;
        };
        let model = checked_model(&write(&case, &folder.path().join(&name))).unwrap();
        for tensor in golden["tensors"].as_array().unwrap() {
            let found = model.tensors.iter().find(|found| found.name == tensor["name"].as_str().unwrap()).unwrap();
            assert_eq!(found.dtype.name(), tensor["type"].as_str().unwrap(), "{name}: {}", found.name);
        }
        n_checked += 1;
    }
    assert!(n_checked > 0);
}

/// The list is that of Ollama's own converter, which keeps `position_embd` at F16.
#[test]
fn minilm_becomes_what_ollama_makes_of_it() {
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/ollama/all-MiniLM-L6-v2.json");
    let mut golden: BTreeMap<String, String> = serde_json::from_slice(&std::fs::read(golden).unwrap()).unwrap();
    let Opened::Checkpoint(checkpoint) = read_any(&common::minilm()).unwrap() else { panic!("no checkpoint") };
    assert!(checkpoint.warnings.is_empty(), "{:?}", checkpoint.warnings);
    let model = checked_model(&checkpoint).unwrap();
    let reader = TensorReader::open(&model).unwrap();
    for (idx, tensor) in model.tensors.iter().enumerate() {
        let mut data = as_f32(&model, &reader, idx);
        if tensor.shape.len() > 1 && tensor.name != "token_types.weight" {
            let weights = data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
            data = weights.flat_map(|weight| f16::from_f32(weight).to_le_bytes()).collect();
        }
        assert_eq!(golden.remove(&tensor.name), Some(sha256(&data)), "{}", tensor.name);
    }
    assert_eq!(model.tensors.len(), 101);
    for (key, value) in &model.metadata.0 {
        if let Some(expected) = golden.remove(key).filter(|_| key != "general.file_type") {
            let found = match value {
                Value::Bool(value) => value.to_string(),
                Value::F32(value) => format!("{value:e}"),
                Value::Str(text) => text.lossy().into_owned(),
                other => other.as_u64().unwrap().to_string(),
            };
            assert_eq!(found, expected, "{key}");
        }
    }
    // What is left is the tokenizer's.
    let left: Vec<&String> = golden.keys().filter(|key| !key.starts_with("tokenizer.")).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(model.metadata.str("general.license").as_deref(), Some("apache-2.0"));
}

/// A golden case with other entries in its `config.json`.
fn changed(name: &str, changes: &Json) -> Json {
    let (_, mut case) = cases().into_iter().find(|case| case.0 == name).unwrap();
    for (key, value) in changes.as_object().unwrap() {
        case["config"][key] = value.clone();
    }
    case
}

#[test]
fn what_llama_cpp_would_compute_differently_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str, changes: Json, expected: &str| {
        let checkpoint = write(&changed(name, &changes), folder.path());
        let error = checked_model(&checkpoint).unwrap_err().to_string();
        assert!(error.contains(expected), "{name}: {error}");
    };
    let other = || json!({"rope_scaling": {"rope_type": "mrope", "factor": 2.0}});
    for name in
        ["llama", "qwen2", "qwen3-moe", "gemma2", "gemma3", "starcoder2", "olmo2", "granite", "smollm3", "deepseek-v2", "falcon"]
    {
        check(name, other(), "RoPE scaling of the kind mrope");
    }
    check("phi3", other(), "RoPE scaling of the kind mrope");
    for (name, key, other) in [
        ("llama", "hidden_act", "gelu"),
        ("mixtral", "hidden_act", "gelu"),
        ("qwen2", "hidden_act", "relu"),
        ("qwen3-moe", "hidden_act", "gelu"),
        ("gemma2", "hidden_activation", "silu"),
        ("gemma3", "hidden_activation", "silu"),
        ("phi3", "hidden_act", "gelu"),
        ("gpt2", "activation_function", "relu"),
        ("gpt-oss", "hidden_act", "gelu"),
        ("deepseek-v2", "hidden_act", "gelu"),
        ("starcoder2", "hidden_act", "relu"),
        ("falcon", "activation", "relu"),
        ("olmo2", "hidden_act", "gelu"),
        ("granite", "hidden_act", "gelu"),
        ("smollm3", "hidden_act", "gelu"),
        ("bert", "hidden_act", "relu"),
    ] {
        check(name, json!({key: other}), &format!("{key} is {other} in config.json, llama.cpp computes"));
    }
    check("gemma2", json!({"layer_types": ["full_attention", "full_attention"]}), "pattern of 2");
    check("gemma2", json!({"tie_word_embeddings": false}), "tie_word_embeddings is false");
    check("gemma3", json!({"_sliding_window_pattern": 4}), "pattern of 6");
    check("gemma3", json!({"query_pre_attn_scalar": 100}), "query_pre_attn_scalar is 100");
    check("gemma3", json!({"attn_logit_softcapping": 50.0}), "Gemma 3 does not have");
    check("gemma3", json!({"use_bidirectional_attention": true}), "use_bidirectional_attention is true");
    check("falcon", json!({"alibi": true}), "alibi is true");
    check("falcon", json!({"parallel_attn": false}), "parallel_attn is false");
    check("gpt2", json!({"scale_attn_by_inverse_layer_idx": true}), "scale_attn_by_inverse_layer_idx is true");
    check("qwen2-moe", json!({"norm_topk_prob": true}), "norm_topk_prob is true");
    check("qwen2-moe", json!({"mlp_only_layers": [0]}), "no experts");
    check("qwen3-moe", json!({"norm_topk_prob": false}), "norm_topk_prob is false");
    check("qwen3-moe", json!({"decoder_sparse_step": 2}), "no experts");
    check("smollm3", json!({"no_rope_layers": [1, 1, 1, 1, 1]}), "not every fourth");
    check("smollm3", json!({"attention_bias": true}), "biases");
    check("bert", json!({"position_embedding_type": "relative_key"}), "positions of the kind relative_key");
    check("deepseek-v2", json!({"rope_interleave": false}), "rope_interleave is false");
    check("deepseek-v2", json!({"moe_layer_freq": 2}), "no experts");
    let short = json!({"rope_scaling": {"type": "longrope", "long_factor": [1.0], "short_factor": [1.0]}});
    check("phi3-longrope", short, "not lists of 8 numbers");
}

#[test]
fn impossible_numbers_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str, changes: Json, expected: &str| {
        let checkpoint = write(&changed(name, &changes), folder.path());
        let error = checked_model(&checkpoint).unwrap_err().to_string();
        assert!(error.contains(expected), "{name}: {error}");
    };
    check("mixtral", json!({"num_local_experts": 100_000}), "impossibly large");
    check("mixtral", json!({"num_local_experts": 0}), "how many experts");
    check("mixtral", json!({"num_local_experts": 5}), "tensors are missing");
    check("qwen3-moe", json!({"moe_intermediate_size": 1_u64 << 60}), "moe_intermediate_size is 1152921504606846976, impossibly");
    check("deepseek-v2", json!({"num_attention_heads": 1_u64 << 20, "num_key_value_heads": 1}), "impossibly large");
    check("deepseek-v2", json!({"v_head_dim": 0}), "possible value for v_head_dim");
    check("deepseek-v2", json!({"q_lora_rank": 0}), "possible value for q_lora_rank");
    check("phi3", json!({"original_max_position_embeddings": 0}), "original_max_position_embeddings");
    check("deepseek-v2", json!({"routed_scaling_factor": "large"}), r#"routed_scaling_factor is "large", not a number"#);
    check("deepseek-v2", json!({"kv_lora_rank": -1}), "kv_lora_rank is -1, below 0");
    check("granite", json!({"logits_scaling": "NaN"}), r#"logits_scaling is "NaN", not a number"#);
    check("gemma2", json!({"final_logit_softcapping": true}), "final_logit_softcapping is true, not a number");
    check("gpt2", json!({"layer_norm_epsilon": {}}), "layer_norm_epsilon is {}, not a number");
    check("falcon", json!({"alibi": "perhaps"}), "alibi is \"perhaps\", neither true nor false");
    check("mixtral", json!({"num_experts_per_tok": 1.5}), "num_experts_per_tok is 1.5, not a whole number");
    check("falcon", json!({"num_kv_heads": 3}), "cannot share");
    check("gpt2", json!({"n_positions": null}), "possible value for n_positions");
    check("bert", json!({"type_vocab_size": 3}), "another shape");
}

#[test]
fn classes_of_an_encoder_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let check = |labels: Json, expected: Option<&str>| {
        let model = checked_model(&write(&changed("bert", &json!({"id2label": labels})), folder.path())).unwrap();
        let found = model.metadata.find("bert.classifier.output_labels").map(|value| format!("{value:?}"));
        assert_eq!(found.as_deref(), expected, "{labels}");
    };
    check(json!(null), None);
    check(json!({"0": "LABEL_0", "1": "LABEL_1"}), None);
    check(json!({"0": "LABEL_0"}), Some(r#"Array(Str(["LABEL_0"]))"#));
    check(json!({"10": "c", "2": "b", "0": "a"}), Some(r#"Array(Str(["a", "b", "c"]))"#));
}

#[test]
fn deepseek_v3_corrects_its_scores_and_leaves_out_what_guesses_ahead() {
    let changes = json!({
        "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "num_nextn_predict_layers": 1, "n_group": 2,
    });
    let mut case = changed("deepseek-v2", &changes);
    for (name, n) in [("model.layers.1.mlp.gate.e_score_correction_bias", 4), ("model.layers.2.embed_tokens.weight", 7)] {
        let tensor = json!({"name": name, "shape": [n], "dtype": "F32", "offset": 0, "shift": 0, "exp": -9});
        case["tensors"].as_array_mut().unwrap().push(tensor);
    }
    let folder = tempfile::tempdir().unwrap();
    let model = checked_model(&write(&case, folder.path())).unwrap();
    let bias = model.tensors.iter().find(|tensor| tensor.name == "blk.1.exp_probs_b.bias").unwrap();
    assert_eq!((bias.shape.as_slice(), bias.dtype), ([4].as_slice(), DType::F32));
    assert_eq!(model.metadata.u64("deepseek2.expert_gating_func"), Some(2));
    assert_eq!(model.tensors.iter().filter(|tensor| tensor.name.contains("embd")).count(), 1);
}

#[test]
fn numbers_in_every_spelling_and_names_with_any_prefix_make_the_same_model() {
    let folder = tempfile::tempdir().unwrap();
    for (name, mut case) in cases() {
        // The checkpoint's own folder names it.
        let plain = write(&case, &folder.path().join("plain"));
        let (plain, plain_decoder) = (checked_model(&plain).unwrap(), decoder(&plain).ok());
        let spelled = |value: &Json| match value {
            Json::Number(number) if number.is_u64() => Json::from(format!("{number}.0")),
            Json::Number(number) => Json::from(number.to_string()),
            Json::Bool(flag) => Json::from(if *flag { "True" } else { "False" }),
            other => other.clone(),
        };
        for (_, value) in case["config"].as_object_mut().unwrap() {
            *value = spelled(value);
        }
        case["config"]["time_step_limit"] = json!([0.0, "Infinity"]);
        let spelled = write(&case, &folder.path().join("spelled"));
        let mut found = checked_model(&spelled).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(decoder(&spelled).ok() == plain_decoder, "{name}");
        found.path.clone_from(&plain.path);
        found.files.clone_from(&plain.files);
        assert!(found.metadata == plain.metadata && found.tensors == plain.tensors, "{name}");
    }
}

#[test]
fn names_with_anything_before_them_make_the_same_tensors() {
    let folder = tempfile::tempdir().unwrap();
    for (name, case) in cases().into_iter().filter(|(name, _)| !name.starts_with("deepseek") && !name.contains("vision")) {
        let plain = checked_model(&write(&case, &folder.path().join("plain"))).unwrap();
        for prefix in ["language_model.", "_orig_mod.", "module.", "base_model.model."] {
            let mut checkpoint = write(&case, &folder.path().join("prefixed"));
            for tensor in &mut checkpoint.tensors {
                tensor.name.insert_str(0, prefix);
            }
            let found = checked_model(&checkpoint).unwrap_or_else(|error| panic!("{name} {prefix}: {error}"));
            assert_eq!(found.import.unwrap().origins, plain.import.as_ref().unwrap().origins, "{name} {prefix}");
        }
        let mut checkpoint = write(&case, &folder.path().join("bare"));
        for tensor in &mut checkpoint.tensors {
            tensor.name = tensor.name.strip_prefix("model.").unwrap_or(&tensor.name).to_string();
        }
        let found = checked_model(&checkpoint).unwrap_or_else(|error| panic!("{name} without a root: {error}"));
        assert_eq!(found.import.unwrap().origins, plain.import.as_ref().unwrap().origins, "{name} without a root");
    }
}

#[test]
fn a_dynamic_scale_of_rope_is_told_and_left_out() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["llama", "qwen2", "qwen3-moe", "gemma2", "gemma3", "phi3", "starcoder2", "olmo2", "granite", "smollm3", "falcon"]
    {
        let plain = checked_model(&write(&changed(name, &json!({})), &folder.path().join("plain"))).unwrap();
        let dynamic = json!({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}});
        let found = checked_model(&write(&changed(name, &dynamic), &folder.path().join("dynamic"))).unwrap();
        assert!(found.warnings.iter().any(|warning| warning.contains("dynamic")), "{name}: {:?}", found.warnings);
        assert!(found.metadata == plain.metadata, "{name}");
    }
}
