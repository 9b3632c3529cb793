//! How a token is chosen.

use super::{Sampling, TOP_K, TOP_P};

/// Chooses token after token.
pub(super) struct Sampler {
    sampling: Sampling,
    random: fastrand::Rng,
}

impl Sampler {
    pub(super) fn new(sampling: Sampling) -> Self {
        let seed = match sampling {
            Sampling::Greedy => 0,
            Sampling::Random { seed, .. } => seed,
        };
        Self { sampling, random: fastrand::Rng::with_seed(seed.into()) }
    }

    /// The next token by its logits.
    ///
    /// The order of the steps is llama.cpp's. Source: `common_params_sampling::samplers` in common.h.
    pub(super) fn choose(&mut self, logits: &[f32]) -> Result<u32, String> {
        if logits.iter().any(|logit| logit.is_nan()) {
            return Err("its logits are not numbers".into());
        }
        let mut likeliest: Vec<(u32, f32)> = (0..).zip(logits.iter().copied()).collect();
        // Among equals the first one wins.
        let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        let n_kept = if self.sampling == Sampling::Greedy { 1 } else { TOP_K };
        if likeliest.len() > n_kept {
            likeliest.select_nth_unstable_by(n_kept, order);
            likeliest.truncate(n_kept);
        }
        likeliest.sort_by(order);
        let no_token = || "no token could be chosen".to_string();
        let &(first, highest) = likeliest.first().ok_or_else(no_token)?;
        let Sampling::Random { temperature, .. } = self.sampling else { return Ok(first) };
        let mut weights: Vec<f64> = likeliest.iter().map(|(_, logit)| f64::from(logit - highest).exp()).collect();
        let total: f64 = weights.iter().sum();
        let mut together = 0.0;
        let n_enough = weights.iter().position(|weight| {
            together += weight / total;
            together >= f64::from(TOP_P)
        });
        weights.truncate(n_enough.map_or(weights.len(), |idx| idx + 1));
        if temperature <= 0.0 {
            return Ok(first);
        }
        let cooled: Vec<f64> = weights.iter().map(|weight| weight.powf(1.0 / f64::from(temperature))).collect();
        let mut left = self.random.f64() * cooled.iter().sum::<f64>();
        let chosen = cooled.iter().position(|weight| {
            left -= weight;
            left < 0.0
        });
        // Rounding can leave a little beyond the last one.
        likeliest.get(chosen.unwrap_or(cooled.len() - 1)).map(|(token, _)| *token).ok_or_else(no_token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(temperature: f32, seed: u32) -> Sampler {
        Sampler::new(Sampling::Random { temperature, seed })
    }

    #[test]
    fn the_likeliest_is_the_first_of_equals() {
        let mut greedy = Sampler::new(Sampling::Greedy);
        assert_eq!(greedy.choose(&[0.5, 2.0, -1.0, 2.0]), Ok(1));
        assert_eq!(greedy.choose(&[f32::NEG_INFINITY, -3.0]), Ok(1));
        assert!(greedy.choose(&[0.0, f32::NAN]).is_err());
        assert!(greedy.choose(&[]).is_err());
        assert_eq!(random(0.0, 1).choose(&[0.5, 2.0, 1.9]), Ok(1), "without warmth nothing is random");
    }

    #[test]
    fn random_tokens_come_as_often_as_they_are_likely() {
        // Probabilities 0.6, 0.3, 0.09 and 0.01: the last is beyond TOP_P.
        let logits = [0.6_f32.ln(), 0.3_f32.ln(), 0.09_f32.ln(), 0.01_f32.ln()];
        let mut sampler = random(1.0, 7);
        let mut counts = [0_u32; 4];
        for _ in 0..20_000 {
            counts[sampler.choose(&logits).unwrap() as usize] += 1;
        }
        for (count, expected) in counts.into_iter().zip([0.6 / 0.99, 0.3 / 0.99, 0.09 / 0.99, 0.0]) {
            assert!((f64::from(count) / 20_000.0 - expected).abs() < 0.012, "{counts:?}");
        }
    }

    #[test]
    fn warmth_spreads_and_a_seed_repeats() {
        let logits: Vec<f32> = (0..1000_u16).map(|idx| f32::from(idx % 50) / 10.0).collect();
        let draws = |temperature, seed| -> Vec<u32> {
            let mut sampler = random(temperature, seed);
            (0..200).map(|_| sampler.choose(&logits).unwrap()).collect()
        };
        assert_eq!(draws(0.8, 3), draws(0.8, 3));
        assert_ne!(draws(0.8, 3), draws(0.8, 4));
        let likeliest = draws(1.0, 5).into_iter().filter(|token| token % 50 == 49).count();
        let cold = draws(0.05, 5).into_iter().filter(|token| token % 50 == 49).count();
        assert!(cold > likeliest, "{cold} {likeliest}");
    }
}
