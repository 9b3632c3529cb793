//! What a decoder computes, layer by layer, and where a checkpoint has its weights: plain data.
//!
//! One value holds for all families, so that a forward pass and the graphs of ONNX and OpenVINO are each written once:
//!
//! ```text
//! x = embedding[token] * embedding_scale
//! in each layer:
//!   x += residual_scale * post_attention_norm(attention(attention_norm(x)))
//!   x += residual_scale * post_feed_forward_norm(feed_forward(feed_forward_norm(x)))
//! logits = cap(head(output_norm(x)) * logit_scale, final_softcap)      cap(y, c) = c * tanh(y / c)
//! ```
//!
//! A norm that a layer lacks changes nothing.

/// A language model that predicts the next token, as one checkpoint has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoder {
    /// Tokens of the vocabulary.
    pub n_vocab: u64,
    /// Width of the residual stream.
    pub n_embd: u64,
    /// Longest context that it was trained for, in tokens; 0 where the configuration does not say it.
    pub n_ctx: u64,
    /// A row for each token.
    pub embedding: Weight, // [n_vocab, n_embd]
    /// What a token's row is multiplied by.
    pub embedding_scale: f64,
    /// The RoPE tables that layers share; `Attention::rope_idx` counts in this list.
    pub rope_tables: Vec<RopeTable>,
    /// In the order in which they are computed.
    pub layers: Vec<DecoderLayer>,
    /// The norm before the head.
    pub output_norm: Norm, // [n_embd]
    /// The matrix that gives the logits.
    pub head: Head,
    /// What the head's output is multiplied by.
    pub logit_scale: f64,
    /// The cap `c` on the logits; `None` without one.
    pub final_softcap: Option<f64>,
}

/// The matrix that gives the logits.
#[derive(Debug, Clone, PartialEq)]
pub enum Head {
    /// The embedding.
    Tied,
    /// A matrix of its own.
    Own(Weight), // [n_vocab, n_embd]
}

/// Attention and a feed-forward network, each added to the residual stream.
#[derive(Debug, Clone, PartialEq)]
pub struct DecoderLayer {
    /// The norm before the attention; `None` where only its output is normed.
    pub attention_norm: Option<Norm>, // [n_embd]
    /// The attention.
    pub attention: Attention,
    /// The norm on the attention's output, before it is added.
    pub post_attention_norm: Option<Norm>, // [n_embd]
    /// The norm before the feed-forward network.
    pub feed_forward_norm: Option<Norm>, // [n_embd]
    /// The feed-forward network.
    pub feed_forward: FeedForward,
    /// The norm on its output, before it is added.
    pub post_feed_forward_norm: Option<Norm>, // [n_embd]
    /// What both are multiplied by before they are added.
    pub residual_scale: f64,
}

/// Causal attention. Query head `h` uses key and value head `h / (n_heads / n_kv_heads)`.
///
/// ```text
/// q, k, v = q(x), k(x), v(x)                        cut into heads
/// q, k    = rope(qk_norm(q)), rope(qk_norm(k))
/// out     = o(softmax(cap(q · k * scale, softcap)) · v)
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Attention {
    /// Query heads.
    pub n_heads: u64,
    /// Key heads, and value heads; divides `n_heads`.
    pub n_kv_heads: u64,
    /// Length of a head's vectors.
    pub head_dim: u64,
    /// The projection to the queries, head after head.
    pub q: Projection, // [n_heads * head_dim, n_embd]
    /// The projection to the keys.
    pub k: Projection, // [n_kv_heads * head_dim, n_embd]
    /// The projection to the values.
    pub v: Projection, // [n_kv_heads * head_dim, n_embd]
    /// The projection from all heads' outputs.
    pub o: Projection, // [n_embd, n_heads * head_dim]
    /// The norms on queries and keys.
    pub qk_norm: Option<QkNorm>,
    /// The table in `Decoder::rope_tables`; `None` for a layer that knows no positions.
    pub rope_idx: Option<usize>,
    /// The token at `i` sees those from `i - window + 1` to `i`; `None`: all up to `i`.
    pub window: Option<u64>,
    /// What the scores are multiplied by.
    pub scale: f64,
    /// The cap `c` on the scaled scores, before the mask.
    pub softcap: Option<f64>,
}

