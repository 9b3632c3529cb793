//! What belongs to the open model and several pages show: what is known of it, its files, and what is computed of both.

pub mod delete_view;
pub mod facts;
pub mod known_view;
