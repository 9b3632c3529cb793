//! What an ONNX network is, from its checked messages.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::domain_name;
use super::file::OnnxFile;
use super::multiply_adds::multiply_adds;
use super::proto::tensor_shape_proto::dimension;
use super::proto::type_proto::Value;
use super::proto::{GraphProto, NodeProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto};
use crate::model::{
    OnnxDType, OnnxDTypeSum, OnnxDim, OnnxNetwork, OnnxOperator, OnnxOpset, OnnxPort, OnnxQuantization, OnnxTensor,
};

/// Types nest this deep at most in a text.
const MAX_TYPE_DEPTH: usize = 4;

/// What a file holds, for a person.
pub(super) fn network(file: &OnnxFile) -> OnnxNetwork {
    let model = &file.model;
    let empty = GraphProto::default();
    let graph = model.graph.as_ref().unwrap_or(&empty);
    let given: HashSet<&str> = graph.initializer.iter().map(TensorProto::name).collect();
    let is_asked = |input: &&ValueInfoProto| !given.contains(input.name());
    let operators = operators(file);
    let mut nodes = Nodes::default();
    for_each_node(&graph.node, &mut |node| nodes.note(node));
    model.functions.iter().for_each(|function| for_each_node(&function.node, &mut |node| nodes.note(node)));
    let producer = format!("{} {}", model.producer_name(), model.producer_version());
    OnnxNetwork {
        path: file.path.clone(),
        files: file.files.clone(),
        size_bytes: file.size_bytes,
        graph_name: graph.name().into(),
        ir_version: model.ir_version(),
        producer: producer.trim().into(),
        doc_string: model.doc_string().into(),
        opsets: opsets(file),
        inputs: graph.input.iter().filter(is_asked).map(port).collect(),
        outputs: graph.output.iter().map(port).collect(),
        n_nodes: operators.iter().map(|operator| operator.n_nodes).sum(),
        operators,
        n_subgraphs: file.survey.n_subgraphs,
        n_functions: model.functions.len() as u64,
        n_parameters: nodes.n_parameters(&file.tensors),
        dtypes: dtype_sums(&file.tensors),
        tensors: file.tensors.clone(),
        quantization: nodes.quantization(),
        multiply_adds: multiply_adds(graph),
        metadata: model.metadata_props.iter().map(|entry| (entry.key().into(), entry.value().into())).collect(),
        unknown_fields: file.unknown_fields.iter().map(|field| format!("{} field {}", field.message, field.number)).collect(),
        warnings: file.warnings.clone(),
    }
}

fn opsets(file: &OnnxFile) -> Vec<OnnxOpset> {
    let mut opsets: Vec<OnnxOpset> = Vec::new();
    for opset in &file.model.opset_import {
        let opset = OnnxOpset { domain: domain_name(opset.domain()).into(), version: opset.version() };
        if !opsets.contains(&opset) {
            opsets.push(opset);
        }
    }
    opsets
}

fn operators(file: &OnnxFile) -> Vec<OnnxOperator> {
    let operator = |((domain, name), n_nodes): (&(String, String), &u64)| OnnxOperator {
        domain: domain.clone(),
        name: name.clone(),
        n_nodes: *n_nodes,
    };
    let mut operators: Vec<OnnxOperator> = file.survey.operators.iter().map(operator).collect();
    operators.sort_by_key(|operator| std::cmp::Reverse(operator.n_nodes));
    operators
}

fn dtype_sums(tensors: &[OnnxTensor]) -> Vec<OnnxDTypeSum> {
    let mut sums: Vec<OnnxDTypeSum> = Vec::new();
    for tensor in tensors {
        match sums.iter_mut().find(|sum| sum.dtype == tensor.dtype) {
            Some(sum) => {
                sum.n_tensors += 1;
                sum.n_elements = sum.n_elements.saturating_add(tensor.n_elements);
                sum.size_bytes = sum.size_bytes.saturating_add(tensor.size_bytes);
            }
            None => sums.push(OnnxDTypeSum {
                dtype: tensor.dtype,
                n_tensors: 1,
                n_elements: tensor.n_elements,
                size_bytes: tensor.size_bytes,
            }),
        }
    }
    sums.sort_by_key(|sum| std::cmp::Reverse(sum.size_bytes));
    sums
}

