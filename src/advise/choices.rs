//! Types that are chosen for one tensor, or for the tensors of one kind in all layers, kept as patterns that llama-quantize reads too.

use super::overrides::{Overrides, TensorType, escaped};
use crate::model::DType;

const EMBEDDINGS: &str = "token_embd.weight";
const HEAD: &str = "output.weight";

/// The name of a tensor after its layer's number, which all of its kind share: `attn_v.weight`; `None` outside the layers.
#[must_use]
pub fn kind_of(name: &str) -> Option<&str> {
    let (number, kind) = name.strip_prefix("blk.")?.split_once('.')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some(kind)
}

impl Overrides {
    /// The type that was chosen for this tensor alone.
    #[must_use]
    pub fn chosen_for_tensor(&self, name: &str) -> Option<DType> {
        match name {
            EMBEDDINGS => self.token_embedding,
            HEAD => self.output,
            _ => self.find(&tensor_pattern(name)),
        }
    }

    /// Chooses a type for this tensor alone, whatever was chosen for its kind; `None`: the type of its kind, else of the level.
    pub fn choose_for_tensor(&mut self, name: &str, dtype: Option<DType>) {
        match name {
            EMBEDDINGS => self.token_embedding = dtype,
            HEAD => self.output = dtype,
            _ => {
                let pattern = tensor_pattern(name);
                self.tensor_types.retain(|chosen| chosen.pattern != pattern);
                // The first that matches wins.
                if let Some(dtype) = dtype {
                    self.tensor_types.insert(0, TensorType { pattern, dtype });
                }
            }
        }
    }

    /// The type that was chosen for all tensors of this kind.
    #[must_use]
    pub fn chosen_for_kind(&self, kind: &str) -> Option<DType> {
        self.find(&kind_pattern(kind))
    }

    /// Chooses a type for all tensors of this kind, in place of what was chosen for single ones; `None`: the type of the level.
    pub fn choose_for_kind(&mut self, kind: &str, dtype: Option<DType>) {
        let (pattern, end) = (kind_pattern(kind), format!("\\.{}$", escaped(kind)));
        let is_of_kind = |chosen: &TensorType| {
            let number = chosen.pattern.strip_prefix("^blk\\.").and_then(|rest| rest.strip_suffix(&end));
            number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
        };
        self.tensor_types.retain(|chosen| chosen.pattern != pattern && !is_of_kind(chosen));
        self.tensor_types.extend(dtype.map(|dtype| TensorType { pattern, dtype }));
    }

    fn find(&self, pattern: &str) -> Option<DType> {
        self.tensor_types.iter().find(|chosen| chosen.pattern == pattern).map(|chosen| chosen.dtype)
    }
}

/// A pattern for this tensor alone.
pub(super) fn tensor_pattern(name: &str) -> String {
    format!("^{}$", escaped(name))
}

/// A pattern for the tensors of a kind in all layers.
pub(super) fn kind_pattern(kind: &str) -> String {
    format!("^blk\\.\\d+\\.{}$", escaped(kind))
}

/// A pattern for the tensors of a kind in these layers.
pub(super) fn layers_pattern(kind: &str, layers: &[u64]) -> String {
    let numbers: Vec<String> = layers.iter().map(u64::to_string).collect();
    format!("^blk\\.({})\\.{}$", numbers.join("|"), escaped(kind))
}

#[cfg(test)]
mod tests {
    use super::super::test_models::SMOLLM2;
    use super::super::{Overrides, Planner};
    use super::*;
    use crate::model::Preset;

    #[test]
    fn kinds_are_what_layers_have_in_common() {
        let check = |name: &str, expected: Option<&str>| assert_eq!(kind_of(name), expected);
        check("blk.12.attn_v.weight", Some("attn_v.weight"));
        check("blk.0.indexer.attn_k.weight", Some("indexer.attn_k.weight"));
        check("token_embd.weight", None);
        check("blk.x.attn_v.weight", None);
        check("blk..attn_v.weight", None);
    }

    #[test]
    fn one_tensor_goes_before_its_kind_and_a_kind_takes_all_of_its_tensors() {
        let model = SMOLLM2.build();
        let mut overrides = Overrides::default();
        let types = |overrides: &Overrides| {
            let planner = Planner::changed(&model, None, &model, overrides).unwrap();
            let recipe = planner.recipe(Preset::Q8_0);
            let of = |name: &str| recipe.dtypes[model.tensors.iter().position(|tensor| tensor.name == name).unwrap()];
            ["token_embd.weight", "blk.1.attn_v.weight", "blk.11.attn_v.weight", "blk.1.attn_q.weight"].map(of)
        };
        let check = |overrides: &Overrides, expected: [DType; 4]| assert_eq!(types(overrides), expected, "{overrides}");
        let plain = DType::Q8_0;
        overrides.choose_for_kind("attn_v.weight", Some(DType::F16));
        check(&overrides, [plain, DType::F16, DType::F16, plain]);
        overrides.choose_for_tensor("blk.1.attn_v.weight", Some(DType::Q4_0));
        overrides.choose_for_tensor("blk.1.attn_q.weight", Some(DType::Q4_1));
        overrides.choose_for_tensor("token_embd.weight", Some(DType::Q5_0));
        check(&overrides, [DType::Q5_0, DType::Q4_0, DType::F16, DType::Q4_1]);
        assert_eq!(overrides.chosen_for_tensor("blk.1.attn_v.weight"), Some(DType::Q4_0));
        assert_eq!(overrides.chosen_for_tensor("blk.11.attn_v.weight"), None);
        assert_eq!(overrides.chosen_for_kind("attn_v.weight"), Some(DType::F16));
        overrides.choose_for_tensor("blk.1.attn_v.weight", None);
        check(&overrides, [DType::Q5_0, DType::F16, DType::F16, DType::Q4_1]);
        overrides.choose_for_tensor("blk.11.attn_v.weight", Some(DType::Q4_0));
        overrides.choose_for_kind("attn_v.weight", Some(DType::Q5_1));
        check(&overrides, [DType::Q5_0, DType::Q5_1, DType::Q5_1, DType::Q4_1]);
        overrides.choose_for_kind("attn_v.weight", None);
        overrides.choose_for_tensor("blk.1.attn_q.weight", None);
        overrides.choose_for_tensor("token_embd.weight", None);
        assert_eq!(overrides, Overrides::default());
    }
}
