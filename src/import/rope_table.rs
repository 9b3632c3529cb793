//! RoPE as numbers: how far each pair of dimensions turns from one position to the next.

use super::config::Config;
use super::keys::Rope;
use super::rope::llama3_factors;
use crate::format::config_value::flag_of;
use crate::model::RopeTable;

/// The base that classes of transformers take where a configuration states none.
pub const DEFAULT_THETA: f64 = 10_000.0;
/// Turns within the original context from which on a pair keeps its frequency, and up to which it is stretched in full.
///
/// Source: `_compute_yarn_parameters` in `modeling_rope_utils.py`, transformers 4.57.6.
const YARN_BETAS: (f64, f64) = (32.0, 1.0);

/// The table of a family that knows the kinds `linear`, `yarn` and `llama3`.
///
/// The kind `dynamic` changes nothing up to the context that the model was trained for, so its table is the plain one.
pub fn rope_table(config: &Config, rope: &Rope, n_dims: u64) -> RopeTable {
    let theta = theta_of(rope);
    match (rope.kind(), rope.float("factor")) {
        ("linear", Some(factor)) => table(&inv_freqs(theta, n_dims).iter().map(|freq| freq / factor).collect::<Vec<_>>()),
        ("yarn", Some(factor)) => yarn(config, rope, theta, factor, n_dims),
        _ => match llama3_factors(rope, n_dims) {
            Some(factors) => divided_table(theta, &factors),
            None => table(&inv_freqs(theta, n_dims)),
        },
    }
}

/// The base of the layers that see the whole context.
pub fn theta_of(rope: &Rope) -> f64 {
    rope.float("rope_theta").unwrap_or(DEFAULT_THETA)
}

/// `inv_freqs` divided by factors, one for each pair.
pub fn divided_table(theta: f64, factors: &[f32]) -> RopeTable {
    let freqs = inv_freqs(theta, 2 * factors.len() as u64);
    table(&freqs.iter().zip(factors).map(|(freq, factor)| freq / f64::from(*factor)).collect::<Vec<_>>())
}

/// `theta^(-2i / n_dims)` for each pair `i`.
#[allow(clippy::cast_precision_loss, reason = "small numbers")]
pub fn inv_freqs(theta: f64, n_dims: u64) -> Vec<f64> {
    (0..n_dims / 2).map(|idx| theta.powf((2 * idx) as f64 / n_dims as f64).recip()).collect()
}

/// A table without a magnitude of its own.
#[allow(clippy::cast_possible_truncation, reason = "transformers keeps them as f32")]
pub fn table(freqs: &[f64]) -> RopeTable {
    let n_dims = 2 * freqs.len() as u64;
    RopeTable { n_dims, inv_freqs: freqs.iter().map(|&freq| freq as f32).collect(), long: None, magnitude: 1.0 }
}

/// The kind `yarn`: pairs that turn often within the original context keep their frequency, those that turn hardly at all are
/// stretched by `factor`, with a ramp between them.
///
/// Source: `_compute_yarn_parameters` in `modeling_rope_utils.py`, transformers 4.57.6; section 3.2 of arXiv:2309.00071.
#[allow(clippy::cast_precision_loss, reason = "small numbers")]
fn yarn(config: &Config, rope: &Rope, theta: f64, factor: f64, n_dims: u64) -> RopeTable {
    let known = |key: &str| rope.float(key).filter(|&number| number != 0.0);
    let original = known("original_max_position_embeddings").unwrap_or(config.facts.n_ctx_train as f64);
    let width = n_dims as f64;
    // The pair, not rounded, that turns `n_turns` times within the original context.
    let pair_of = |n_turns: f64| width * (original / (n_turns * std::f64::consts::TAU)).ln() / (2.0 * theta.ln());
    let (fast, slow) = (known("beta_fast").unwrap_or(YARN_BETAS.0), known("beta_slow").unwrap_or(YARN_BETAS.1));
    let (mut low, mut high) = (pair_of(fast), pair_of(slow));
    if rope.full.get("truncate").and_then(|flag| flag_of(flag).ok()?).unwrap_or(true) {
        (low, high) = (low.floor(), high.ceil());
    }
    (low, high) = (low.max(0.0), high.min(width - 1.0));
    // The source keeps the two apart in this way.
    let span = if (high - low).abs() < f64::EPSILON { 0.001 } else { high - low };
    let stretched = |(idx, freq): (usize, &f64)| {
        let share = ((idx as f64 - low) / span).clamp(0.0, 1.0);
        freq / factor * share + freq * (1.0 - share)
    };
    let freqs: Vec<f64> = inv_freqs(theta, n_dims).iter().enumerate().map(stretched).collect();
    RopeTable { magnitude: yarn_magnitude(rope, factor), ..table(&freqs) }
}

