//! RoPE scaling that becomes a tensor.

use super::keys::Rope;

/// Refuses kinds of scaling that the architecture's table does not carry over: without it the model would be wrong at long contexts.
///
/// # Errors
/// The kind.
pub fn check_kind(rope: &Rope, known: &[&str]) -> Result<(), String> {
    match rope.kind() {
        "" | "default" => Ok(()),
        kind if known.contains(&kind) => Ok(()),
        kind => Err(format!("RoPE scaling of the kind {} is not known for this architecture", kind.escape_debug())),
    }
}

/// What each frequency is divided by with `rope_type` `llama3`; `None` for other kinds. `head_dim / 2` numbers.
///
/// Wavelengths up to `original / high_freq_factor` stay, those from `original / low_freq_factor` on are stretched by `factor`, and between
/// them `1 / ((1 - s) / factor + s)` with `s` falling from 1 to 0.
///
/// Source: `LlamaModel.generate_extra_tensors` in `conversion/llama.py`, llama.cpp of 2026-08-21. The frequencies are f32 there, the rest
/// is computed in f64.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "as the source rounds")]
pub fn llama3_factors(rope: &Rope, head_dim: u64) -> Option<Vec<f32>> {
    if !rope.kind().eq_ignore_ascii_case("llama3") {
        return None;
    }
    let number = |key: &str, default: f64| rope.float(key).unwrap_or(default);
    let base = number("rope_theta", 10_000.0);
    let (factor, low, high) = (number("factor", 8.0), number("low_freq_factor", 1.0), number("high_freq_factor", 4.0));
    let original = number("original_max_position_embeddings", 8192.0);
    let factor_of = |idx: u64| {
        let exponent = (2 * idx) as f32 / head_dim as f32;
        let frequency = 1.0 / (base as f32).powf(exponent);
        let wavelength = f64::from(2.0 * std::f32::consts::PI / frequency);
        if wavelength < original / high {
            1.0
        } else if wavelength > original / low {
            factor
        } else {
            let smooth = (original / wavelength - low) / (high - low);
            1.0 / ((1.0 - smooth) / factor + smooth)
        }
    };
    Some((0..head_dim / 2).map(|idx| factor_of(idx) as f32).collect())
}
