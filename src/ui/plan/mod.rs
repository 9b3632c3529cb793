//! The Plan page: the goal, the taken path, the recommendation and all candidates.

pub mod bar;
pub mod candidate_table;
pub mod goal_strip;
pub mod page;
pub mod path_text;
pub mod tree_view;
