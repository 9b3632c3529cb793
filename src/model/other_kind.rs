//! GGUF files that are not language models: what they are, and what their owner may have been looking for.

use super::{Metadata, Model, Tensor};

/// What a GGUF file is that is not a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherKind {
    /// Sums of squared activations, as llama-imatrix and `planish imatrix` write them.
    ImportanceMatrix,
    /// A `LoRA`: changes to the weights of a model.
    Adapter,
    /// The part of a vision or audio model that turns pictures or sound into tokens.
    Projector,
    /// Directions that are added to a model's activations.
    ControlVector,
    /// A tokenizer without weights.
    Vocabulary,
    /// Nothing but settings.
    Settings,
}

impl OtherKind {
    /// What it is: `an importance matrix`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ImportanceMatrix => "an importance matrix",
            Self::Adapter => "a LoRA adapter",
            Self::Projector => "a projector for pictures or sound (mmproj)",
            Self::ControlVector => "a control vector",
            Self::Vocabulary => "a vocabulary without weights",
            Self::Settings => "a file with settings and no weights",
        }
    }

    /// What to do with it, or what to take instead.
    #[must_use]
    pub fn hint(self) -> &'static str {
        match self {
            Self::ImportanceMatrix => {
                "open the model that it was collected from, and give it this file as its importance matrix (on the command line: --imatrix FILE)"
            }
            Self::Adapter => {
                "open the model that it adapts; to convert both as one, merge them first: llama-export-lora, or merge_and_unload in Python's peft"
            }
            Self::Projector => "open the language model that it belongs to: its file lies beside it, without mmproj in its name",
            Self::ControlVector => "open the model that it steers: llama.cpp loads both with --control-vector FILE",
            Self::Vocabulary | Self::Settings => "take the file of this model that has the weights: it is much larger",
        }
    }
}

/// What a GGUF file with this header is, if it is not a model that can be run or converted; `None` for a model.
///
/// Key-values that hold arrays may be left out.
#[must_use]
pub fn other_kind(metadata: &Metadata, tensors: &[Tensor]) -> Option<OtherKind> {
    let text = |key: &str| metadata.str(key).unwrap_or_default();
    let (kind, architecture) = (text("general.type"), text("general.architecture"));
    let has_key = |start: &str| metadata.0.iter().any(|(key, _)| key.starts_with(start));
    let has_weights = !tensors.is_empty();
    // Where an old file says nothing about itself, its names decide.
    let is_silent = kind.is_empty();
    let all_end_in =
        |ends: &[&str]| has_weights && tensors.iter().all(|tensor| ends.iter().any(|end| tensor.name.ends_with(end)));
    let all_start_with = |start: &str| has_weights && tensors.iter().all(|tensor| tensor.name.starts_with(start));
    Some(match &*kind {
        "imatrix" => OtherKind::ImportanceMatrix,
        "adapter" => OtherKind::Adapter,
        "mmproj" => OtherKind::Projector,
        _ if is_silent && (has_key("imatrix.") || all_end_in(&[".in_sum2", ".counts"])) => OtherKind::ImportanceMatrix,
        _ if is_silent && (has_key("adapter.") || all_end_in(&[".lora_a", ".lora_b"])) => OtherKind::Adapter,
        _ if architecture == "clip" => OtherKind::Projector,
        _ if architecture == "controlvector" || all_start_with("direction.") => OtherKind::ControlVector,
        _ if has_weights => return None,
        _ if has_key("tokenizer.") => OtherKind::Vocabulary,
        _ => OtherKind::Settings,
    })
}

impl Model {
    /// What this file is, if it is not a model that can be run or converted; `None` for a model.
    #[must_use]
    pub fn other_kind(&self) -> Option<OtherKind> {
        if self.import.is_some() { None } else { other_kind(&self.metadata, &self.tensors) }
    }

    /// True where the header shows nothing that stands in the way of a conversion.
    #[must_use]
    pub fn is_convertible(&self) -> bool {
        self.other_kind().is_none() && self.obstacles.is_empty()
    }