fn port(value: &ValueInfoProto) -> OnnxPort {
    let kind = value.r#type.as_ref();
    let tensor = match kind.and_then(|kind| kind.value.as_ref()) {
        Some(Value::TensorType(tensor)) => Some((tensor.elem_type(), tensor.shape.as_ref())),
        Some(Value::SparseTensorType(tensor)) => Some((tensor.elem_type(), tensor.shape.as_ref())),
        _ => None,
    };
    OnnxPort {
        name: value.name().into(),
        type_text: kind.map_or_else(|| "unknown".into(), |kind| type_text(kind, 0)),
        dtype: tensor.and_then(|(id, _)| OnnxDType::from_id(id)),
        shape: tensor.and_then(|(_, shape)| shape).map(dims),
    }
}

fn dims(shape: &TensorShapeProto) -> Vec<OnnxDim> {
    let dim = |dim: &super::proto::tensor_shape_proto::Dimension| match &dim.value {
        Some(dimension::Value::DimValue(len)) => u64::try_from(*len).map_or(OnnxDim::Open, OnnxDim::Fixed),
        Some(dimension::Value::DimParam(name)) if !name.is_empty() => OnnxDim::Named(name.clone()),
        _ => OnnxDim::Open,
    };
    shape.dim.iter().map(dim).collect()
}

/// `F32`, `sequence of F32`, `map from I64 to F32`.
fn type_text(kind: &TypeProto, depth: usize) -> String {
    let element = |id: i32| OnnxDType::from_id(id).map_or_else(|| format!("type {id}"), |dtype| dtype.name().to_string());
    let inner = |kind: Option<&TypeProto>| match kind {
        Some(kind) if depth < MAX_TYPE_DEPTH => type_text(kind, depth + 1),
        _ => "…".into(),
    };
    match &kind.value {
        None => "unknown".into(),
        Some(Value::TensorType(tensor)) => element(tensor.elem_type()),
        Some(Value::SparseTensorType(tensor)) => format!("sparse {}", element(tensor.elem_type())),
        Some(Value::SequenceType(sequence)) => format!("sequence of {}", inner(sequence.elem_type.as_deref())),
        Some(Value::OptionalType(optional)) => format!("optional {}", inner(optional.elem_type.as_deref())),
        Some(Value::MapType(map)) => format!("map from {} to {}", element(map.key_type()), inner(map.value_type.as_deref())),
        Some(Value::OpaqueType(opaque)) => format!("opaque {}", super::label(opaque.name())),
    }
}

/// Calls `visit` for every node, those of graphs inside nodes included.
fn for_each_node<'a>(nodes: &'a [NodeProto], visit: &mut impl FnMut(&'a NodeProto)) {
    // Graphs are nested at most as deep as messages, which `wire` has bounded.
    fn walk<'a>(nodes: &'a [NodeProto], visit: &mut dyn FnMut(&'a NodeProto)) {
        for node in nodes {
            visit(node);
            for attribute in &node.attribute {
                let graphs = attribute.g.as_deref().into_iter().chain(&attribute.graphs);
                graphs.into_iter().for_each(|graph| walk(&graph.node, visit));
            }
        }
    }
    walk(nodes, visit);
}

/// An attribute that is a whole number; `None` for one that is missing, negative or something else.
pub(super) fn whole(node: &NodeProto, name: &str) -> Option<u64> {
    let attribute = node.attribute.iter().find(|attribute| attribute.name() == name)?;
    u64::try_from(attribute.i?).ok()
}

/// What nodes tell about the weights that they take.
#[derive(Default)]
struct Nodes<'a> {
    /// Scales, zero points and packed weights, which do not count as weights themselves.
    helpers: HashSet<&'a str>,
    /// Packed weights, with the number of weights in an element.
    packed: HashMap<&'a str, u64>,
    /// Integers that stand for floats: what `DequantizeLinear` takes.
    quantized: HashSet<&'a str>,
    /// Weights of `MatMulNBits` by the name of their matrix: `K * N`.
    blocks: HashMap<&'a str, u64>,
    found: BTreeSet<OnnxQuantization>,
    has_quantize: bool,
    has_dequantize: bool,
}

