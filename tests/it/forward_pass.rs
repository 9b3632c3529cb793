//! The forward pass that runs checkpoints computes what the plain one in double precision does.

use std::collections::HashMap;
use std::ops::Range;

use planish::error::Error;
use planish::import::{decoder, stored_model};
use planish::model::{Checkpoint, Decoder, FeedForward, Site, Weight};
use planish::monitor::Monitor;
use planish::quant::matmul::{Matrix, MatrixMut};
use planish::runtime::forward::{Chunk, ForwardPass, Sink, SiteRows, StoredWeights, WeightSource, run};
use serde_json::Value as Json;

use crate::forward::Network;
use crate::golden_checkpoints::{cases, write};

/// Largest allowed difference of a logit, as a fraction of the range of all logits.
const TOLERANCE: f64 = 1e-5;

/// Keeps all logits, and the inputs of all sites if it wants them.
#[derive(Default)]
struct Kept {
    logits: HashMap<usize, Vec<f32>>,
    first_positions: HashMap<usize, usize>,
    wants_sites: bool,
    sites: HashMap<Site, Vec<(usize, usize, Vec<f32>)>>,
    n_position_weights: usize,
}

impl Sink for Kept {
    fn wants(&self, _: Site) -> bool {
        self.wants_sites
    }

    fn rows(&mut self, rows: &SiteRows) -> planish::Result<()> {
        assert_eq!(rows.rows.len(), rows.positions.len() * rows.n_columns());
        let all = self.sites.entry(rows.site).or_default();
        for (&position, row) in rows.positions.iter().zip(rows.rows.chunks_exact(rows.n_columns())) {
            all.push((rows.chunk_idx, position, row.to_vec()));
        }
        assert_eq!(rows.position_weights.is_some(), matches!(rows.site, Site::AttentionInput(_)));
        if let Some(weights) = rows.position_weights {
            for weights in [&weights.keys, &weights.values] {
                let mean = weights.iter().sum::<f64>() / f64::from(u32::try_from(weights.len()).unwrap());
                assert!((mean - 1.0).abs() < 1e-9, "{mean}");
            }
            self.n_position_weights += 1;
        }
        Ok(())
    }

    fn logits(&mut self, chunk_idx: usize, first_position: usize, logits: &[f32]) -> planish::Result<()> {
        self.first_positions.entry(chunk_idx).or_insert(first_position);
        self.logits.entry(chunk_idx).or_default().extend(logits);
        Ok(())
    }
}

/// A checkpoint with its decoder.
struct Case {
    decoder: Decoder,
    model: planish::model::Model,
}

impl Case {
    fn of(checkpoint: &Checkpoint) -> Self {
        let decoder = decoder(checkpoint).unwrap();
        let model = stored_model(checkpoint, &decoder).unwrap();
        Self { decoder, model }
    }

    fn run(&self, chunks: &[Chunk], wants_sites: bool) -> Kept {
        let weights = StoredWeights::open(&self.model).unwrap();
        let mut kept = Kept { wants_sites, ..Kept::default() };
        run(&self.decoder, &weights, chunks, &mut kept, &Monitor::silent()).unwrap();
        kept
    }
}

fn prompts(case: &Json) -> Vec<Vec<u32>> {
    let ids = |prompt: &Json| prompt.as_array().unwrap().iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect();
    case["prompts"].as_array().unwrap().iter().map(ids).collect()
}

fn chunk(tokens: &[u32], wanted: Range<usize>) -> Chunk {
    Chunk { tokens: tokens.to_vec(), wanted }
}

/// The largest difference from the plain pass after some of the chunk's tokens, as a fraction of the range of the logits.
fn difference(network: &Network, tokens: &[u32], logits: &[f32], n_vocab: usize, ends: &[usize]) -> f64 {
    let ids: Vec<u64> = tokens.iter().map(|&id| id.into()).collect();
    let mut largest = 0.0_f64;
    for &end in ends {
        let expected = network.logits(&ids[..end]);
        let found = &logits[(end - 1) * n_vocab..end * n_vocab];
        let (min, max) = expected.iter().fold((f64::MAX, f64::MIN), |(min, max), &logit| (min.min(logit), max.max(logit)));
        let worst = found.iter().zip(&expected).fold(0.0, |worst: f64, (&a, b)| worst.max((f64::from(a) - b).abs()));
        largest = largest.max(worst / (max - min));
    }
    largest
}

