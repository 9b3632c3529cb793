//! A folder that mlx-lm loads: safetensors files, an index, `config.json`, a model card, and files copied from the checkpoint.
//!
//! Source: `save_model`, `save_config` and `make_shards` in `mlx_lm/utils.py`, mlx-lm 0.32.2; MLX does not care about the order
//! of the tensors in a file.

mod layout;
mod side_files;

pub use layout::{Arranged, arranged};
pub use side_files::{SideFiles, config_file, model_card, read_side_files};
