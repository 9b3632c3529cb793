//! Conversion with an importance matrix, from the file to bytes on disk.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::tests::{Fixture, data, decode, tensor_bytes, unsealed};
use super::*;
use crate::advise::recipe::Planner;
use crate::error::Error;
use crate::format::{self, Imatrix};
use crate::model::{DType, Framework, Preset, Value};
use crate::monitor::Monitor;
use crate::quant;

/// Importances from 1 down to tiny, different for each seed.
fn importances(seed: u32, n: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        #[allow(clippy::cast_precision_loss, reason = "16 bits fit")]
        let unit = (state >> 16) as f32 / 65536.0;
        unit
    };
    (0..n).map(|_| next().powi(4) + 1e-4).collect()
}

/// Entries for all matrices of the fixture but `token_embd.weight`; one of four experts.
fn entries() -> BTreeMap<String, Vec<f32>> {
    let shapes = [
        ("blk.0.attn_q.weight", 512),
        ("blk.0.attn_k.weight", 96),
        ("blk.0.attn_v.weight", 20),
        ("blk.0.attn_output.weight", 512),
        ("blk.0.ffn_up.weight", 256 * 1024 + 512),
        ("blk.0.ffn_down_exps.weight", 256 * 4),
        ("blk.0.ffn_gate.weight", 256),
    ];
    (1..).zip(shapes).map(|(seed, (name, n))| (name.to_string(), importances(seed, n))).collect()
}

/// Writes a `.dat` file, as older versions of llama-imatrix did.
fn write_dat(fixture: &Fixture, entries: &BTreeMap<String, Vec<f32>>) -> PathBuf {
    let number = |n: usize| i32::try_from(n).unwrap().to_le_bytes();
    let mut bytes = number(entries.len()).to_vec();
    for (name, values) in entries {
        bytes.extend(number(name.len()));
        bytes.extend(name.as_bytes());
        bytes.extend(1_i32.to_le_bytes());
        bytes.extend(number(values.len()));
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }
    bytes.extend(number(80));
    bytes.extend(number(4));
    bytes.extend(b"wiki");
    let path = fixture.dir.path().join("tiny.imatrix");
    std::fs::write(&path, bytes).unwrap();
    path
}

fn request(fixture: &Fixture, levels: &[Level], imatrix: PathBuf) -> ConvertRequest {
    ConvertRequest { imatrix: Some(imatrix), ..fixture.request(levels) }
}

#[test]
fn each_expert_and_each_piece_of_a_long_row_gets_its_own_importances() {
    let fixture = Fixture::new();
    let entries = entries();
    let levels: Vec<_> = Level::of(Framework::LlamaCpp).collect();
    let request = request(&fixture, &levels, write_dat(&fixture, &entries));
    let conversions = convert(&fixture.model, &request, &Monitor::silent()).unwrap();
    let imatrix = format::read_imatrix(&request.imatrix.unwrap()).unwrap();
    let planner = Planner::by(&fixture.model, Some(&imatrix));
    for (conversion, level) in conversions.iter().zip(levels) {
        assert_eq!(conversion.size_bytes, std::fs::metadata(&conversion.path).unwrap().len(), "{level}");
        assert_eq!(Ok(conversion.size_bytes), planner.output_size_bytes(&planner.recipe(level.preset().unwrap())), "{level}");
        let output = format::inspect(&conversion.path).unwrap();
        assert_eq!(unsealed(output.metadata.clone()), planner.output_metadata(level.preset().unwrap()));
        for (idx, tensor) in output.tensors.iter().enumerate() {
            let source = &fixture.model.tensors[idx];
            assert_eq!(tensor.dtype, planner.recipe(level.preset().unwrap()).dtypes[idx], "{level} {}", tensor.name);
            if tensor.dtype == source.dtype {
                continue;
            }
            let raw = tensor_bytes(&fixture.model, idx);
            let weights = decode(source.dtype, &raw, source.n_elements().try_into().unwrap());
            let row_len = usize::try_from(source.row_len()).unwrap();
            let rows_per_expert = usize::try_from(source.shape[1]).unwrap();
            let mut expected = Vec::new();
            for (idx, row) in weights.chunks(row_len).enumerate() {
                let start = idx / rows_per_expert * row_len;
                let columns = entries.get(&tensor.name).map(|all| &all[start..start + row_len]);
                let mut bytes = vec![0; usize::try_from(tensor.dtype.row_bytes(row_len as u64).unwrap()).unwrap()];
                quant::quantize_rows_by(tensor.dtype, row, row_len, columns, &mut bytes).unwrap();
                expected.extend(bytes);
            }
            assert!(tensor_bytes(&output, idx) == expected, "{level} {}", tensor.name);
        }
    }
}

