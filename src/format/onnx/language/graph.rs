//! The graph of a decoder, from its description and the places of its weights.

use super::layout::Arranged;
use super::nodes::{Attribute, CONTRIB, Nodes};
use crate::format::onnx::proto::tensor_proto::DataType;
use crate::format::onnx::proto::tensor_shape_proto::{Dimension, dimension};
use crate::format::onnx::proto::{
    GraphProto, ModelProto, OperatorSetIdProto, StringStringEntryProto, TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};
use crate::model::{Activation, Attention, Decoder, DecoderLayer, FeedForward, Head, Mlp, Norm, NormSpan};
use crate::quant::{Coding, Float};

/// Operator set of the standard: the first with `Gelu` is 20, and 21 is what ONNX Runtime GenAI's builder writes.
const OPSET: i64 = 21;
/// Version of the file format that goes with it.
const IR_VERSION: i64 = 10;

/// `accuracy_level` of `MatMulNBits`, as ONNX Runtime GenAI's builder sets it for CPUs: inputs are rounded to 8 bits in each block, which is faster
/// than computing with them as they are (1).
pub(super) const ACCURACY_LEVEL: i64 = 4;

/// The graph's file without its weights. `notes` become entries of its metadata.
///
/// `None` where a weight has no place.
#[must_use]
pub fn graph_model(decoder: &Decoder, arranged: &Arranged, notes: &[(&str, String)]) -> Option<ModelProto> {
    let mut graph = DecoderGraph { decoder, arranged, nodes: Nodes::default(), residual: String::new(), pending: None };
    graph.write()?;
    let opset = |domain: &str, version| OperatorSetIdProto { domain: Some(domain.into()), version: Some(version) };
    Some(ModelProto {
        ir_version: Some(IR_VERSION),
        opset_import: vec![opset("", OPSET), opset(CONTRIB, 1)],
        producer_name: Some("planish".into()),
        producer_version: Some(env!("CARGO_PKG_VERSION").into()),
        metadata_props: notes
            .iter()
            .map(|(key, value)| StringStringEntryProto { key: Some((*key).into()), value: Some(value.clone()) })
            .collect(),
        graph: Some(graph.into_graph()),
        ..ModelProto::default()
    })
}

/// A graph that is being written.
pub(super) struct DecoderGraph<'a> {
    decoder: &'a Decoder,
    pub(super) arranged: &'a Arranged,
    pub(super) nodes: Nodes,
    /// The residual stream without `pending`.
    residual: String,
    /// What the last part of a layer adds to it: a norm adds it, too.
    pending: Option<String>,
}

