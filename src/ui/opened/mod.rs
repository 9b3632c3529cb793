//! What several pages show of the open model: what is known of it, its files, and what is computed from both.

pub mod delete_view;
pub mod facts;
pub mod known_view;
