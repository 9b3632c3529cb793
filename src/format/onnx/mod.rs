//! ONNX files: protocol buffers with the graph of a network and its weights, or with references to files that hold the weights.

#[rustfmt::skip]
pub mod proto;