impl DecoderGraph<'_> {
    fn write(&mut self) -> Option<()> {
        self.write_lengths();
        self.write_embedding()?;
        for (layer_idx, layer) in self.decoder.layers.iter().enumerate() {
            self.write_layer(layer_idx, layer)?;
        }
        let x = self.normed(Some(&self.decoder.output_norm), "output_norm")?;
        self.write_head(&x)
    }

    /// The attention's two counts: tokens of each text without the last, and tokens of the longest.
    fn write_lengths(&mut self) {
        let nodes = &mut self.nodes;
        let (one, first) = (nodes.whole(&[1], false), nodes.whole(&[1], true));
        let int32 = vec![("to", Attribute::Int(i64::from(i32::from(DataType::Int32))))];
        let sum = nodes.add("ReduceSum", &["attention_mask", &one], "mask.sum", vec![("keepdims", Attribute::Int(0))]);
        let last = nodes.add("Sub", &[&sum, &one], "mask.last", Vec::new());
        nodes.add("Cast", &[&last], "seqlens_k", int32.clone());
        let shape = nodes.add("Shape", &["attention_mask"], "mask.shape", Vec::new());
        let total = nodes.add("Gather", &[&shape, &first], "mask.total", vec![("axis", Attribute::Int(0))]);
        nodes.add("Cast", &[&total], "total_seq_len", int32);
    }

    fn write_embedding(&mut self) -> Option<()> {
        let name = "token_embd.weight";
        let place = self.place(name)?;
        let output = "token_embd";
        if let Coding::NBits { nbits, .. } = place.coding {
            let inputs = self.integer_inputs(name, place)?;
            let row_bytes = place.components[0].1.checked_div(place.n_rows)?;
            let shape = self.nodes.whole(&[signed(place.n_rows), signed(row_bytes)], false);
            // The head has a third dimension that lookups lack.
            let codes = self.nodes.add("Reshape", &[inputs.first()?, &shape], "token_embd.codes.flat", Vec::new());
            let mut inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
            inputs.splice(..1, [codes.as_str(), "input_ids"]);
            let attributes = vec![
                ("bits", Attribute::Int(signed(nbits.bits()))),
                ("block_size", Attribute::Int(signed(nbits.block_len()))),
                ("gather_axis", Attribute::Int(0)),
                ("quantize_axis", Attribute::Int(1)),
            ];
            self.nodes.contrib("GatherBlockQuantized", &inputs, &[output], attributes);
        } else {
            self.external_floats(name, place)?;
            self.nodes.add("Gather", &[name, "input_ids"], output, vec![("axis", Attribute::Int(0))]);
        }
        self.residual = self.scaled(output.into(), self.decoder.embedding_scale, "token_embd.scaled");
        Some(())
    }

    fn write_layer(&mut self, layer_idx: usize, layer: &DecoderLayer) -> Option<()> {
        let name = |part: &str| format!("blk.{layer_idx}.{part}");
        let x = self.normed(layer.attention_norm.as_ref(), &name("attn_norm"))?;
        let out = self.write_attention(layer_idx, &layer.attention, &x)?;
        let out = self.own_norm(layer.post_attention_norm.as_ref(), &name("post_attention_norm"), out)?;
        self.pending = Some(self.scaled(out, layer.residual_scale, &name("attn_output.scaled")));
        let x = self.normed(layer.feed_forward_norm.as_ref(), &name("ffn_norm"))?;
        let FeedForward::Dense(mlp) = &layer.feed_forward else { return None };
        let out = self.write_mlp(layer_idx, mlp, &x)?;
        let out = self.own_norm(layer.post_feed_forward_norm.as_ref(), &name("post_ffw_norm"), out)?;
        self.pending = Some(self.scaled(out, layer.residual_scale, &name("ffn_out.scaled")));
        Some(())
    }

    fn write_attention(&mut self, layer_idx: usize, attention: &Attention, x: &str) -> Option<String> {
        let name = |part: &str| format!("blk.{layer_idx}.{part}");
        let [q, k, v] = if self.arranged.places.contains_key(&name("attn_qkv.weight")) {
            // All three in one: the attention takes them apart.
            [self.projected(x, &name("attn_qkv"), &attention.q, &name("attn_qkv"))?, String::new(), String::new()]
        } else {
            let q = self.projected(x, &name("attn_q"), &attention.q, &name("attn_q"))?;
            let k = self.projected(x, &name("attn_k"), &attention.k, &name("attn_k"))?;
            let v = self.projected(x, &name("attn_v"), &attention.v, &name("attn_v"))?;
            match &attention.qk_norm {
                Some(norms) => {
                    let q = self.headed_norm(&q, &norms.q, norms.span, attention.head_dim, &name("attn_q_norm"))?;
                    [q, self.headed_norm(&k, &norms.k, norms.span, attention.head_dim, &name("attn_k_norm"))?, v]
                }
                None => [q, k, v],
            }
        };
        let (cos, sin) = match attention.rope_idx {
            Some(idx) => self.angles(idx)?,
            None => (String::new(), String::new()),
        };
        let past = ["key", "value"].map(|part| format!("past_key_values.{layer_idx}.{part}"));
        let present = ["key", "value"].map(|part| format!("present.{layer_idx}.{part}"));
        let output = name("attn");
        #[allow(clippy::cast_possible_truncation, reason = "attributes are F32")]
        let attributes = vec![
            ("num_heads", Attribute::Int(signed(attention.n_heads))),
            ("kv_num_heads", Attribute::Int(signed(attention.n_kv_heads))),
            ("scale", Attribute::Float(attention.scale as f32)),
            ("softcap", Attribute::Float(attention.softcap.unwrap_or(0.0) as f32)),
            ("local_window_size", Attribute::Int(attention.window.map_or(-1, signed))),
            ("do_rotary", Attribute::Int(attention.rope_idx.is_some().into())),
            ("rotary_interleaved", Attribute::Int(0)),
        ];
        let inputs = [&*q, &*k, &*v, &*past[0], &*past[1], "seqlens_k", "total_seq_len", &*cos, &*sin];
        let n_inputs = if cos.is_empty() { 7 } else { 9 };
        self.nodes.contrib("GroupQueryAttention", &inputs[..n_inputs], &[&output, &present[0], &present[1]], attributes);
        self.projected(&output, &name("attn_output"), &attention.o, &name("attn_output"))
    }

    /// A norm over each head, or over all of them, as the description says.
    fn headed_norm(&mut self, x: &str, norm: &Norm, span: NormSpan, head_dim: u64, name: &str) -> Option<String> {
        match span {
            NormSpan::Projection => self.norm_node(x, norm, name, name),
            NormSpan::Head => {
                let by_head = self.nodes.whole(&[0, 0, -1, signed(head_dim)], false);
                let heads = self.nodes.add("Reshape", &[x, &by_head], format!("{name}.heads"), Vec::new());
                let normed = self.norm_node(&heads, norm, name, &format!("{name}.normed"))?;
                let flat = self.nodes.whole(&[0, 0, -1], false);
                Some(self.nodes.add("Reshape", &[&normed, &flat], name, Vec::new()))
            }
        }
    }

    fn write_mlp(&mut self, layer_idx: usize, mlp: &Mlp, x: &str) -> Option<String> {
        let name = |part: &str| format!("blk.{layer_idx}.{part}");
        let gate = self.projected(x, &name("ffn_gate"), &mlp.gate, &name("ffn_gate"))?;
        let up = self.projected(x, &name("ffn_up"), &mlp.up, &name("ffn_up"))?;
        let output = name("ffn_act");
        let active = match mlp.activation {
            Activation::Silu => {
                let sigmoid = self.nodes.add("Sigmoid", &[&gate], name("ffn_sigmoid"), Vec::new());
                self.nodes.add("Mul", &[&gate, &sigmoid], output, Vec::new())
            }
            Activation::GeluErf => self.gelu(&gate, output, "none"),
            Activation::GeluTanh => self.gelu(&gate, output, "tanh"),
        };
        let hidden = self.nodes.add("Mul", &[&active, &up], name("ffn_hidden"), Vec::new());
        self.projected(&hidden, &name("ffn_down"), &mlp.down, &name("ffn_down"))
    }

    fn gelu(&mut self, x: &str, output: String, approximate: &'static str) -> String {
        self.nodes.add("Gelu", &[x], output, vec![("approximate", Attribute::Text(approximate))])
    }

    fn write_head(&mut self, x: &str) -> Option<()> {
        let weight = match self.decoder.head {
            Head::Tied => "token_embd.weight",
            Head::Own(_) => "output.weight",
        };
        let is_plain = self.decoder.final_softcap.is_none() && is_one(self.decoder.logit_scale);
        let raw = self.product(x, weight, if is_plain { "logits" } else { "head" })?;
        if is_plain {
            return Some(());
        }
        let Some(cap) = self.decoder.final_softcap else {
            let scale = self.number(self.decoder.logit_scale, "logits.scale");
            self.nodes.add("Mul", &[&raw, &scale], "logits", Vec::new());
            return Some(());
        };
        let narrowed = self.scaled(raw, self.decoder.logit_scale / cap, "head.narrowed");
        let bounded = self.nodes.add("Tanh", &[&narrowed], "head.bounded", Vec::new());
        let cap = self.number(cap, "logits.cap");
        self.nodes.add("Mul", &[&bounded, &cap], "logits", Vec::new());
        Some(())
    }

    /// The normed residual stream, with what is pending added to the stream.
    fn normed(&mut self, norm: Option<&Norm>, name: &str) -> Option<String> {
        let Some(added) = self.pending.take() else {
            return match norm {
                Some(norm) => self.norm_node(&self.residual.clone(), norm, name, name),
                None => Some(self.residual.clone()),
            };
        };
        let sum = format!("{name}.sum");
        let Some(norm) = norm else {
            self.residual = self.nodes.add("Add", &[&self.residual, &added], sum, Vec::new());
            return Some(self.residual.clone());
        };
        let weight = self.vector(name)?;
        let inputs = [self.residual.as_str(), &added, &weight];
        let epsilon = vec![("epsilon", Attribute::Float(epsilon_of(norm)))];
        self.nodes.contrib("SkipSimplifiedLayerNormalization", &inputs, &[name, "", "", &sum], epsilon);
        self.residual = sum;
        Some(name.into())
    }

    /// A norm on a part's output; without one, the output.
    fn own_norm(&mut self, norm: Option<&Norm>, name: &str, x: String) -> Option<String> {
        match norm {
            Some(norm) => self.norm_node(&x, norm, name, name),
            None => Some(x),
        }
    }

    fn norm_node(&mut self, x: &str, norm: &Norm, name: &str, output: &str) -> Option<String> {
        let weight = self.vector(name)?;
        let attributes = vec![
            ("axis", Attribute::Int(-1)),
            ("epsilon", Attribute::Float(epsilon_of(norm))),
            ("stash_type", Attribute::Int(1)),
        ];
        Some(self.nodes.add("SimplifiedLayerNormalization", &[x, &weight], output, attributes))
    }

    fn into_graph(self) -> GraphProto {
        let attention = self.decoder.layers.first().map(|layer| &layer.attention);
        let (n_kv_heads, head_dim) = attention.map_or((0, 0), |attention| (attention.n_kv_heads, attention.head_dim));
        let tokens = |name: &str, length: &'static str| value_info(name, DataType::Int64, &[Err("batch_size"), Err(length)]);
        let mut inputs = vec![tokens("input_ids", "sequence_length"), tokens("attention_mask", "total_sequence_length")];
        let logits = [Err("batch_size"), Err("sequence_length"), Ok(self.decoder.n_vocab)];
        let mut outputs = vec![value_info("logits", self.dtype(), &logits)];
        for layer_idx in 0..self.decoder.layers.len() {
            for part in ["key", "value"] {
                let shape = |length| [Err("batch_size"), Ok(n_kv_heads), Err(length), Ok(head_dim)];
                let (past, present) = (shape("past_sequence_length"), shape("total_sequence_length"));
                inputs.push(value_info(&format!("past_key_values.{layer_idx}.{part}"), self.dtype(), &past));
                outputs.push(value_info(&format!("present.{layer_idx}.{part}"), self.dtype(), &present));
            }
        }
        GraphProto {
            name: Some("decoder".into()),
            node: self.nodes.list,
            initializer: self.nodes.initializers,
            input: inputs,
            output: outputs,
            ..GraphProto::default()
        }
    }
}

