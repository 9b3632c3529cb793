//! A checkpoint's decoder: the traits of its family, and the tensors of its table under the checkpoint's own names.
//!
//! ```text
//! Checkpoint ─ checked ─ Mapping (name in GGUF → the checkpoint's tensor) ─┐
//!            └ architectures (class → traits) ─ Traits ────────────────────┴ Decoder
//! ```
//!
//! A table's names in GGUF say what a tensor is for, whatever the checkpoint calls it: `attn_q`, `post_ffw_norm`. The order of
//! rows that GGUF needs is left out: transformers, ONNX and OpenVINO rotate halves of a head, as the checkpoint has them.

use std::borrow::Cow;
use std::collections::HashMap;

use super::architectures::{class_name, traits_of};
use super::config::Config;
use super::keys::{n_experts_used, rms_epsilon};
use super::mapping::{Content, Mapped, Mapping};
use super::model::checked;
use super::names::Names;
use super::traits::{LayerTraits, Traits};
use crate::error::{Error, Result};
use crate::model::{
    Activation, Attention, Checkpoint, CheckpointTensor, Decoder, DecoderLayer, Experts, FeedForward, Head, Mlp, Norm, NormSpan,
    Projection, QkNorm, RopeTable, RowOrder, SharedExpert, Weight,
};

/// What a complete checkpoint computes.
///
/// # Errors
/// `Error::CheckpointNotConvertible` as `checked_model`, for a class without a description, and for what the description cannot
/// express.
pub fn decoder(checkpoint: &Checkpoint) -> Result<Decoder> {
    let obstacle = |what: String| Error::CheckpointNotConvertible { what, path: checkpoint.path.clone() };
    let (_, mapping) = checked(checkpoint)?;
    let facts = checkpoint.config.as_ref().ok_or_else(|| obstacle("config.json is missing".into()))?;
    let not_described =
        || obstacle(format!("{} is not described as a decoder, from which graphs are written", class_name(facts)));
    let traits = traits_of(facts).ok_or_else(not_described)?.map_err(obstacle)?;
    described(checkpoint, &Config::of(facts), &mapping, &traits).map_err(obstacle)
}

fn described(
    checkpoint: &Checkpoint,
    config: &Config,
    mapping: &Mapping,
    traits: &Traits,
) -> std::result::Result<Decoder, String> {
    let names = Names::of(checkpoint, mapping);
    let tensors = Tensors {
        mapped: mapping.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect(),
        found: names.found(checkpoint).0,
        epsilon: rms_epsilon(config).ok_or("config.json does not say rms_norm_eps")?,
    };
    let facts = config.facts;
    let mut rope_tables = Vec::new();
    let layers = traits.layers.iter().enumerate().map(|(layer_idx, own)| {
        let layer = OneLayer { tensors: &tensors, config, traits, own, layer_idx };
        layer.described(&mut rope_tables)
    });
    let layers = layers.collect::<std::result::Result<Vec<_>, String>>()?;
    let decoder = Decoder {
        n_vocab: facts.n_vocab,
        n_embd: facts.n_embd,
        n_ctx: facts.n_ctx_train,
        embedding: tensors.needed("token_embd.weight")?,
        embedding_scale: traits.embedding_scale,
        rope_tables,
        layers,
        output_norm: tensors.norm("output_norm")?.ok_or_else(|| lacking("output_norm.weight"))?,
        head: tensors.weight("output.weight")?.map_or(Head::Tied, Head::Own),
        logit_scale: traits.logit_scale,
        final_softcap: traits.final_softcap,
    };
    check_complete(&decoder, mapping, &tensors)?;
    check_finite(&decoder)?;
    Ok(decoder)
}

fn lacking(name: &str) -> String {
    format!("the table of this architecture has no tensor {name}")
}

/// Refuses a description that leaves out a weight of the table or has one twice.
fn check_complete(decoder: &Decoder, mapping: &Mapping, tensors: &Tensors) -> std::result::Result<(), String> {
    let mut n_described: HashMap<&str, u64> = HashMap::new();
    for weight in decoder.weights() {
        let n = n_described.entry(&weight.name).or_default();
        *n = n.saturating_add(weight.n_weights());
    }
    for mapped in &mapping.tensors {
        let Content::Stored { pieces, .. } = &mapped.content else { continue };
        for piece in pieces {
            let stored = tensors.stored(&piece.name)?;
            if n_described.get(stored.name.as_str()) != Some(&stored.n_elements()) {
                return Err(format!("{} has no place in the description of a decoder", stored.name));
            }
        }
    }
    Ok(())
}

