//! Work in progress: the queue, and the bar below a page.

pub mod page_bar;
pub mod queue;
pub mod titles;
