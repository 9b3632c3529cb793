//! The Machine page: what this machine is and what runs on it.

pub mod page;
