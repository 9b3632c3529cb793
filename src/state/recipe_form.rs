//! What the user has changed in the recipes of the levels, for one model.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::advise::Overrides;
use crate::model::{Level, Model};

/// Changes to the levels' recipes. They are saved and belong to one model: names of tensors and numbers of layers mean
/// something else in another one. Another model has no changes, until the first one made to it takes the place of these.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RecipeForm {
    /// The model that they are for.
    #[serde(with = "crate::path_text", default)]
    model: Option<PathBuf>,
    /// The changes.
    overrides: Overrides,
    /// True while the table of tensors is open.
    pub is_open: bool,
    /// The level whose tensors the table shows; `None`: the first one that is chosen.
    pub level: Option<Level>,
    /// Filter of the table.
    #[serde(skip)]
    pub filter: String,
    /// Text that is being typed into the field for layers; `None`: the field shows the layers of the changes.
    #[serde(skip)]
    pub layers_text: Option<String>,
}

impl RecipeForm {
    /// The changes for this model; none when they were made for another one.
    #[must_use]
    pub fn of(&self, model: &Model) -> Overrides {
        if self.model.as_ref() == Some(&model.path) { self.overrides.clone() } else { Overrides::default() }
    }

    /// Keeps these changes for this model, in place of those for any other.
    pub fn set(&mut self, model: &Model, overrides: Overrides) {
        self.model = Some(model.path.clone());
        self.overrides = overrides;
    }

    /// Hands the changes made for a checkpoint to the file that stands for it from now on: its tensors have the same names.
    pub fn follow(&mut self, checkpoint: &Path, file: &Model) {
        if self.model.as_deref() == Some(checkpoint) {
            self.model = Some(file.path.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::test_support::sample_model;

    #[test]
    fn changes_belong_to_one_model() {
        let one = sample_model();
        let other = Model { path: "other.gguf".into(), ..one.clone() };
        let pure = Overrides { pure: true, ..Overrides::default() };
        let mut form = RecipeForm::default();
        form.set(&one, pure.clone());
        assert_eq!((form.of(&one), form.of(&other)), (pure.clone(), Overrides::default()));
        let text = serde_json::to_string(&form).unwrap();
        assert_eq!(serde_json::from_str::<RecipeForm>(&text).unwrap().of(&one), pure);
        form.follow(Path::new("unknown"), &other);
        assert_eq!(form.of(&one), pure);
        form.follow(&one.path, &other);
        assert_eq!((form.of(&one), form.of(&other)), (Overrides::default(), pure));
        form.set(&other, Overrides::default());
        assert_eq!(form.of(&other), Overrides::default());
    }
}
