//! The messages and fields of onnx.proto as a table: what `wire` walks by. A test compares it with `assets/onnx/onnx.proto`.

use std::mem::size_of;

use super::proto;

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An integer of variable length; an enumeration too. Decoded, it takes this many bytes.
    Int(u64),
    /// Four bytes.
    Float,
    /// Eight bytes.
    Double,
    /// Text in UTF-8, which is copied when it is decoded.
    Text,
    /// Bytes, which stay where they are.
    Bytes,
    /// A message.
    Message(Message),
}

/// A field of a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    /// Its number, from 1.
    pub(super) number: u32,
    /// Its name in onnx.proto.
    pub(super) name: &'static str,
    /// What it holds.
    pub(super) kind: Kind,
    /// True for a list.
    pub(super) is_repeated: bool,
}

impl Field {
    /// Bytes that one element of a list takes when it is decoded, without what it points to.
    pub(super) fn element_bytes(&self) -> u64 {
        let n_bytes = match self.kind {
            Kind::Int(width) => return width,
            Kind::Float => 4,
            Kind::Double => 8,
            Kind::Text => size_of::<String>(),
            Kind::Bytes => size_of::<bytes::Bytes>(),
            Kind::Message(message) => message.decoded_bytes(),
        };
        n_bytes as u64
    }
}

/// A field that occurs once at most.
const fn one(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, is_repeated: false }
}

/// A field that is a list.
const fn list(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, is_repeated: true }
}

macro_rules! messages {
    ($($message:ident $name:literal $rust:ty { $($many:ident $number:literal $field:literal $kind:expr;)* })*) => {
        /// A message of onnx.proto.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Message { $($message),* }

        impl Message {
            /// All messages.
            #[cfg(test)]
            pub(super) const ALL: &[Self] = &[$(Self::$message),*];

            /// Its name in onnx.proto, that of the message around it included.
            pub(super) const fn name(self) -> &'static str {
                match self { $(Self::$message => $name),* }
            }

            /// Bytes that it takes when it is decoded, without what it points to.
            const fn decoded_bytes(self) -> usize {
                match self { $(Self::$message => size_of::<$rust>()),* }
            }

            /// Its fields.
            pub(super) const fn fields(self) -> &'static [Field] {
                match self { $(Self::$message => const { &[$($many($number, $field, $kind)),*] }),* }
            }
        }
    };
}

use Kind::{Bytes, Double, Float, Text};
use Message as M;

const INT32: Kind = Kind::Int(4);
const INT64: Kind = Kind::Int(8);
/// A message in a field.
const fn of(message: Message) -> Kind {
    Kind::Message(message)
}