    /// Why nothing can be recommended or predicted for this file; `None` where its header shows nothing that stands in the way.
    #[must_use]
    pub fn hindrance(&self) -> Option<String> {
        match (self.other_kind(), self.obstacles.as_slice(), self.unknown.as_slice()) {
            (Some(kind), ..) => Some(format!("this is not a model but {}", kind.name())),
            (None, [], []) => None,
            (None, [], unknown) => Some(unknown.join("; ")),
            (None, obstacles, _) => Some(obstacles.join("; ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DType, Hyperparameters, Metadata, Tensor, Value};
    use super::*;

    fn model(keys: &[(&str, &str)], tensors: &[&str]) -> Model {
        let tensor = |name: &&str| Tensor {
            name: (*name).into(),
            dtype: DType::F32,
            shape: vec![8],
            file_idx: 0,
            offset: 0,
            size_bytes: 32,
        };
        Model {
            path: "a.gguf".into(),
            files: Vec::new(),
            size_bytes: 0,
            format_name: String::new(),
            alignment: 32,
            metadata: Metadata(keys.iter().map(|(key, value)| ((*key).into(), Value::Str((*value).into()))).collect()),
            tensors: tensors.iter().map(tensor).collect(),
            hyperparameters: Hyperparameters::default(),
            warnings: Vec::new(),
            obstacles: Vec::new(),
            unknown: Vec::new(),
            import: None,
            others: Vec::new(),
        }
    }

    #[test]
    fn what_is_no_model_is_called_what_it_is() {
        use OtherKind::{Adapter, ControlVector, ImportanceMatrix, Projector, Settings, Vocabulary};
        let check = |keys: &[(&str, &str)], tensors: &[&str], expected: Option<OtherKind>| {
            assert_eq!(model(keys, tensors).other_kind(), expected, "{keys:?} {tensors:?}");
        };
        check(&[("general.type", "imatrix")], &["a.in_sum2", "a.counts"], Some(ImportanceMatrix));
        check(&[], &["a.in_sum2", "a.counts"], Some(ImportanceMatrix));
        check(&[("general.type", "adapter"), ("general.architecture", "llama")], &["a"], Some(Adapter));
        check(&[("general.architecture", "llama"), ("adapter.type", "lora")], &["a.lora_a"], Some(Adapter));
        check(&[("general.architecture", "clip")], &["v.blk.0.attn_q.weight"], Some(Projector));
        check(&[("general.architecture", "clip"), ("general.type", "mmproj")], &["mm.0.weight"], Some(Projector));
        check(&[("general.architecture", "controlvector")], &["direction.1"], Some(ControlVector));
        check(&[("general.architecture", "llama"), ("tokenizer.ggml.model", "gpt2")], &[], Some(Vocabulary));
        check(&[("general.architecture", "llama")], &[], Some(Settings));
        check(&[("general.architecture", "llama"), ("general.type", "model")], &["token_embd.weight"], None);
        // A word that nobody knows is no reason to refuse a model.
        check(&[("general.type", "finetune")], &["token_embd.weight"], None);
        check(&[], &["token_embd.weight"], None);
        check(&[("general.type", "model"), ("imatrix.datasets", "x")], &["a.counts"], None);
    }

    #[test]
    fn a_hindrance_is_what_it_is_or_what_is_broken() {
        assert_eq!(model(&[], &["a"]).hindrance(), None);
        assert_eq!(
            model(&[("general.type", "imatrix")], &[]).hindrance().as_deref(),
            Some("this is not a model but an importance matrix")
        );
        let broken = Model { obstacles: vec!["one".into(), "two".into()], ..model(&[], &["a"]) };
        assert_eq!(broken.hindrance().as_deref(), Some("one; two"));
        let unknown = Model { unknown: vec!["three".into()], ..model(&[], &["a"]) };
        assert_eq!(unknown.hindrance().as_deref(), Some("three"));
        assert!(unknown.is_convertible() && !broken.is_convertible());
    }
}
