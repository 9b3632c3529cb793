//! Changed recipes against what llama.cpp itself answered: `tests/golden/recipes/overrides/*.json`, made by `make_overrides.py`.

use std::path::PathBuf;

use super::golden_tests::golden_model;
use super::overrides::{dtype_from_text, layers_from_text};
use super::test_models::{SMOLLM2, empty_imatrix};
use super::{Fallback, Overrides, Planner, output_metadata, output_specs, pruned};
use crate::error::Error;
use crate::format::file_size_bytes;
use crate::model::{DType, Model, Preset};

/// What the options of a golden case say, with llama.cpp's fallback.
fn overrides_of(options: &str) -> Overrides {
    let mut overrides = Overrides { fallback: Fallback::LlamaCpp, ..Overrides::default() };
    let mut words = options.split_whitespace();
    while let Some(option) = words.next() {
        match option {
            "--pure" => overrides.pure = true,
            "--tensor-type" => overrides.tensor_types.push(words.next().unwrap().parse().unwrap()),
            "--output-tensor-type" => overrides.output = Some(dtype_from_text(words.next().unwrap()).unwrap()),
            "--token-embedding-type" => overrides.token_embedding = Some(dtype_from_text(words.next().unwrap()).unwrap()),
            "--prune-layers" => overrides.pruned_layers = layers_from_text(words.next().unwrap()).unwrap(),
            other => panic!("{other}"),
        }
    }
    overrides
}

fn without_layers(whole: &Model, overrides: &Overrides) -> Model {
    if overrides.pruned_layers.is_empty() { whole.clone() } else { pruned(whole, &overrides.pruned_layers).unwrap().model }
}

#[test]
fn changed_recipes_and_sizes_are_llama_quantizes() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/recipes");
    let read = |path: PathBuf| serde_json::from_str::<serde_json::Value>(&std::fs::read_to_string(path).unwrap()).unwrap();
    let imatrix = empty_imatrix();
    let mut n_cases = 0;
    for entry in std::fs::read_dir(folder.join("overrides")).unwrap() {
        let path = entry.unwrap().path();
        let golden = read(folder.join(path.file_name().unwrap()));
        let whole = golden_model(&golden);
        for case in read(path.clone()).as_array().unwrap() {
            let text = |key: &str| case[key].as_str().unwrap();
            let (options, level) = (text("options"), text("level").parse::<crate::model::Level>().unwrap().preset().unwrap());
            let context = format!("{} {options} at {level}", path.display());
            let overrides = overrides_of(options);
            let model = without_layers(&whole, &overrides);
            // make_overrides.py gives a matrix where llama-quantize asks for one. What the output says of it is not in the golden size.
            let with_imatrix = level.needs_imatrix() || options.contains("IQ2");
            let planner = Planner::changed(&model, with_imatrix.then_some(&imatrix), &whole, &overrides).unwrap();
            let recipe = planner.recipe(level);
            let letters: Vec<char> = text("letters").chars().filter(|&letter| letter != '-').collect();
            assert_eq!(letters.len(), model.tensors.len(), "{context}");
            for ((tensor, letter), found) in model.tensors.iter().zip(letters).zip(&recipe.dtypes) {
                let expected = golden["types"][letter.to_string()].as_str().unwrap();
                assert_eq!(found.name(), expected, "{context}: {}", tensor.name);
            }
            if let Some(names) = case["names"].as_array() {
                assert!(
                    model.tensors.iter().map(|tensor| tensor.name.as_str()).eq(names.iter().map(|name| name.as_str().unwrap()))
                );
            }
            assert_eq!(recipe.n_fallbacks as u64, case["n_fallbacks"].as_u64().unwrap(), "{context}");
            let specs = output_specs(&model, &recipe);
            let plain_size = file_size_bytes(&output_metadata(&model, level), &specs, model.alignment);
            assert_eq!(plain_size, Ok(case["size_bytes"].as_u64().unwrap()), "{context}");
            let written = file_size_bytes(&planner.output_metadata(level), &specs, model.alignment);
            assert_eq!(planner.output_size_bytes(&recipe), written, "{context}");
            n_cases += 1;
        }
    }
    assert!(n_cases >= 60, "golden files are missing");
}

