//! Drawing. Pages read `Store`, edit `Form` and push `Command`s; they do no I/O, start no work and wait for nothing.

pub mod bars;
mod candidate_table;
mod compare_page;
mod compare_table;
pub mod glossary;
mod goal_strip;
pub mod icons;
mod optimize_page;
mod pair;
mod plan_page;
mod plot_style;
mod plots;
mod queue;
mod sorting;
pub mod theme;
mod tree_view;
pub mod widgets;

#[cfg(test)]
mod page_tests;
#[cfg(test)]
pub mod test_support;

pub use compare_page::compare_page_ui;
pub use optimize_page::optimize_page_ui;
pub use plan_page::plan_page_ui;