#[test]
fn checkpoints_have_the_logits_of_the_plain_pass_alone_and_together() {
    let folder = tempfile::tempdir().unwrap();
    let mut differences = Vec::new();
    for (name, case) in cases() {
        let checkpoint = write(&case, &folder.path().join(&name));
        if decoder(&checkpoint).is_err() {
            continue; // `tests/it/decoder.rs` knows which ones are refused
        }
        let (network, engine) = (Network::of(&checkpoint), Case::of(&checkpoint));
        let n_vocab = usize::try_from(engine.decoder.n_vocab).unwrap();
        let has_long = engine.decoder.rope_tables.iter().any(|table| table.long.is_some());
        let chunks: Vec<Chunk> = prompts(&case).iter().map(|tokens| chunk(tokens, 0..tokens.len())).collect();
        let together = engine.run(&chunks, false);
        for (idx, chunk) in chunks.iter().enumerate() {
            let alone = engine.run(std::slice::from_ref(chunk), false);
            assert!(alone.logits[&0] == together.logits[&idx], "{name}: chunk {idx} depends on the others");
            let n = chunk.tokens.len();
            // Where the frequencies depend on the length of the context, earlier tokens alone are another context.
            let ends = if has_long || n < 3 { vec![n] } else { vec![1, n / 2, n] };
            let found = difference(&network, &chunk.tokens, &together.logits[&idx], n_vocab, &ends);
            assert!(found < TOLERANCE, "{name}, chunk {idx}: {found:e}");
            differences.push((found, name.clone()));
        }
    }
    differences.sort_by(|a, b| b.0.total_cmp(&a.0));
    println!("largest differences: {:?}", &differences[..5]);
    let n_cases = differences.iter().map(|row| &row.1).collect::<std::collections::HashSet<_>>().len();
    assert!(n_cases >= 25, "only {n_cases} checkpoints");
}

/// The tokens of a golden checkpoint's vocabulary in an order of their own.
fn tokens(n: u32) -> Vec<u32> {
    (0..n).map(|idx| (idx * 37 + 11) % 320).collect()
}

fn golden(name: &str, folder: &std::path::Path) -> (Network, Case) {
    let (_, case) = cases().into_iter().find(|case| case.0 == name).unwrap();
    let checkpoint = write(&case, &folder.join(name));
    (Network::of(&checkpoint), Case::of(&checkpoint))
}

#[test]
fn chunks_longer_than_blocks_windows_and_limits_of_rope_are_no_exceptions() {
    let folder = tempfile::tempdir().unwrap();
    for (name, lens) in [("gemma3", vec![150]), ("phi3-longrope-long", vec![40, 300]), ("qwen3-moe", vec![140])] {
        let (network, engine) = golden(name, folder.path());
        let lens: Vec<u32> = lens;
        let chunks: Vec<Chunk> = lens.iter().map(|&n| chunk(&tokens(n), 0..n as usize)).collect();
        let kept = engine.run(&chunks, false);
        for (idx, chunk) in chunks.iter().enumerate() {
            let n = chunk.tokens.len();
            let found = difference(&network, &chunk.tokens, &kept.logits[&idx], 320, &[n]);
            assert!(found < TOLERANCE, "{name} {n}: {found:e}");
        }
    }
}

/// What a site gives its matrices, by chunk and position.
fn by_position(kept: &Kept, site: Site) -> HashMap<(usize, usize), &[f32]> {
    kept.sites[&site].iter().map(|(chunk, position, row)| ((*chunk, *position), row.as_slice())).collect()
}

#[test]
fn sites_give_the_inputs_of_their_matrices() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["llama", "qwen2-moe", "olmo2", "gemma2"] {
        let (_, engine) = golden(name, folder.path());
        let decoder = &engine.decoder;
        let chunks = [chunk(&tokens(20), 19..20), chunk(&tokens(7), 0..0), chunk(&tokens(9), 2..5)];
        let kept = engine.run(&chunks, true);
        assert_eq!(kept.logits.len(), 2, "{name}");
        assert_eq!((kept.first_positions[&2], kept.logits[&2].len()), (2, 3 * 320), "{name}");
        assert_eq!(kept.n_position_weights, 3 * decoder.layers.len(), "{name}");
        for (site, weight) in decoder.matrices() {
            // An expert that no token is sent to has no input.
            let Some(rows) = kept.sites.get(&site) else { continue };
            assert!(rows.iter().all(|row| row.2.len() as u64 == weight.row_len), "{name} {site:?}");
            let is_of_expert = matches!(site, Site::ExpertInput(..) | Site::ExpertHidden(..));
            assert!(is_of_expert || rows.len() == 36, "{name} {site:?}: {}", rows.len());
        }
        for (layer_idx, layer) in decoder.layers.iter().enumerate() {
            let FeedForward::Experts(experts) = &layer.feed_forward else { continue };
            let sent = |site: &dyn Fn(usize) -> Site| -> usize {
                (0..experts.experts.len()).filter_map(|idx| kept.sites.get(&site(idx))).map(Vec::len).sum()
            };
            let expected = 36 * usize::try_from(experts.n_used).unwrap();
            assert_eq!(sent(&|idx| Site::ExpertInput(layer_idx, idx)), expected);
            assert_eq!(sent(&|idx| Site::ExpertHidden(layer_idx, idx)), expected);
            // An expert sees what all tokens see.
            let all = by_position(&kept, Site::FeedForwardInput(layer_idx));
            for idx in 0..experts.experts.len() {
                for (chunk, position, row) in kept.sites.get(&Site::ExpertInput(layer_idx, idx)).into_iter().flatten() {
                    assert_eq!(all[&(*chunk, *position)], row.as_slice());
                }
            }
        }
        check_head(&engine, &kept, name);
    }
}

