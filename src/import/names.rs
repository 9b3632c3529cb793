//! Names of a checkpoint's tensors as the table of its architecture has them, whatever prefix they have.
//!
//! The same weights are published as `model.layers.0.…`, without `model.` (saved from the base class), with `language_model.` or
//! `model.language_model.` (cut out of a vision model), `_orig_mod.` (compiled), `module.` (parallel), `base_model.model.` (PEFT).
//! `convert_hf_to_gguf.py` knows some of these in some classes; here one rule holds for all.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::llama::HEAD;
use super::mapping::{Content, Mapping};
use crate::model::{Checkpoint, CheckpointTensor};

/// Parts that wrappers of a module put anywhere in a name.
const WRAPPERS: [&str; 5] = ["_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"];
/// Beginnings of a table's names that the base class does not save.
const ROOTS: [&str; 2] = ["model.", "transformer."];
/// Most parts of a name that are looked at.
const MAX_PARTS: usize = 12;

/// How a checkpoint's names differ from those of the table.
#[derive(Debug, Default)]
pub struct Names {
    /// All names that the table needs.
    needed: HashSet<String>,
    /// What comes before them in the checkpoint.
    prefix: String,
    /// The beginning that the checkpoint's names lack: `model.`; empty if they lack none.
    root: &'static str,
    endings: &'static [(&'static str, &'static str)],
    left_out: Vec<String>,
}

impl Names {
    /// Finds the prefix of most of the names that the table needs.
    pub fn of(checkpoint: &Checkpoint, mapping: &Mapping) -> Self {
        let stored = mapping.tensors.iter().flat_map(|tensor| match &tensor.content {
            Content::Stored { pieces, .. } => pieces.as_slice(),
            Content::Computed(_) => &[],
        });
        let mut names =
            Self { endings: mapping.spelling.endings, left_out: mapping.spelling.left_out.clone(), ..Self::default() };
        for piece in stored {
            names.needed.extend(piece.exponents().map(|exponents| exponents.name));
            names.needed.insert(piece.name.clone());
        }
        let n_there = checkpoint.tensors.iter().filter(|tensor| names.needed.contains(&tensor.name)).count();
        if n_there < names.needed.len() {
            names.find_prefix(checkpoint);
        }
        names
    }

    fn find_prefix(&mut self, checkpoint: &Checkpoint) {
        let root = ROOTS.into_iter().find(|root| self.needed.iter().any(|name| name.starts_with(root))).unwrap_or_default();
        let without_root: HashSet<&str> = self.needed.iter().filter_map(|name| name.strip_prefix(root)).collect();
        // `(prefix, whether the root is there)` → how many names it explains.
        let mut votes: HashMap<(String, bool), usize> = HashMap::new();
        for tensor in &checkpoint.tensors {
            let name = spelled(&tensor.name, self.endings);
            let starts = std::iter::once(0).chain(name.match_indices('.').map(|(at, _)| at + 1)).take(MAX_PARTS);
            for start in starts {
                let (before, rest) = name.split_at(start);
                if self.needed.contains(rest) {
                    *votes.entry((before.into(), true)).or_default() += 1;
                }
                if !root.is_empty() && without_root.contains(rest) {
                    *votes.entry((before.into(), false)).or_default() += 1;
                }
            }
        }
        let best = votes.into_iter().max_by(|((prefix_a, has_a), a), ((prefix_b, has_b), b)| {
            (a, has_a, prefix_b.len(), prefix_b).cmp(&(b, has_b, prefix_a.len(), prefix_a))
        });
        if let Some(((prefix, has_root), _)) = best {
            self.prefix = prefix;
            self.root = if has_root { "" } else { root };
        }
    }

    /// What comes before the names, such as `language_model.`; empty if nothing does.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A tensor's name as the table has it; `None` for one that is left out.
    pub fn name<'a>(&self, name: &'a str) -> Option<Cow<'a, str>> {
        let own = spelled(name, self.endings);
        if self.needed.contains(own.as_ref()) && self.prefix.is_empty() {
            return Some(own);
        }
        let bare = own.strip_prefix(self.prefix.as_str());
        let rooted = bare.map(|bare| format!("{}{bare}", self.root));
        // The head has no root, and only part of the prefix of the others, or none.
        let starts = self.prefix.match_indices('.').filter_map(|(at, _)| own.strip_prefix(self.prefix.get(..=at)?));
        let candidates = rooted.iter().cloned().chain(starts.map(String::from)).chain([own.clone().into_owned()]);
        let candidates: Vec<String> = candidates.collect();
        // A head that the table does not need is tied.
        let is_known = |name: &&String| self.needed.contains(*name) || name.as_str() == HEAD.0;
        if let Some(found) = candidates.iter().find(is_known) {
            return Some(found.clone().into());
        }
        let is_left_out = |name: &String| self.left_out.iter().any(|start| name.starts_with(start.as_str()));
        if candidates.iter().any(is_left_out) { None } else { candidates.into_iter().next().map(Cow::Owned) }
    }

    /// The checkpoint's tensors by the names that the table has for them, and `A and B` for two tensors that share a name.
    pub fn found<'a>(&self, checkpoint: &'a Checkpoint) -> (HashMap<Cow<'a, str>, &'a CheckpointTensor>, Vec<String>) {
        let (mut found, mut twice) = (HashMap::new(), Vec::new());
        for tensor in &checkpoint.tensors {
            let Some(name) = self.name(&tensor.name) else { continue };
            let is_needed = self.needed.contains(name.as_ref());
            match found.insert(name, tensor) {
                // The same name in two files is reported with the files.
                Some(other) if is_needed && other.name != tensor.name => {
                    twice.push(format!("{} and {}", other.name, tensor.name));
                }
                _ => {}
            }
        }
        (found, twice)
    }

    /// True for a name that the table needs.
    pub fn is_needed(&self, name: &str) -> bool {
        self.needed.contains(name)
    }
}

