//! How much a network computes, where its file states the shapes.

use std::collections::HashMap;

use super::network::whole;
use super::proto::tensor_shape_proto::dimension;
use super::proto::type_proto::Value;
use super::proto::{GraphProto, NodeProto, TypeProto};
use crate::model::MultiplyAdds;

/// Operators whose output has the shape of their first input.
const SAME_SHAPE: [&str; 22] = [
    "QuantizeLinear",
    "DequantizeLinear",
    "Identity",
    "Cast",
    "Relu",
    "LeakyRelu",
    "PRelu",
    "Elu",
    "Gelu",
    "Clip",
    "Sigmoid",
    "HardSigmoid",
    "HardSwish",
    "Tanh",
    "Erf",
    "Sqrt",
    "Softmax",
    "LogSoftmax",
    "BatchNormalization",
    "InstanceNormalization",
    "LayerNormalization",
    "Dropout",
];
/// Operators that multiply matrices and whose sizes are not derived here.
const NOT_DERIVED: [&str; 8] = [
    "Attention",
    "MultiHeadAttention",
    "GroupQueryAttention",
    "Einsum",
    "QAttention",
    "QLinearConvTranspose",
    "DeformConv",
    "FusedMatMul",
];

/// Multiply-adds of one run, for the shapes that the file states.
///
/// Only products of matrices, convolutions and recurrent layers count. Those inside branches and loops are not counted but
/// told.
pub(super) fn multiply_adds(graph: &GraphProto) -> MultiplyAdds {
    let mut shapes = stated_shapes(graph);
    let mut found = MultiplyAdds::default();
    let mut n_total = Some(0_u64);
    for node in &graph.node {
        if SAME_SHAPE.contains(&node.op_type())
            && let (Some(input), Some(output)) = (node.input.first(), node.output.first())
            && let Some(shape) = shapes.get(input.as_str()).cloned()
        {
            shapes.entry(output).or_insert(shape);
        }
        match product(node, &shapes) {
            Product::None => {}
            Product::Known(n) => {
                found.n_nodes += 1;
                n_total = n_total.and_then(|sum| sum.checked_add(n));
            }
            Product::Unknown => {
                found.n_nodes += 1;
                found.n_unknown += 1;
            }
        }
        let inner = node.attribute.iter().flat_map(|attribute| attribute.g.as_deref().into_iter().chain(&attribute.graphs));
        let n_inner: u64 = inner.map(n_products).sum();
        found.n_nodes += n_inner;
        found.n_unknown += n_inner;
    }
    found.n_total = n_total.filter(|_| found.n_unknown == 0);
    found
}

/// Number of products in a graph and those inside it.
fn n_products(graph: &GraphProto) -> u64 {
    let of_node = |node: &NodeProto| {
        let inner = node.attribute.iter().flat_map(|attribute| attribute.g.as_deref().into_iter().chain(&attribute.graphs));
        u64::from(!matches!(product(node, &HashMap::new()), Product::None)) + inner.map(n_products).sum::<u64>()
    };
    graph.node.iter().map(of_node).sum()
}

/// All shapes without open lengths that a graph states, by the names of the values.
fn stated_shapes(graph: &GraphProto) -> HashMap<&str, Vec<u64>> {
    let mut shapes = HashMap::new();
    for value in graph.input.iter().chain(&graph.output).chain(&graph.value_info) {
        if let Some(shape) = value.r#type.as_ref().and_then(fixed_shape) {
            shapes.insert(value.name(), shape);
        }
    }
    // Some programs write weights as the values of nodes.
    let constants = graph.node.iter().filter(|node| node.op_type() == "Constant").filter_map(|node| {
        let tensor = node.attribute.iter().find_map(|attribute| attribute.t.as_deref())?;
        Some((node.output.first()?.as_str(), tensor))
    });
    for (name, tensor) in graph.initializer.iter().map(|tensor| (tensor.name(), tensor)).chain(constants) {
        if let Some(shape) = tensor.dims.iter().map(|&dim| u64::try_from(dim).ok()).collect() {
            shapes.insert(name, shape);
        }
    }
    shapes
}

fn fixed_shape(kind: &TypeProto) -> Option<Vec<u64>> {
    let Some(Value::TensorType(tensor)) = &kind.value else { return None };
    let len = |dim: &super::proto::tensor_shape_proto::Dimension| match dim.value {
        Some(dimension::Value::DimValue(len)) => u64::try_from(len).ok(),
        _ => None,
    };
    tensor.shape.as_ref()?.dim.iter().map(len).collect()
}

