//! Which type a level gives a tensor: the rules of llama-quantize.
//!
//! Source: `llama_tensor_get_type_impl`, `tensor_type_fallback` and `tensor_requires_imatrix` in src/llama-quant.cpp, llama.cpp of
//! 2026-08-21.

use super::roles::{Category, Role};
use crate::model::{DType, Preset, Tensor};

/// What the rules look at, the same for all tensors of a model.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "independent facts")]
pub(super) struct Facts {
    pub(super) n_attention_v: i64,
    pub(super) n_layers: i64,
    pub(super) n_experts: u64,
    pub(super) gqa_ratio: u64,
    pub(super) has_imatrix: bool,
    pub(super) has_tied_embeddings: bool,
    pub(super) is_70b: bool,
    pub(super) is_bailing_moe3: bool,
    pub(super) is_falcon: bool,
    pub(super) is_glm5_next: bool,
    /// What the user wants for the head, also where the embeddings are the head.
    pub(super) output: Option<DType>,
}

/// How many tensors of each kind have been seen.
#[derive(Debug, Default)]
pub(super) struct Counters {
    attention_v: i64,
    ffn_down: i64,
    ffn_gate: i64,
    ffn_up: i64,
}

/// True for levels with grids of about one and two bits, which have rules of their own.
fn is_tiny(preset: Preset) -> bool {
    use Preset::{IQ1_M, IQ1_S, IQ2_M, IQ2_S, IQ2_XS, IQ2_XXS};
    matches!(preset, IQ2_XXS | IQ2_XS | IQ2_S | IQ2_M | IQ1_S | IQ1_M)
}

impl Facts {
    /// The type by category, layer and architecture, before the shape is looked at.
    pub(super) fn wanted(&self, counters: &mut Counters, tensor: &Tensor, role: Role, preset: Preset) -> DType {
        let base = preset.base_dtype();
        if self.is_glm5_next && ["attn_q_a", "attn_q_b", "nextn.eh_proj"].iter().any(|part| tensor.name.contains(part)) {
            return DType::Q8_0;
        }
        let category = role.category;
        if category == Category::Output || (category == Category::TokenEmbedding && self.has_tied_embeddings) {
            return self.output.unwrap_or_else(|| self.head(tensor, preset));
        }
        if preset == Preset::MXFP4_MOE {
            return self.mxfp4_moe(tensor, category);
        }
        if category == Category::TokenEmbedding {
            return embeddings(preset);
        }
        if is_tiny(preset) {
            return self.tiny(counters, category, preset);
        }
        match category {
            category if category.is_attention_v() => {
                let layer_idx = next(&mut counters.attention_v);
                self.attention_v(layer_idx, preset)
            }
            Category::AttentionK if self.n_experts == 8 => DType::Q8_0,
            Category::AttentionK | Category::AttentionQ => match preset {
                Preset::IQ3_XS => DType::IQ3_XXS,
                Preset::IQ3_XXS => DType::IQ2_S,
                _ => base,
            },
            Category::FfnDown => {
                let layer_idx = self.layer_idx(role, next(&mut counters.ffn_down));
                self.ffn_down(layer_idx, preset)
            }
            Category::FfnGate => {
                let layer_idx = self.layer_idx(role, next(&mut counters.ffn_gate));
                self.ffn_gate_or_up(layer_idx, preset)
            }
            Category::FfnUp => {
                let layer_idx = self.layer_idx(role, next(&mut counters.ffn_up));
                self.ffn_gate_or_up(layer_idx, preset)
            }
            Category::AttentionOutput => self.attention_output(preset),
            _ => base,
        }
    }

    /// The layer from the name where experts may be out of order, else by counting.
    fn layer_idx(&self, role: Role, counted: i64) -> i64 {
        if self.n_experts > 1 { i64::from(role.layer_idx) } else { counted }
    }

    /// The type of the head, or of the embeddings where they are the head.
    fn head(&self, tensor: &Tensor, preset: Preset) -> DType {
        let base = preset.base_dtype();
        if preset == Preset::MXFP4_MOE
            || self.is_falcon
            || !tensor.row_len().is_multiple_of(base.block_len())
            || base == DType::Q8_0
        {
            DType::Q8_0
        } else if is_tiny(preset) || preset == Preset::IQ3_XXS {
            DType::Q5_K
        } else {
            DType::Q6_K
        }
    }

