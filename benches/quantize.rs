//! Nanoseconds per weight of every encoder and decoder on one thread, beside ggml's own encoder in the same run, and the error of
//! both: `cargo bench --bench quantize`. (In the dev profile the legacy types are four times slower, the k-quants half as fast again.)
//!
//! Medians of interleaved passes over a million Gaussian weights, which lie in the second-level cache only in part, as in a
//! conversion. Run it on a quiet machine.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints, and stops at the first failure")]

use std::time::Instant;

use planish::model::DType;
use planish::quant::{can_dequantize, can_quantize, dequantize_rows, quantize_rows_by};

const ROW_LEN: usize = 4096;
const N_ROWS: usize = 256;
const N_REPEATS: usize = 9;
/// Types that ggml encodes with an importance matrix only: both get one of ones.
const NEED_IMPORTANCES: [DType; 3] = [DType::IQ2_XXS, DType::IQ2_XS, DType::IQ1_S];

fn main() {
    let weights = gaussian(ROW_LEN * N_ROWS);
    let header = ["encode ns", "ggml ns", "speed-up", "error", "ggml error", "decode ns"];
    println!("{:8}{}", "type", row_text(&header.map(String::from)));
    for dtype in DType::all().filter(|&dtype| can_dequantize(dtype)) {
        let n_bytes = usize::try_from(dtype.row_bytes(weights.len() as u64).unwrap()).unwrap();
        // Blocks of types without an encoder are random bytes.
        let mut blocks: Vec<u8> =
            weights.iter().flat_map(|weight| weight.to_bits().to_le_bytes()).cycle().take(n_bytes).collect();
        let mut decoded = vec![0.0; weights.len()];
        let mut cells = vec![String::from("-"); 5];
        if can_quantize(dtype) {
            let mut theirs = blocks.clone();
            let ones = [1.0; ROW_LEN];
            let importances = NEED_IMPORTANCES.contains(&dtype).then_some(&ones[..]);
            let mut times = Times::default();
            for _ in 0..=N_REPEATS {
                times.ours.push(seconds(|| quantize_rows_by(dtype, &weights, ROW_LEN, importances, &mut blocks).unwrap()));
                times.theirs.push(seconds(|| peer::quantize(dtype, &weights, importances, &mut theirs)));
            }
            let (ours, ggml) = (median_ns(&times.ours), median_ns(&times.theirs));
            cells[0] = format!("{ours:.2}");
            dequantize_rows(dtype, &blocks, &mut decoded).unwrap();
            cells[3] = format!("{:.5}", relative_rmse(&weights, &decoded));
            if peer::IS_HERE && dtype != DType::F32 {
                cells[1] = format!("{ggml:.2}");
                cells[2] = format!("{:.2}x", ggml / ours);
                dequantize_rows(dtype, &theirs, &mut decoded).unwrap();
                cells[4] = format!("{:.5}", relative_rmse(&weights, &decoded));
            }
        }
        let decode: Vec<f64> =
            (0..=N_REPEATS).map(|_| seconds(|| dequantize_rows(dtype, &blocks, &mut decoded).unwrap())).collect();
        cells.push(format!("{:.2}", median_ns(&decode)));
        println!("{:8}{}", dtype.name(), row_text(&cells));
        std::hint::black_box(&decoded);
    }
}

/// Cells flush right in columns of twelve.
fn row_text(cells: &[String]) -> String {
    cells.iter().map(|cell| format!("{cell:>12}")).collect::<Vec<_>>().concat()
}

/// Seconds of each pass; the first one warms up.
#[derive(Default)]
struct Times {
    ours: Vec<f64>,
    theirs: Vec<f64>,
}

fn seconds(pass: impl FnOnce()) -> f64 {
    let start = Instant::now();
    pass();
    start.elapsed().as_secs_f64()
}

/// Median nanoseconds per weight, without the pass that warms up.
#[allow(clippy::cast_precision_loss, reason = "below 2^52")]
fn median_ns(secs: &[f64]) -> f64 {
    let mut sorted = secs[1..].to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2] * 1e9 / (ROW_LEN * N_ROWS) as f64
}

/// Root of the squared error over the squared weights.
fn relative_rmse(weights: &[f32], decoded: &[f32]) -> f64 {
    let square = |value: f32| f64::from(value) * f64::from(value);
    let error: f64 = weights.iter().zip(decoded).map(|(a, b)| square(a - b)).sum();
    (error / weights.iter().map(|&weight| square(weight)).sum::<f64>()).sqrt()
}

/// ggml's encoders, from the same llama.cpp that measures speed.
#[cfg(feature = "llama-cpp")]
mod peer {
    #![allow(unsafe_code, reason = "ggml's encoders have no safe wrapper")]

    use planish::model::DType;

    pub(super) const IS_HERE: bool = true;

    /// What llama-quantize calls for each chunk of rows.
    pub(super) fn quantize(dtype: DType, weights: &[f32], importances: Option<&[f32]>, blocks: &mut [u8]) {
        let (n_rows, row_len) = (i64::try_from(super::N_ROWS).unwrap(), i64::try_from(super::ROW_LEN).unwrap());
        assert_eq!(dtype.row_bytes(weights.len() as u64), Some(blocks.len() as u64));
        let importances = importances.inspect(|columns| assert_eq!(columns.len(), super::ROW_LEN));
        // SAFETY: both buffers hold exactly `n_rows * row_len` weights and the importances one per column, checked above.
        unsafe {
            llama_cpp_sys_2::ggml_quantize_chunk(
                dtype.ggml_id(),
                weights.as_ptr(),
                blocks.as_mut_ptr().cast(),
                0,
                n_rows,
                row_len,
                importances.map_or(std::ptr::null(), <[f32]>::as_ptr),
            );
        }
    }
}

#[cfg(not(feature = "llama-cpp"))]
mod peer {
    use planish::model::DType;

    pub(super) const IS_HERE: bool = false;

    pub(super) fn quantize(_: DType, _: &[f32], _: Option<&[f32]>, _: &mut [u8]) {}
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
