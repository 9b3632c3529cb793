//! Nanoseconds per weight of every encoder and decoder on one thread: `cargo bench --bench quantize`.
//!
//! Medians of several passes over a million Gaussian weights, which lie in the second-level cache only in part, as in a
//! conversion. Run it on a quiet machine.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints, and stops at the first failure")]

use std::time::Instant;

use planish::model::DType;
use planish::quant::{can_dequantize, can_quantize, dequantize_rows, quantize_rows};

const ROW_LEN: usize = 4096;
const N_ROWS: usize = 256;
const N_REPEATS: usize = 9;

fn main() {
    let weights = gaussian(ROW_LEN * N_ROWS);
    println!("{:8}  {:>12}  {:>12}", "type", "encode ns/w", "decode ns/w");
    for dtype in DType::all().filter(|&dtype| can_dequantize(dtype)) {
        let n_bytes = usize::try_from(dtype.row_bytes(weights.len() as u64).unwrap()).unwrap();
        // Blocks of types without an encoder are random bytes.
        let mut blocks: Vec<u8> =
            weights.iter().flat_map(|weight| weight.to_bits().to_le_bytes()).cycle().take(n_bytes).collect();
        let encode = if can_quantize(dtype) {
            let ns = nanoseconds_per_weight(|| quantize_rows(dtype, &weights, ROW_LEN, &mut blocks).unwrap());
            format!("{ns:.2}")
        } else {
            "-".to_owned()
        };
        let mut decoded = vec![0.0; weights.len()];
        let decode = nanoseconds_per_weight(|| dequantize_rows(dtype, &blocks, &mut decoded).unwrap());
        println!("{:8}  {encode:>12}  {decode:>12.2}", dtype.name());
        std::hint::black_box(decoded);
    }
}

/// Median over the repeats; one pass before them warms up.
#[allow(clippy::cast_precision_loss, reason = "below 2^52")]
fn nanoseconds_per_weight(mut pass: impl FnMut()) -> f64 {
    pass();
    let mut times: Vec<f64> = (0..N_REPEATS)
        .map(|_| {
            let start = Instant::now();
            pass();
            start.elapsed().as_nanos() as f64 / (ROW_LEN * N_ROWS) as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[N_REPEATS / 2]
}

/// Seeded numbers of mean 0 and deviation about 0.02: sums of twelve uniform ones (Irwin-Hall).
#[allow(clippy::cast_precision_loss, reason = "24 bits")]
fn gaussian(n_weights: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut uniform = || {
        // Xorshift, Marsaglia 2003.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / 16_777_216.0
    };
    (0..n_weights).map(|_| ((0..12).map(|_| uniform()).sum::<f32>() - 6.0) * 0.02).collect()
}
