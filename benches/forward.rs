//! What a forward pass of a checkpoint costs, beside the fastest product of matrices that this machine computes.
//!
//! `cargo bench --bench forward -- [CHECKPOINT or GGUF] [TOKENS]`; without a model: the sample. A GGUF file of the llama architecture is
//! written as a checkpoint in F32 first. Chunks have 512 tokens, 8,000 in all unless another number is given; logits are computed for
//! all tokens, and then for the second half of each chunk as a comparison does. The aims for SmolLM2-135M on two cores: 60 s, and 60 %
//! of the limit.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints, and stops at the first failure")]
#![allow(clippy::disallowed_methods, reason = "it names its own files")]
#![allow(clippy::cast_precision_loss, reason = "figures for a person")]

use std::path::{Path, PathBuf};
use std::time::Instant;

use planish::Monitor;
use planish::convert::unpack_sample;
use planish::format::{Opened, read_any};
use planish::import::{decoder, stored_model};
use planish::model::{Decoder, FeedForward};
use planish::quant::matmul::{Matrix, MatrixMut};
use planish::runtime::forward::{Chunk, Sink, StoredWeights, run};

#[path = "../tests/it/hf_layout.rs"]
mod hf_layout;

/// Rows, columns and terms of the product that gives the limit.
const N_LIMIT: usize = 2048;
const CHUNK_TOKENS: usize = 512;

fn main() {
    let dir = std::env::temp_dir().join(format!("planish-forward-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    measure(&dir);
    std::fs::remove_dir_all(&dir).unwrap();
}

fn measure(dir: &Path) {
    let mut args = std::env::args_os().skip(1).filter(|arg| !arg.to_string_lossy().starts_with("--"));
    let source = args.next().map_or_else(|| unpack_sample(dir).unwrap(), PathBuf::from);
    let n_tokens: usize = args.next().map_or(8000, |n| n.to_string_lossy().parse().unwrap());
    let folder = if source.is_file() {
        let folder = dir.join("checkpoint");
        hf_layout::write(&source, &folder);
        folder
    } else {
        source
    };
    let Opened::Checkpoint(checkpoint) = read_any(&folder).unwrap() else { panic!("not a checkpoint") };
    let decoder = decoder(&checkpoint).unwrap();
    let model = stored_model(&checkpoint, &decoder).unwrap();
    let weights = StoredWeights::open(&model).unwrap();
    let n_vocab = u32::try_from(decoder.n_vocab).unwrap();
    let mut random = fastrand::Rng::with_seed(1);
    let tokens: Vec<u32> = (0..n_tokens).map(|_| random.u32(0..n_vocab)).collect();
    let n_threads = rayon::current_num_threads();
    println!(
        "{n_threads} threads, {n_tokens} tokens in chunks of {CHUNK_TOKENS}; 10^9 operations per second, and per second of a core"
    );
    println!(
        "{:14}{:>9}{:>10}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}",
        "logits", "s", "tokens/s", "all", "limit", "%", "a core", "limit", "%"
    );
    for (name, n_halves) in [("none", 2), ("second halves", 1), ("all", 0)] {
        let wanted = |n: usize| n * n_halves / 2..n;
        let chunks: Vec<Chunk> =
            tokens.chunks(CHUNK_TOKENS).map(|tokens| Chunk { tokens: tokens.to_vec(), wanted: wanted(tokens.len()) }).collect();
        let work = n_products(&decoder, &chunks) * 2.0;
        let mut sink = Counter::default();
        let before = limit();
        let pass = Speed::of(work, || run(&decoder, &weights, &chunks, &mut sink, &Monitor::silent()).unwrap());
        let after = limit();
        let limit = Speed { all: before.all.max(after.all), core: before.core.max(after.core), ..before };
        let part = |speed: f64, limit: f64| speed / limit * 100.0;
        println!(
            "{name:14}{:9.2}{:10.0}{:9.1}{:9.1}{:9.1}{:9.1}{:9.1}{:9.1}",
            pass.secs,
            n_tokens as f64 / pass.secs,
            pass.all,
            limit.all,
            part(pass.all, limit.all),
            pass.core,
            limit.core,
            part(pass.core, limit.core),
        );
    }
}

/// How fast some work was done.
struct Speed {
    secs: f64,
    /// 10^9 operations per second.
    all: f64,
    /// 10^9 operations per second that a core has worked: on a machine that others use too, this says more.
    core: f64,
}

impl Speed {
    fn of(n_operations: f64, work: impl FnOnce()) -> Self {
        let (started, busy) = (Instant::now(), core_secs());
        work();
        let (secs, busy) = (started.elapsed().as_secs_f64(), core_secs() - busy);
        Self { secs, all: n_operations / secs / 1e9, core: n_operations / busy / 1e9 }
    }
}

/// Seconds that cores have worked for this process, to a hundredth; NaN where the system does not tell. Source: `proc_pid_stat(5)`, whose
/// ticks have been hundredths of a second on all machines for twenty years.
fn core_secs() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in parentheses may hold spaces; user and system time are the twelfth and thirteenth number after it.
    let numbers = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: Vec<f64> = numbers.skip(11).take(2).filter_map(|number| number.parse().ok()).collect();
    if ticks.len() == 2 { (ticks[0] + ticks[1]) / 100.0 } else { f64::NAN }
}

/// The best speed of seven products on all threads.
fn limit() -> Speed {
    let numbers = vec![0.5_f32; N_LIMIT * N_LIMIT];
    let mut out = vec![0.0; N_LIMIT * N_LIMIT];
    let matrix = Matrix::new(&numbers, N_LIMIT, N_LIMIT);
    let work = 2.0 * (N_LIMIT as f64).powi(3);
    let product = |out: &mut [f32]| {
        MatrixMut::new(out, N_LIMIT, N_LIMIT).set_product_in_parallel(1.0, matrix, matrix.transposed(), 0.0);
    };
    let speeds = (0..7).map(|_| Speed::of(work, || product(&mut out)));
    speeds.reduce(|a, b| Speed { all: a.all.max(b.all), core: a.core.max(b.core), ..a }).unwrap()
}

/// Products of two numbers that a pass needs: those of the weights, and those of the attention without what the mask hides.
fn n_products(decoder: &Decoder, chunks: &[Chunk]) -> f64 {
    let n_tokens: usize = chunks.iter().map(|chunk| chunk.tokens.len()).sum();
    let n_wanted: usize = chunks.iter().map(|chunk| chunk.wanted.len()).sum();
    let mut per_token = 0;
    let mut attention = 0.0;
    for layer in &decoder.layers {
        let FeedForward::Dense(mlp) = &layer.feed_forward else { panic!("experts are not counted") };
        let of = &layer.attention;
        for projection in [&of.q, &of.k, &of.v, &of.o, &mlp.gate, &mlp.up, &mlp.down] {
            per_token += projection.weight.n_weights();
        }
        for chunk in chunks {
            let pairs = (chunk.tokens.len() * (chunk.tokens.len() + 1) / 2) as f64;
            attention += pairs * (2 * of.n_heads * of.head_dim) as f64;
        }
    }
    n_tokens as f64 * per_token as f64 + n_wanted as f64 * decoder.head_weight().n_weights() as f64 + attention
}

/// Looks at each logit once.
#[derive(Default)]
struct Counter {
    n_logits: usize,
    sum: f32,
}

impl Sink for Counter {
    fn logits(&mut self, _: usize, _: usize, logits: &[f32]) -> planish::Result<()> {
        self.n_logits += logits.len();
        self.sum += logits.iter().sum::<f32>();
        Ok(())
    }
}
