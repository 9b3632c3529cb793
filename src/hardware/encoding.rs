//! How fast this machine encodes weights: what bounds most conversions.

use std::hint::black_box;
use std::time::Instant;

use crate::model::{DType, Tensor};
use crate::quant;

/// Types of the levels that people use, their fallbacks among them.
const DTYPES: [DType; 15] = [
    DType::F32,
    DType::F16,
    DType::BF16,
    DType::Q8_0,
    DType::Q6_K,
    DType::Q5_K,
    DType::Q5_1,
    DType::Q5_0,
    DType::Q4_K,
    DType::Q4_1,
    DType::Q4_0,
    DType::Q3_K,
    DType::Q2_K,
    DType::IQ4_NL,
    DType::IQ4_XS,
];
/// Weights of a row, as wide as a small model's.
const ROW_LEN: usize = 1024;
/// Rows that are encoded at once: together 0.1 to 0.5 ms for most types.
const N_ROWS: usize = 8;
/// Rounds; the fastest counts.
const N_ROUNDS: usize = 4;

/// Time to encode a weight, measured on this machine.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EncodingSpeed {
    /// Seconds that one thread needs for a weight of a type, its decoding from BF16 included.
    pub secs_per_weight: Vec<(DType, f64)>,
    /// Threads that a conversion has.
    pub n_threads: usize,
}

impl EncodingSpeed {
    /// Predicted seconds to encode all tensors, each in its type: without reading and writing, which run beside it.
    ///
    /// `None` when a type was not measured.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a prediction")]
    pub fn predicted_secs(&self, tensors: &[Tensor], dtypes: &[DType]) -> Option<f64> {
        let secs = tensors.iter().zip(dtypes).map(|(tensor, dtype)| {
            let (_, secs_per_weight) = self.secs_per_weight.iter().find(|(measured, _)| measured == dtype)?;
            Some(tensor.n_elements() as f64 * secs_per_weight)
        });
        Some(secs.sum::<Option<f64>>()? / self.n_threads.max(1) as f64)
    }
}

/// Measures how long weights of a bell curve take to encode in each of the usual types, in a few milliseconds.
///
/// Other work on the machine makes it slower, so the fastest of several rounds counts.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "a small number")]
pub fn measure_encoding() -> EncodingSpeed {
    let weights = bell_curve(ROW_LEN * N_ROWS);
    let mut halves = vec![0; weights.len() * 2];
    let mut decoded = vec![0.0; weights.len()];
    let mut secs_per_weight = Vec::with_capacity(DTYPES.len());
    if quant::quantize_rows(DType::BF16, &weights, ROW_LEN, &mut halves).is_err() {
        return EncodingSpeed::default();
    }
    for dtype in DTYPES {
        let n_bytes = dtype.row_bytes(weights.len() as u64).and_then(|n_bytes| usize::try_from(n_bytes).ok());
        let mut encoded = vec![0; n_bytes.unwrap_or(0)];
        let mut fastest = f64::INFINITY;
        for _ in 0..N_ROUNDS {
            let started = Instant::now();
            let outcome = quant::dequantize_rows(DType::BF16, black_box(&halves), &mut decoded)
                .and_then(|()| quant::quantize_rows(dtype, &decoded, ROW_LEN, &mut encoded));
            black_box(&encoded);
            if outcome.is_ok() {
                fastest = fastest.min(started.elapsed().as_secs_f64());
            }
        }
        if fastest.is_finite() {
            secs_per_weight.push((dtype, fastest / weights.len() as f64));
        }
    }
    EncodingSpeed { secs_per_weight, n_threads: std::thread::available_parallelism().map_or(1, usize::from) }
}

/// Sums of four uniform numbers, always the same ones: searches take as long on them as on trained weights.
fn bell_curve(n: usize) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(1);
    (0..n).map(|_| (0..4).map(|_| random.f32() - 0.5).sum()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_usual_types_are_measured_and_add_up() {
        let speed = measure_encoding();
        assert_eq!(speed.secs_per_weight.iter().map(|row| row.0).collect::<Vec<_>>(), DTYPES);
        assert!(speed.secs_per_weight.iter().all(|row| row.1 > 0.0), "{speed:?}");

        let speed = EncodingSpeed { secs_per_weight: vec![(DType::Q4_K, 2e-8), (DType::F32, 1e-9)], n_threads: 2 };
        let tensor = |shape: &[u64]| Tensor {
            name: "t".into(),
            dtype: DType::BF16,
            shape: shape.into(),
            file_idx: 0,
            offset: 0,
            size_bytes: 0,
        };
        let tensors = [tensor(&[1000, 1000]), tensor(&[1000])];
        let secs = speed.predicted_secs(&tensors, &[DType::Q4_K, DType::F32]).unwrap();
        assert!((secs - (1e-2 + 0.5e-6)).abs() < 1e-12, "{secs}");
        assert_eq!(speed.predicted_secs(&tensors, &[DType::Q4_K, DType::Q2_K]), None);
    }
}
