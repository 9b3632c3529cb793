//! Nodes, constants and external tensors of a graph, as they are added.

use std::collections::HashSet;

use super::layout::DATA_FILE;
use crate::format::onnx::proto::attribute_proto::AttributeType;
use crate::format::onnx::proto::tensor_proto::DataType;
use crate::format::onnx::proto::{AttributeProto, GraphProto, NodeProto, TensorProto};
use crate::format::onnx::set_external;

/// Operators outside the standard that ONNX Runtime has.
pub(super) const CONTRIB: &str = "com.microsoft";

/// The value of an attribute.
#[derive(Debug, Clone)]
pub(super) enum Attribute {
    Int(i64),
    Float(f32),
    Text(&'static str),
    Graph(Box<GraphProto>),
    Ints(Vec<i64>),
}

/// What a graph is made of so far.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    pub(super) list: Vec<NodeProto>,
    pub(super) initializers: Vec<TensorProto>,
    /// Names of initializers.
    known: HashSet<String>,
}

impl Nodes {
    /// Adds a node of the standard whose only output has this name, and returns the name.
    pub(super) fn add(
        &mut self,
        op: &str,
        inputs: &[&str],
        output: impl Into<String>,
        attributes: Vec<(&str, Attribute)>,
    ) -> String {
        let output = output.into();
        self.standard(op, inputs, &[&output], attributes);
        output
    }

    /// Adds a node of the standard.
    pub(super) fn standard(&mut self, op: &str, inputs: &[&str], outputs: &[&str], attributes: Vec<(&str, Attribute)>) {
        self.add_to("", op, inputs, outputs, attributes);
    }

    /// Adds a node of ONNX Runtime's own.
    pub(super) fn contrib(&mut self, op: &str, inputs: &[&str], outputs: &[&str], attributes: Vec<(&str, Attribute)>) {
        self.add_to(CONTRIB, op, inputs, outputs, attributes);
    }

    fn add_to(&mut self, domain: &str, op: &str, inputs: &[&str], outputs: &[&str], attributes: Vec<(&str, Attribute)>) {
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        self.list.push(NodeProto {
            input: owned(inputs),
            output: owned(outputs),
            name: outputs.first().map(|output| format!("{output}/{op}")),
            op_type: Some(op.into()),
            domain: Some(domain.into()).filter(|domain: &String| !domain.is_empty()),
            attribute: attributes.into_iter().map(|(name, value)| attribute(name, value)).collect(),
            ..NodeProto::default()
        });
    }

    /// Whole numbers, as a vector, or as a single number.
    pub(super) fn whole(&mut self, numbers: &[i64], is_single: bool) -> String {
        let list = numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join("_");
        let name = if is_single { format!("const.{list}") } else { format!("const.list.{list}") };
        let dims = if is_single { Vec::new() } else { vec![i64::try_from(numbers.len()).unwrap_or(i64::MAX)] };
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.inline(&name, DataType::Int64, dims, bytes);
        name
    }

    /// A constant whose bytes are in the graph.
    pub(super) fn inline(&mut self, name: &str, dtype: DataType, dims: Vec<i64>, bytes: Vec<u8>) {
        if self.known.insert(name.into()) {
            self.initializers.push(TensorProto {
                dims,
                data_type: Some(dtype.into()),
                name: Some(name.into()),
                raw_data: Some(bytes.into()),
                ..TensorProto::default()
            });
        }
    }

    /// A tensor whose bytes are in the data file.
    pub(super) fn external(&mut self, name: &str, dtype: DataType, dims: Vec<i64>, (offset, n_bytes): (u64, u64)) {
        if self.known.insert(name.into()) {
            let mut tensor =
                TensorProto { dims, data_type: Some(dtype.into()), name: Some(name.into()), ..TensorProto::default() };
            set_external(&mut tensor, DATA_FILE, offset, n_bytes);
            self.initializers.push(tensor);
        }
    }
}

fn attribute(name: &str, value: Attribute) -> AttributeProto {
    let of = |kind: AttributeType| AttributeProto { name: Some(name.into()), r#type: Some(kind.into()), ..Default::default() };
    match value {
        Attribute::Int(number) => AttributeProto { i: Some(number), ..of(AttributeType::Int) },
        Attribute::Float(number) => AttributeProto { f: Some(number), ..of(AttributeType::Float) },
        Attribute::Text(text) => AttributeProto { s: Some(text.as_bytes().into()), ..of(AttributeType::String) },
        Attribute::Graph(graph) => AttributeProto { g: Some(graph), ..of(AttributeType::Graph) },
        Attribute::Ints(numbers) => AttributeProto { ints: numbers, ..of(AttributeType::Ints) },
    }
}
