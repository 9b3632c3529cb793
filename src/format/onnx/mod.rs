//! ONNX files: protocol buffers with the graph of a network and its weights, or with references to files that hold the weights.

pub mod language;
#[rustfmt::skip]
pub mod proto;

use prost::Message;

/// The bytes of a file.
#[must_use]
pub fn to_bytes(model: &proto::ModelProto) -> Vec<u8> {
    model.encode_to_vec()
}