impl<'a> Nodes<'a> {
    /// Source: docs/Operators.md of <https://github.com/onnx/onnx>, and docs/ContribOperators.md of
    /// <https://github.com/microsoft/onnxruntime> for `com.microsoft`.
    fn note(&mut self, node: &'a NodeProto) {
        let input = |idx: usize| node.input.get(idx).map_or("", String::as_str);
        let mut help = |inputs: &[usize]| self.helpers.extend(inputs.iter().map(|&idx| input(idx)));
        match node.op_type() {
            "QuantizeLinear" => {
                help(&[1, 2]);
                self.has_quantize = true;
            }
            "DequantizeLinear" => {
                help(&[1, 2]);
                self.quantized.insert(input(0));
                self.has_dequantize = true;
            }
            "QLinearConv" | "QLinearMatMul" => {
                help(&[1, 2, 4, 5, 6, 7]);
                self.quantized.insert(input(8));
                self.found.insert(OnnxQuantization::QOperator);
            }
            name if name.starts_with("QLinear") || name == "QGemm" => {
                self.found.insert(OnnxQuantization::QOperator);
            }
            "DynamicQuantizeLinear" | "MatMulInteger" | "ConvInteger" | "MatMulIntegerToFloat" | "DynamicQuantizeMatMul" => {
                self.found.insert(OnnxQuantization::Dynamic);
            }
            "MatMulNBits" => {
                help(&[1, 2, 3]);
                let (bits, block_len) = (whole(node, "bits").unwrap_or(4), whole(node, "block_size").unwrap_or(0));
                self.found.insert(OnnxQuantization::Blocks { bits, block_len });
                let n = whole(node, "K").and_then(|k| k.checked_mul(whole(node, "N")?));
                self.blocks.insert(input(1), n.unwrap_or(0));
            }
            "GatherBlockQuantized" => {
                help(&[2, 3]);
                let (bits, block_len) = (whole(node, "bits").unwrap_or(4), whole(node, "block_size").unwrap_or(128));
                self.found.insert(OnnxQuantization::Blocks { bits, block_len });
                self.packed.insert(input(0), if bits == 4 { 2 } else { 1 });
            }
            _ => {}
        }
    }

    fn quantization(&self) -> Vec<OnnxQuantization> {
        let mut found = self.found.clone();
        match (self.has_quantize, self.has_dequantize) {
            (true, true) => found.insert(OnnxQuantization::Qdq),
            (false, true) => found.insert(OnnxQuantization::WeightsOnly),
            _ => false,
        };
        found.into_iter().collect()
    }

    /// Number of weights: floats, and integers of up to 32 bits that stand for floats. Scales, zero points, texts, truth
    /// values, and integers that are shapes or indices are left out; a value that a node packs counts as often as it holds
    /// weights.
    fn n_parameters(&self, tensors: &[OnnxTensor]) -> u64 {
        let count = |tensor: &OnnxTensor| {
            let name = tensor.name.as_str();
            if let (true, Some(n)) = (tensor.is_initializer, self.blocks.get(name)) {
                return *n;
            }
            if self.helpers.contains(name) {
                return 0;
            }
            // Two weights of four bits in a byte.
            let n_packed = self.packed.get(name).filter(|_| tensor.dtype.bits() == 8).copied().unwrap_or(1);
            let is_weight = match tensor.dtype {
                OnnxDType::I32 => self.quantized.contains(name),
                OnnxDType::I64 | OnnxDType::U64 | OnnxDType::U32 | OnnxDType::Bool | OnnxDType::String => false,
                _ => true,
            };
            if is_weight { tensor.n_elements.saturating_mul(n_packed) } else { 0 }
        };
        tensors.iter().map(count).fold(0, u64::saturating_add)
    }
}