messages! {
    Model "ModelProto" proto::ModelProto {
        one 1 "ir_version" INT64;
        list 8 "opset_import" of(M::OperatorSetId);
        one 2 "producer_name" Text;
        one 3 "producer_version" Text;
        one 4 "domain" Text;
        one 5 "model_version" INT64;
        one 6 "doc_string" Text;
        one 7 "graph" of(M::Graph);
        list 14 "metadata_props" of(M::Entry);
        list 20 "training_info" of(M::TrainingInfo);
        list 25 "functions" of(M::Function);
        list 26 "configuration" of(M::DeviceConfiguration);
    }
    Graph "GraphProto" proto::GraphProto {
        list 1 "node" of(M::Node);
        one 2 "name" Text;
        list 5 "initializer" of(M::Tensor);
        list 15 "sparse_initializer" of(M::SparseTensor);
        one 10 "doc_string" Text;
        list 11 "input" of(M::ValueInfo);
        list 12 "output" of(M::ValueInfo);
        list 13 "value_info" of(M::ValueInfo);
        list 14 "quantization_annotation" of(M::TensorAnnotation);
        list 16 "metadata_props" of(M::Entry);
    }
    Node "NodeProto" proto::NodeProto {
        list 1 "input" Text;
        list 2 "output" Text;
        one 3 "name" Text;
        one 4 "op_type" Text;
        one 7 "domain" Text;
        one 8 "overload" Text;
        list 5 "attribute" of(M::Attribute);
        one 6 "doc_string" Text;
        list 9 "metadata_props" of(M::Entry);
        list 10 "device_configurations" of(M::NodeDeviceConfiguration);
    }
    Attribute "AttributeProto" proto::AttributeProto {
        one 1 "name" Text;
        one 21 "ref_attr_name" Text;
        one 13 "doc_string" Text;
        one 20 "type" INT32;
        one 2 "f" Float;
        one 3 "i" INT64;
        one 4 "s" Bytes;
        one 5 "t" of(M::Tensor);
        one 6 "g" of(M::Graph);
        one 22 "sparse_tensor" of(M::SparseTensor);
        one 14 "tp" of(M::Type);
        list 7 "floats" Float;
        list 8 "ints" INT64;
        list 9 "strings" Bytes;
        list 10 "tensors" of(M::Tensor);
        list 11 "graphs" of(M::Graph);
        list 23 "sparse_tensors" of(M::SparseTensor);
        list 15 "type_protos" of(M::Type);
    }
    ValueInfo "ValueInfoProto" proto::ValueInfoProto {
        one 1 "name" Text;
        one 2 "type" of(M::Type);
        one 3 "doc_string" Text;
        list 4 "metadata_props" of(M::Entry);
    }
    IntIntListEntry "IntIntListEntryProto" proto::IntIntListEntryProto {
        one 1 "key" INT64;
        list 2 "value" INT64;
    }
    NodeDeviceConfiguration "NodeDeviceConfigurationProto" proto::NodeDeviceConfigurationProto {
        one 1 "configuration_id" Text;
        list 2 "sharding_spec" of(M::ShardingSpec);
        one 3 "pipeline_stage" INT32;
    }
    ShardingSpec "ShardingSpecProto" proto::ShardingSpecProto {
        one 1 "tensor_name" Text;
        list 2 "device" INT64;
        list 3 "index_to_device_group_map" of(M::IntIntListEntry);
        list 4 "sharded_dim" of(M::ShardedDim);
    }
    ShardedDim "ShardedDimProto" proto::ShardedDimProto {
        one 1 "axis" INT64;
        list 2 "simple_sharding" of(M::SimpleShardedDim);
    }
    SimpleShardedDim "SimpleShardedDimProto" proto::SimpleShardedDimProto {
        one 1 "dim_value" INT64;
        one 2 "dim_param" Text;
        one 3 "num_shards" INT64;
    }
    TrainingInfo "TrainingInfoProto" proto::TrainingInfoProto {
        one 1 "initialization" of(M::Graph);
        one 2 "algorithm" of(M::Graph);
        list 3 "initialization_binding" of(M::Entry);
        list 4 "update_binding" of(M::Entry);
    }
    DeviceConfiguration "DeviceConfigurationProto" proto::DeviceConfigurationProto {
        one 1 "name" Text;
        one 2 "num_devices" INT32;
        list 3 "device" Text;
    }
    Entry "StringStringEntryProto" proto::StringStringEntryProto {
        one 1 "key" Text;
        one 2 "value" Text;
    }
    TensorAnnotation "TensorAnnotation" proto::TensorAnnotation {
        one 1 "tensor_name" Text;
        list 2 "quant_parameter_tensor_names" of(M::Entry);
    }
    Tensor "TensorProto" proto::TensorProto {
        list 1 "dims" INT64;
        one 2 "data_type" INT32;
        one 3 "segment" of(M::Segment);
        list 4 "float_data" Float;
        list 5 "int32_data" INT32;
        list 6 "string_data" Bytes;
        list 7 "int64_data" INT64;
        one 8 "name" Text;
        one 12 "doc_string" Text;
        one 9 "raw_data" Bytes;
        list 13 "external_data" of(M::Entry);
        one 14 "data_location" INT32;
        list 10 "double_data" Double;
        list 11 "uint64_data" INT64;
        list 16 "metadata_props" of(M::Entry);
    }
    Segment "TensorProto.Segment" proto::tensor_proto::Segment {
        one 1 "begin" INT64;
        one 2 "end" INT64;
    }
    SparseTensor "SparseTensorProto" proto::SparseTensorProto {
        one 1 "values" of(M::Tensor);
        one 2 "indices" of(M::Tensor);
        list 3 "dims" INT64;
    }
    Shape "TensorShapeProto" proto::TensorShapeProto {
        list 1 "dim" of(M::Dimension);
    }
    Dimension "TensorShapeProto.Dimension" proto::tensor_shape_proto::Dimension {
        one 1 "dim_value" INT64;
        one 2 "dim_param" Text;
        one 3 "denotation" Text;
    }
    Type "TypeProto" proto::TypeProto {
        one 1 "tensor_type" of(M::TypeTensor);
        one 4 "sequence_type" of(M::TypeSequence);
        one 5 "map_type" of(M::TypeMap);
        one 9 "optional_type" of(M::TypeOptional);
        one 8 "sparse_tensor_type" of(M::TypeSparseTensor);
        one 7 "opaque_type" of(M::TypeOpaque);
        one 6 "denotation" Text;
    }
    TypeTensor "TypeProto.Tensor" proto::type_proto::Tensor {
        one 1 "elem_type" INT32;
        one 2 "shape" of(M::Shape);
    }
    TypeSequence "TypeProto.Sequence" proto::type_proto::Sequence {
        one 1 "elem_type" of(M::Type);
    }
    TypeMap "TypeProto.Map" proto::type_proto::Map {
        one 1 "key_type" INT32;
        one 2 "value_type" of(M::Type);
    }
    TypeOptional "TypeProto.Optional" proto::type_proto::Optional {
        one 1 "elem_type" of(M::Type);
    }
    TypeSparseTensor "TypeProto.SparseTensor" proto::type_proto::SparseTensor {
        one 1 "elem_type" INT32;
        one 2 "shape" of(M::Shape);
    }
    TypeOpaque "TypeProto.Opaque" proto::type_proto::Opaque {
        one 1 "domain" Text;
        one 2 "name" Text;
    }
    OperatorSetId "OperatorSetIdProto" proto::OperatorSetIdProto {
        one 1 "domain" Text;
        one 2 "version" INT64;
    }
    Function "FunctionProto" proto::FunctionProto {
        one 1 "name" Text;
        list 4 "input" Text;
        list 5 "output" Text;
        list 6 "attribute" Text;
        list 11 "attribute_proto" of(M::Attribute);
        list 7 "node" of(M::Node);
        one 8 "doc_string" Text;
        list 9 "opset_import" of(M::OperatorSetId);
        one 10 "domain" Text;
        one 13 "overload" Text;
        list 12 "value_info" of(M::ValueInfo);
        list 14 "metadata_props" of(M::Entry);
    }
}