/// Norms on queries and keys, before RoPE.
#[derive(Debug, Clone, PartialEq)]
pub struct QkNorm {
    /// That of the queries.
    pub q: Norm, // [head_dim] or [n_heads * head_dim]
    /// That of the keys.
    pub k: Norm, // [head_dim] or [n_kv_heads * head_dim]
    /// How much is normed together.
    pub span: NormSpan,
}

/// How much of the queries, or of the keys, a norm takes together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormSpan {
    /// Each head by itself, all with the same weights.
    Head,
    /// All heads.
    Projection,
}

/// Rotary positions. Dimension `i` of a head is rotated with dimension `i + n_dims / 2`:
///
/// ```text
/// a        = position * inv_freqs[i]
/// out[i]   = magnitude * (x[i] * cos a - x[i + n_dims / 2] * sin a)
/// out[i + n_dims / 2] = magnitude * (x[i + n_dims / 2] * cos a + x[i] * sin a)
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct RopeTable {
    /// Dimensions of a head that are rotated, the first ones; an even number. The others stay as they are.
    pub n_dims: u64,
    /// How far a pair turns from one position to the next, in radians; `n_dims / 2` numbers. Any scaling is in them.
    pub inv_freqs: Vec<f32>,
    /// What replaces `inv_freqs` in long contexts.
    pub long: Option<LongRope>,
    /// What sine and cosine are multiplied by.
    pub magnitude: f64,
}

/// Other frequencies for long contexts.
#[derive(Debug, Clone, PartialEq)]
pub struct LongRope {
    /// They hold, for all positions, if the context has more tokens than this.
    pub above: u64,
    /// As in the table.
    pub inv_freqs: Vec<f32>,
}

/// What follows the attention.
#[derive(Debug, Clone, PartialEq)]
pub enum FeedForward {
    /// One network for all tokens.
    Dense(Mlp),
    /// A choice of networks for each token.
    Experts(Experts),
}

/// `down(activation(gate(x)) * up(x))`.
#[derive(Debug, Clone, PartialEq)]
pub struct Mlp {
    /// Width of its hidden vector.
    pub n_ff: u64,
    /// What is applied to the gate.
    pub activation: Activation,
    /// The projection that the activation is applied to.
    pub gate: Projection, // [n_ff, n_embd]
    /// The projection that is multiplied by it.
    pub up: Projection, // [n_ff, n_embd]
    /// The projection back.
    pub down: Projection, // [n_embd, n_ff]
}

/// Non-linear functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x / (1 + exp(-x))`.
    Silu,
    /// `x / 2 * (1 + erf(x / sqrt(2)))`.
    GeluErf,
    /// `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))`.
    GeluTanh,
}

/// A mixture: `w = softmax(router(x))`; the `n_used` experts with the largest `w[e]` add `w[e] * expert_e(x)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Experts {
    /// The matrix that scores the experts.
    pub router: Weight, // [n_experts, n_embd]
    /// How many of them a token passes through.
    pub n_used: u64,
    /// True if the weights of the chosen ones are divided by their sum.
    pub has_normed_weights: bool,
    /// All of the layer's experts.
    pub experts: Vec<Mlp>,
    /// The one that every token passes through besides.
    pub shared: Option<SharedExpert>,
}

/// An expert for all tokens. It adds `sigmoid(gate(x)) * mlp(x)`.
#[derive(Debug, Clone, PartialEq)]
pub struct SharedExpert {
    /// The network.
    pub mlp: Mlp,
    /// How much of it is added.
    pub gate: Weight, // [1, n_embd]
}

