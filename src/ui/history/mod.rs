//! The last tab of Compare: what earlier measurements said.

pub mod comparison;
pub mod savings_view;
pub mod table;
pub mod view;
#[cfg(test)]
mod view_tests;