#[test]
fn patterns_that_change_nothing_are_refused() {
    let model = SMOLLM2.build();
    let check = |pattern: &str, expected: Option<Option<&str>>| {
        let overrides = Overrides { tensor_types: vec![format!("{pattern}=Q8_0").parse().unwrap()], ..Overrides::default() };
        let found = match Planner::changed(&model, None, &model, &overrides) {
            Ok(_) => None,
            Err(Error::UnmatchedPattern { fixed, .. }) => Some(fixed),
            Err(error) => panic!("{error}"),
        };
        assert_eq!(found, expected.map(|fixed| fixed.map(String::from)), "{pattern}");
    };
    check("attn_v", None);
    check("attn", None); // norms too, and matrices
    check("attn_z", Some(None));
    check(r"blk\.30\.", Some(None));
    check("attn_norm", Some(Some("blk.0.attn_norm.weight")));
}

#[test]
fn a_type_that_does_not_fit_is_told() {
    let model = SMOLLM2.build();
    let check = |overrides: Overrides, expected: &[&str]| {
        let planner = Planner::changed(&model, None, &model, &overrides).unwrap();
        assert_eq!(planner.change_warnings(&planner.recipe(Preset::Q8_0)), expected, "{overrides}");
    };
    let named = |text: &str| Overrides { tensor_types: vec![text.parse().unwrap()], ..Overrides::default() };
    check(named("attn_q=Q6_K"), &["rows of 576 are not whole blocks of Q6_K: Q8_0 instead for blk.0.attn_q.weight and 29 more"]);
    check(named("ffn_down=Q6_K"), &[]);
    check(named("attn_q=Q4_0"), &[]);
    let head = Overrides { output: Some(DType::Q6_K), ..Overrides::default() };
    check(head, &["rows of 576 are not whole blocks of Q6_K: Q8_0 instead for token_embd.weight"]);
    let embeddings = Overrides { token_embedding: Some(DType::Q4_K), fallback: Fallback::SameSize, ..Overrides::default() };
    check(embeddings, &["rows of 576 are not whole blocks of Q4_K: IQ4_NL instead for token_embd.weight"]);
}

#[test]
fn types_that_need_importances_are_found_in_changes_too() {
    let model = SMOLLM2.build();
    let overrides = Overrides { tensor_types: vec!["ffn_down=IQ2_XS".parse().unwrap()], ..Overrides::default() };
    let planner = Planner::changed(&model, None, &model, &overrides).unwrap();
    let found = planner.without_importances(&planner.recipe(Preset::Q4_K_M));
    assert_eq!(found.map(|(tensor, dtype)| (tensor.name.as_str(), dtype)), Some(("blk.0.ffn_down.weight", DType::IQ2_XS)));
}

#[test]
fn blocks_of_a_checkpoint_are_kept_where_nothing_is_smaller() {
    let mut model = SMOLLM2.build();
    let set = |model: &mut Model, name: &str, row_len: u64| {
        let tensor = model.tensors.iter_mut().find(|tensor| tensor.name == name).unwrap();
        (tensor.dtype, tensor.shape[0]) = (DType::MXFP4, row_len);
    };
    // Rows of whole blocks of 256, and of 32 only.
    set(&mut model, "blk.0.ffn_up.weight", 512);
    set(&mut model, "blk.1.ffn_up.weight", 576);
    let check = |model: &Model, options: &str, level: Preset, expected: [DType; 2]| {
        let planner = Planner::changed(model, None, model, &overrides_of(options)).unwrap();
        let recipe = planner.recipe(level);
        let dtype_of = |name| recipe.dtypes[model.tensors.iter().position(|tensor| tensor.name == name).unwrap()];
        let found = ["blk.0.ffn_up.weight", "blk.1.ffn_up.weight"].map(dtype_of);
        assert_eq!(found, expected, "{level} {options}");
    };
    // llama-quantize changes those of a GGUF file.
    check(&model, "", Preset::Q4_K_M, [DType::Q4_K, DType::Q5_0]);
    let mxfp4 = DType::MXFP4;
    model.import = Some(std::sync::Arc::new(crate::model::Import { name: "tiny".into(), ..Default::default() }));
    check(&model, "", Preset::BF16, [mxfp4, mxfp4]);
    check(&model, "", Preset::Q8_0, [mxfp4, mxfp4]);
    check(&model, "", Preset::Q4_K_M, [mxfp4, mxfp4]);
    check(&model, "", Preset::Q3_K_M, [DType::Q3_K, mxfp4]);
    check(&model, "--tensor-type ffn_up=Q8_0", Preset::Q4_K_M, [DType::Q8_0, DType::Q8_0]);
}
