//! Small ONNX models that a fuzzer starts from.

use planish::format::onnx::proto::tensor_shape_proto::{Dimension, dimension};
use planish::format::onnx::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, SparseTensorProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};
use planish::format::onnx::set_external;

use super::ONNX_WEIGHTS;

/// A model with every kind of message: a branch, a function, weights of several kinds in several places, types of inputs; and one without.
pub fn models() -> [ModelProto; 2] {
    let opset = |domain: &str, version| OperatorSetIdProto { domain: text(domain), version: Some(version) };
    let function = FunctionProto {
        name: text("F"),
        domain: text("own"),
        input: vec!["a".into()],
        output: vec!["b".into()],
        node: vec![node("Relu", &["a"], "b")],
        ..FunctionProto::default()
    };
    let model = ModelProto {
        ir_version: Some(10),
        producer_name: text("seed"),
        graph: Some(graph()),
        functions: vec![function],
        opset_import: vec![opset("", 21), opset("own", 1)],
        ..ModelProto::default()
    };
    let small = ModelProto { functions: Vec::new(), graph: Some(GraphProto::default()), ..model.clone() };
    [model, small]
}

#[allow(clippy::unnecessary_wraps, reason = "fields are optional")]
fn text(text: &str) -> Option<String> {
    Some(text.to_string())
}

fn node(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: text(operator),
        input: inputs.iter().map(ToString::to_string).collect(),
        output: vec![output.into()],
        ..NodeProto::default()
    }
}

fn tensor(name: &str, data_type: i32, dims: &[i64]) -> TensorProto {
    TensorProto { name: text(name), data_type: Some(data_type), dims: dims.to_vec(), ..TensorProto::default() }
}

fn value(name: &str, kind: &TypeProto) -> ValueInfoProto {
    ValueInfoProto { name: text(name), r#type: Some(kind.clone()), ..ValueInfoProto::default() }
}

fn graph() -> GraphProto {
    let dim = |value| Dimension { value: Some(value), denotation: None };
    let shape = vec![dim(dimension::Value::DimParam("n".into())), dim(dimension::Value::DimValue(2))];
    let kind = type_proto::Tensor { elem_type: Some(1), shape: Some(TensorShapeProto { dim: shape }) };
    let kind = TypeProto { value: Some(type_proto::Value::TensorType(kind)), denotation: None };
    let sequence = type_proto::Sequence { elem_type: Some(Box::new(kind.clone())) };
    let sequence = TypeProto { value: Some(type_proto::Value::SequenceType(Box::new(sequence))), denotation: None };
    let branch =
        GraphProto { node: vec![node("Relu", &["x"], "inside")], output: vec![value("inside", &kind)], ..GraphProto::default() };
    let branch =
        AttributeProto { name: text("then_branch"), g: Some(Box::new(branch)), r#type: Some(5), ..AttributeProto::default() };
    let constant = TensorProto { int64_data: vec![1, 300], ..tensor("", 7, &[2]) };
    let constant =
        AttributeProto { name: text("value"), t: Some(Box::new(constant)), r#type: Some(4), ..AttributeProto::default() };
    GraphProto {
        name: text("seed"),
        node: vec![
            node("MatMul", &["x", "w"], "p"),
            NodeProto { attribute: vec![branch], ..node("If", &["p"], "q") },
            NodeProto { attribute: vec![constant], ..node("Constant", &[], "c") },
            NodeProto { domain: text("own"), ..node("F", &["q"], "y") },
        ],
        initializer: initializers(),
        sparse_initializer: vec![SparseTensorProto {
            values: Some(TensorProto { float_data: vec![1.0], ..tensor("s", 1, &[1]) }),
            indices: Some(TensorProto { int64_data: vec![3], ..tensor("", 7, &[1]) }),
            dims: vec![2, 2],
        }],
        input: vec![value("x", &kind), value("list", &sequence)],
        output: vec![value("y", &kind)],
        ..GraphProto::default()
    }
}

/// Raw data, numbers of four bits, a text, and data in another file.
fn initializers() -> Vec<TensorProto> {
    let mut external = tensor("e", 2, &[8]);
    set_external(&mut external, ONNX_WEIGHTS, 8, 8);
    vec![
        TensorProto { raw_data: Some(vec![0; 16].into()), ..tensor("w", 1, &[2, 2]) },
        TensorProto { int32_data: vec![0x21, 3], ..tensor("i", 22, &[3]) },
        TensorProto { string_data: vec!["word".into()], ..tensor("t", 8, &[1]) },
        external,
    ]
}