/// The name without wrappers, and with the table's endings.
fn spelled<'a>(name: &'a str, endings: &[(&str, &str)]) -> Cow<'a, str> {
    let is_wrapper = |part: &str| WRAPPERS.contains(&part);
    let mut name = if name.split('.').any(is_wrapper) {
        Cow::Owned(name.split('.').filter(|part| !is_wrapper(part)).collect::<Vec<_>>().join("."))
    } else {
        Cow::Borrowed(name)
    };
    if let Some((start, other)) = endings.iter().find_map(|(ending, other)| Some((name.strip_suffix(ending)?, other))) {
        name = format!("{start}{other}").into();
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::keys::Keys;
    use crate::import::mapping::{Mapping, Spelling, Tensors};
    use crate::model::CheckpointDType;

    fn names(needed: &[&str], stored: &[&str], spelling: Spelling) -> (Names, Checkpoint) {
        let mut tensors = Tensors::default();
        for name in needed {
            tensors.plain(*name, *name, &[1]);
        }
        let mapping = Mapping::of("x", Keys::new("x"), tensors).spelled(spelling);
        let tensor = |name: &&str| CheckpointTensor {
            name: (*name).into(),
            dtype: CheckpointDType::F32,
            shape: vec![1],
            file_idx: 0,
            offset: 0,
            size_bytes: 4,
        };
        let checkpoint = Checkpoint { tensors: stored.iter().map(tensor).collect(), ..Checkpoint::default() };
        (Names::of(&checkpoint, &mapping), checkpoint)
    }

    const LLAMA: [&str; 4] = ["model.embed_tokens.weight", "model.layers.0.a.weight", "model.norm.weight", "lm_head.weight"];

    #[test]
    fn whatever_stands_before_the_names_is_taken_off() {
        let check = |stored: [&str; 4]| {
            let (names, checkpoint) = names(&LLAMA, &stored, Spelling::default());
            let (found, twice) = names.found(&checkpoint);
            for needed in LLAMA {
                assert!(found.contains_key(needed), "{needed} of {stored:?}: {names:?}");
            }
            assert!(twice.is_empty());
        };
        check(LLAMA);
        for prefix in ["language_model.", "_orig_mod.", "module.", "base_model.model.", "model.", "module._orig_mod.", "a.b.c."] {
            check(LLAMA.map(|name| Box::leak(format!("{prefix}{name}").into_boxed_str()) as &str));
        }
        // Saved from the base class, with the head as it is or wrapped alike.
        check(["embed_tokens.weight", "layers.0.a.weight", "norm.weight", "lm_head.weight"]);
        check([
            "language_model.embed_tokens.weight",
            "language_model.layers.0.a.weight",
            "language_model.norm.weight",
            "language_model.lm_head.weight",
        ]);
        check([
            "model.language_model.embed_tokens.weight",
            "model.language_model.layers.0.a.weight",
            "model.language_model.norm.weight",
            "lm_head.weight",
        ]);
        check([
            "model.language_model.model.embed_tokens.weight",
            "model.language_model.model.layers.0.a.weight",
            "model.language_model.model.norm.weight",
            "model.lm_head.weight",
        ]);
        // Layers that were compiled one by one.
        check(["model.embed_tokens.weight", "model.layers.0._orig_mod.a.weight", "model.norm.weight", "lm_head.weight"]);
    }

    #[test]
    fn tables_without_a_root_lose_that_of_their_checkpoint() {
        let gpt2 = ["wte.weight", "h.0.attn.weight", "ln_f.weight"];
        for prefix in ["", "transformer.", "module.transformer."] {
            let stored = gpt2.map(|name| Box::leak(format!("{prefix}{name}").into_boxed_str()) as &str);
            let (names, checkpoint) = names(&gpt2, &stored, Spelling::default());
            assert!(gpt2.iter().all(|name| names.found(&checkpoint).0.contains_key(*name)), "{prefix}");
        }
        let spelling = Spelling { endings: &[(".gamma", ".weight"), (".beta", ".bias")], left_out: vec!["pooler.".into()] };
        let (names, _) = names(&["embeddings.weight", "norm.weight"], &["bert.embeddings.weight", "bert.norm.gamma"], spelling);
        assert_eq!(names.name("bert.norm.gamma").as_deref(), Some("norm.weight"));
        assert_eq!(names.name("bert.pooler.dense.weight"), None);
        assert_eq!(names.name("bert.other.weight").as_deref(), Some("other.weight"));
        assert_eq!(names.prefix(), "bert.");
        assert_eq!(names.name("bert.lm_head.weight").as_deref(), Some("lm_head.weight"));
    }

    #[test]
    fn two_tensors_for_one_are_told() {
        let (names, checkpoint) =
            names(&["model.norm.weight"], &["model.norm.weight", "_orig_mod.model.norm.weight"], Spelling::default());
        assert_eq!(names.found(&checkpoint).1, ["model.norm.weight and _orig_mod.model.norm.weight"]);
    }
}
