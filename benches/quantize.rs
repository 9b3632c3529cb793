//! Every encoder beside ggml's own in the same run: nanoseconds per weight on one thread and on all, and the weighted error of both. Then
//! those of ONNX Runtime's codes: its tool's method beside the search, on one thread.
//!
//! ```text
//! cargo bench --bench quantize -- [--model FILE.gguf --tensor NAME] [--json FILE] [TYPE…]
//! ```
//!
//! Without a model the weights are a bell curve. Each type is encoded with the importances of an importance matrix (seeded, spread over
//! three decades as real ones are) and without, where ggml can do without. Medians of interleaved passes over a million weights, which
//! lie in the second-level cache only in part, as in a conversion. Run it on a quiet machine; the dev profile compiles our own code
//! lightly and is several times slower.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark prints, and stops at the first failure"
)]

use std::path::PathBuf;
use std::time::Instant;

use planish::format::{TensorReader, read_gguf};
use planish::model::DType;
use planish::quant::nbits::{self, Components, ComponentsMut, Method, NBits};
use planish::quant::{Float, can_dequantize, can_quantize, dequantize_rows, heeds_importances, quantize_rows_by};
use serde_json::{Value as Json, json};

const N_WEIGHTS: usize = 1 << 20;
const ROW_LEN: usize = 4096;
const N_REPEATS: usize = 7;
/// Types that ggml encodes with an importance matrix only.
const NEED_IMPORTANCES: [DType; 3] = [DType::IQ2_XXS, DType::IQ2_XS, DType::IQ1_S];

#[derive(Default)]
struct Options {
    model: Option<PathBuf>,
    tensor: Option<String>,
    json: Option<PathBuf>,
    /// Types and codes that are measured; none: all.
    names: Vec<String>,
}

fn options() -> Options {
    let mut options = Options::default();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--bench" => {} // from cargo
            "--model" => options.model = args.next().map(PathBuf::from),
            "--tensor" => options.tensor = args.next(),
            "--json" => options.json = args.next().map(PathBuf::from),
            name => {
                let is_known =
                    DType::all().any(|dtype| dtype.name() == name) || NBits::all().any(|nbits| nbits.to_string() == name);
                assert!(is_known, "{name} is not a type");
                options.names.push(name.into());
            }
        }
    }
    options
}

/// Weights in rows, and an importance for each column.
struct Input {
    name: String,
    weights: Vec<f32>,
    row_len: usize,
    importances: Vec<f32>,
}

impl Input {
    fn read(options: &Options) -> Self {
        let (name, weights, row_len) = match (&options.model, &options.tensor) {
            (Some(model), Some(name)) => {
                let model = read_gguf(model).unwrap();
                let tensor = model.tensors.iter().find(|tensor| tensor.name == *name).expect("a tensor of the model");
                let row_len = usize::try_from(tensor.row_len()).unwrap();
                let n_rows = usize::try_from(tensor.n_elements()).unwrap().min(N_WEIGHTS) / row_len;
                let mut bytes = vec![0; usize::try_from(tensor.dtype.row_bytes((n_rows * row_len) as u64).unwrap()).unwrap()];
                TensorReader::open(&model).unwrap().read(tensor, 0, &mut bytes).unwrap();
                let mut weights = vec![0.0; n_rows * row_len];
                dequantize_rows(tensor.dtype, &bytes, &mut weights).unwrap();
                (name.clone(), weights, row_len)
            }
            _ => ("a bell curve".into(), bell_curve(N_WEIGHTS, 1).iter().map(|weight| weight * 0.02).collect(), ROW_LEN),
        };
        let importances = bell_curve(row_len, 2).iter().map(|exponent| exponent.exp()).collect();
        Self { name, weights, row_len, importances }
    }
}

