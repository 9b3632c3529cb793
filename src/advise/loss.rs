//! What a level is expected to cost, until the user has measured it.

use super::LossWord;
use super::recipe::{Planner, Recipe, n_elements};
use crate::model::{DType, Preset};

/// Models below this many weights lose about three times as much.
const SMALL_MODEL: u64 = 1_000_000_000;

/// Measured on SmolLM2-135M against the table below: `Q3_K_M` 15.6 %, `Q4_K_M` 6.2 %, `Q4_0` 25 %, `Q2_K` 42 % (llama-perplexity, 20 chunks of
/// wiki.test.raw, without importance matrix, 2026-11-22), where `mixture` says 5.2 %, 2.2 %, 7.5 % and 12 %.
const SMALL_MODEL_FACTOR: f64 = 3.0;

/// Part of the weights that may have another type than the level's before the published number no longer applies.
const MAX_FALLBACK_SHARE: f64 = 0.1;

/// `(preset, perplexity increase in per cent)`.
///
/// Source, where `is_published`: the increases for Llama-3-8B in `QUANT_OPTIONS`, tools/quantize/quantize.cpp, llama.cpp of 2026-08-21,
/// divided by the base perplexity 6.2316 of tools/perplexity/README.md. BF16 and F16: the latter's 0.0015. The others are assumed:
/// between the published k-quants (`Q5_K_S`, `Q4_K_S`, `Q3_K_S`, `Q2_K`) by a power, fitted between each two, of the relative
/// error of Gaussian weights in their types; mixed levels between their types.
const PUBLISHED: [(Preset, f64); 33] = [
    (Preset::F32, 0.0),
    (Preset::BF16, 0.024),
    (Preset::F16, 0.024),
    (Preset::Q8_0, 0.042),
    (Preset::Q6_K, 0.348),
    (Preset::Q5_K_M, 0.913),
    (Preset::Q5_K_S, 1.683),
    (Preset::Q5_1, 1.704),
    (Preset::Q5_0, 2.112),
    (Preset::Q4_K_M, 2.815),
    (Preset::Q4_K_S, 4.315),
    (Preset::Q4_1, 7.239),
    (Preset::Q4_0, 7.518),
    (Preset::IQ4_NL, 4.8),
    (Preset::IQ4_XS, 4.9),
    (Preset::MXFP4_MOE, 13.4),
    (Preset::Q3_K_L, 8.925),
    (Preset::Q3_K_M, 10.54),
    (Preset::IQ3_M, 18.0),
    (Preset::IQ3_S, 20.3),
    (Preset::Q3_K_S, 26.19),
    (Preset::IQ3_XS, 26.0),
    (Preset::IQ3_XXS, 34.0),
    (Preset::Q2_K, 56.48),
    (Preset::Q2_K_S, 51.09),
    (Preset::IQ2_M, 45.0),
    (Preset::IQ2_S, 55.0),
    (Preset::IQ2_XS, 61.6),
    (Preset::IQ2_XXS, 72.9),
    (Preset::TQ2_0, 100.0),
    (Preset::IQ1_M, 96.0),
    (Preset::TQ1_0, 100.0),
    (Preset::IQ1_S, 105.0),
];

/// True where the loss of a level is published, not assumed.
#[must_use]
pub fn is_published(preset: Preset) -> bool {
    use Preset::{
        IQ1_M, IQ1_S, IQ2_M, IQ2_S, IQ2_XS, IQ2_XXS, IQ3_M, IQ3_S, IQ3_XS, IQ3_XXS, IQ4_NL, IQ4_XS, MXFP4_MOE, TQ1_0, TQ2_0,
    };
    !matches!(preset, IQ4_NL | IQ4_XS | IQ3_M | IQ3_S | IQ3_XS | IQ3_XXS | IQ2_M | IQ2_S | IQ2_XS | IQ2_XXS | IQ1_M | IQ1_S)
        && !matches!(preset, MXFP4_MOE | TQ2_0 | TQ1_0)
}

/// Expected increase of perplexity in per cent at this recipe, over the source; 0 when nothing changes.
///
/// For a quantized source, the second loss is taken to be as large as a first one.
#[must_use]
pub fn loss_percent(planner: &Planner, recipe: &Recipe) -> f64 {
    let tensors = &planner.model().tensors;
    let is_unchanged = tensors.iter().zip(&recipe.dtypes).all(|(tensor, &dtype)| tensor.dtype == dtype);
    if is_unchanged { 0.0 } else { full_loss_percent(planner, recipe) }
}

/// Expected increase of perplexity in per cent at this recipe, over a source of 32 bits.
///
/// The published number of the level; where shapes force other types on more than a tenth of the weights (`Q2_K` of SmolLM2 holds no
/// `Q2_K` tensor), the mean of the types' numbers over the weights of the blocks. Three times that for models below 1 B weights.
#[must_use]
pub fn full_loss_percent(planner: &Planner, recipe: &Recipe) -> f64 {
    // At MXFP4_MOE everything but the experts gets Q8_0.
    let is_mixture = fallback_share(planner, recipe.preset) > MAX_FALLBACK_SHARE || recipe.preset == Preset::MXFP4_MOE;
    let large = if is_mixture { mixture(planner, recipe) } else { published(recipe.preset) };
    scaled(large, planner.model().n_parameters())
}