/// Refuses frequencies of RoPE and scales that are not finite.
fn check_finite(decoder: &Decoder) -> std::result::Result<(), String> {
    let is_finite = |table: &RopeTable| {
        let mut freqs = table.long.iter().flat_map(|long| &long.inv_freqs).chain(&table.inv_freqs);
        table.magnitude.is_finite() && freqs.all(|freq| freq.is_finite())
    };
    if !decoder.rope_tables.iter().all(is_finite) {
        return Err("RoPE in config.json leads to numbers that are not finite".into());
    }
    let of_layers = decoder.layers.iter().flat_map(|layer| [layer.attention.scale, layer.residual_scale]);
    if of_layers.chain([decoder.embedding_scale, decoder.logit_scale]).all(f64::is_finite) {
        Ok(())
    } else {
        Err("config.json leads to a scale that is not finite".into())
    }
}

/// The tensors of a table, found by their names in GGUF.
struct Tensors<'a> {
    mapped: HashMap<&'a str, &'a Mapped>,
    /// The checkpoint's tensors by the names that the table has for them.
    found: HashMap<Cow<'a, str>, &'a CheckpointTensor>,
    /// That of all norms.
    epsilon: f64,
}

impl Tensors<'_> {
    fn stored(&self, name: &str) -> std::result::Result<&CheckpointTensor, String> {
        self.found.get(name).copied().ok_or_else(|| format!("{name} is missing"))
    }

    /// The weights that a tensor is made of, and what is added to them; nothing for a tensor that the table does not have.
    fn parts(&self, name: &str) -> std::result::Result<(Vec<Weight>, f32), String> {
        let Some(mapped) = self.mapped.get(name) else { return Ok((Vec::new(), 0.0)) };
        let Content::Stored { pieces, plus } = &mapped.content else { return Err(format!("{name} is not in the checkpoint")) };
        let weights = pieces.iter().map(|piece| {
            let stored = self.stored(&piece.name)?;
            if piece.is_mxfp4 || !matches!(piece.order, RowOrder::AsStored | RowOrder::Rope { .. }) {
                return Err(format!("{} is stored in an order that the description of a decoder does not have", stored.name));
            }
            let (first_row, n_rows) = piece.rows;
            Ok(Weight { name: stored.name.clone(), first_row, n_rows, row_len: piece.row_len() })
        });
        Ok((weights.collect::<std::result::Result<_, String>>()?, *plus))
    }

    fn one(&self, name: &str) -> std::result::Result<Option<(Weight, f32)>, String> {
        let (mut parts, plus) = self.parts(name)?;
        match (parts.pop(), parts.is_empty()) {
            (weight, true) => Ok(weight.map(|weight| (weight, plus))),
            _ => Err(format!("{name} is made of more than one tensor, which the description of a decoder does not have")),
        }
    }

    fn weight(&self, name: &str) -> std::result::Result<Option<Weight>, String> {
        Ok(self.one(name)?.map(|(weight, _)| weight))
    }

    fn needed(&self, name: &str) -> std::result::Result<Weight, String> {
        self.weight(name)?.ok_or_else(|| lacking(name))
    }

    /// The tensors `NAME.weight` and `NAME.bias`.
    fn some_projection(&self, name: &str) -> std::result::Result<Option<Projection>, String> {
        let Some(weight) = self.weight(&format!("{name}.weight"))? else { return Ok(None) };
        Ok(Some(Projection { weight, bias: self.weight(&format!("{name}.bias"))? }))
    }

    fn projection(&self, name: &str) -> std::result::Result<Projection, String> {
        self.some_projection(name)?.ok_or_else(|| lacking(name))
    }

    fn norm(&self, name: &str) -> std::result::Result<Option<Norm>, String> {
        let found = self.one(&format!("{name}.weight"))?;
        Ok(found.map(|(weight, plus)| Norm { weight, offset: plus.into(), epsilon: self.epsilon }))
    }
}

/// A layer that is about to be described.
struct OneLayer<'a> {
    tensors: &'a Tensors<'a>,
    config: &'a Config<'a>,
    traits: &'a Traits,
    own: &'a LayerTraits,
    layer_idx: usize,
}

