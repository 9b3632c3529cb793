//! What the user wants otherwise than a level of MLX has it.

use std::fmt::{Display, Formatter};

use serde::{Deserialize, Serialize};

use super::mlx_recipe::{MlxModel, mode_of};
use super::overrides::{NamedType, TensorType, matched};
use crate::error::{Error, Result};
use crate::model::{DType, Framework, Level, Tensor};
use crate::quant::mlx::{Affine, Mode};

/// What types of MLX begin with: `mxfp4` alone is llama.cpp's.
const PREFIX: &str = "mlx:";
const FLOAT: &str = "float";
/// Ends of the names that mlx-lm has for token embeddings.
const EMBEDDINGS: [&str; 2] = ["embed_tokens.weight", "wte.weight"];
const HEAD: &str = "lm_head.weight";

/// Changes of the recipes of all levels of MLX. The default changes nothing; `mlx:bf16` takes no notice.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MlxChanges {
    /// Types of the matrices that a pattern matches, by their names in mlx-lm; the first pattern that matches wins.
    pub tensor_types: Vec<TensorType<MlxType>>,
    /// Type of the head, `lm_head`; of the embeddings where they are the head too.
    pub output: Option<MlxType>,
    /// Type of the token embeddings, also where they are the head too; goes before patterns and the type of the head.
    pub token_embedding: Option<MlxType>,
}

/// How a single matrix is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum MlxType {
    /// Quantized: `mlx:8-bit-g64`, `mlx:mxfp4`.
    Mode(Mode),
    /// Left as floats: `mlx:float`.
    Float,
}

impl MlxType {
    /// True for a text that begins as types of MLX do.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        text.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
    }
}

impl NamedType for MlxType {
    fn from_name(text: &str) -> Result<Self> {
        if text.eq_ignore_ascii_case(&Self::Float.to_string()) {
            return Ok(Self::Float);
        }
        // Where all matrices have one mode, a level has the mode's name.
        text.parse().ok().and_then(mode_of).map(Self::Mode).ok_or_else(|| {
            let known: Vec<String> = Mode::all().map(|mode| Self::Mode(mode).to_string()).collect();
            let reason = format!("there is no such type; known: {}, {}", known.join(", "), Self::Float);
            Error::BadChange { text: text.to_string(), reason }
        })
    }
}

impl Display for MlxType {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mode(mode) => write!(f, "{PREFIX}{mode}"),
            Self::Float => write!(f, "{PREFIX}{FLOAT}"),
        }
    }
}

impl From<MlxType> for String {
    fn from(wanted: MlxType) -> Self {
        wanted.to_string()
    }
}

impl TryFrom<String> for MlxType {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::from_name(&text)
    }
}

impl MlxChanges {
    /// Embeddings and head in 8 bits: in small models they are a large part of the weights, and what they lose no layer mends.
    #[must_use]
    pub fn wide_ends() -> Self {
        let wide = Affine::new(8, 64).map(|affine| MlxType::Mode(Mode::Affine(affine)));
        Self { tensor_types: Vec::new(), output: wide, token_embedding: wide }
    }

    /// True for exactly these changes.
    #[must_use]
    pub fn are_wide_ends(&self) -> bool {
        *self == Self::wide_ends()
    }

    /// True when a folder of this level is another one than without them.
    #[must_use]
    pub fn change(&self, level: Level) -> bool {
        level.framework() == Framework::Mlx && level != Level::MLX_BF16 && *self != Self::default()
    }

    /// The type that was asked for, of each tensor; `None` where the level decides.
    ///
    /// # Errors
    /// `Error::UnmatchedPattern` for a pattern without a matrix; `Error::BadChange` for groups that do not fit a matrix's rows, and for
    /// embeddings or a head that the model does not have under a known name.
    pub(super) fn wanted(&self, tensors: &[Tensor], model: &MlxModel) -> Result<Vec<Option<MlxType>>> {
        let is_quantizable =
            |tensor: &Tensor| tensor.shape.len() > 1 && tensor.dtype != DType::MXFP4 && model.has_quantized_layer(&tensor.name);
        let mut wanted = matched(&self.tensor_types, tensors, |idx| is_quantizable(&tensors[idx]))?;
        let is_embedding = |name: &str| EMBEDDINGS.iter().any(|end| name.ends_with(end));
        let is_untied = tensors.iter().any(|tensor| tensor.name.ends_with(HEAD));
        let is_head = |name: &str| if is_untied { name.ends_with(HEAD) } else { is_embedding(name) };
        let mut set = |asked: Option<MlxType>, what: &str, is_one: &dyn Fn(&str) -> bool| {
            let Some(asked) = asked else { return Ok(()) };
            let mut places = tensors.iter().enumerate().filter(|(_, tensor)| is_one(&tensor.name) && is_quantizable(tensor));
            let place = places.next().map(|(idx, _)| idx).ok_or_else(|| Error::BadChange {
                text: asked.to_string(),
                reason: format!("the model has no {what} under a name that is known"),
            })?;
            wanted[place] = Some(asked);
            Ok(())
        };
        set(self.output, "head", &is_head)?;
        set(self.token_embedding, "token embeddings", &is_embedding)?;
        for (tensor, wanted) in tensors.iter().zip(&wanted) {
            match wanted {
                Some(MlxType::Mode(mode)) if !tensor.row_len().is_multiple_of(mode.group_len()) => {
                    let (row_len, group_len, name) = (tensor.row_len(), mode.group_len(), &tensor.name);
                    let reason = format!("rows of {row_len} are no whole groups of {group_len}: {name}");
                    return Err(Error::BadChange { text: format!("{PREFIX}{mode}"), reason });
                }
                _ => {}
            }
        }
        Ok(wanted)
    }

