//! A plain forward pass in f64 that knows nothing but a `Decoder` and the tensors that it names.
#![allow(clippy::cast_precision_loss, reason = "small numbers")]

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use planish::format::TensorReader;
use planish::import::{decoder, stored_model};
use planish::model::{
    Activation, Attention, Checkpoint, Decoder, Experts, FeedForward, Mlp, Model, Norm, NormSpan, Projection, RopeTable, Weight,
};
use planish::quant::dequantize_rows;

/// A vector for each token.
type Rows = Vec<Vec<f64>>;

fn size(n: u64) -> usize {
    usize::try_from(n).unwrap()
}

/// A decoder with its weights, in rows.
pub struct Network {
    /// What is computed; a test may change it.
    pub decoder: Decoder,
    model: Model,
    reader: TensorReader,
    read: RefCell<HashMap<(String, u64), Rc<Rows>>>,
}

impl Network {
    /// The network of a golden checkpoint.
    pub fn of(checkpoint: &Checkpoint) -> Self {
        let decoder = decoder(checkpoint).unwrap();
        let model = stored_model(checkpoint, &decoder).unwrap();
        let reader = TensorReader::open(&model).unwrap();
        Self { decoder, model, reader, read: RefCell::default() }
    }

    fn rows(&self, weight: &Weight) -> Rc<Rows> {
        let key = (weight.name.clone(), weight.first_row);
        let read = || {
            let tensor = self.model.tensors.iter().find(|tensor| tensor.name == weight.name).unwrap();
            let row_bytes = tensor.dtype.row_bytes(weight.row_len).unwrap();
            let mut raw = vec![0; size(weight.n_rows * row_bytes)];
            self.reader.read(tensor, weight.first_row * row_bytes, &mut raw).unwrap();
            let mut weights = vec![0.0; size(weight.n_weights())];
            dequantize_rows(tensor.dtype, &raw, &mut weights).unwrap();
            let rows = weights.chunks_exact(size(weight.row_len));
            Rc::new(rows.map(|row| row.iter().map(|&weight| f64::from(weight)).collect()).collect())
        };
        Rc::clone(self.read.borrow_mut().entry(key).or_insert_with(read))
    }

    /// The elements of a vector.
    fn vector(&self, weight: &Weight) -> Vec<f64> {
        self.rows(weight).iter().map(|row| row[0]).collect()
    }

    fn product(&self, weight: &Weight, x: &[f64]) -> Vec<f64> {
        self.rows(weight).iter().map(|row| row.iter().zip(x).map(|(a, b)| a * b).sum()).collect()
    }

    fn project(&self, projection: &Projection, x: &[f64]) -> Vec<f64> {
        let mut out = self.product(&projection.weight, x);
        if let Some(bias) = &projection.bias {
            out.iter_mut().zip(self.vector(bias)).for_each(|(out, bias)| *out += bias);
        }
        out
    }

    fn norm(&self, norm: &Norm, x: &[f64]) -> Vec<f64> {
        let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
        let weights = self.vector(&norm.weight);
        x.iter().zip(weights).map(|(x, weight)| x / (mean + norm.epsilon).sqrt() * (weight + norm.offset)).collect()
    }

    fn some_norm(&self, norm: Option<&Norm>, x: &[f64]) -> Vec<f64> {
        norm.map_or_else(|| x.to_vec(), |norm| self.norm(norm, x))
    }

    fn heads(&self, attention: &Attention, norm: Option<&Norm>, rope: Option<&[(f64, f64)]>, mut x: Vec<f64>) -> Rows {
        let span = attention.qk_norm.as_ref().map(|norms| norms.span);
        if let (Some(norm), Some(NormSpan::Projection)) = (norm, span) {
            x = self.norm(norm, &x);
        }
        let head = |head: &[f64]| {
            let mut head = head.to_vec();
            if let (Some(norm), Some(NormSpan::Head)) = (norm, span) {
                head = self.norm(norm, &head);
            }
            if let Some(angles) = rope {
                let half = angles.len();
                for (idx, (cos, sin)) in angles.iter().enumerate() {
                    let (a, b) = (head[idx], head[idx + half]);
                    (head[idx], head[idx + half]) = (a * cos - b * sin, b * cos + a * sin);
                }
            }
            head
        };
        x.chunks_exact(size(attention.head_dim)).map(head).collect()
    }