#[test]
fn the_output_says_what_it_was_made_with() {
    let fixture = Fixture::new();
    let request = request(&fixture, &[Level::Q4_K_M], write_dat(&fixture, &entries()));
    let conversions = convert(&fixture.model, &request, &Monitor::silent()).unwrap();
    let metadata = format::inspect(&conversions[0].path).unwrap().metadata;
    let found: Vec<_> = metadata.0.into_iter().filter(|(key, _)| key.starts_with("quantize.imatrix.")).collect();
    let expected = [
        ("quantize.imatrix.file", Value::Str("tiny.imatrix".into())),
        ("quantize.imatrix.dataset", Value::Str("wiki".into())),
        ("quantize.imatrix.entries_count", Value::U32(7)),
        ("quantize.imatrix.chunks_count", Value::U32(80)),
    ];
    assert_eq!(found, expected.map(|(key, value)| (key.to_string(), value)));
    let unknown = "1 of 5 tensors is not in the importance matrix, so all its columns count the same: token_embd.weight";
    assert!(conversions[0].warnings.iter().any(|warning| warning == unknown), "{:?}", conversions[0].warnings);
}

#[test]
fn nothing_of_an_earlier_matrix_is_left() {
    let mut fixture = Fixture::new();
    let imatrix = Imatrix {
        path: "new.gguf".into(),
        dataset: None,
        n_chunks: 0,
        entries: BTreeMap::from([("a".to_string(), vec![1.0])]),
        warnings: Vec::new(),
        moments: None,
    };
    fixture.model.metadata.set("quantize.imatrix.chunks_count", Value::I32(7));
    fixture.model.metadata.set("quantize.imatrix.dataset", Value::Str("a longer name than before".into()));
    let planner = Planner::by(&fixture.model, Some(&imatrix));
    let recipe = planner.recipe(Preset::Q8_0);
    let metadata = planner.output_metadata(Preset::Q8_0);
    assert_eq!((metadata.find("quantize.imatrix.chunks_count"), metadata.find("quantize.imatrix.dataset")), (None, None));
    let specs = crate::advise::output_specs(&fixture.model, &recipe);
    let size_bytes = format::file_size_bytes(&metadata, &specs, fixture.model.alignment);
    assert_eq!(planner.output_size_bytes(&recipe), size_bytes);
}

#[test]
fn an_unusable_matrix_is_refused_before_any_work() {
    let fixture = Fixture::new();
    let check = |entries: &BTreeMap<String, Vec<f32>>, is_expected: fn(&Error) -> bool| {
        let request = request(&fixture, &[Level::Q4_K_M], write_dat(&fixture, entries));
        let error = convert(&fixture.model, &request, &Monitor::silent()).unwrap_err();
        assert!(is_expected(&error), "{error}");
        assert!(!request.out_dir.exists());
    };
    let mut wrong = entries();
    wrong.insert("blk.0.attn_q.weight".into(), vec![1.0; 511]);
    check(&wrong, |error| {
        error.to_string().starts_with("the importance matrix has 511 columns for tensor blk.0.attn_q.weight, which has 512")
    });
    let foreign = BTreeMap::from([("blk.7.attn_q.weight".to_string(), vec![1.0; 512])]);
    check(&foreign, |error| matches!(error, Error::BadImatrix { .. }));
    let missing = request(&fixture, &[Level::Q8_0], fixture.dir.path().join("none"));
    assert!(matches!(convert(&fixture.model, &missing, &Monitor::silent()), Err(Error::Io { .. })));
}

