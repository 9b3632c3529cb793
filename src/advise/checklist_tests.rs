//! What the checklist says about whole and broken checkpoints.

use std::path::Path;

use super::{CheckState, Checklist, Room, checklist};
use crate::format::read_checkpoint;
use crate::format::test_checkpoints::{
    CONFIG, Spec, llama_tensors, write_described, write_llama, write_safetensors, write_shards,
};
use crate::hardware::EncodingSpeed;
use crate::model::DType;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn list(path: &Path) -> Checklist {
    checklist(&read_checkpoint(path).unwrap(), &Room::default())
}

fn with(config: &str, tensors: &[Spec]) -> Checklist {
    let dir = folder();
    write_described(dir.path(), config);
    write_safetensors(&dir.path().join("model.safetensors"), tensors);
    list(dir.path())
}

#[track_caller]
fn check(list: &Checklist, name: &str, state: CheckState, part: &str) {
    let item = list.items.iter().find(|item| item.name == name).unwrap_or_else(|| panic!("no {name} in {list:#?}"));
    assert!(item.state == state && item.text.contains(part), "{item:?}");
}

fn blocked(list: &Checklist) -> Vec<&str> {
    list.items.iter().filter(|item| item.state == CheckState::Blocked).map(|item| item.name).collect()
}

#[test]
fn a_whole_llama_is_blocked_by_nothing() {
    let dir = folder();
    write_llama(dir.path());
    let list = list(dir.path());
    assert!(!list.is_blocked(), "{list:#?}");
    check(&list, "Architecture", CheckState::Ok, "LlamaForCausalLM, in GGUF llama");
    check(&list, "Tokenizer", CheckState::Ok, "PreTrainedTokenizerFast, tokenizer.json");
    check(&list, "Files", CheckState::Ok, "1 safetensors file");
    check(&list, "Data types", CheckState::Ok, "BF16 (30 tensors");
    check(&list, "Tensors", CheckState::Ok, "all 30 are there");
    check(&list, "Shapes", CheckState::Ok, "all 30 agree");
    check(&list, "Disk", CheckState::Ok, "predicted: F16 about");
    check(&list, "Memory", CheckState::Ok, "to run at 2,048 tokens");
}

#[test]
fn missing_extra_and_misshapen_tensors_are_found() {
    let mut tensors = llama_tensors(3);
    tensors.retain(|spec| spec.0 != "model.layers.1.mlp.up_proj.weight");
    check(&with(CONFIG, &tensors), "Tensors", CheckState::Blocked, "1 of 30 are missing: model.layers.1.mlp.up_proj.weight");
    check(&with(CONFIG, &llama_tensors(2)), "Tensors", CheckState::Blocked, "the tensors have 2");
    check(
        &with(CONFIG, &llama_tensors(4)),
        "Tensors",
        CheckState::Blocked,
        "config.json says 3 layers (num_hidden_layers), the tensors have 4",
    );
    let mut tensors = llama_tensors(3);
    tensors[3].2 = vec![64, 64];
    let list = with(CONFIG, &tensors);
    let expected = "model.layers.0.self_attn.k_proj.weight is 64 × 64, config.json leads to 32 × 64";
    check(&list, "Shapes", CheckState::Blocked, expected);
    check(&list, "Tensors", CheckState::Ok, "all 30");
    let mut tensors = llama_tensors(3);
    tensors.push(("model.layers.0.self_attn.rotary_emb.inv_freq".into(), "F32", vec![8]));
    check(&with(CONFIG, &tensors), "Tensors", CheckState::Ok, "all 30");
}

