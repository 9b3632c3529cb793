//! Predicted and measured side by side: the rows of a comparison, what they say, and what they teach.

pub(crate) mod choice;
pub(crate) mod compare;
pub(crate) mod headline;
pub mod pair;
pub(crate) mod teaching;
