//! Recipes and sizes against what llama.cpp itself answered: `tests/golden/recipes/*.json`, made by `make.py` beside them.

use std::path::PathBuf;

use super::test_models::{empty_imatrix, model_of};
use super::{Fallback, Overrides, Planner, bits_per_weight, output_metadata, output_specs};
use crate::format::gguf_writer::file_size_bytes;
use crate::model::{Array, DType, Metadata, Model, Preset, Value};

fn golden_files() -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/recipes");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    paths
}

fn value_of(kind: &str, value: &serde_json::Value) -> Value {
    match kind {
        "str" => Value::Str(value.as_str().unwrap().into()),
        "u32" => Value::U32(value.as_u64().unwrap().try_into().unwrap()),
        #[allow(clippy::cast_possible_truncation, reason = "written from an f32")]
        "f32" => Value::F32(value.as_f64().unwrap() as f32),
        "i32s" => {
            Value::Array(Array::I32(value.as_array().unwrap().iter().map(|v| v.as_i64().unwrap().try_into().unwrap()).collect()))
        }
        other => panic!("{other}"),
    }
}

pub fn golden_model(golden: &serde_json::Value) -> Model {
    let mut metadata = Metadata::default();
    for row in golden["metadata"].as_array().unwrap() {
        metadata.set(row[0].as_str().unwrap(), value_of(row[1].as_str().unwrap(), &row[2]));
    }
    let tensors: Vec<(&str, Vec<u64>, DType)> = golden["tensors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let fields: Vec<&str> = row.as_str().unwrap().split('|').collect();
            let shape = fields[1].split('x').map(|dim| dim.parse().unwrap()).collect();
            (fields[0], shape, DType::from_name(fields[2]).unwrap())
        })
        .collect();
    model_of(metadata, &tensors)
}

#[test]
fn recipes_and_sizes_are_llama_quantizes() {
    let paths = golden_files();
    assert!(paths.len() >= 30, "golden files are missing");
    for path in paths {
        let golden: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let model = golden_model(&golden);
        let imatrix = empty_imatrix();
        let same = Overrides { fallback: Fallback::LlamaCpp, ..Overrides::default() };
        let without = Planner::changed(&model, None, &model, &same).unwrap();
        let with = Planner::changed(&model, Some(&imatrix), &model, &same).unwrap();
        for preset in Preset::all() {
            // make.py gives a matrix where llama-quantize asks for one. What the output says of it is not in the golden size.
            let planner = if preset.needs_imatrix() { &with } else { &without };
            let recipe = planner.recipe(preset);
            let context = format!("{} at {preset}", path.file_stem().unwrap().to_string_lossy());
            let letters = golden["levels"][preset.name()].as_str().unwrap();
            assert_eq!(letters.chars().count(), model.tensors.len());
            for ((tensor, letter), &found) in model.tensors.iter().zip(letters.chars()).zip(&recipe.dtypes) {
                let expected = golden["types"][letter.to_string()].as_str().unwrap();
                assert_eq!(found.name(), expected, "{context}: {}", tensor.name);
            }
            assert_eq!(recipe.n_fallbacks as u64, golden["n_fallbacks"][preset.name()].as_u64().unwrap(), "{context}");
            let expected_size = golden["size_bytes"][preset.name()].as_u64().unwrap();
            let specs = output_specs(&model, &recipe);
            let plain_size = file_size_bytes(&output_metadata(&model, preset), &specs, model.alignment);
            assert_eq!(plain_size, Ok(expected_size), "{context}");
            let written = file_size_bytes(&planner.output_metadata(preset), &specs, model.alignment);
            assert_eq!(planner.output_size_bytes(&recipe), written, "{context}");
            assert!(bits_per_weight(&model, &recipe) > 1.0);
        }
    }
}
