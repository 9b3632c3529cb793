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
    /// A model, and whether calibration is suggested for it as long as nothing was chosen for it. Not saved, and never changed for one model: what
    /// is suggested must not change while somebody looks at it.
    #[serde(skip)]
    suggestion: Option<(PathBuf, bool)>,
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
    /// The changes for this model; where they were made for another one, calibration if that is suggested, else none.
    #[must_use]
    pub fn of(&self, model: &Model) -> Overrides {
        if self.is_for(model) {
            return self.overrides.clone();
        }
        let calibrated = self.suggestion.as_ref().is_some_and(|(path, calibrated)| *calibrated && *path == model.path);
        Overrides { calibrated, ..Overrides::default() }
    }

    /// True once something was chosen for this model.
    #[must_use]
    pub fn is_for(&self, model: &Model) -> bool {
        self.model.as_ref() == Some(&model.path)
    }

    /// True where it was decided whether to suggest calibration for this model.
    #[must_use]
    pub fn has_suggestion(&self, model: &Model) -> bool {
        self.suggestion.as_ref().is_some_and(|(path, _)| *path == model.path)
    }

    /// Suggests calibration for this model, or not.
    pub fn suggest(&mut self, model: &Model, calibrated: bool) {
        self.suggestion = Some((model.path.clone(), calibrated));
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
        if let Some((path, _)) = self.suggestion.as_mut().filter(|(path, _)| path == checkpoint) {
            path.clone_from(&file.path);
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

    #[test]
    fn a_suggestion_gives_way_to_any_choice_and_takes_none_away() {
        let one = sample_model();
        let other = Model { path: "other.gguf".into(), ..one.clone() };
        let mut form = RecipeForm::default();
        let pure = Overrides { pure: true, ..Overrides::default() };
        form.set(&one, pure.clone());
        form.suggest(&other, true);
        assert!(form.of(&other).calibrated && form.has_suggestion(&other) && !form.is_for(&other));
        assert_eq!(form.of(&one), pure);
        let saved: RecipeForm = serde_json::from_str(&serde_json::to_string(&form).unwrap()).unwrap();
        assert!(!saved.of(&other).calibrated && saved.of(&one) == pure);
        // The file that stands for a checkpoint.
        let file = Model { path: "file.gguf".into(), ..one.clone() };
        form.follow(&other.path, &file);
        assert!(form.of(&file).calibrated);
        form.set(&file, Overrides::default());
        assert!(!form.of(&file).calibrated);
    }
}