/// `weight · x + bias`.
#[derive(Debug, Clone, PartialEq)]
pub struct Projection {
    /// The matrix; each row gives one number.
    pub weight: Weight, // [n_out, n_in]
    /// What is added.
    pub bias: Option<Weight>, // [n_out]
}

/// An RMS norm: `x / sqrt(mean(x²) + epsilon) * (weight + offset)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Norm {
    /// One number for each element.
    pub weight: Weight,
    /// Added to each weight: 1 where the checkpoint has the difference from 1, else 0.
    pub offset: f64,
    /// Keeps the root away from 0.
    pub epsilon: f64,
}

/// Rows of one of the checkpoint's tensors, one after the other, as they are stored: a row gives one output.
///
/// Fused projections are rows of the same tensor. No decoder has a matrix that is stored transposed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weight {
    /// The tensor's name in the checkpoint, prefix included.
    pub name: String,
    /// The first row.
    pub first_row: u64,
    /// How many rows.
    pub n_rows: u64,
    /// Weights in a row; 1 for a vector.
    pub row_len: u64,
}

/// A place in the network whose vectors are multiplied by matrices. Matrices of the same site have the same input.
///
/// The first number is the layer's index, the second one the expert's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Site {
    /// Before the projections to queries, keys and values.
    AttentionInput(usize),
    /// The outputs of all heads, before the projection from them.
    AttentionOutput(usize),
    /// Before gate and up; with experts, before the router, the shared expert and its gate.
    FeedForwardInput(usize),
    /// The hidden vector; with experts, that of the shared one.
    FeedForwardHidden(usize),
    /// The same input, but only of the tokens that the router sends to an expert.
    ExpertInput(usize, usize),
    /// The hidden vector of an expert.
    ExpertHidden(usize, usize),
    /// Before the head.
    HeadInput,
}

impl Decoder {
    /// Every matrix that is multiplied by vectors, with the site of its input. The head comes last: the embedding, if it is tied.
    #[must_use]
    pub fn matrices(&self) -> Vec<(Site, &Weight)> {
        let mut all = Vec::new();
        for (layer_idx, layer) in self.layers.iter().enumerate() {
            let attention = &layer.attention;
            let projections = [&attention.q, &attention.k, &attention.v];
            all.extend(projections.map(|projection| (Site::AttentionInput(layer_idx), &projection.weight)));
            all.push((Site::AttentionOutput(layer_idx), &attention.o.weight));
            let (input, hidden) = (Site::FeedForwardInput(layer_idx), Site::FeedForwardHidden(layer_idx));
            match &layer.feed_forward {
                FeedForward::Dense(mlp) => all.extend(mlp.matrices(input, hidden)),
                FeedForward::Experts(experts) => {
                    all.push((input, &experts.router));
                    for (expert_idx, mlp) in experts.experts.iter().enumerate() {
                        let of_expert = Site::ExpertInput(layer_idx, expert_idx);
                        all.extend(mlp.matrices(of_expert, Site::ExpertHidden(layer_idx, expert_idx)));
                    }
                    if let Some(shared) = &experts.shared {
                        all.extend(shared.mlp.matrices(input, hidden));
                        all.push((input, &shared.gate));
                    }
                }
            }
        }
        all.push((Site::HeadInput, self.head_weight()));
        all
    }

    /// The head's matrix: the embedding, if it is tied.
    #[must_use]
    pub fn head_weight(&self) -> &Weight {
        match &self.head {
            Head::Tied => &self.embedding,
            Head::Own(weight) => weight,
        }
    }

    /// All weights that the checkpoint holds, each once: matrices, biases and norms, from the embedding to the head.
    #[must_use]
    pub fn weights(&self) -> Vec<&Weight> {
        let mut all = vec![&self.embedding];
        for layer in &self.layers {
            layer.collect(&mut all);
        }
        all.push(&self.output_norm.weight);
        if let Head::Own(weight) = &self.head {
            all.push(weight);
        }
        all
    }
}