    /// What these changes leave undone at a level; `None`: nothing.
    #[must_use]
    pub(super) fn warning(&self, level: Level) -> Option<String> {
        let is_idle = *self != Self::default() && !self.change(level);
        is_idle.then(|| format!("{level} keeps floats: types of tensors are not used"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Option<MlxType> {
        MlxType::from_name(text).ok()
    }

    #[test]
    fn types_have_the_names_of_levels() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(named(text).map(|found| found.to_string()).as_deref(), expected, "{text}");
        };
        check("mlx:8-bit-g64", Some("mlx:8-bit-g64"));
        check("MLX:8-bit", Some("mlx:8-bit-g64"));
        check("mlx:2-bit-g128", Some("mlx:2-bit-g128"));
        check("mlx:MXFP4", Some("mlx:mxfp4"));
        check("mlx:float", Some("mlx:float"));
        check("mlx:7-bit", None);
        check("mlx:", None);
        check("8-bit", None);
        check("mlx:mixed_2_6", None);
    }

    fn tensors(names: &[(&str, &[u64])]) -> Vec<Tensor> {
        let tensor = |&(name, shape): &(&str, &[u64])| Tensor {
            name: name.into(),
            dtype: DType::BF16,
            shape: shape.into(),
            file_idx: 0,
            offset: 0,
            size_bytes: 0,
        };
        names.iter().map(tensor).collect()
    }

    #[test]
    fn the_first_pattern_wins_and_embeddings_go_before_it() {
        let tied: &[(&str, &[u64])] = &[
            ("model.embed_tokens.weight", &[128, 500]),
            ("model.layers.0.self_attn.v_proj.weight", &[128, 64]),
            ("model.layers.0.self_attn.q_proj.weight", &[128, 128]),
            ("model.norm.weight", &[128]),
        ];
        let untied = [tied, &[("lm_head.weight", &[128, 500])]].concat();
        let check = |names: &[(&str, &[u64])], changes: &MlxChanges, expected: Option<&[Option<&str>]>| {
            let tensors = tensors(names);
            let model = MlxModel::new("llama", 1, tensors.iter().map(|tensor| tensor.name.as_str()));
            let found = changes.wanted(&tensors, &model).ok();
            let found: Option<Vec<Option<String>>> =
                found.map(|found| found.iter().map(|wanted| wanted.map(|wanted| wanted.to_string())).collect());
            let expected = expected.map(|names| names.iter().map(|name| name.map(String::from)).collect::<Vec<_>>());
            assert_eq!(found, expected, "{changes:?}");
        };
        let types = |texts: &[&str]| MlxChanges {
            tensor_types: texts.iter().map(|text| text.parse().unwrap()).collect(),
            ..MlxChanges::default()
        };
        let wide = Some("mlx:8-bit-g64");
        check(tied, &MlxChanges::wide_ends(), Some(&[wide, None, None, None]));
        check(&untied, &MlxChanges::wide_ends(), Some(&[wide, None, None, None, wide]));
        check(
            tied,
            &types(&["v_proj=mlx:6-bit-g32", "self_attn=mlx:float"]),
            Some(&[None, Some("mlx:6-bit-g32"), Some("mlx:float"), None]),
        );
        let both = MlxChanges { token_embedding: named("mlx:mxfp8"), ..types(&["embed=mlx:float"]) };
        check(tied, &both, Some(&[Some("mlx:mxfp8"), None, None, None]));
        let head = MlxChanges { output: named("mlx:4-bit-g32"), ..types(&["embed=mlx:float"]) };
        check(tied, &head, Some(&[Some("mlx:4-bit-g32"), None, None, None]));
        check(&untied, &head, Some(&[Some("mlx:float"), None, None, None, Some("mlx:4-bit-g32")]));
        check(tied, &types(&["norm=mlx:8-bit"]), None);
        check(tied, &types(&["nothing=mlx:8-bit"]), None);
        check(&[("wte.weight", &[96, 500])], &MlxChanges::wide_ends(), None);
        check(&[("other.weight", &[128, 500])], &MlxChanges::wide_ends(), None);
    }
}
