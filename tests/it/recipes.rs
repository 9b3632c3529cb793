//! Recipes and sizes against llama.cpp's own quantizer, linked into this test, on a real model.
#![cfg(feature = "llama-cpp")]
#![allow(unsafe_code, reason = "llama_model_quantize has no safe wrapper")]

use std::ffi::CString;
use std::path::Path;

use planish::advise::{Fallback, Overrides, Planner, recipe};
use planish::format::{file_size_bytes, inspect};
use planish::model::Preset;

/// What llama-quantize does with `--allow-requantize`.
fn llama_quantize(source: &Path, output: &Path, preset: Preset) {
    let path_of = |path: &Path| CString::new(path.to_str().unwrap()).unwrap();
    let (source, output) = (path_of(source), path_of(output));
    // SAFETY: both strings outlive the call, and the default parameters hold no pointers.
    let status = unsafe {
        let mut params = llama_cpp_sys_2::llama_model_quantize_default_params();
        params.nthread = 2;
        params.ftype = preset.file_type_id() as llama_cpp_sys_2::llama_ftype;
        params.allow_requantize = true;
        llama_cpp_sys_2::llama_model_quantize(source.as_ptr(), output.as_ptr(), &raw const params)
    };
    assert_eq!(status, 0, "{preset}");
}

#[test]
fn types_and_sizes_are_llama_quantizes_on_smollm2() {
    let source = crate::common::smollm2();
    let model = inspect(&source).unwrap();
    let same = Overrides { fallback: Fallback::LlamaCpp, ..Overrides::default() };
    let planner = Planner::changed(&model, None, &model, &same).unwrap();
    let folder = tempfile::tempdir().unwrap();
    // The others ask for an importance matrix: `tests/golden/recipes` holds what they get with one.
    for preset in Preset::all().filter(|preset| !preset.needs_imatrix()) {
        let output = folder.path().join(format!("{preset}.gguf"));
        llama_quantize(&source, &output, preset);
        let theirs = inspect(&output).unwrap();
        let recipe = planner.recipe(preset);
        assert_eq!(theirs.tensors.len(), model.tensors.len());
        for (tensor, &dtype) in model.tensors.iter().zip(&recipe.dtypes) {
            let found = theirs.tensors.iter().find(|found| found.name == tensor.name).unwrap();
            assert_eq!(dtype, found.dtype, "{preset}: {}", tensor.name);
        }
        let specs = recipe::output_specs(&model, &recipe);
        let plain_size = file_size_bytes(&recipe::output_metadata(&model, preset), &specs, model.alignment);
        assert_eq!(plain_size, Ok(theirs.size_bytes), "{preset}");
        std::fs::remove_file(&output).unwrap();
    }
}