#[test]
fn a_tied_head_may_be_there_or_not() {
    let tied = CONFIG.replace(r#""tie_word_embeddings":false"#, r#""tie_word_embeddings":true"#);
    check(&with(&tied, &llama_tensors(3)), "Tensors", CheckState::Ok, "all 29");
    let mut tensors = llama_tensors(3);
    tensors.pop();
    check(&with(&tied, &tensors), "Tensors", CheckState::Ok, "all 29");
    check(&with(CONFIG, &tensors), "Tensors", CheckState::Blocked, "lm_head.weight");
}

#[test]
fn the_relatives_have_biases_and_norms() {
    let qwen2 = CONFIG.replace("LlamaForCausalLM", "Qwen2ForCausalLM");
    let mut tensors = llama_tensors(3);
    check(&with(&qwen2, &tensors), "Tensors", CheckState::Blocked, "9 of 39 are missing: model.layers.0.self_attn.q_proj.bias");
    for layer_idx in 0..3 {
        for (part, n) in [("q", 64), ("k", 32), ("v", 32)] {
            tensors.push((format!("model.layers.{layer_idx}.self_attn.{part}_proj.bias"), "BF16", vec![n]));
        }
    }
    assert!(!with(&qwen2, &tensors).is_blocked());
    assert_eq!(blocked(&with(CONFIG, &tensors)), ["Tensors"]);
    let qwen3 = CONFIG.replace("LlamaForCausalLM", "Qwen3ForCausalLM");
    let mut tensors = llama_tensors(3);
    for layer_idx in 0..3 {
        for part in ["q", "k"] {
            tensors.push((format!("model.layers.{layer_idx}.self_attn.{part}_norm.weight"), "BF16", vec![16]));
        }
    }
    assert!(!with(&qwen3, &tensors).is_blocked());
    let mistral = CONFIG.replace("LlamaForCausalLM", "MistralForCausalLM");
    assert!(!with(&mistral, &llama_tensors(3)).is_blocked());
}

#[test]
fn architectures_are_known_or_not() {
    let of = |class: &str| with(&CONFIG.replace("LlamaForCausalLM", class), &llama_tensors(1));
    check(&of("GPTNeoForCausalLM"), "Architecture", CheckState::Blocked, "GPTNeoForCausalLM is not known");
    check(&of("Olmo2ForCausalLM"), "Architecture", CheckState::Ok, "Olmo2ForCausalLM, in GGUF olmo2");
    check(&of("Olmo2ForCausalLM"), "Tensors", CheckState::Blocked, "are missing: ");
    check(&of("BertForSequenceClassification"), "Tensors", CheckState::Blocked, "classification head");
    check(&of("BertForSequenceClassification"), "Disk", CheckState::Ok, "predicted roughly");
    check(&of("GPTNeoForCausalLM"), "Tensors", CheckState::Ok, "not compared with config.json");
    check(&with("{}", &llama_tensors(1)), "Architecture", CheckState::Blocked, "neither a class nor a known model_type");
    let by_type = CONFIG.replace(r#""architectures":["LlamaForCausalLM"],"#, "");
    assert!(!with(&by_type, &llama_tensors(3)).is_blocked());
}

#[test]
fn earlier_quantizations_are_refused_or_told() {
    let of = |json: &str| {
        let mut tensors = llama_tensors(3);
        let packed = if json.contains("fp8") { "F8_E4M3" } else { "U8" };
        tensors[2].1 = packed;
        with(&CONFIG.replacen('{', &format!(r#"{{"quantization_config":{json},"#), 1), &tensors)
    };
    check(&of(r#"{"quant_method":"gptq","bits":4}"#), "Quantization", CheckState::Blocked, "GPTQ (gptq in 4 bits): its integers");
    check(&of(r#"{"quant_method":"awq"}"#), "Quantization", CheckState::Blocked, "AWQ");
    check(&of(r#"{"load_in_8bit":true}"#), "Quantization", CheckState::Blocked, "bitsandbytes");
    check(&of(r#"{"quant_method":"hqq"}"#), "Quantization", CheckState::Blocked, "hqq is not known");
    check(&of(r#"{"quant_method":"fp8"}"#), "Quantization", CheckState::Warning, "FP8");
    let mxfp4 = of(r#"{"quant_method":"mxfp4"}"#);
    check(&mxfp4, "Quantization", CheckState::Ok, "MXFP4 (mxfp4): its blocks are kept");
    // A merged fine-tune has floats, whatever its configuration still says.
    let left_over = CONFIG.replacen('{', r#"{"quantization_config":{"load_in_4bit":true},"#, 1);
    let left_over = with(&left_over, &llama_tensors(3));
    assert!(!left_over.is_blocked(), "{left_over:#?}");
    check(&left_over, "Description", CheckState::Warning, "a quantization (bitsandbytes) that the tensors do not have");
    let gptq = of(r#"{"quant_method":"gptq"}"#);
    assert!(gptq.items.iter().all(|item| item.name != "Disk" && item.name != "Memory"), "{gptq:#?}");
}

#[test]
fn fp8_has_scales_beside_its_weights() {
    let config = CONFIG.replacen('{', r#"{"quantization_config":{"quant_method":"fp8"},"#, 1);
    let mut tensors = llama_tensors(3);
    tensors[2].1 = "F8_E4M3";
    tensors.push(("model.layers.0.self_attn.q_proj.weight_scale_inv".into(), "F32", vec![1, 1]));
    assert!(!with(&config, &tensors).is_blocked());
    let list = with(CONFIG, &tensors);
    check(&list, "Data types", CheckState::Warning, "nothing about scales");
    check(&list, "Tensors", CheckState::Blocked, "weight_scale_inv");
}

#[test]
fn what_is_not_there_is_said() {
    let dir = folder();
    write_described(dir.path(), CONFIG);
    check(&list(dir.path()), "Files", CheckState::Blocked, "there are no weights");
    std::fs::write(dir.path().join("pytorch_model.bin"), "x").unwrap();
    check(&list(dir.path()), "Files", CheckState::Blocked, "save_pretrained");
    let names = write_shards(dir.path(), &llama_tensors(3), 3);
    std::fs::remove_file(dir.path().join(&names[2])).unwrap();
    std::fs::remove_file(dir.path().join("tokenizer.json")).unwrap();
    let list_of = list(dir.path());
    check(&list_of, "Files", CheckState::Blocked, "1 of 3 files are missing: model-00003-of-00003.safetensors");
    check(&list_of, "Tensors", CheckState::Blocked, "20 of 30 are there; the others may be in the missing files");
    check(&list_of, "Tokenizer", CheckState::Blocked, "tokenizer.json or tokenizer.model is missing");
    std::fs::remove_file(dir.path().join("config.json")).unwrap();
    check(&list(dir.path()), "Configuration", CheckState::Blocked, "config.json is missing");
}

#[test]
fn integers_are_no_weights() {
    let mut tensors = llama_tensors(3);
    tensors[2].1 = "I32";
    check(&with(CONFIG, &tensors), "Data types", CheckState::Warning, "1 tensor of type I32");
}

#[test]
fn impossible_numbers_are_told() {
    let of = |from: &str, to: &str| with(&CONFIG.replace(from, to), &llama_tensors(3));
    check(&of(r#""num_hidden_layers":3"#, r#""num_hidden_layers":600"#), "Tensors", CheckState::Blocked, "at most 512");
    let huge = of(r#""num_hidden_layers":3"#, r#""num_hidden_layers":18446744073709551615"#);
    check(&huge, "Tensors", CheckState::Blocked, "num_hidden_layers is 18446744073709551615, impossibly large");
    check(&of(r#""hidden_size":64"#, r#""hidden_size":4611686018427387904"#), "Tensors", CheckState::Blocked, "impossibly large");
    check(&of(r#""num_key_value_heads":2"#, r#""num_key_value_heads":3"#), "Tensors", CheckState::Blocked, "cannot share");
    check(&of(r#""vocab_size":100,"#, ""), "Tensors", CheckState::Blocked, "does not say vocab_size");
}

#[test]
fn predictions_are_held_against_what_is_free() {
    let dir = folder();
    write_llama(dir.path());
    let checkpoint = read_checkpoint(dir.path()).unwrap();
    let with_room = |disk_bytes, memory_bytes| checklist(&checkpoint, &Room { disk_bytes, memory_bytes, ..Room::default() });
    check(&with_room(Some(1 << 40), Some(1 << 40)), "Disk", CheckState::Ok, "1.00 TiB free");
    let list = with_room(Some(300_000), Some(1000));
    check(&list, "Disk", CheckState::Warning, "too little for F16");
    check(&list, "Memory", CheckState::Warning, "too little for F16, Q8_0, Q4_K_M");
    assert!(list.items.iter().all(|item| item.name != "Time"), "nothing was measured");
    let secs_per_weight = [DType::F32, DType::F16, DType::Q8_0].map(|dtype| (dtype, 1e-3)).to_vec();
    let encoding = EncodingSpeed { secs_per_weight, n_threads: 2 };
    let list = checklist(&checkpoint, &Room { encoding, ..Room::default() });
    check(&list, "Time", CheckState::Ok, "on 2 threads, if the disk keeps up: F16 about ");
    check(&list, "Time", CheckState::Ok, ", Q8_0 about ");
}