    fn attention(&self, attention: &Attention, x: &Rows) -> Rows {
        let n_ctx = x.len() as u64;
        let table = attention.rope_idx.map(|idx| &self.decoder.rope_tables[idx]);
        let angles = |position: usize| table.map(|table| angles(table, position, n_ctx));
        let norms = attention.qk_norm.as_ref();
        let heads = |projection: &Projection, norm: Option<&Norm>, is_rotated: bool| -> Vec<Rows> {
            let token = |(position, x): (usize, &Vec<f64>)| {
                let angles = if is_rotated { angles(position) } else { None };
                self.heads(attention, norm, angles.as_deref(), self.project(projection, x))
            };
            x.iter().enumerate().map(token).collect()
        };
        let q = heads(&attention.q, norms.map(|norms| &norms.q), true);
        let k = heads(&attention.k, norms.map(|norms| &norms.k), true);
        let v = heads(&attention.v, None, false);
        let n_sharing = size(attention.n_heads / attention.n_kv_heads);
        let token = |at: usize| {
            let first = attention.window.map_or(0, |window| (at + 1).saturating_sub(size(window)));
            let head = |(head_idx, q): (usize, &Vec<f64>)| {
                let kv_idx = head_idx / n_sharing;
                let score = |key: &Rows| {
                    let product: f64 = q.iter().zip(&key[kv_idx]).map(|(a, b)| a * b).sum();
                    cap(product * attention.scale, attention.softcap)
                };
                let shares = softmax(&k[first..=at].iter().map(score).collect::<Vec<_>>());
                let mut out = vec![0.0; size(attention.head_dim)];
                for (share, v) in shares.iter().zip(&v[first..=at]) {
                    out.iter_mut().zip(&v[kv_idx]).for_each(|(out, v)| *out += share * v);
                }
                out
            };
            let joined: Vec<f64> = q[at].iter().enumerate().flat_map(head).collect();
            self.project(&attention.o, &joined)
        };
        (0..x.len()).map(token).collect()
    }

    fn mlp(&self, mlp: &Mlp, x: &[f64]) -> Vec<f64> {
        let (gate, up) = (self.project(&mlp.gate, x), self.project(&mlp.up, x));
        let hidden: Vec<f64> = gate.iter().zip(up).map(|(&gate, up)| activate(mlp.activation, gate) * up).collect();
        self.project(&mlp.down, &hidden)
    }

    fn experts(&self, experts: &Experts, x: &[f64]) -> Vec<f64> {
        let weights = softmax(&self.product(&experts.router, x));
        let mut chosen = order(&weights);
        chosen.truncate(size(experts.n_used));
        let sum = if experts.has_normed_weights { chosen.iter().map(|&idx| weights[idx]).sum() } else { 1.0 };
        let mut out = vec![0.0; x.len()];
        let mut add = |weight: f64, y: Vec<f64>| out.iter_mut().zip(y).for_each(|(out, y)| *out += weight * y);
        for idx in chosen {
            add(weights[idx] / sum, self.mlp(&experts.experts[idx], x));
        }
        if let Some(shared) = &experts.shared {
            let gate = self.product(&shared.gate, x)[0];
            add(1.0 / (1.0 + (-gate).exp()), self.mlp(&shared.mlp, x));
        }
        out
    }

    /// The logits after the last token.
    pub fn logits(&self, ids: &[u64]) -> Vec<f64> {
        let of = &self.decoder;
        let embedding = self.rows(&of.embedding);
        let row = |&id: &u64| embedding[size(id)].iter().map(|x| x * of.embedding_scale).collect();
        let mut x: Rows = ids.iter().map(row).collect();
        for layer in &of.layers {
            let add = |x: &mut Rows, y: Rows| {
                x.iter_mut().flatten().zip(y.into_iter().flatten()).for_each(|(x, y)| *x += layer.residual_scale * y);
            };
            let normed = |norm: Option<&Norm>, x: &Rows| -> Rows { x.iter().map(|x| self.some_norm(norm, x)).collect() };
            let y = self.attention(&layer.attention, &normed(layer.attention_norm.as_ref(), &x));
            add(&mut x, normed(layer.post_attention_norm.as_ref(), &y));
            let feed_forward = |x: Vec<f64>| match &layer.feed_forward {
                FeedForward::Dense(mlp) => self.mlp(mlp, &x),
                FeedForward::Experts(experts) => self.experts(experts, &x),
            };
            let y = normed(layer.feed_forward_norm.as_ref(), &x).into_iter().map(feed_forward).collect();
            add(&mut x, normed(layer.post_feed_forward_norm.as_ref(), &y));
        }
        let last = self.norm(&of.output_norm, x.last().unwrap());
        let logits = self.product(of.head_weight(), &last);
        logits.into_iter().map(|logit| cap(logit * of.logit_scale, of.final_softcap)).collect()
    }
}

/// Cosine and sine of each pair of dimensions.
fn angles(table: &RopeTable, position: usize, n_ctx: u64) -> Vec<(f64, f64)> {
    let freqs = table.inv_freqs_for(n_ctx).iter();
    let angles = freqs.map(|&freq| position as f64 * f64::from(freq));
    angles.map(|angle| (angle.cos() * table.magnitude, angle.sin() * table.magnitude)).collect()
}

fn cap(x: f64, cap: Option<f64>) -> f64 {
    cap.map_or(x, |cap| cap * (x / cap).tanh())
}

fn softmax(x: &[f64]) -> Vec<f64> {
    let largest = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = x.iter().map(|x| (x - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

fn activate(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::GeluTanh => x / 2.0 * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh()),
        Activation::GeluErf => panic!("no golden decoder has it"),
    }
}

/// The indices of the numbers, the largest first.
pub fn order(numbers: &[f64]) -> Vec<usize> {
    let mut idxs: Vec<usize> = (0..numbers.len()).collect();
    idxs.sort_by(|&a, &b| numbers[b].total_cmp(&numbers[a]));
    idxs
}
