//! The names that a decoder's weights have in GGUF, which importances and moments go by.

use super::decoder::{Decoder, DecoderLayer, FeedForward, Head, Norm, Projection, Weight};

/// A weight under its name in GGUF.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedWeight<'a> {
    /// `blk.0.attn_q.weight`. Parts of a fused tensor have the names of their own that other models have for them.
    pub name: String,
    /// Where the checkpoint has it.
    pub weight: &'a Weight,
    /// What is added to each number.
    pub plus: f64,
}

impl Decoder {
    /// All weights in the order in which they are used: embedding, layers, output norm, a head of its own. Experts are left out.
    #[must_use]
    pub fn named_weights(&self) -> Vec<NamedWeight<'_>> {
        let mut all = vec![named("token_embd.weight", &self.embedding)];
        for (layer_idx, layer) in self.layers.iter().enumerate() {
            layer.name_weights(layer_idx, &mut all);
        }
        all.push(of_norm("output_norm", &self.output_norm));
        if let Head::Own(weight) = &self.head {
            all.push(named("output.weight", weight));
        }
        all
    }
}

impl DecoderLayer {
    fn name_weights<'a>(&'a self, layer_idx: usize, all: &mut Vec<NamedWeight<'a>>) {
        let name = |part: &str| format!("blk.{layer_idx}.{part}");
        let norms = |part: &str, norm: &'a Option<Norm>| norm.as_ref().map(|norm| of_norm(&name(part), norm));
        let attention = &self.attention;
        all.extend(norms("attn_norm", &self.attention_norm));
        let projections =
            [("attn_q", &attention.q), ("attn_k", &attention.k), ("attn_v", &attention.v), ("attn_output", &attention.o)];
        for (part, projection) in projections {
            projection.name_weights(&name(part), all);
        }
        if let Some(norms) = &attention.qk_norm {
            all.extend([of_norm(&name("attn_q_norm"), &norms.q), of_norm(&name("attn_k_norm"), &norms.k)]);
        }
        all.extend(norms("post_attention_norm", &self.post_attention_norm));
        all.extend(norms("ffn_norm", &self.feed_forward_norm));
        if let FeedForward::Dense(mlp) = &self.feed_forward {
            let projections = [("ffn_gate", &mlp.gate), ("ffn_up", &mlp.up), ("ffn_down", &mlp.down)];
            for (part, projection) in projections {
                projection.name_weights(&name(part), all);
            }
        }
        all.extend(norms("post_ffw_norm", &self.post_feed_forward_norm));
    }
}

impl Projection {
    fn name_weights<'a>(&'a self, name: &str, all: &mut Vec<NamedWeight<'a>>) {
        all.push(named(&format!("{name}.weight"), &self.weight));
        all.extend(self.bias.as_ref().map(|bias| named(&format!("{name}.bias"), bias)));
    }
}

fn named<'a>(name: &str, weight: &'a Weight) -> NamedWeight<'a> {
    NamedWeight { name: name.into(), weight, plus: 0.0 }
}

fn of_norm<'a>(name: &str, norm: &'a Norm) -> NamedWeight<'a> {
    NamedWeight { plus: norm.offset, ..named(&format!("{name}.weight"), &norm.weight) }
}
