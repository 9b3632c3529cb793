//! The Optimize page: levels, recipes, importance matrix, and where the files go.

pub mod bar;
pub mod batch;
pub mod budget_view;
pub mod existing_view;
pub mod gates_view;
pub mod imatrix_view;
#[cfg(test)]
mod imatrix_view_tests;
pub mod level_cards;
pub mod method_view;
pub mod more_bits_view;
pub mod page;
pub mod recipe_data;
pub mod recipe_table;
pub mod recipe_view;
#[cfg(test)]
mod recipe_view_tests;
