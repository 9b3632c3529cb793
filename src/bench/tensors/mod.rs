//! How far weights are from those of the source, tensor by tensor.

pub mod difference;
pub mod tensor_error;
#[cfg(test)]
pub(crate) mod tensor_error_tests;
pub(crate) mod tensor_pieces;
pub(crate) mod weight_sums;