#[test]
fn the_bytes_do_not_depend_on_threads() {
    let fixture = Fixture::new();
    let path = write_dat(&fixture, &entries());
    let run = |n_threads: usize| {
        let out_dir = fixture.dir.path().join(n_threads.to_string());
        let base = request(&fixture, &[Level::Q4_K_M, Level::Q4_0], path.clone());
        let conversions =
            convert(&fixture.model, &ConvertRequest { out_dir, n_threads: Some(n_threads), ..base }, &Monitor::silent()).unwrap();
        conversions.into_iter().map(|conversion| std::fs::read(conversion.path).unwrap()).collect::<Vec<_>>()
    };
    assert!(run(1) == run(5));
}

#[test]
fn the_first_eighth_of_ffn_down_gets_a_minimum_at_q4_0_and_q5_0() {
    let names: Vec<String> = (0..16).map(|layer_idx| format!("blk.{layer_idx}.ffn_down.weight")).collect();
    let tensors: Vec<(&str, DType, &[u64], Vec<u8>)> =
        names.iter().map(|name| (name.as_str(), DType::F16, [32, 2].as_slice(), data(3, DType::F16, &[32, 2]))).collect();
    let mut fixture = Fixture::with(&tensors);
    fixture.model.hyperparameters.n_layers = 16;
    let imatrix = Imatrix {
        path: "m".into(),
        dataset: None,
        n_chunks: 0,
        entries: names.iter().map(|name| (name.clone(), vec![1.0; 32])).collect(),
        warnings: Vec::new(),
        moments: None,
    };
    let check = |level: Level, imatrix: Option<&Imatrix>, first: DType, rest: DType| {
        let dtypes = Planner::by(&fixture.model, imatrix).recipe(level.preset().unwrap()).dtypes;
        let expected: Vec<DType> = (0..16).map(|layer_idx| if layer_idx < 2 { first } else { rest }).collect();
        assert_eq!(dtypes, expected, "{level}");
    };
    check(Level::Q4_0, Some(&imatrix), DType::Q4_1, DType::Q4_0);
    check(Level::Q5_0, Some(&imatrix), DType::Q5_1, DType::Q5_0);
    check(Level::Q4_0, None, DType::Q4_0, DType::Q4_0);
    check(Level::Q4_1, Some(&imatrix), DType::Q4_1, DType::Q4_1);
}

#[test]
fn levels_of_few_bits_are_refused_without_importances_of_each_tensor() {
    let fixture = Fixture::new();
    let refused = |level: &'static str, tensor: &str| Err(Error::NeedsImatrix { level, tensor: tensor.into() });
    let check = |level: Level, entries: Option<BTreeMap<String, Vec<f32>>>, expected: Result<()>| {
        let imatrix = entries.map(|entries| write_dat(&fixture, &entries));
        let found = preflight(&fixture.model, &ConvertRequest { imatrix, ..fixture.request(&[level]) });
        assert_eq!(found.map(|_| ()), expected, "{level}");
    };
    check(Level::IQ2_XS, None, refused("IQ2_XS", "blk.0.attn_q.weight"));
    check(Level::IQ1_S, None, refused("IQ1_S", "blk.0.attn_q.weight"));
    check(Level::Q2_K_S, None, refused("Q2_K_S", "blk.0.attn_q.weight"));
    check(Level::IQ2_XS, Some(entries()), Ok(()));
    let mut few = entries();
    few.remove("blk.0.attn_output.weight");
    check(Level::IQ2_XS, Some(few.clone()), refused("IQ2_XS", "blk.0.attn_output.weight"));
    // The same types without a level that builds on importances.
    check(Level::IQ4_XS, None, Ok(()));
    check(Level::IQ3_S, None, Ok(()));
    check(Level::Q2_K, Some(few), Ok(()));
}