fn main() {
    let options = options();
    let input = Input::read(&options);
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
    println!("{} weights of {}, rows of {}\n", input.weights.len(), input.name, input.row_len);
    let heads = ["imatrix", "ns", "ggml ns", "speed-up", "all thr.", "ggml", "speed-up", "error", "ggml error", "decode ns"];
    println!("{:8}{}", "type", row_text(&heads.map(String::from)));
    let mut rows = Vec::new();
    let is_wanted = |name: &str| options.names.is_empty() || options.names.iter().any(|wanted| wanted == name);
    for dtype in DType::all().filter(|&dtype| can_dequantize(dtype) && can_quantize(dtype) && is_wanted(dtype.name())) {
        if dtype.row_bytes(input.row_len as u64).is_none() {
            continue;
        }
        for with in [false, true] {
            let is_possible = if with { heeds_importances(dtype) } else { !NEED_IMPORTANCES.contains(&dtype) };
            if is_possible {
                let row = measure(dtype, &input, with.then_some(&input.importances), n_threads);
                println!("{:8}{}", dtype.name(), row_text(&row.cells()));
                rows.push(row.json(dtype));
            }
        }
    }
    println!("\n{:11}{}", "codes", row_text(&["method", "imatrix", "ns", "error", "decode ns"].map(String::from)));
    let mut codes = Vec::new();
    for nbits in NBits::all().filter(|nbits| is_wanted(&nbits.to_string())) {
        for (method, with) in [(Method::Plain, false), (Method::Searched, false), (Method::Searched, true)] {
            let [encode, error, decode] = measure_codes(nbits, method, &input, with.then_some(&input.importances));
            let name = if method == Method::Plain { "plain" } else { "searched" };
            let cells = [name.into(), if with { "yes" } else { "no" }.into(), format!("{encode:.2}"), format!("{error:.5}")];
            println!("{:11}{}{decode:>11.2}", nbits.to_string(), row_text(&cells));
            codes.push(json!({
                "type": nbits.to_string(), "method": name, "imatrix": with,
                "one_thread_ns": encode, "error": error, "decode_ns": decode,
            }));
        }
    }
    if let Some(path) = &options.json {
        let (n_weights, types) = (input.weights.len(), rows);
        let all = json!({ "input": input.name, "n_weights": n_weights, "n_threads": n_threads, "types": types, "codes": codes });
        std::fs::write(path, serde_json::to_string_pretty(&all).unwrap()).unwrap();
    }
}

/// What a type costs. Times are nanoseconds per weight, errors the root of the weighted squared error over the weighted squares.
struct Row {
    is_weighted: bool,
    one: [f64; 2], // ours, ggml's
    all: [f64; 2], // on all threads
    error: [f64; 2],
    decode: f64,
}

impl Row {
    fn cells(&self) -> [String; 10] {
        let speed_up = |[ours, theirs]: [f64; 2]| format!("{:.2}x", theirs / ours);
        [
            if self.is_weighted { "yes" } else { "no" }.into(),
            format!("{:.2}", self.one[0]),
            format!("{:.2}", self.one[1]),
            speed_up(self.one),
            format!("{:.2}", self.all[0]),
            format!("{:.2}", self.all[1]),
            speed_up(self.all),
            format!("{:.5}", self.error[0]),
            format!("{:.5}", self.error[1]),
            format!("{:.2}", self.decode),
        ]
    }

    fn json(&self, dtype: DType) -> Json {
        json!({
            "type": dtype.name(), "imatrix": self.is_weighted, "decode_ns": self.decode,
            "one_thread_ns": self.one[0], "ggml_one_thread_ns": self.one[1],
            "all_threads_ns": self.all[0], "ggml_all_threads_ns": self.all[1],
            "error": self.error[0], "ggml_error": self.error[1],
        })
    }
}

fn measure(dtype: DType, input: &Input, importances: Option<&Vec<f32>>, n_threads: usize) -> Row {
    let n_bytes = usize::try_from(dtype.row_bytes(input.weights.len() as u64).unwrap()).unwrap();
    let mut blocks = [vec![0; n_bytes], vec![0; n_bytes]];
    let columns = importances.map(Vec::as_slice);
    let ours = |weights: &[f32], bytes: &mut [u8]| quantize_rows_by(dtype, weights, input.row_len, columns, bytes).unwrap();
    let theirs = |weights: &[f32], bytes: &mut [u8]| peer::quantize(dtype, weights, input.row_len, columns, bytes);
    let [mut one, mut all] = [[Vec::new(), Vec::new()], [Vec::new(), Vec::new()]];
    for _ in 0..=N_REPEATS {
        one[0].push(seconds(|| ours(&input.weights, &mut blocks[0])));
        one[1].push(seconds(|| theirs(&input.weights, &mut blocks[1])));
        all[0].push(seconds(|| by_threads(input, n_threads, &mut blocks[0], &ours)));
        all[1].push(seconds(|| by_threads(input, n_threads, &mut blocks[1], &theirs)));
    }
    let mut decoded = vec![0.0; input.weights.len()];
    let mut error = [0.0; 2];
    for (error, blocks) in error.iter_mut().zip(&blocks) {
        dequantize_rows(dtype, blocks, &mut decoded).unwrap();
        *error = relative_error(input, columns, &decoded);
    }
    let decode: Vec<f64> =
        (0..=N_REPEATS).map(|_| seconds(|| dequantize_rows(dtype, &blocks[0], &mut decoded).unwrap())).collect();
    std::hint::black_box(&decoded);
    let ns = |secs: &[f64]| median_ns(secs, input.weights.len());
    let is_weighted = importances.is_some();
    Row {
        is_weighted,
        one: one.each_ref().map(|secs| ns(secs)),
        all: all.each_ref().map(|secs| ns(secs)),
        error,
        decode: ns(&decode),
    }
}