impl DecoderLayer {
    fn collect<'a>(&'a self, all: &mut Vec<&'a Weight>) {
        let attention = &self.attention;
        all.extend(self.attention_norm.iter().map(|norm| &norm.weight));
        for projection in [&attention.q, &attention.k, &attention.v, &attention.o] {
            projection.collect(all);
        }
        if let Some(norms) = &attention.qk_norm {
            all.extend([&norms.q.weight, &norms.k.weight]);
        }
        all.extend([&self.post_attention_norm, &self.feed_forward_norm].into_iter().flatten().map(|norm| &norm.weight));
        match &self.feed_forward {
            FeedForward::Dense(mlp) => mlp.collect(all),
            FeedForward::Experts(experts) => {
                all.push(&experts.router);
                experts.experts.iter().for_each(|mlp| mlp.collect(all));
                if let Some(shared) = &experts.shared {
                    shared.mlp.collect(all);
                    all.push(&shared.gate);
                }
            }
        }
        all.extend(self.post_feed_forward_norm.iter().map(|norm| &norm.weight));
    }
}

impl Mlp {
    fn collect<'a>(&'a self, all: &mut Vec<&'a Weight>) {
        for projection in [&self.gate, &self.up, &self.down] {
            projection.collect(all);
        }
    }

    fn matrices(&self, input: Site, hidden: Site) -> [(Site, &Weight); 3] {
        [(input, &self.gate.weight), (input, &self.up.weight), (hidden, &self.down.weight)]
    }
}

impl Projection {
    fn collect<'a>(&'a self, all: &mut Vec<&'a Weight>) {
        all.push(&self.weight);
        all.extend(&self.bias);
    }

    /// The part that gives the outputs `first..first + n`, bias included.
    #[must_use]
    pub fn rows(&self, first: u64, n: u64) -> Self {
        Self { weight: self.weight.rows(first, n), bias: self.bias.as_ref().map(|bias| bias.rows(first, n)) }
    }
}

impl Weight {
    /// Number of weights.
    #[must_use]
    pub fn n_weights(&self) -> u64 {
        self.n_rows.saturating_mul(self.row_len)
    }

    /// Its rows `first..first + n`.
    #[must_use]
    pub fn rows(&self, first: u64, n: u64) -> Self {
        Self { name: self.name.clone(), first_row: self.first_row + first, n_rows: n, row_len: self.row_len }
    }
}

impl RopeTable {
    /// The frequencies that hold for a context of `n_ctx` tokens.
    #[must_use]
    pub fn inv_freqs_for(&self, n_ctx: u64) -> &[f32] {
        match &self.long {
            Some(long) if n_ctx > long.above => &long.inv_freqs,
            _ => &self.inv_freqs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_fused_projection_are_its_rows() {
        let weight = |n_rows, row_len| Weight { name: "qkv".into(), first_row: 10, n_rows, row_len };
        let fused = Projection { weight: weight(12, 5), bias: Some(weight(12, 1)) };
        let part = fused.rows(8, 4);
        assert_eq!((part.weight.first_row, part.weight.n_rows, part.weight.n_weights()), (18, 4, 20));
        assert_eq!(part.bias.map(|bias| (bias.first_row, bias.n_rows, bias.n_weights())), Some((18, 4, 4)));
    }

    #[test]
    fn long_contexts_have_their_own_frequencies() {
        let long = LongRope { above: 64, inv_freqs: vec![0.5] };
        let table = RopeTable { n_dims: 2, inv_freqs: vec![1.0], long: Some(long), magnitude: 1.0 };
        assert_eq!([1, 64, 65].map(|n_ctx| table.inv_freqs_for(n_ctx)[0].to_bits()), [1.0, 1.0, 0.5].map(f32::to_bits));
        let short = RopeTable { long: None, ..table };
        assert_eq!(short.inv_freqs_for(1 << 20).len(), 1);
    }
}