/// One more than the largest number of a known field.
pub(super) const N_NUMBERS: usize = 32;

impl Message {
    /// The field with this number; `None` for one that onnx.proto does not define.
    pub(super) fn field(self, number: u32) -> Option<&'static Field> {
        self.fields().iter().find(|field| field.number == number)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const SOURCE: &str = include_str!("../../../assets/onnx/onnx.proto");
    /// Messages that are defined inside another one.
    const INNER: [&str; 8] = ["Segment", "Dimension", "Tensor", "Sequence", "Map", "Optional", "SparseTensor", "Opaque"];

    /// `MESSAGE.FIELD = NUMBER KIND`, with `[]` for lists, of every field in onnx.proto.
    fn fields_of_source() -> BTreeSet<String> {
        let (mut around, mut fields): (Vec<(&str, &str)>, _) = (Vec::new(), BTreeSet::new());
        for line in SOURCE.lines() {
            let line = line.split("//").next().unwrap().replace(';', " ");
            let words: Vec<&str> = line.split_whitespace().collect();
            let (is_list, kind, name, number) = match words.as_slice() {
                ["message", name, "{"] => {
                    let name = SOURCE.split_whitespace().find(|word| word == name).unwrap();
                    around.push(("message", name));
                    continue;
                }
                ["enum", _, "{"] => {
                    around.push(("enum", ""));
                    continue;
                }
                ["oneof", _, "{"] => {
                    around.push(("oneof", ""));
                    continue;
                }
                ["}", ..] => {
                    around.pop().unwrap();
                    continue;
                }
                [many @ ("optional" | "repeated"), kind, name, "=", number, ..] => (*many == "repeated", *kind, *name, *number),
                [kind, name, "=", number] if around.last().is_some_and(|block| block.0 == "oneof") => {
                    (false, *kind, *name, *number)
                }
                _ => continue,
            };
            let names = around.iter().filter(|block| block.0 == "message").map(|block| block.1);
            let message = names.collect::<Vec<_>>().join(".");
            let kind = match kind {
                "int64" | "uint64" => "int 8".to_string(),
                "int32" | "AttributeType" | "DataLocation" => "int 4".to_string(),
                inner if INNER.contains(&inner) => format!("{message}.{inner}"),
                other => other.to_string(),
            };
            fields.insert(text(&message, name, number, &kind, is_list));
        }
        assert_eq!(around, []);
        fields
    }

    fn text(message: &str, field: &str, number: &str, kind: &str, is_list: bool) -> String {
        format!("{message}.{field} = {number} {kind}{}", if is_list { "[]" } else { "" })
    }

    #[test]
    fn the_table_has_every_field_of_the_source() {
        let mut fields = BTreeSet::new();
        for message in Message::ALL {
            for field in message.fields() {
                let kind = match field.kind {
                    Kind::Int(width) => format!("int {width}"),
                    Kind::Float => "float".into(),
                    Kind::Double => "double".into(),
                    Kind::Text => "string".into(),
                    Kind::Bytes => "bytes".into(),
                    Kind::Message(message) => message.name().into(),
                };
                fields.insert(text(message.name(), field.name, &field.number.to_string(), &kind, field.is_repeated));
                assert!((field.number as usize) < N_NUMBERS);
            }
        }
        assert_eq!(fields, fields_of_source());
        assert_eq!(fields.len(), 134);
    }
}