impl OneLayer<'_> {
    /// The layer; its RoPE table joins those of earlier layers.
    fn described(&self, rope_tables: &mut Vec<RopeTable>) -> std::result::Result<DecoderLayer, String> {
        let norm = |part: &str| self.tensors.norm(&self.name(part));
        Ok(DecoderLayer {
            attention_norm: norm("attn_norm")?,
            attention: self.attention(rope_tables)?,
            post_attention_norm: norm("post_attention_norm")?,
            feed_forward_norm: norm("ffn_norm")?,
            feed_forward: self.feed_forward()?,
            post_feed_forward_norm: norm("post_ffw_norm")?,
            residual_scale: self.traits.residual_scale,
        })
    }

    fn name(&self, part: &str) -> String {
        format!("blk.{}.{part}", self.layer_idx)
    }

    fn attention(&self, rope_tables: &mut Vec<RopeTable>) -> std::result::Result<Attention, String> {
        let facts = self.config.facts;
        let (n_heads, n_kv_heads) = (facts.n_heads, facts.n_kv_heads);
        let projection = |part: &str| self.tensors.projection(&self.name(part));
        let o = projection("attn_output")?;
        let head_dim = o.weight.row_len / n_heads.max(1);
        let (n_q, n_kv) = (n_heads * head_dim, n_kv_heads * head_dim);
        let [q, k, v] = match self.tensors.some_projection(&self.name("attn_qkv"))? {
            Some(fused) => [fused.rows(0, n_q), fused.rows(n_q, n_kv), fused.rows(n_q + n_kv, n_kv)],
            None => [projection("attn_q")?, projection("attn_k")?, projection("attn_v")?],
        };
        if [&q, &k, &v].map(|projection| projection.weight.n_rows) != [n_q, n_kv, n_kv] {
            return Err("the projections of its attention do not have the same number of rows for each head".into());
        }
        let rope_idx = self.own.rope.as_ref().map(|table| {
            rope_tables.iter().position(|known| known == table).unwrap_or_else(|| {
                rope_tables.push(table.clone());
                rope_tables.len() - 1
            })
        });
        #[allow(clippy::cast_precision_loss, reason = "small numbers")]
        let scale = self.traits.attention_scale.unwrap_or_else(|| (head_dim as f64).sqrt().recip());
        Ok(Attention {
            n_heads,
            n_kv_heads,
            head_dim,
            qk_norm: self.qk_norm(head_dim, n_q)?,
            q,
            k,
            v,
            o,
            rope_idx,
            window: self.own.window,
            scale,
            softcap: self.traits.attention_softcap,
        })
    }

    fn qk_norm(&self, head_dim: u64, n_q: u64) -> std::result::Result<Option<QkNorm>, String> {
        let norm = |part: &str| self.tensors.norm(&self.name(part));
        let (q, k) = match (norm("attn_q_norm")?, norm("attn_k_norm")?) {
            (Some(q), Some(k)) => (q, k),
            (None, None) => return Ok(None),
            _ => return Err("it has a norm on only one of queries and keys".into()),
        };
        let span = match q.weight.n_rows {
            n if n == head_dim => NormSpan::Head,
            n if n == n_q => NormSpan::Projection,
            n => return Err(format!("the norm on its queries is {n} wide, neither a head nor all of them")),
        };
        Ok(Some(QkNorm { q, k, span }))
    }

    fn feed_forward(&self) -> std::result::Result<FeedForward, String> {
        if self.tensors.mapped.contains_key(self.name("ffn_gate_inp.weight").as_str()) {
            return self.experts().map(FeedForward::Experts);
        }
        let activation = self.traits.activation;
        let [up, down] = ["ffn_up", "ffn_down"].map(|part| self.tensors.projection(&self.name(part)));
        let (up, down) = (up?, down?);
        let n_ff = down.weight.row_len;
        let (gate, up) = match self.tensors.some_projection(&self.name("ffn_gate"))? {
            Some(gate) => (gate, up),
            // Fused: the gate's rows come first.
            None if up.weight.n_rows == 2 * n_ff => (up.rows(0, n_ff), up.rows(n_ff, n_ff)),
            None => return Err("its feed-forward network has no gate, which the description of a decoder needs".into()),
        };
        Ok(FeedForward::Dense(Mlp { n_ff, activation, gate, up, down }))
    }

    fn experts(&self) -> std::result::Result<Experts, String> {
        let tensors = self.tensors;
        let activation = self.traits.activation;
        let all = |part: &str| tensors.parts(&self.name(part)).map(|(weights, _)| weights);
        let (gates, ups, downs) = (all("ffn_gate_exps.weight")?, all("ffn_up_exps.weight")?, all("ffn_down_exps.weight")?);
        let router = tensors.needed(&self.name("ffn_gate_inp.weight"))?;
        let n_experts = router.n_rows;
        if [&gates, &ups, &downs].iter().any(|all| all.len() as u64 != n_experts) {
            return Err("its experts are not stored one by one, which the description of a decoder needs".into());
        }
        let experts = gates.into_iter().zip(ups).zip(downs).map(|((gate, up), down)| mlp(activation, [gate, up, down]));
        let shared = match tensors.weight(&self.name("ffn_gate_inp_shexp.weight"))? {
            Some(gate) => {
                let part = |kind: &str| tensors.needed(&self.name(&format!("ffn_{kind}_shexp.weight")));
                Some(SharedExpert { mlp: mlp(activation, [part("gate")?, part("up")?, part("down")?]), gate })
            }
            None => None,
        };
        let n_used = n_experts_used(self.config).filter(|n| (1..=n_experts).contains(n));
        let n_used = n_used.ok_or("config.json has no possible value for num_experts_per_tok")?;
        let has_normed_weights = self.traits.has_normed_experts;
        Ok(Experts { router, n_used, has_normed_weights, experts: experts.collect(), shared })
    }
}

/// A network of these matrices, without biases.
fn mlp(activation: Activation, weights: [Weight; 3]) -> Mlp {
    let [gate, up, down] = weights.map(|weight| Projection { weight, bias: None });
    Mlp { n_ff: down.weight.row_len, activation, gate, up, down }
}
