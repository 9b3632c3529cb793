//! `config.json` of an MLX folder.

use serde_json::{Map, Value, json};

use crate::format::folder_files::{plain_config, pretty_json};
use crate::format::planned::PlannedFile;
use crate::quant::mlx::Mode;

/// `config.json` with the modes: `usual` for all matrices except those in `others`, which are paths with modes of their own.
/// Without a usual mode, the weights are not quantized.
///
/// Never `None` in practice: there is no value in it that JSON cannot hold.
#[must_use]
pub fn config_file(config: &Map<String, Value>, usual: Option<Mode>, others: &[(&str, Mode)]) -> Option<PlannedFile> {
    let mut config = plain_config(config);
    if let Some(usual) = usual {
        let Value::Object(mut quantization) = entry(usual) else { return None };
        quantization.extend(others.iter().map(|&(path, mode)| (path.to_string(), entry(mode))));
        for key in ["quantization", "quantization_config"] {
            config.insert(key.into(), Value::Object(quantization.clone()));
        }
    }
    Some(PlannedFile::whole("config.json", pretty_json(&Value::Object(config))?))
}

fn entry(mode: Mode) -> Value {
    json!({ "group_size": mode.group_len(), "bits": mode.bits(), "mode": mode.name() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::mlx::Affine;

    fn mode(bits: u8) -> Mode {
        Mode::Affine(Affine::new(bits, 64).unwrap())
    }

    #[test]
    fn the_configuration_tells_the_modes() {
        let config = json!({ "model_type": "llama", "_name_or_path": "x", "quantization_config": { "quant_method": "fp8" } });
        let config = config.as_object().unwrap();
        let file = |usual, others: &[(&str, Mode)]| -> Value {
            serde_json::from_slice(&config_file(config, usual, others).unwrap().head).unwrap()
        };
        assert_eq!(file(None, &[]), json!({ "model_type": "llama" }));
        let expected = json!({
            "group_size": 64, "bits": 4, "mode": "affine",
            "lm_head": { "group_size": 64, "bits": 8, "mode": "affine" },
        });
        let found = file(Some(mode(4)), &[("lm_head", mode(8))]);
        assert_eq!((&found["quantization"], &found["quantization_config"]), (&expected, &expected));
    }
}