/// What codes with F32 scales cost: nanoseconds per weight, the error as in [`Row`], nanoseconds per decoded weight.
fn measure_codes(nbits: NBits, method: Method, input: &Input, importances: Option<&Vec<f32>>) -> [f64; 3] {
    let Input { weights, row_len, .. } = input;
    let sizes = nbits.sizes(Float::F32, *row_len as u64, weights.len() as u64).unwrap();
    let [mut codes, mut scales, mut zero_points] =
        [sizes.codes, sizes.scales, sizes.zero_points].map(|size| vec![0; usize::try_from(size).unwrap()]);
    let columns = importances.map(Vec::as_slice);
    let mut encode = || {
        let out = ComponentsMut { codes: &mut codes, scales: &mut scales, zero_points: &mut zero_points };
        nbits::quantize_rows(nbits, method, Float::F32, weights, *row_len, columns, out).unwrap();
    };
    let encoding: Vec<f64> = (0..=N_REPEATS).map(|_| seconds(&mut encode)).collect();
    let mut decoded = vec![0.0; weights.len()];
    let src = Components { codes: &codes, scales: &scales, zero_points: &zero_points };
    let mut decode = || nbits::dequantize_rows(nbits, Float::F32, src, *row_len, &mut decoded).unwrap();
    let decoding: Vec<f64> = (0..=N_REPEATS).map(|_| seconds(&mut decode)).collect();
    let ns = |secs: &[f64]| median_ns(secs, weights.len());
    [ns(&encoding), relative_error(input, columns, &decoded), ns(&decoding)]
}

/// Encodes on `n_threads` threads, each of which has its own rows.
fn by_threads(input: &Input, n_threads: usize, blocks: &mut [u8], encode: &(impl Fn(&[f32], &mut [u8]) + Sync)) {
    let n_rows = input.weights.len() / input.row_len;
    let rows_each = n_rows.div_ceil(n_threads);
    let row_bytes = blocks.len() / n_rows;
    std::thread::scope(|scope| {
        for (weights, bytes) in input.weights.chunks(rows_each * input.row_len).zip(blocks.chunks_mut(rows_each * row_bytes)) {
            scope.spawn(move || encode(weights, bytes));
        }
    });
}

/// Cells flush right in columns of eleven.
fn row_text(cells: &[String]) -> String {
    cells.iter().map(|cell| format!("{cell:>11}")).collect::<Vec<_>>().concat()
}

fn seconds(pass: impl FnOnce()) -> f64 {
    let start = Instant::now();
    pass();
    start.elapsed().as_secs_f64()
}

/// Median nanoseconds per weight, without the pass that warms up.
#[allow(clippy::cast_precision_loss, reason = "below 2^52")]
fn median_ns(secs: &[f64], n_weights: usize) -> f64 {
    let mut sorted = secs[1..].to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2] * 1e9 / n_weights as f64
}

/// Root of the squared error over the squared weights, both weighted by the columns' importances.
fn relative_error(input: &Input, importances: Option<&[f32]>, decoded: &[f32]) -> f64 {
    let (mut error, mut total) = (0.0, 0.0);
    for (weights, decoded) in input.weights.chunks(input.row_len).zip(decoded.chunks(input.row_len)) {
        for (column, (&weight, &decoded)) in weights.iter().zip(decoded).enumerate() {
            let importance = importances.map_or(1.0, |columns| f64::from(columns[column]));
            error += importance * f64::from(weight - decoded).powi(2);
            total += importance * f64::from(weight).powi(2);
        }
    }
    (error / total).sqrt()
}

/// ggml's encoders, from the same llama.cpp that measures speed: the code that llama-quantize runs.
mod peer {
    #![allow(unsafe_code, reason = "ggml's encoders have no safe wrapper")]

    use planish::model::DType;

    /// What llama-quantize calls for each chunk of rows.
    pub(super) fn quantize(dtype: DType, weights: &[f32], row_len: usize, importances: Option<&[f32]>, blocks: &mut [u8]) {
        let n_rows = weights.len() / row_len;
        assert_eq!(dtype.row_bytes((n_rows * row_len) as u64), Some(blocks.len() as u64));
        assert_eq!(weights.len(), n_rows * row_len);
        let importances = importances.inspect(|columns| assert_eq!(columns.len(), row_len));
        // SAFETY: both buffers hold exactly `n_rows * row_len` weights and the importances one per column, checked above.
        unsafe {
            llama_cpp_sys_2::ggml_quantize_chunk(
                dtype.ggml_id(),
                weights.as_ptr(),
                blocks.as_mut_ptr().cast(),
                0,
                i64::try_from(n_rows).unwrap(),
                i64::try_from(row_len).unwrap(),
                importances.map_or(std::ptr::null(), <[f32]>::as_ptr),
            );
        }
    }
}

/// Seeded numbers of mean 0 and deviation 1: sums of twelve uniform ones (Irwin-Hall).
#[allow(clippy::cast_precision_loss, reason = "24 bits")]
fn bell_curve(n: usize, seed: u64) -> Vec<f32> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed);
    let mut uniform = || {
        // Xorshift, Marsaglia 2003.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / 16_777_216.0
    };
    (0..n).map(|_| (0..12).map(|_| uniform()).sum::<f32>() - 6.0).collect()
}