/// A tensor's name, type and dimensions: numbers, or names for what is not fixed.
pub(super) fn value_info(name: &str, dtype: DataType, dims: &[Result<u64, &'static str>]) -> ValueInfoProto {
    let dimension = |dim: &Result<u64, &'static str>| Dimension {
        value: Some(match dim {
            Ok(size) => dimension::Value::DimValue(signed(*size)),
            Err(name) => dimension::Value::DimParam((*name).into()),
        }),
        ..Dimension::default()
    };
    let shape = TensorShapeProto { dim: dims.iter().map(dimension).collect() };
    let tensor = type_proto::Tensor { elem_type: Some(dtype.into()), shape: Some(shape) };
    ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() }),
        ..ValueInfoProto::default()
    }
}

pub(super) fn onnx_type(float: Float) -> DataType {
    match float {
        Float::F32 => DataType::Float,
        Float::F16 => DataType::Float16,
        Float::BF16 => DataType::Bfloat16,
    }
}

/// A size as ONNX has it.
pub(super) fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// True for a factor that changes nothing.
pub(super) fn is_one(factor: f64) -> bool {
    factor.to_bits() == 1.0_f64.to_bits()
}

#[allow(clippy::cast_possible_truncation, reason = "attributes are F32")]
fn epsilon_of(norm: &Norm) -> f32 {
    norm.epsilon as f32
}
