//! What a file's own level is: what its header claims, checked against its tensors.

use super::fallback::Fallback;
use super::overrides::{BUDGETED, CALIBRATED, asks_for_budget, asks_for_calibration};
use super::recipe::Planner;
use crate::model::{DType, Level, Model, Preset, QUANTIZED_SOURCE_KEY, RECIPE_KEY};

/// The level whose recipe gives exactly the types of the model's tensors, with any menu of fallbacks: the one that the header
/// names if its recipe does, else the first whose recipe does. `None` for a mix of types that no level makes.
#[must_use]
pub fn own_level(model: &Model) -> Option<Level> {
    own_level_of(&Planner::plain(model))
}

fn own_level_of(planner: &Planner) -> Option<Level> {
    let model = planner.model();
    let occurs = |dtype: DType| model.tensors.iter().any(|tensor| tensor.dtype == dtype);
    // Where no tensor has a level's main type, all of them fell back: only the header can name such a level.
    let others = Preset::all().filter(|preset| occurs(preset.base_dtype()));
    let candidates = model.own_level().and_then(Level::preset).into_iter().chain(others);
    let found = candidates.into_iter().find(|&preset| {
        Fallback::ALL.into_iter().any(|fallback| {
            let dtypes = planner.recipe_by(preset, fallback).dtypes;
            model.tensors.iter().zip(&dtypes).all(|(tensor, dtype)| tensor.dtype == *dtype)
        })
    });
    found.map(Level::from)
}

/// The model's own level in words: `Q4_K_M`; `Q4_K_M custom` where the header names a level and the tensors have other types; else the
/// type that most weights have.
#[must_use]
pub fn own_name(model: &Model) -> String {
    own_name_of(&Planner::plain(model))
}

fn own_name_of(planner: &Planner) -> String {
    let model = planner.model();
    let recipe = model.metadata.str(RECIPE_KEY).unwrap_or_default();
    match (own_level_of(planner), model.own_level()) {
        (_, Some(claimed)) if asks_for_budget(&recipe) => format!("{claimed} {BUDGETED}"),
        (Some(level), _) if asks_for_calibration(&recipe) => format!("{level} {CALIBRATED}"),
        (Some(level), _) => level.to_string(),
        (None, Some(claimed)) => format!("{claimed} custom"),
        (None, None) => model.main_dtype().map(|dtype| dtype.to_string()).unwrap_or_default(),
    }
}

/// What the weights were quantized to before they came into this model: its own level where it is a quantized file, what its header says
/// where it was decoded from one. `None` for weights that have lost nothing, as far as the file tells.
///
/// Blocks of a checkpoint do not count: its makers trained with them.
#[must_use]
pub fn quantized_origin(model: &Model) -> Option<String> {
    if model.import.is_some() {
        return None;
    }
    if model.is_quantized() { Some(own_name(model)) } else { decoded_from(model) }
}

/// What a file of floats was decoded from, as its header says; `None` where it says nothing, and for a quantized file.
#[must_use]
pub fn decoded_from(model: &Model) -> Option<String> {
    let said = model.metadata.str(QUANTIZED_SOURCE_KEY).map(std::borrow::Cow::into_owned);
    said.filter(|_| model.import.is_none() && !model.is_quantized())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advise::recipe::recipe;
    use crate::advise::test_models::{Decoder, LLAMA3_8B};
    use crate::model::Value;

    /// The model as a conversion to this level writes it.
    fn converted(preset: Preset, claimed: Preset) -> Model {
        let mut model = Decoder { n_layers: 4, n_embd: 512, n_ff: 1024, n_heads: 8, n_vocab: 1024, ..LLAMA3_8B }.build();
        let dtypes = recipe(&model, preset).dtypes;
        for (tensor, dtype) in model.tensors.iter_mut().zip(dtypes) {
            tensor.dtype = dtype;
        }
        model.metadata.set("general.file_type", Value::U32(claimed.file_type_id()));
        model
    }

    #[test]
    fn a_file_is_named_by_the_recipe_that_gives_its_types() {
        let check = |preset: Preset, claimed: Preset, expected: &str| {
            assert_eq!(own_name(&converted(preset, claimed)), expected, "{preset} called {claimed}");
        };
        check(Preset::Q4_K_M, Preset::Q4_K_M, "Q4_K_M");
        check(Preset::Q4_K_M, Preset::Q4_K_S, "Q4_K_M");
        check(Preset::F16, Preset::F16, "F16");
        let mut changed = converted(Preset::Q4_K_M, Preset::Q4_K_M);
        let matrix = changed.tensors.iter().position(|tensor| tensor.name.ends_with("attn_q.weight")).unwrap();
        changed.tensors[matrix].dtype = DType::Q2_K;
        assert_eq!((own_level(&changed), own_name(&changed).as_str()), (None, "Q4_K_M custom"));
    }

    #[test]
    fn what_a_file_lost_before_is_known_when_it_is_opened_again() {
        let quantized = converted(Preset::Q4_K_M, Preset::Q4_K_M);
        assert_eq!(quantized_origin(&quantized).as_deref(), Some("Q4_K_M"));
        assert_eq!(decoded_from(&quantized), None);
        let planner = Planner::new(&quantized);
        let metadata = planner.output_metadata(Preset::F16);
        assert_eq!(metadata.str(QUANTIZED_SOURCE_KEY).as_deref(), Some("Q4_K_M"));

        let mut decoded = converted(Preset::F16, Preset::F16);
        decoded.metadata = metadata;
        assert_eq!(decoded_from(&decoded).as_deref(), Some("Q4_K_M"));
        // The fact goes on into what is made from it, in a header whose size is known before.
        let planner = Planner::new(&decoded);
        assert_eq!(planner.output_metadata(Preset::Q8_0).str(QUANTIZED_SOURCE_KEY).as_deref(), Some("Q4_K_M"));
        let clean = converted(Preset::F16, Preset::F16);
        assert_eq!(Planner::new(&clean).output_metadata(Preset::Q8_0).str(QUANTIZED_SOURCE_KEY), None);
        for model in [&quantized, &decoded, &clean] {
            let planner = Planner::new(model);
            let recipe = planner.recipe(Preset::Q8_0);
            let specs = crate::advise::output_specs(model, &recipe);
            let layout =
                crate::format::gguf_writer::Layout::plan(&planner.output_metadata(Preset::Q8_0), &specs, model.alignment);
            assert_eq!(planner.output_size_bytes(&recipe), layout.map(|layout| layout.file_size_bytes));
        }
    }
}
