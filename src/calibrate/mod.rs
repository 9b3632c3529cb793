//! What the model sees: the texts it runs over, and the importances that are collected on them.

pub mod imatrix;
pub mod text;