    /// Experts are the tensors with a third dimension.
    fn mxfp4_moe(&self, tensor: &Tensor, category: Category) -> DType {
        let is_stack = tensor.shape.get(2).is_some_and(|&n_experts| n_experts > 1);
        let is_ffn = matches!(category, Category::FfnUp | Category::FfnGate | Category::FfnDown);
        if is_stack && (is_ffn || !self.is_bailing_moe3) { DType::MXFP4 } else { DType::Q8_0 }
    }

    /// Everything but embeddings and head at the levels of one and two bits.
    fn tiny(&self, counters: &mut Counters, category: Category, preset: Preset) -> DType {
        let has_more_bits = matches!(preset, Preset::IQ2_S | Preset::IQ2_M);
        let better = if has_more_bits { DType::IQ3_S } else { DType::Q2_K };
        match category {
            category if category.is_attention_v() => {
                next(&mut counters.attention_v);
                if self.gqa_ratio >= 4 || self.n_experts >= 4 { DType::Q4_K } else { better }
            }
            Category::AttentionK if self.n_experts == 8 => DType::Q4_K,
            Category::FfnDown if next(&mut counters.ffn_down) < self.n_layers / 8 => better,
            Category::AttentionOutput if self.n_experts == 8 => DType::Q5_K,
            Category::AttentionOutput if matches!(preset, Preset::IQ1_S | Preset::IQ1_M) => DType::IQ2_XXS,
            Category::AttentionOutput if has_more_bits => DType::IQ3_S,
            _ => preset.base_dtype(),
        }
    }

    fn attention_v(&self, layer_idx: i64, preset: Preset) -> DType {
        if self.n_experts == 8 {
            return DType::Q8_0;
        }
        let is_shared = self.gqa_ratio >= 4;
        let dtype = match preset {
            Preset::Q2_K | Preset::Q2_K_S | Preset::IQ3_XXS | Preset::IQ3_XS | Preset::IQ3_S if is_shared => DType::Q4_K,
            Preset::Q2_K => DType::Q3_K,
            Preset::IQ3_XXS if !self.has_imatrix => DType::IQ3_S,
            Preset::Q3_K_M if layer_idx < 2 => DType::Q5_K,
            Preset::Q3_K_M | Preset::IQ3_M => DType::Q4_K,
            Preset::Q3_K_L => DType::Q5_K,
            Preset::IQ4_NL | Preset::IQ4_XS if is_shared => DType::Q5_K,
            Preset::Q4_K_M | Preset::Q5_K_M if gets_more_bits(layer_idx, self.n_attention_v) => DType::Q6_K,
            Preset::Q4_K_S if layer_idx < 4 => DType::Q5_K,
            _ => preset.base_dtype(),
        };
        // Eight heads share one attn_v there: more bits cost little.
        if self.is_70b && matches!(dtype, DType::Q3_K | DType::Q4_K) { DType::Q5_K } else { dtype }
    }

    fn ffn_down(&self, layer_idx: i64, preset: Preset) -> DType {
        let (n, is_falcon) = (self.n_layers, self.is_falcon);
        let more_bits = gets_more_bits(layer_idx, n);
        let is_first_eighth = layer_idx < n / 8;
        match preset {
            Preset::Q2_K => DType::Q3_K,
            Preset::Q2_K_S if is_first_eighth => DType::Q4_K,
            Preset::IQ3_XXS if !self.has_imatrix && is_first_eighth => DType::Q4_K,
            Preset::IQ3_XXS if !self.has_imatrix => DType::Q3_K,
            Preset::Q3_K_M if layer_idx < n / 16 => DType::Q5_K,
            Preset::Q3_K_M if !is_falcon || more_bits => DType::Q4_K,
            Preset::IQ3_M if is_first_eighth || (self.n_experts == 8 && more_bits) => DType::Q4_K,
            Preset::Q3_K_L if is_falcon => DType::Q4_K,
            Preset::Q3_K_L => DType::Q5_K,
            Preset::Q4_K_M if is_falcon && layer_idx < n / 16 => DType::Q6_K,
            Preset::Q4_K_M if is_falcon && more_bits => DType::Q5_K,
            Preset::IQ4_NL | Preset::IQ4_XS if is_first_eighth && !self.has_imatrix => DType::Q5_K,
            Preset::Q4_K_M | Preset::Q5_K_M if more_bits && !(is_falcon && preset == Preset::Q4_K_M) => DType::Q6_K,
            Preset::Q4_K_S if !is_falcon && is_first_eighth => DType::Q5_K,
            Preset::Q4_0 if self.has_imatrix && is_first_eighth => DType::Q4_1,
            Preset::Q5_0 if self.has_imatrix && is_first_eighth => DType::Q5_1,
            _ => preset.base_dtype(),
        }
    }

