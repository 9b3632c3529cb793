//! Small ONNX models for tests.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::proto::attribute_proto::AttributeType;
use super::proto::tensor_shape_proto::{Dimension, dimension};
use super::proto::type_proto::{Tensor, Value};
use super::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto,
};
use super::to_bytes;
use crate::model::OnnxDType;

/// A model around a graph.
pub(super) fn model(graph: GraphProto) -> ModelProto {
    ModelProto {
        ir_version: Some(8),
        producer_name: Some("planish tests".into()),
        graph: Some(graph),
        opset_import: vec![OperatorSetIdProto { domain: None, version: Some(17) }],
        ..ModelProto::default()
    }
}

/// `x[batch, 3] · w[3, 2] + b[2] = y[batch, 2]`.
pub(super) fn small_graph() -> GraphProto {
    GraphProto {
        name: Some("small".into()),
        node: vec![node("MatMul", &["x", "w"], "product"), node("Add", &["product", "b"], "y")],
        initializer: vec![
            raw("w", OnnxDType::F32, &[3, 2], &[0; 24]),
            TensorProto { float_data: vec![1.0, 2.0], ..tensor("b", OnnxDType::F32, &[2]) },
        ],
        input: vec![value("x", OnnxDType::F32, &[-1, 3])],
        output: vec![value("y", OnnxDType::F32, &[-1, 2])],
        ..GraphProto::default()
    }
}

/// A node with one output.
pub(super) fn node(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: Some(operator.into()),
        input: inputs.iter().map(ToString::to_string).collect(),
        output: vec![output.into()],
        ..NodeProto::default()
    }
}

/// An attribute that is a whole number.
pub(super) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: Some(name.into()),
        i: Some(value),
        r#type: Some(AttributeType::Int as i32),
        ..AttributeProto::default()
    }
}

/// An attribute that is a graph.
pub(super) fn inner(name: &str, graph: GraphProto) -> AttributeProto {
    let kind = Some(AttributeType::Graph as i32);
    AttributeProto { name: Some(name.into()), g: Some(Box::new(graph)), r#type: kind, ..AttributeProto::default() }
}

/// A tensor without data.
pub(super) fn tensor(name: &str, dtype: OnnxDType, shape: &[i64]) -> TensorProto {
    TensorProto { name: Some(name.into()), data_type: Some(dtype.id()), dims: shape.to_vec(), ..TensorProto::default() }
}

/// A tensor with raw data.
pub(super) fn raw(name: &str, dtype: OnnxDType, shape: &[i64], data: &[u8]) -> TensorProto {
    TensorProto { raw_data: Some(Bytes::copy_from_slice(data)), ..tensor(name, dtype, shape) }
}

/// An input or output; -1 is a length with the name `batch`.
pub(super) fn value(name: &str, dtype: OnnxDType, shape: &[i64]) -> ValueInfoProto {
    let dim = |&len: &i64| {
        let value = if len < 0 { dimension::Value::DimParam("batch".into()) } else { dimension::Value::DimValue(len) };
        Dimension { value: Some(value), denotation: None }
    };
    let shape = Some(TensorShapeProto { dim: shape.iter().map(dim).collect() });
    let tensor = Value::TensorType(Tensor { elem_type: Some(dtype.id()), shape });
    ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(TypeProto { value: Some(tensor), denotation: None }),
        ..ValueInfoProto::default()
    }
}

/// Writes a model as `model.onnx` of a folder.
pub(super) fn write(folder: &Path, model: &ModelProto) -> PathBuf {
    let path = folder.join("model.onnx");
    std::fs::write(&path, to_bytes(model, &path).unwrap()).unwrap();
    path
}

/// Writes the small model as `model.onnx` of a folder.
pub(crate) fn write_small(folder: &Path) -> PathBuf {
    write(folder, &model(small_graph()))
}
