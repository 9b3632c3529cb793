//! The tensors of an architecture: which of the checkpoint's tensors each tensor of the GGUF file is made from.

use super::keys::Keys;
use crate::model::{DType, MXFP4_ENDINGS, RowOrder};

/// All that a checkpoint of one architecture becomes, apart from its tokenizer.
#[derive(Debug, Clone, PartialEq)]
pub struct Mapping {
    /// `general.architecture`.
    pub architecture: &'static str,
    /// Key-values right after the architecture.
    pub first: Vec<(String, crate::model::Value)>,
    /// Key-values after those of `general.*`, in order.
    pub entries: Vec<(String, crate::model::Value)>,
    /// Tensors in the order of the file.
    pub tensors: Vec<Mapped>,
    /// How the names in published checkpoints differ from the names of the pieces.
    pub spelling: Spelling,
    /// What the user should know.
    pub warnings: Vec<String>,
}

impl Mapping {
    /// A mapping for checkpoints that have the names of the pieces.
    pub(super) fn of(architecture: &'static str, keys: Keys, tensors: Tensors) -> Self {
        let (first, warnings) = (Vec::new(), Vec::new());
        Self { architecture, first, entries: keys.all, tensors: tensors.all, spelling: Spelling::default(), warnings }
    }

    /// The same mapping, for checkpoints that spell names differently.
    pub(super) fn spelled(mut self, spelling: Spelling) -> Self {
        self.spelling = spelling;
        self
    }
}

/// How names in a checkpoint become names of pieces; a prefix that all of them share, `Names` finds by itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Spelling {
    /// Other endings: `(.gamma, .weight)`.
    pub endings: &'static [(&'static str, &'static str)],
    /// Beginnings of the names of tensors that are left out.
    pub left_out: Vec<String>,
}

/// A tensor of the GGUF file.
#[derive(Debug, Clone, PartialEq)]
pub struct Mapped {
    /// Its name.
    pub name: String,
    /// Its dimensions, the row length first.
    pub shape: Vec<u64>,
    /// What it is made of.
    pub content: Content,
    /// True for what `convert_hf_to_gguf.py` keeps in F32 at every output type: vectors, norms, routers, positions.
    pub is_f32: bool,
}

/// What a tensor is made of.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Numbers from the configuration.
    Computed(Vec<f32>),
    /// Rows of the checkpoint's tensors, one piece after the other.
    Stored {
        /// At least one.
        pieces: Vec<Piece>,
        /// Added to every weight.
        plus: f32,
    },
}

/// Rows of a tensor of the checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The tensor's name in the checkpoint.
    pub name: String,
    /// The dimensions that the whole tensor must have, rows first.
    pub shape: Vec<u64>,
    /// The first row that is taken, and how many. All dimensions but the last count rows; a vector has rows of one weight.
    pub rows: (u64, u64),
    /// The order of these rows.
    pub order: RowOrder,
    /// True for blocks of MXFP4, 16 bytes each, whose exponents are a tensor of their own.
    pub is_mxfp4: bool,
}

impl Piece {
    /// A whole tensor.
    #[must_use]
    pub fn whole(name: impl Into<String>, shape: &[u64]) -> Self {
        let n_weights = shape.iter().fold(1, |n: u64, &dim| n.saturating_mul(dim));
        let piece = Self { name: name.into(), shape: shape.to_vec(), rows: (0, 0), order: RowOrder::AsStored, is_mxfp4: false };
        let n_rows = n_weights.checked_div(piece.row_len()).unwrap_or(0);
        piece.rows(0, n_rows)
    }

    /// All experts' matrices in MXFP4; `row_len` must be a multiple of 32.
    #[must_use]
    pub fn mxfp4(name: &str, [n_experts, n_rows, row_len]: [u64; 3]) -> Self {
        let len = DType::MXFP4.block_len();
        Self {
            name: format!("{name}{}", MXFP4_ENDINGS.0),
            shape: vec![n_experts, n_rows, row_len / len, len / 2],
            rows: (0, n_experts.saturating_mul(n_rows)),
            order: RowOrder::AsStored,
            is_mxfp4: true,
        }
    }

