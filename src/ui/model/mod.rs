//! The Model page: what was opened, what can be done with it, and its insides.

pub mod checkpoint_view;
#[cfg(test)]
pub mod checkpoint_view_tests;
pub mod metadata_table;
pub mod onnx_view;
#[cfg(test)]
mod onnx_view_tests;
pub mod origin_view;
pub mod page;
#[cfg(test)]
mod page_tests;
pub mod preflight;
pub mod tensor_table;
