//! Checkpoints that tests write: headers are real, weights are holes in a sparse file.

use std::io::Write as _;
use std::path::Path;

/// Name, data type, shape.
pub(crate) type Spec = (String, &'static str, Vec<u64>);

/// `config.json` of a small Llama; it describes `llama_tensors(3)`.
pub(crate) const CONFIG: &str = r#"{"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_size":64,
    "intermediate_size":256,"num_hidden_layers":3,"num_attention_heads":4,"num_key_value_heads":2,"vocab_size":100,
    "max_position_embeddings":2048,"rope_theta":10000.0,"tie_word_embeddings":false,"torch_dtype":"bfloat16"}"#;

/// The tensors of a Llama with `n_layers` layers.
pub(crate) fn llama_tensors(n_layers: usize) -> Vec<Spec> {
    let spec = |name: &str, shape: &[u64]| (name.to_string(), "BF16", shape.to_vec());
    let mut all = vec![spec("model.embed_tokens.weight", &[100, 64])];
    for layer_idx in 0..n_layers {
        let mut block = |name: &str, shape: &[u64]| all.push(spec(&format!("model.layers.{layer_idx}.{name}.weight"), shape));
        block("input_layernorm", &[64]);
        block("self_attn.q_proj", &[64, 64]);
        block("self_attn.k_proj", &[32, 64]);
        block("self_attn.v_proj", &[32, 64]);
        block("self_attn.o_proj", &[64, 64]);
        block("post_attention_layernorm", &[64]);
        block("mlp.gate_proj", &[256, 64]);
        block("mlp.up_proj", &[256, 64]);
        block("mlp.down_proj", &[64, 256]);
    }
    all.push(spec("model.norm.weight", &[64]));
    all.push(spec("lm_head.weight", &[100, 64]));
    all
}

/// Writes one safetensors file.
pub(crate) fn write_safetensors(path: &Path, tensors: &[Spec]) {
    let mut entries = vec![r#""__metadata__":{"format":"pt"}"#.to_string()];
    let mut end = 0_u64;
    for (name, dtype, shape) in tensors {
        let width = crate::model::CheckpointDType::from_name(dtype).unwrap().bits() / 8;
        let begin = end;
        end += shape.iter().product::<u64>() * width;
        entries.push(format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{begin},{end}]}}"#));
    }
    let mut json = format!("{{{}}}", entries.join(","));
    json.push_str(&" ".repeat(json.len().next_multiple_of(8) - json.len()));
    let mut file = std::fs::File::create(path).unwrap();
    file.write_all(&(json.len() as u64).to_le_bytes()).unwrap();
    file.write_all(json.as_bytes()).unwrap();
    file.set_len(8 + json.len() as u64 + end).unwrap();
}

/// Writes tensors as shards with an index; returns the shards' names.
pub(crate) fn write_shards(folder: &Path, tensors: &[Spec], n_shards: usize) -> Vec<String> {
    let per_shard = tensors.len().div_ceil(n_shards);
    let mut places = Vec::new();
    let mut names = Vec::new();
    for (idx, part) in tensors.chunks(per_shard).enumerate() {
        let name = format!("model-{:05}-of-{n_shards:05}.safetensors", idx + 1);
        write_safetensors(&folder.join(&name), part);
        places.extend(part.iter().map(|(tensor, ..)| format!(r#""{tensor}":"{name}""#)));
        names.push(name);
    }
    let index = format!(r#"{{"metadata":{{"total_size":1}},"weight_map":{{{}}}}}"#, places.join(","));
    std::fs::write(folder.join("model.safetensors.index.json"), index).unwrap();
    names
}

/// Writes `config.json`, tokenizer files and one safetensors file.
pub(crate) fn write_llama(folder: &Path) {
    write_described(folder, CONFIG);
    write_safetensors(&folder.join("model.safetensors"), &llama_tensors(3));
}

/// Writes everything but the weights.
pub(crate) fn write_described(folder: &Path, config: &str) {
    std::fs::write(folder.join("config.json"), config).unwrap();
    std::fs::write(folder.join("generation_config.json"), "{}").unwrap();
    std::fs::write(folder.join("tokenizer.json"), "{}").unwrap();
    let tokenizer = r#"{"tokenizer_class":"PreTrainedTokenizerFast","chat_template":"{{ messages }}","added_tokens_decoder":{}}"#;
    std::fs::write(folder.join("tokenizer_config.json"), tokenizer).unwrap();
}
