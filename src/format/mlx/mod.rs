//! A folder that mlx-lm loads: safetensors files, an index, `config.json`, a model card, and files copied from the checkpoint.
//!
//! Source: `save_model`, `save_config` and `make_shards` in `mlx_lm/utils.py`, mlx-lm 0.32.2; MLX does not care about the order
//! of the tensors in a file.

mod config_file;
mod layout;

pub use config_file::config_file;
pub use layout::{Arranged, arranged};