enum Product {
    /// The node multiplies no matrices.
    None,
    /// Multiply-adds.
    Known(u64),
    /// Some shape is not known.
    Unknown,
}

/// Source of the operands' order and shapes: docs/Operators.md of <https://github.com/onnx/onnx> and docs/ContribOperators.md
/// of <https://github.com/microsoft/onnxruntime>.
fn product(node: &NodeProto, shapes: &HashMap<&str, Vec<u64>>) -> Product {
    let input = |idx: usize| node.input.get(idx).and_then(|name| shapes.get(name.as_str())).map(Vec::as_slice);
    let output = || node.output.first().and_then(|name| shapes.get(name.as_str())).map(Vec::as_slice);
    // An output element of a convolution is a product of one filter: W[M, C / group, kernel…].
    let filter = |weights: Option<&[u64]>| elements(weights?.get(1..)?);
    let n = match node.op_type() {
        "Conv" | "ConvInteger" | "FusedConv" | "NhwcFusedConv" => {
            output().and_then(elements).and_then(|n| n.checked_mul(filter(input(1))?))
        }
        "QLinearConv" => output().and_then(elements).and_then(|n| n.checked_mul(filter(input(3))?)),
        // Each input element meets one filter W[C, M / group, kernel…].
        "ConvTranspose" => input(0).and_then(elements).and_then(|n| n.checked_mul(filter(input(1))?)),
        "MatMul" | "MatMulInteger" | "MatMulIntegerToFloat" | "DynamicQuantizeMatMul" => mat_mul(input(0), input(1)),
        "QLinearMatMul" => mat_mul(input(0), input(3)),
        "MatMulNBits" => rows(input(0)).and_then(|n| n.checked_mul(whole(node, "K")?)?.checked_mul(whole(node, "N")?)),
        "Gemm" => gemm(node, input(0), input(1)),
        // Every step multiplies its input and its state by all gates: X[steps, batch, width], W[directions, gates * hidden,
        // width].
        "LSTM" | "GRU" | "RNN" => recurrent(input(0), input(1), input(2)),
        other if NOT_DERIVED.contains(&other) => None,
        _ => return Product::None,
    };
    n.map_or(Product::Unknown, Product::Known)
}

fn elements(shape: &[u64]) -> Option<u64> {
    super::tensor::element_count(shape)
}

/// Product of all dimensions but the last.
fn rows(shape: Option<&[u64]>) -> Option<u64> {
    let (_, rows) = shape?.split_last()?;
    elements(rows)
}

/// `a[…, M, K]` times `b[…, K, N]`, with broadcast dimensions before.
fn mat_mul(a: Option<&[u64]>, b: Option<&[u64]>) -> Option<u64> {
    let (a, b) = (a?, b?);
    let (k, a_rest) = a.split_last()?;
    let (n, b_rest) = match b {
        [] => return None,
        [_] => (1, b),
        [.., n] => (*n, b.get(..b.len() - 1)?),
    };
    let (m, a_batch) = a_rest.split_last().map_or((1, a_rest), |(m, rest)| (*m, rest));
    let b_batch = b_rest.get(..b_rest.len().saturating_sub(1))?;
    let rank = a_batch.len().max(b_batch.len());
    let dim =
        |shape: &[u64], idx: usize| (idx + shape.len()).checked_sub(rank).and_then(|idx| shape.get(idx)).copied().unwrap_or(1);
    let mut batch = 1_u64;
    for idx in 0..rank {
        let (a, b) = (dim(a_batch, idx), dim(b_batch, idx));
        batch = batch.checked_mul(if a == 1 { b } else { a })?;
    }
    batch.checked_mul(m)?.checked_mul(*k)?.checked_mul(n)
}

/// `a[M, K]` times `b[K, N]`, each perhaps transposed.
fn gemm(node: &NodeProto, a: Option<&[u64]>, b: Option<&[u64]>) -> Option<u64> {
    let ([a0, a1], [b0, b1]) = (a?, b?) else { return None };
    let m = if whole(node, "transA") == Some(1) { a1 } else { a0 };
    let n = if whole(node, "transB") == Some(1) { b0 } else { b1 };
    let k = if whole(node, "transA") == Some(1) { a0 } else { a1 };
    m.checked_mul(*k)?.checked_mul(*n)
}

fn recurrent(x: Option<&[u64]>, w: Option<&[u64]>, r: Option<&[u64]>) -> Option<u64> {
    let [steps, batch, _] = x? else { return None };
    let weights = elements(w?)?.checked_add(elements(r?)?)?;
    steps.checked_mul(*batch)?.checked_mul(weights)
}
