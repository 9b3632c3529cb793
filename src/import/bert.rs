//! BERT as a text encoder: learned positions, norms after attention and feed-forward, biases everywhere.
//!
//! Source: `modeling_bert.py` of transformers; `BertModel` in `conversion/bert.py`, llama.cpp of 2026-08-21.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::config::Config;
use super::keys::{Keys, Rope};
use super::mapping::{Mapping, Spelling, Tensors};

/// BERT and its relatives with the same class.
pub fn bert(config: &Config) -> Result<Mapping, String> {
    let facts = config.facts;
    if facts.class_name == "BertForSequenceClassification" {
        return Err("its classification head is not known; the encoder alone would be BertModel".into());
    }
    if let Some(kind) = config.text("position_embedding_type").filter(|&kind| kind != "absolute") {
        return Err(format!("positions of the kind {} are not known for this architecture", kind.escape_debug()));
    }
    config.expect("is_decoder", false)?;
    let mut keys = Keys::new("bert");
    keys.common(config, &Rope::default());
    keys.flag("attention.causal", false);
    keys.pooling(config);
    let labels = labels(config);
    if !labels.is_empty() {
        keys.texts("classifier.output_labels", &labels);
    }
    let (n_embd, n_ff) = (facts.n_embd, facts.n_ff);
    let mut tensors = Tensors::default();
    for (name, source, n_rows) in [
        ("token_embd", "word", facts.n_vocab),
        ("position_embd", "position", config.dim("max_position_embeddings")?),
        ("token_types", "token_type", config.dim("type_vocab_size")?),
    ] {
        tensors.plain(format!("{name}.weight"), format!("embeddings.{source}_embeddings.weight"), &[n_rows, n_embd]);
    }
    for ending in ["weight", "bias"] {
        tensors.plain(format!("token_embd_norm.{ending}"), format!("embeddings.LayerNorm.{ending}"), &[n_embd]);
    }
    for layer_idx in 0..facts.n_layers {
        for (name, source, shape) in [
            ("attn_q", "attention.self.query", [n_embd, n_embd].as_slice()),
            ("attn_k", "attention.self.key", &[n_embd, n_embd]),
            ("attn_v", "attention.self.value", &[n_embd, n_embd]),
            ("attn_output", "attention.output.dense", &[n_embd, n_embd]),
            ("attn_output_norm", "attention.output.LayerNorm", &[n_embd]),
            ("ffn_up", "intermediate.dense", &[n_ff, n_embd]),
            ("ffn_down", "output.dense", &[n_embd, n_ff]),
            ("layer_output_norm", "output.LayerNorm", &[n_embd]),
        ] {
            for (ending, shape) in [("weight", shape), ("bias", shape.get(..1).unwrap_or(shape))] {
                let source = format!("encoder.layer.{layer_idx}.{source}.{ending}");
                tensors.plain(format!("blk.{layer_idx}.{name}.{ending}"), source, shape);
            }
        }
    }
    // Training heads, which a text encoder does not need.
    let left_out = ["pooler.", "cls.predictions.", "cls.seq_relationship."].map(String::from).to_vec();
    let endings = &[(".gamma", ".weight"), (".beta", ".bias")];
    Ok(Mapping::of("bert", keys, tensors).spelled(Spelling { endings, left_out }))
}

/// Names of classes, in order; empty for the two dummies that transformers makes up.
fn labels<'a>(config: &Config<'a>) -> Vec<&'a str> {
    let entries = config.object(&["id2label"]).into_iter().flatten();
    let numbered = |(key, label): (&String, &'a Json)| Some((key.parse::<u32>().ok()?, label.as_str()?));
    let all: BTreeMap<u32, &str> = entries.filter_map(numbered).collect();
    if all.len() == 2 && all.get(&0) == Some(&"LABEL_0") { Vec::new() } else { all.into_values().collect() }
}
