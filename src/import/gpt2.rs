//! GPT-2: learned positions, layer norms, biases everywhere, and matrices that are stored transposed.
//!
//! Source: `modeling_gpt2.py` of transformers; `conversion/gpt2.py` in llama.cpp of 2026-08-21.

use super::config::Config;
use super::keys::Keys;
use super::mapping::{Mapping, Piece, Tensors};
use crate::model::RowOrder;

/// GPT-2.
pub fn gpt2(config: &Config) -> Result<Mapping, String> {
    config.expect("scale_attn_weights", true)?;
    config.expect("scale_attn_by_inverse_layer_idx", false)?;
    let facts = config.facts;
    let (n_ctx, n_embd, n_ff) = (config.dim("n_positions")?, facts.n_embd, facts.n_ff);
    let mut keys = Keys::new("gpt2");
    keys.number("block_count", facts.n_layers);
    keys.number("context_length", n_ctx);
    keys.number("embedding_length", n_embd);
    keys.number("feed_forward_length", n_ff);
    keys.number("attention.head_count", facts.n_heads);
    keys.some_float("attention.layer_norm_epsilon", config.float(&["layer_norm_epsilon"]));
    keys.file_type();
    let mut tensors = Tensors::default();
    tensors.plain("token_embd.weight", "wte.weight", &[facts.n_vocab, n_embd]);
    tensors.plain("position_embd.weight", "wpe.weight", &[n_ctx, n_embd]);
    for layer_idx in 0..facts.n_layers {
        let name = |part: &str, ending: &str| format!("blk.{layer_idx}.{part}.{ending}");
        let source = |part: &str, ending: &str| format!("h.{layer_idx}.{part}.{ending}");
        for (part, found) in [("attn_norm", "ln_1"), ("ffn_norm", "ln_2")] {
            tensors.plain(name(part, "weight"), source(found, "weight"), &[n_embd]);
            tensors.plain(name(part, "bias"), source(found, "bias"), &[n_embd]);
        }
        for (part, found, n_in, n_out) in [
            ("attn_qkv", "attn.c_attn", n_embd, 3 * n_embd),
            ("attn_output", "attn.c_proj", n_embd, n_embd),
            ("ffn_up", "mlp.c_fc", n_embd, n_ff),
            ("ffn_down", "mlp.c_proj", n_ff, n_embd),
        ] {
            let piece = Piece::whole(source(found, "weight"), &[n_in, n_out]).ordered(RowOrder::TRANSPOSED);
            tensors.of(name(part, "weight"), &[n_in, n_out], vec![piece]);
            tensors.plain(name(part, "bias"), source(found, "bias"), &[n_out]);
        }
    }
    tensors.plain("output_norm.weight", "ln_f.weight", &[n_embd]);
    tensors.plain("output_norm.bias", "ln_f.bias", &[n_embd]);
    if !facts.has_tied_embeddings {
        tensors.plain("output.weight", "lm_head.weight", &[facts.n_vocab, n_embd]);
    }
    // As transformers saves it, names have a prefix; the file that OpenAI's weights were published in has none.
    Ok(Mapping::of("gpt2", keys, tensors))
}
