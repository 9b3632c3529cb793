//! A GGUF file in the layout of Hugging Face: what `planish convert` must be able to undo.

use std::path::Path;

use planish::format::{TensorReader, inspect};
use planish::model::{Array, Metadata, Tensor, Value};
use planish::quant::dequantize_rows;
use serde_json::{Value as Json, json};

fn texts(metadata: &Metadata, key: &str) -> Vec<String> {
    match metadata.find(key) {
        Some(Value::Array(Array::Str(texts))) => texts.iter().map(|text| text.lossy().into_owned()).collect(),
        other => panic!("{key}: {other:?}"),
    }
}

/// The name in a checkpoint of the llama family.
fn hf_name(name: &str) -> String {
    let Some((layer, part)) = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) else {
        return match name {
            "token_embd.weight" => "model.embed_tokens.weight",
            "output_norm.weight" => "model.norm.weight",
            "output.weight" => "lm_head.weight",
            other => panic!("{other}"),
        }
        .into();
    };
    let part = match part {
        "attn_norm.weight" => "input_layernorm.weight",
        "attn_q.weight" => "self_attn.q_proj.weight",
        "attn_k.weight" => "self_attn.k_proj.weight",
        "attn_v.weight" => "self_attn.v_proj.weight",
        "attn_output.weight" => "self_attn.o_proj.weight",
        "ffn_norm.weight" => "post_attention_layernorm.weight",
        "ffn_gate.weight" => "mlp.gate_proj.weight",
        "ffn_up.weight" => "mlp.up_proj.weight",
        "ffn_down.weight" => "mlp.down_proj.weight",
        other => panic!("{other}"),
    };
    format!("model.layers.{layer}.{part}")
}

/// All weights of a tensor.
pub fn weights(reader: &TensorReader, tensor: &Tensor) -> Vec<f32> {
    let mut raw = vec![0; usize::try_from(tensor.size_bytes).unwrap()];
    reader.read(tensor, 0, &mut raw).unwrap();
    let mut weights = vec![0.0; usize::try_from(tensor.n_elements()).unwrap()];
    dequantize_rows(tensor.dtype, &raw, &mut weights).unwrap();
    weights
}

/// Undoes the order in which llama.cpp keeps the rows of queries and keys: `[head_dim / 2, 2]` becomes `[2, head_dim / 2]` in each head.
fn unpermuted(weights: &[f32], row_len: usize, n_heads: usize) -> Vec<f32> {
    let rows: Vec<&[f32]> = weights.chunks_exact(row_len).collect();
    let head_dim = rows.len() / n_heads;
    let source = |row: usize| {
        let (head, within) = (row / head_dim, row % head_dim);
        let (half, idx) = (within / (head_dim / 2), within % (head_dim / 2));
        head * head_dim + 2 * idx + half
    };
    (0..rows.len()).flat_map(|row| rows[source(row)].iter().copied()).collect()
}

/// Writes a GGUF file of the llama architecture as a checkpoint of F32.
pub fn write(gguf: &Path, folder: &Path) {
    let model = inspect(gguf).unwrap();
    let number = |key: &str| model.metadata.u64(&format!("llama.{key}")).unwrap();
    let (n_heads, n_kv_heads) = (number("attention.head_count"), number("attention.head_count_kv"));
    std::fs::create_dir_all(folder).unwrap();
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama",
        "hidden_size": number("embedding_length"), "intermediate_size": number("feed_forward_length"),
        "num_hidden_layers": number("block_count"), "num_attention_heads": n_heads, "num_key_value_heads": n_kv_heads,
        "max_position_embeddings": number("context_length"), "vocab_size": number("vocab_size"),
        "rope_theta": model.metadata.f64("llama.rope.freq_base").unwrap(),
        "rms_norm_eps": 1e-5, "tie_word_embeddings": model.has_tied_embeddings(), "torch_dtype": "bfloat16",
    });
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    write_tokenizer(&model.metadata, folder);

    let reader = TensorReader::open(&model).unwrap();
    let (mut entries, mut data) = (serde_json::Map::new(), Vec::new());
    for tensor in &model.tensors {
        let mut weights = weights(&reader, tensor);
        let row_len = usize::try_from(tensor.row_len()).unwrap();
        for (end, n_heads) in [("attn_q.weight", n_heads), ("attn_k.weight", n_kv_heads)] {
            if tensor.name.ends_with(end) {
                weights = unpermuted(&weights, row_len, usize::try_from(n_heads).unwrap());
            }
        }
        let begin = data.len();
        data.extend(weights.iter().flat_map(|weight| weight.to_le_bytes()));
        let shape: Vec<u64> = tensor.shape.iter().rev().copied().collect();
        let entry = json!({ "dtype": "F32", "shape": shape, "data_offsets": [begin, data.len()] });
        entries.insert(hf_name(&tensor.name), entry);
    }
    let header = Json::Object(entries).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(data);
    std::fs::write(folder.join("model.safetensors"), file).unwrap();
}

/// `SmolLM`'s tokenizer: byte-level BPE whose digits stand alone.
fn write_tokenizer(metadata: &Metadata, folder: &Path) {
    let (tokens, merges) = (texts(metadata, "tokenizer.ggml.tokens"), texts(metadata, "tokenizer.ggml.merges"));
    let Some(Value::Array(types)) = metadata.find("tokenizer.ggml.token_type") else { panic!("no token types") };
    let types = types.to_u64s().unwrap();
    let special: Vec<Json> = tokens
        .iter()
        .zip(&types)
        .enumerate()
        .filter(|(_, (_, kind))| **kind == 3)
        .map(|(id, (content, _))| {
            json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true })
        })
        .collect();
    let vocab: serde_json::Map<String, Json> = tokens.iter().enumerate().map(|(id, token)| (token.clone(), id.into())).collect();
    let byte_level = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": special, "normalizer": null,
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [{ "type": "Digits", "individual_digits": true }, byte_level] },
        "post_processor": null, "decoder": byte_level,
        "model": { "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": merges },
    });
    std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let token =
        |key: &str| tokens[usize::try_from(metadata.u64(&format!("tokenizer.ggml.{key}_token_id")).unwrap()).unwrap()].clone();
    let settings = json!({
        "tokenizer_class": "GPT2Tokenizer", "add_prefix_space": false, "bos_token": token("bos"), "eos_token": token("eos"),
        "unk_token": token("unknown"), "pad_token": token("padding"),
        "chat_template": metadata.str("tokenizer.chat_template").unwrap(),
    });
    std::fs::write(folder.join("tokenizer_config.json"), settings.to_string()).unwrap();
}