    /// The middle layers are coarser at one preset.
    fn ffn_gate_or_up(&self, layer_idx: i64, preset: Preset) -> DType {
        let n = self.n_layers;
        if preset == Preset::IQ3_XS && layer_idx >= n / 8 && layer_idx < 7 * n / 8 { DType::IQ3_XXS } else { preset.base_dtype() }
    }

    fn attention_output(&self, preset: Preset) -> DType {
        use Preset::{IQ3_M, IQ3_S, IQ3_XS, IQ3_XXS, IQ4_NL, IQ4_XS, Q2_K, Q3_K_L, Q3_K_M, Q3_K_S, Q4_K_M, Q4_K_S};
        match preset {
            Q3_K_L if self.is_falcon => DType::Q4_K,
            _ if self.is_falcon => preset.base_dtype(),
            Q2_K | Q3_K_S | Q3_K_M | Q4_K_S | Q4_K_M | IQ3_XXS | IQ3_XS | IQ3_S | IQ3_M | IQ4_NL | IQ4_XS
                if self.n_experts == 8 =>
            {
                DType::Q5_K
            }
            _ if self.n_experts == 8 => preset.base_dtype(),
            Q2_K => DType::Q3_K,
            IQ3_XXS => DType::IQ3_S,
            Q3_K_M | IQ3_M => DType::Q4_K,
            Q3_K_L => DType::Q5_K,
            _ => preset.base_dtype(),
        }
    }
}

/// The type of embeddings that are not also the head.
fn embeddings(preset: Preset) -> DType {
    use Preset::{IQ1_M, IQ1_S, IQ2_M, IQ2_S, IQ2_XS, IQ2_XXS, IQ3_XXS, TQ1_0, TQ2_0};
    match preset {
        IQ2_XXS | IQ2_XS | IQ1_S | IQ1_M => DType::Q2_K,
        IQ2_S | IQ2_M | IQ3_XXS => DType::IQ3_S,
        TQ1_0 | TQ2_0 => DType::Q4_K,
        _ => preset.base_dtype(),
    }
}

/// The counter's value before it is raised.
fn next(counter: &mut i64) -> i64 {
    *counter += 1;
    *counter - 1
}

/// `use_more_bits`: the first and last eighth of the layers, and every third between. Integer division as in C++.
fn gets_more_bits(layer_idx: i64, n_layers: i64) -> bool {
    layer_idx < n_layers / 8 || layer_idx >= 7 * n_layers / 8 || (layer_idx - n_layers / 8) % 3 == 2
}

/// `tensor_type_fallback`: the type of 32-blocks that takes the place of 256-blocks; F16 where those do not fit either.
pub(super) fn fallback(wanted: DType, row_len: u64) -> DType {
    use DType::{IQ1_M, IQ1_S, IQ2_S, IQ2_XS, IQ2_XXS, IQ3_S, IQ3_XXS, IQ4_NL, IQ4_XS};
    if row_len.is_multiple_of(wanted.block_len()) {
        return wanted;
    }
    let replacement = match wanted {
        IQ1_S | IQ1_M | IQ2_XXS | IQ2_XS | IQ2_S | IQ3_XXS | IQ3_S | IQ4_XS => IQ4_NL,
        DType::Q2_K | DType::Q3_K | DType::TQ1_0 | DType::TQ2_0 => DType::Q4_0,
        DType::Q4_K => DType::Q5_0,
        DType::Q5_K => DType::Q5_1,
        DType::Q6_K => DType::Q8_0,
        other => other,
    };
    if row_len.is_multiple_of(replacement.block_len()) { replacement } else { DType::F16 }
}

/// `tensor_requires_imatrix`, for tensors other than embeddings and head.
pub(super) fn needs_importances(dtype: DType, preset: Preset) -> bool {
    use DType::{IQ1_M, IQ1_S, IQ2_S, IQ2_XS, IQ2_XXS, IQ3_XXS};
    matches!(dtype, IQ3_XXS | IQ2_XXS | IQ2_XS | IQ2_S | IQ1_M | IQ1_S) || (dtype == DType::Q2_K && preset == Preset::Q2_K_S)
}