    /// The exponents that belong to blocks of MXFP4; `None` for other pieces.
    #[must_use]
    pub fn exponents(&self) -> Option<Self> {
        let name = self.name.strip_suffix(MXFP4_ENDINGS.0).filter(|_| self.is_mxfp4)?;
        Some(Self::whole(format!("{name}{}", MXFP4_ENDINGS.1), self.shape.split_last()?.1))
    }

    /// Number of weights in a row; 1 for a vector.
    #[must_use]
    pub fn row_len(&self) -> u64 {
        match self.shape.as_slice() {
            [.., n_blocks, _] if self.is_mxfp4 => n_blocks * DType::MXFP4.block_len(),
            [.., row_len] if self.shape.len() > 1 => *row_len,
            _ => 1,
        }
    }

    /// The same piece with the tensor's rows `first..first + n`.
    #[must_use]
    pub fn rows(mut self, first: u64, n: u64) -> Self {
        self.rows = (first, n);
        self
    }

    /// The same piece with its rows in another order.
    #[must_use]
    pub fn ordered(mut self, order: RowOrder) -> Self {
        self.order = order;
        self
    }
}

/// Collects the tensors of a model.
#[derive(Debug, Default)]
pub struct Tensors {
    /// The tensors so far.
    pub all: Vec<Mapped>,
}

impl Tensors {
    /// Adds a tensor that stays as it is; `shape` is the checkpoint's, rows first.
    pub fn plain(&mut self, name: impl Into<String>, source: impl Into<String>, shape: &[u64]) -> &mut Mapped {
        self.of(name, &shape.iter().rev().copied().collect::<Vec<_>>(), vec![Piece::whole(source, shape)])
    }

    /// Adds the matrix or bias of a rotated projection: in each head of `head_rows` rows, the rows of both halves take turns.
    pub fn rope(&mut self, name: impl Into<String>, source: impl Into<String>, shape: &[u64], head_rows: u64) -> &mut Mapped {
        let gguf_shape: Vec<u64> = shape.iter().rev().copied().collect();
        self.of(name, &gguf_shape, vec![Piece::whole(source, shape).ordered(RowOrder::Rope { head_rows })])
    }

    /// Adds a tensor made of pieces; `shape` is GGUF's, the row length first.
    pub fn of(&mut self, name: impl Into<String>, shape: &[u64], pieces: Vec<Piece>) -> &mut Mapped {
        let name = name.into();
        self.push(Mapped {
            is_f32: is_kept_in_f32(&name, shape),
            shape: shape.to_vec(),
            content: Content::Stored { pieces, plus: 0.0 },
            name,
        })
    }

    /// Adds a vector of computed numbers.
    pub fn computed(&mut self, name: impl Into<String>, weights: Vec<f32>) -> &mut Mapped {
        let shape = vec![weights.len() as u64];
        self.push(Mapped { name: name.into(), shape, content: Content::Computed(weights), is_f32: true })
    }

    fn push(&mut self, tensor: Mapped) -> &mut Mapped {
        let idx = self.all.len();
        self.all.push(tensor);
        &mut self.all[idx]
    }
}

impl Mapped {
    /// Adds 1 to every stored weight, as Gemma's norms need it.
    pub fn plus_one(&mut self) {
        if let Content::Stored { plus, .. } = &mut self.content {
            *plus = 1.0;
        }
    }
}

/// True for a tensor that stays in F32 whatever the output type.
///
/// Source: `prepare_tensors` in `conversion/base.py`, llama.cpp of 2026-08-21.
fn is_kept_in_f32(name: &str, shape: &[u64]) -> bool {
    let is_router = name.ends_with("ffn_gate_inp.weight") || name.ends_with("ffn_gate_inp_shexp.weight");
    let is_position = matches!(name, "position_embd.weight" | "token_types.weight");
    shape.len() <= 1 || name.ends_with("_norm.weight") || !name.ends_with(".weight") || is_router || is_position
}
