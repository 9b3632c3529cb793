//! A folder that mlx-lm loads: weights in safetensors files, an index, `config.json`, and what was taken over from the checkpoint.
//!
//! Source: `save_model`, `save_config` and `make_shards` in `mlx_lm/utils.py`, mlx-lm 0.32.2; of an order of the tensors in a file MLX
//! takes no notice.

mod layout;
mod side_files;

pub use layout::{Arranged, arranged};
pub use side_files::{SideFiles, config_file, model_card, read_side_files};
