//! What the model sees: the texts it runs over, and what is collected on them: importances of columns, and second moments.

pub mod costs;
pub mod imatrix;
pub mod moments;
pub mod text;
pub mod text_kind;
mod type_errors;
