//! The Compare page: the headline, plots, tables, flips, answers and tensors.

pub mod answer_pair;
pub mod answers_view;
#[cfg(test)]
pub mod answers_view_tests;
pub mod doubts_view;
pub mod error_table;
pub mod export_view;
pub mod flips_view;
pub mod gates_view;
pub mod headline_view;
#[cfg(test)]
mod headline_view_tests;
pub mod heat_map;
pub mod page;
pub mod plot_pointer;
pub mod plot_style;
pub mod plot_values;
pub mod plots;
#[cfg(test)]
mod plots_tests;
pub mod quality_view;
pub mod table;
pub mod tensors_view;
#[cfg(test)]
pub mod tensors_view_tests;