/// How much the kind `yarn` sharpens the attention: sine and cosine are multiplied by it.
///
/// Source: as `yarn`; the other name of the key is that of `TextModel` in `conversion/base.py`, llama.cpp of 2026-08-21.
fn yarn_magnitude(rope: &Rope, factor: f64) -> f64 {
    let of = |mscale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * mscale * factor.ln() + 1.0 };
    let known = |key: &str| rope.float(key).filter(|&number| number != 0.0);
    let stated = rope.float("attention_factor").or_else(|| rope.float("attn_factor"));
    stated.unwrap_or_else(|| match (known("mscale"), known("mscale_all_dim")) {
        (Some(mscale), Some(all)) => of(mscale) / of(all),
        _ => of(1.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::CheckpointConfig;

    fn found(json: &str, n_dims: u64) -> RopeTable {
        let facts = CheckpointConfig { n_ctx_train: 256, ..Default::default() };
        let rope = Rope { full: serde_json::from_str(json).unwrap(), sliding_theta: None };
        rope_table(&Config::of(&facts), &rope, n_dims)
    }

    #[test]
    fn frequencies_are_those_of_each_kind() {
        let check = |json: &str, magnitude: f64, expected: [f64; 4]| {
            let table = found(json, 8);
            assert_eq!((table.n_dims, table.long.is_none()), (8, true));
            assert!((table.magnitude - magnitude).abs() < 1e-12, "{json}: {}", table.magnitude);
            for (found, expected) in table.inv_freqs.iter().zip(expected) {
                assert!((f64::from(*found) / expected - 1.0).abs() < 1e-6, "{json}: {:?}", table.inv_freqs);
            }
        };
        check("{}", 1.0, [1.0, 0.1, 0.01, 0.001]);
        check(r#"{"rope_theta":16.0}"#, 1.0, [1.0, 0.5, 0.25, 0.125]);
        check(r#"{"rope_type":"dynamic","factor":2.0}"#, 1.0, [1.0, 0.1, 0.01, 0.001]);
        check(r#"{"rope_type":"linear","factor":2.0}"#, 1.0, [0.5, 0.05, 0.005, 0.0005]);
        // Wavelengths of 6, 63, 628 and 6283 tokens beside borders of 16 and 64: the second is stretched by 7.8.
        let llama3 = r#"{"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,
            "original_max_position_embeddings":64}"#;
        check(llama3, 1.0, [1.0, 0.013_042_256, 0.001_25, 0.000_125]);
    }

    #[test]
    fn yarn_stretches_slow_pairs_and_sharpens() {
        let check = |more: &str, magnitude: f64, shares: [f64; 4]| {
            let json = format!(r#"{{"rope_type":"yarn","factor":4.0,"original_max_position_embeddings":64{more}}}"#);
            let table = found(&json, 8);
            assert!((table.magnitude - magnitude).abs() < 1e-12, "{json}: {}", table.magnitude);
            for ((found, plain), share) in table.inv_freqs.iter().zip([1.0, 0.1, 0.01, 0.001]).zip(shares) {
                let expected: f64 = plain * (share / 4.0 + 1.0 - share);
                assert!((f64::from(*found) / expected - 1.0).abs() < 1e-6, "{json}: {:?}", table.inv_freqs);
            }
        };
        let usual = 0.1 * 4f64.ln() + 1.0;
        // One turn: pair 1.008, rounded up to 2; 32 turns: below pair 0.
        check("", usual, [0.0, 0.5, 1.0, 1.0]);
        check(r#","truncate":false"#, usual, [0.0, 0.992_063_4, 1.0, 1.0]);
        check(r#","attention_factor":1.5"#, 1.5, [0.0, 0.5, 1.0, 1.0]);
        check(r#","attn_factor":1.25"#, 1.25, [0.0, 0.5, 1.0, 1.0]);
        check(r#","mscale":0.5,"mscale_all_dim":0.5"#, 1.0, [0.0, 0.5, 1.0, 1.0]);
        check(r#","beta_fast":0.5,"beta_slow":0.05"#, usual, [0.0, 0.0, 0.5, 1.0]);
    }
}
