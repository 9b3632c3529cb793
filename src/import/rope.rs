//! RoPE scaling: which kinds can be carried over, and the kind that becomes a tensor.

use super::config::Config;
use super::keys::Rope;

/// Refuses kinds of scaling that the architecture's table does not carry over: without it the model would be wrong at long contexts.
///
/// The kind `dynamic` changes nothing up to the context length of the training, so only what is beyond it is lost, with a
/// warning (`convert_hf_to_gguf.py` gives none).
///
/// # Errors
/// The kind.
pub fn check_kind(config: &Config, rope: &Rope, known: &[&str]) -> Result<(), String> {
    match rope.kind() {
        "" if rope.float("factor").is_some_and(|factor| (factor - 1.0).abs() > f64::EPSILON) => {
            Err("rope_scaling in config.json has a factor and names no kind (rope_type)".into())
        }
        "" | "default" => Ok(()),
        "dynamic" => {
            let n_ctx = config.facts.n_ctx_train;
            config.warn(format!(
                "rope_scaling of the kind dynamic is not known to llama.cpp: contexts of more than {n_ctx} tokens are not stretched"
            ));
            Ok(())
        }
        kind if known.contains(&kind) => Ok(()),
        kind => Err(format!("RoPE scaling of the kind {} is not known for this architecture", kind.escape_debug())),
    }
}

/// What each frequency is divided by with `rope_type` `llama3`; `None` for other kinds. `head_dim / 2` numbers.
///
/// Wavelengths up to `original / high_freq_factor` stay, those from `original / low_freq_factor` on are stretched by `factor`, and between
/// them `1 / ((1 - s) / factor + s)` with `s` falling from 1 to 0.
///
/// Source: `LlamaModel.generate_extra_tensors` in `conversion/llama.py`, llama.cpp of 2026-08-21. All is computed in f32 there, and a
/// number divided by a tensor is its reciprocal times the number.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "as the source rounds")]
pub fn llama3_factors(rope: &Rope, head_dim: u64) -> Option<Vec<f32>> {
    if !rope.kind().eq_ignore_ascii_case("llama3") {
        return None;
    }
    let number = |key: &str, default: f64| rope.float(key).unwrap_or(default);
    let base = number("rope_theta", 10_000.0) as f32;
    let (factor, low, high) = (number("factor", 8.0), number("low_freq_factor", 1.0), number("high_freq_factor", 4.0));
    let original = number("original_max_position_embeddings", 8192.0);
    let factor_of = |idx: u64| {
        let frequency = base.powf((2 * idx) as f32 / head_dim as f32).recip();
        let wavelength = frequency.recip() * (2.0 * std::f64::consts::PI) as f32;
        if wavelength < (original / high) as f32 {
            1.0
        } else if wavelength > (original / low) as f32 {
            factor as f32
        } else {
            let smooth = (wavelength.recip() * original as f32 - low as f32) / (high - low) as f32;
            ((1.0 - smooth) / factor as f32 + smooth).recip()
        }
    };
    Some((0..head_dim / 2).map(factor_of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rope(json: &str) -> Rope {
        Rope { full: serde_json::from_str(json).unwrap(), sliding_theta: None }
    }

    #[test]
    fn middle_frequencies_of_llama_3_are_stretched_as_torch_computes_it() {
        let check = |factor: &str, head_dim: u64, first: usize, expected: &[u32]| {
            let rope = rope(&format!(
                r#"{{"rope_type":"llama3","rope_theta":500000.0,"factor":{factor},"original_max_position_embeddings":8192}}"#
            ));
            let found: Vec<u32> = llama3_factors(&rope, head_dim).unwrap().iter().map(|factor| factor.to_bits()).collect();
            assert_eq!(found.len() as u64, head_dim / 2);
            assert_eq!(found[first - 1], 1f32.to_bits(), "the last short wave");
            assert_eq!(&found[first..first + expected.len()], expected, "{factor} {head_dim}");
            assert_eq!(found[first + expected.len()], factor.parse::<f32>().unwrap().to_bits(), "the first long wave");
        };
        check("8.0", 128, 29, &[0x3f9a_8ed5, 0x3fc6_d64a, 0x4001_af1d, 0x402c_732e, 0x406b_cace, 0x40a8_3c06]);
        check("32.0", 64, 15, &[0x3fd3_5ec2, 0x4052_b46f, 0x411a_aaee]);
        assert_eq!(llama3_factors(&rope(r#"{"rope_type":"linear","factor":2.0}"#), 64), None);
    }

    #[test]
    fn other_kinds_are_refused() {
        let facts = crate::model::CheckpointConfig { n_ctx_train: 512, ..Default::default() };
        let check = |json: &str, is_known: bool, n_warnings: usize| {
            let config = Config::of(&facts);
            assert_eq!(check_kind(&config, &rope(json), &["yarn"]).is_ok(), is_known, "{json}");
            assert_eq!(config.warnings().len(), n_warnings, "{json}");
        };
        check("{}", true, 0);
        check(r#"{"factor":2.0}"#, false, 0);
        check(r#"{"factor":1.0}"#, true, 0);
        check(r#"{"rope_type":"default"}"#, true, 0);
        check(r#"{"rope_type":"yarn"}"#, true, 0);
        check(r#"{"rope_type":"dynamic"}"#, true, 1);
        check(r#"{"rope_type":"linear"}"#, false, 0);
    }
}