/// The loss of a large model in per cent, scaled to a model of this many weights.
#[must_use]
pub fn scaled(percent: f64, n_parameters: u64) -> f64 {
    if n_parameters < SMALL_MODEL { percent * SMALL_MODEL_FACTOR } else { percent }
}

/// The word for an increase of perplexity in per cent: that of the KL divergence that goes with it, `ln(1 + increase)`.
///
/// On Llama 3 8B the two scales agree: `Q5_K_M` +0.9 % beside 0.011 nats, `Q4_K_M` +2.8 % beside 0.031, `Q3_K_M` +10.5 % beside 0.10 (sources
/// at `PUBLISHED` and in `loss_words`).
#[must_use]
pub fn loss_word(percent: f64) -> LossWord {
    LossWord::of_kld((percent.max(0.0) / 100.0).ln_1p())
}

/// A measured mean KL divergence as the increase of perplexity in per cent that goes with it: `exp(KLD) - 1`.
///
/// Measured on SmolLM2 (benches/README.md): 0.058 nats beside +5.3 %, 0.42 beside +41 %. The perplexity itself would do worse: it has more
/// noise, and is lower than the source's now and then.
#[must_use]
pub fn percent_of_kld(mean_kld: f64) -> f64 {
    if mean_kld.is_finite() { mean_kld.max(0.0).exp_m1() * 100.0 } else { f64::MAX }
}

fn published(preset: Preset) -> f64 {
    PUBLISHED.iter().find(|row| row.0 == preset).map_or(0.0, |row| row.1)
}

/// The number of the level that has this type throughout.
fn of_dtype(dtype: DType) -> f64 {
    match dtype {
        DType::Q8_0 => published(Preset::Q8_0),
        DType::Q6_K => published(Preset::Q6_K),
        DType::Q5_K => published(Preset::Q5_K_S),
        DType::Q5_1 => published(Preset::Q5_1),
        DType::Q5_0 => published(Preset::Q5_0),
        DType::Q4_K => published(Preset::Q4_K_S),
        DType::Q4_1 => published(Preset::Q4_1),
        DType::Q4_0 => published(Preset::Q4_0),
        DType::Q3_K => published(Preset::Q3_K_S),
        DType::Q2_K => published(Preset::Q2_K),
        DType::IQ4_NL => published(Preset::IQ4_NL),
        DType::IQ4_XS => published(Preset::IQ4_XS),
        DType::MXFP4 => published(Preset::MXFP4_MOE),
        DType::IQ3_S => published(Preset::IQ3_S),
        DType::IQ3_XXS => published(Preset::IQ3_XXS),
        DType::IQ2_S => 48.8,
        DType::IQ2_XS => published(Preset::IQ2_XS),
        DType::IQ2_XXS => published(Preset::IQ2_XXS),
        DType::IQ1_M => published(Preset::IQ1_M),
        DType::IQ1_S => published(Preset::IQ1_S),
        DType::TQ1_0 | DType::TQ2_0 => published(Preset::TQ1_0),
        DType::F16 | DType::BF16 => published(Preset::F16),
        _ => 0.0,
    }
}

/// Index and number of weights of each matrix in the blocks: embeddings and head matter less and always get more bits.
fn block_matrices<'a>(planner: &'a Planner) -> impl Iterator<Item = (usize, f64)> + 'a {
    let tensors = planner.model().tensors.iter().enumerate();
    #[allow(clippy::cast_precision_loss, reason = "a mean")]
    tensors
        .filter(|(idx, tensor)| {
            planner.is_quantizable(*idx) && !matches!(tensor.name.as_str(), "token_embd.weight" | "output.weight")
        })
        .map(|(idx, tensor)| (idx, n_elements(tensor) as f64))
}

fn fallback_share(planner: &Planner, preset: Preset) -> f64 {
    let tensors = &planner.model().tensors;
    let (mut all, mut other) = (0.0, 0.0);
    for (idx, n_weights) in block_matrices(planner) {
        all += n_weights;
        if !tensors[idx].row_len().is_multiple_of(preset.base_dtype().block_len()) {
            other += n_weights;
        }
    }
    if all > 0.0 { other / all } else { 0.0 }
}

fn mixture(planner: &Planner, recipe: &Recipe) -> f64 {
    let (mut all, mut sum) = (0.0, 0.0);
    for (idx, n_weights) in block_matrices(planner) {
        all += n_weights;
        sum += n_weights * recipe.dtypes.get(idx).map_or(0.0, |&dtype| of_dtype(dtype));
    }
    if all > 0.0 { sum / all } else { published(recipe.preset) }
}