/// The head's input times the head is the logits.
#[allow(clippy::cast_possible_truncation, reason = "numbers near 1")]
fn check_head(engine: &Case, kept: &Kept, name: &str) {
    let decoder = &engine.decoder;
    let n_embd = usize::try_from(decoder.n_embd).unwrap();
    let mut head = vec![0.0; 320 * n_embd];
    StoredWeights::open(&engine.model).unwrap().read(decoder.head_weight(), &mut head).unwrap();
    let inputs = by_position(kept, Site::HeadInput);
    let mut logits = vec![0.0; 320];
    let row = Matrix::new(inputs[&(0, 19)], 1, n_embd);
    MatrixMut::new(&mut logits, 1, 320).set_product(1.0, row, Matrix::new(&head, 320, n_embd).transposed(), 0.0);
    let cap = |logit: f32| decoder.final_softcap.map_or(logit, |cap| cap as f32 * (logit / cap as f32).tanh());
    for (found, logit) in kept.logits[&0].iter().zip(logits) {
        let expected = cap(logit * decoder.logit_scale as f32);
        assert!((found - expected).abs() < 1e-4 * expected.abs().max(1.0), "{name}: {found} {expected}");
    }
}

#[test]
fn hidden_states_in_a_file_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["llama", "mixtral"] {
        let (_, engine) = golden(name, folder.path());
        let chunks = [chunk(&tokens(50), 0..50), chunk(&tokens(9), 0..9)];
        let expected = engine.run(&chunks, false);
        let weights = StoredWeights::open(&engine.model).unwrap();
        let mut kept = Kept::default();
        let mut pass = ForwardPass::start_within(0, &engine.decoder, &weights, &chunks).unwrap();
        for layer_idx in 0..engine.decoder.layers.len() {
            pass.layer(layer_idx, &weights, &mut kept, &Monitor::silent()).unwrap();
        }
        pass.head(&weights, &mut kept, &Monitor::silent()).unwrap();
        assert!(kept.logits == expected.logits, "{name}");
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["llama", "qwen2-moe"] {
        let (_, engine) = golden(name, folder.path());
        let chunks = [chunk(&tokens(200), 0..200), chunk(&tokens(90), 0..90)];
        let with = |n| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
            pool.install(|| engine.run(&chunks, true))
        };
        let (one, three) = (with(1), with(3));
        assert!(one.logits == three.logits && one.sites == three.sites, "{name}");
    }
}

/// Weights that are not there.
struct Nothing;

impl WeightSource for Nothing {
    fn read(&self, weight: &Weight, _: &mut [f32]) -> planish::Result<()> {
        Err(Error::BadRequest { message: format!("{} was asked for", weight.name) })
    }
}

#[test]
fn what_cannot_be_computed_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (_, engine) = golden("llama", folder.path());
    let weights = StoredWeights::open(&engine.model).unwrap();
    let fails = |decoder: &Decoder, chunks: &[Chunk], expected: &str| {
        let error = run(decoder, &weights, chunks, &mut Kept::default(), &Monitor::silent()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    fails(&engine.decoder, &[chunk(&[1, 320], 0..1)], "token 320 is outside the vocabulary of 320");
    fails(&engine.decoder, &[chunk(&[1, 2], 0..3)], "chunk 0 has fewer tokens");
    let changed = |change: &dyn Fn(&mut Decoder)| {
        let mut decoder = engine.decoder.clone();
        change(&mut decoder);
        decoder
    };
    let some = [chunk(&[1, 2], 0..2)];
    fails(&changed(&|decoder| decoder.layers[0].attention.n_kv_heads = 3), &some, "evenly");
    fails(&changed(&|decoder| decoder.layers[1].attention.rope_idx = Some(1)), &some, "RoPE table");
    fails(&changed(&|decoder| decoder.rope_tables[0].n_dims = 400), &some, "RoPE table");
    fails(&changed(&|decoder| decoder.layers[0].attention.o.weight.n_rows = 3), &some, "3 x 64 weights where 64 x 64 are needed");
    fails(&changed(&|decoder| decoder.n_embd = 0), &some, "it has no numbers");
    fails(&changed(&|decoder| decoder.embedding.name = "none".into()), &some, "no such tensor");
    let error = run(&engine.decoder, &Nothing, &some, &mut Kept::default(), &Monitor::silent()).unwrap_err().to_string();
    assert!(error.contains("was asked for"), "{error}");
    // Nothing to compute is no error.
    let none = engine.run(&[], true);
    assert!(none.logits.is_empty() && none.sites.is_empty());
    assert_eq!(engine.run(&[chunk(&[], 0..0), chunk(&[5], 0..1)], false).logits[&1].len(), 320);
    let cancelled = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let monitor = Monitor::new(cancelled, |_| {});
    assert_eq!(run(&engine.decoder, &weights, &some, &mut Kept::default(), &monitor), Err(Error::Cancelled));
}
