//! Which tensors an architecture has, as llama.cpp loads it: for the architectures whose layers are all alike.
//!
//! Source: `load_arch_tensors` and `load_arch_hparams` of each architecture in `src/models/` and `create_tensor_qkv` in
//! src/llama-model.cpp, llama.cpp of 2026-08-21. What is not in this table is not judged by it.

/// A dimension in terms of the hyperparameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dim {
    /// Width of the residual stream.
    Embd,
    /// All queries of a layer.
    Q,
    /// All keys of a layer.
    K,
    /// All values of a layer.
    V,
    /// Queries, keys and values of a layer together, where the queries are as wide as the stream.
    Qkv,
    /// Feed-forward width of the layer.
    Ff,
    /// Twice that: gate and up in one tensor.
    TwoFf,
    /// Width of one head's key.
    Head,
    /// Number of experts.
    Experts,
}

use Dim::{Embd, Experts, Ff, Head, K, Q, Qkv, TwoFf, V};

/// A tensor of each layer: its name after `blk.N.`, and its shape.
pub(super) type Needed = (&'static str, &'static [Dim]);

/// What an architecture needs.
#[derive(Debug)]
pub(super) struct Needs {
    /// `general.architecture`.
    pub(super) architecture: &'static str,
    /// Keys without the architecture's name before them, besides `KEYS_OF_ALL`.
    pub(super) keys: &'static [&'static str],
    /// Tensors outside the layers, besides the embedding.
    pub(super) outer: &'static [&'static str],
    /// Tensors of each layer.
    pub(super) layer: &'static [Needed],
    /// Projections to queries, keys and values, where they are three tensors; one fused tensor in their place is as good.
    pub(super) qkv: &'static [Needed],
    /// The feed-forward part of a dense layer.
    pub(super) dense: &'static [Needed],
    /// The same for a mixture of experts.
    pub(super) experts: &'static [Needed],
    /// What else a layer may have.
    pub(super) optional_layer: &'static [&'static str],
    /// What else may be outside the layers.
    pub(super) optional_outer: &'static [&'static str],
    /// True where RoPE must rotate the full width of a head.
    pub(super) rotates_heads: bool,
}

impl Needs {
    /// True for a tensor that llama.cpp looks for in a file of this architecture; it refuses a file that has others.
    #[allow(clippy::case_sensitive_file_extension_comparisons, reason = "ends of tensor names")]
    pub(super) fn knows(&self, name: &str) -> bool {
        // Scales of NVFP4 and FP8 stand beside any matrix.
        if name == "token_embd.weight" || name.ends_with(".scale") || name.ends_with(".input_scale") {
            return true;
        }
        let Some(ending) = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')).map(|(_, ending)| ending) else {
            return self.outer.contains(&name) || self.optional_outer.contains(&name);
        };
        let needed = [self.layer, self.qkv, self.dense, self.experts];
        needed.into_iter().flatten().any(|(known, _)| *known == ending)
            || QKV_OPTIONAL.contains(&ending)
            || self.optional_layer.contains(&ending)
    }
}

/// What `create_tensor_qkv` takes besides the three projections or instead of them.
const QKV_OPTIONAL: [&str; 5] = ["attn_qkv.weight", "attn_qkv.bias", "attn_q.bias", "attn_k.bias", "attn_v.bias"];

const LLAMA_LAYER: &[&str] = &[
    "attn_output.bias",
    "ffn_gate.bias",
    "ffn_down.bias",
    "ffn_up.bias",
    "ffn_gate_exps.weight",
    "ffn_gate_shexp.weight",
    "ffn_up_shexp.weight",
    "ffn_down_shexp.weight",
];
const LLAMA_OUTER: &[&str] = &["output.weight", "rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"];

/// Keys without which llama.cpp loads no model at all.
pub(super) const KEYS_OF_ALL: [&str; 3] = ["context_length", "embedding_length", "block_count"];

const RMS: &[&str] = &["attention.layer_norm_rms_epsilon", "attention.head_count", "feed_forward_length"];
const NORM: &[&str] = &["attention.layer_norm_epsilon", "attention.head_count", "feed_forward_length"];

const WIDE_QKV: &[Needed] = &[("attn_q.weight", &[Embd, Q]), ("attn_k.weight", &[Embd, K]), ("attn_v.weight", &[Embd, V])];
const SQUARE_QKV: &[Needed] = &[("attn_q.weight", &[Embd, Embd]), ("attn_k.weight", &[Embd, K]), ("attn_v.weight", &[Embd, K])];
const GATED: &[Needed] = &[("ffn_gate.weight", &[Embd, Ff]), ("ffn_down.weight", &[Ff, Embd]), ("ffn_up.weight", &[Embd, Ff])];
const WITH_BIASES: &[Needed] =
    &[("ffn_down.weight", &[Ff, Embd]), ("ffn_down.bias", &[Embd]), ("ffn_up.weight", &[Embd, Ff]), ("ffn_up.bias", &[Ff])];
const EXPERTS: &[Needed] = &[
    ("ffn_gate_inp.weight", &[Embd, Experts]),
    ("ffn_down_exps.weight", &[Ff, Embd, Experts]),
    ("ffn_up_exps.weight", &[Embd, Ff, Experts]),
];
const LLAMA: &[Needed] = &[("attn_norm.weight", &[Embd]), ("attn_output.weight", &[Q, Embd]), ("ffn_norm.weight", &[Embd])];
const GEMMA: &[Needed] = &[
    ("attn_norm.weight", &[Embd]),
    ("attn_output.weight", &[Q, Embd]),
    ("post_attention_norm.weight", &[Embd]),
    ("ffn_norm.weight", &[Embd]),
    ("post_ffw_norm.weight", &[Embd]),
];

const NOTHING: Needs = Needs {
    architecture: "",
    keys: RMS,
    outer: &["output_norm.weight"],
    layer: LLAMA,
    qkv: WIDE_QKV,
    dense: GATED,
    experts: &[],
    optional_layer: &[],
    optional_outer: &["output.weight"],
    rotates_heads: false,
};

const TABLE: [Needs; 12] = [
    Needs {
        architecture: "llama",
        experts: EXPERTS,
        optional_layer: LLAMA_LAYER,
        optional_outer: LLAMA_OUTER,
        rotates_heads: true,
        ..NOTHING
    },
    Needs { architecture: "granite", experts: EXPERTS, optional_layer: LLAMA_LAYER, optional_outer: LLAMA_OUTER, ..NOTHING },
    Needs {
        architecture: "qwen2",
        optional_outer: &["output.weight", "output.bias"],
        layer: &[("attn_norm.weight", &[Embd]), ("attn_output.weight", &[Embd, Embd]), ("ffn_norm.weight", &[Embd])],
        qkv: SQUARE_QKV,
        ..NOTHING
    },
    Needs {
        architecture: "qwen3",
        optional_outer: &["output.weight", "cls.output.weight"],
        layer: &[
            ("attn_norm.weight", &[Embd]),
            ("attn_output.weight", &[Q, Embd]),
            ("attn_q_norm.weight", &[Head]),
            ("attn_k_norm.weight", &[Head]),
            ("ffn_norm.weight", &[Embd]),
        ],
        ..NOTHING
    },
    Needs { architecture: "gemma", optional_outer: &[], ..NOTHING },
    Needs { architecture: "gemma2", optional_outer: &[], layer: GEMMA, ..NOTHING },
    Needs {
        architecture: "gemma3",
        optional_outer: &["output.weight", "dense_2.weight", "dense_3.weight"],
        layer: &[
            ("attn_norm.weight", &[Embd]),
            ("attn_output.weight", &[Q, Embd]),
            ("post_attention_norm.weight", &[Embd]),
            ("attn_q_norm.weight", &[Head]),
            ("attn_k_norm.weight", &[Head]),
            ("ffn_norm.weight", &[Embd]),
            ("post_ffw_norm.weight", &[Embd]),
        ],
        ..NOTHING
    },
    Needs {
        architecture: "phi3",
        optional_outer: &["output.weight", "rope_factors_long.weight", "rope_factors_short.weight"],
        layer: &[("attn_norm.weight", &[Embd]), ("attn_output.weight", &[Embd, Embd]), ("ffn_norm.weight", &[Embd])],
        qkv: SQUARE_QKV,
        dense: &[("ffn_down.weight", &[Ff, Embd]), ("ffn_up.weight", &[Embd, TwoFf])],
        ..NOTHING
    },
    Needs {
        architecture: "olmo2",
        outer: &["output_norm.weight", "output.weight"],
        layer: &[
            ("attn_output.weight", &[Embd, Embd]),
            ("attn_q_norm.weight", &[Embd]),
            ("attn_k_norm.weight", &[K]),
            ("post_attention_norm.weight", &[Embd]),
            ("post_ffw_norm.weight", &[Embd]),
        ],
        qkv: SQUARE_QKV,
        ..NOTHING
    },
    Needs {
        architecture: "gpt2",
        keys: NORM,
        outer: &["position_embd.weight", "output_norm.weight", "output_norm.bias"],
        layer: &[
            ("attn_norm.weight", &[Embd]),
            ("attn_norm.bias", &[Embd]),
            ("attn_qkv.weight", &[Embd, Qkv]),
            ("attn_qkv.bias", &[Qkv]),
            ("attn_output.weight", &[Embd, Embd]),
            ("attn_output.bias", &[Embd]),
            ("ffn_norm.weight", &[Embd]),
            ("ffn_norm.bias", &[Embd]),
        ],
        qkv: &[],
        dense: WITH_BIASES,
        ..NOTHING
    },
    Needs {
        architecture: "starcoder2",
        keys: NORM,
        outer: &["output_norm.weight", "output_norm.bias"],
        layer: &[
            ("attn_norm.weight", &[Embd]),
            ("attn_norm.bias", &[Embd]),
            ("attn_output.weight", &[Embd, Embd]),
            ("attn_output.bias", &[Embd]),
            ("ffn_norm.weight", &[Embd]),
            ("ffn_norm.bias", &[Embd]),
        ],
        qkv: SQUARE_QKV,
        dense: WITH_BIASES,
        ..NOTHING
    },
    Needs {
        architecture: "falcon",
        optional_layer: &["attn_norm_2.weight", "attn_norm_2.bias"],
        keys: NORM,
        outer: &["output_norm.weight", "output_norm.bias"],
        layer: &[
            ("attn_norm.weight", &[Embd]),
            ("attn_norm.bias", &[Embd]),
            ("attn_qkv.weight", &[Embd, Qkv]),
            ("attn_output.weight", &[Embd, Embd]),
        ],
        qkv: &[],
        dense: &[("ffn_down.weight", &[Ff, Embd]), ("ffn_up.weight", &[Embd, Ff])],
        rotates_heads: true,
        ..NOTHING
    },
];

/// All architectures of llama.cpp.
///
/// Source: `LLM_ARCH_NAMES` in src/llama-arch.cpp, llama.cpp of 2026-08-21.
pub(super) const ARCHITECTURES: [&str; 154] = [
    "clip",
    "llama",
    "llama4",
    "deci",
    "falcon",
    "grok",
    "gpt2",
    "gptj",
    "gptneox",
    "mpt",
    "baichuan",
    "starcoder",
    "refact",
    "bert",
    "modern-bert",
    "nomic-bert",
    "nomic-bert-moe",
    "neo-bert",
    "jina-bert-v2",
    "jina-bert-v3",
    "eurobert",
    "bloom",
    "stablelm",
    "qwen",
    "qwen2",
    "qwen2moe",
    "qwen2vl",
    "qwen3",
    "qwen3moe",
    "qwen3next",
    "qwen3vl",
    "qwen3vlmoe",
    "qwen35",
    "qwen35moe",
    "clef",
    "qwen4exp",
    "phi2",
    "phi3",
    "phimoe",
    "plamo",
    "plamo2",
    "plamo3",
    "codeshell",
    "orion",
    "internlm2",
    "minicpm",
    "minicpm3",
    "gemma",
    "gemma2",
    "gemma3",
    "gemma3n",
    "gemma4",
    "gemma4-assistant",
    "gemma-embedding",
    "starcoder2",
    "mamba",
    "mamba2",
    "maple",
    "jamba",
    "falcon-h1",
    "xverse",
    "command-r",
    "cohere2",
    "cohere2moe",
    "dbrx",
    "olmo",
    "olmo2",
    "olmoe",
    "muse-glimmer",
    "openelm",
    "arctic",
    "deepseek",
    "deepseek2",
    "deepseek2-ocr",
    "deepseek32",
    "deepseek4",
    "chatglm",
    "glm4",
    "glm4moe",
    "glm-dsa",
    "bitnet",
    "t5",
    "t5encoder",
    "jais",
    "jais2",
    "nemotron",
    "nemotron_h",
    "nemotron_h_moe",
    "exaone",
    "exaone4",
    "exaone-moe",
    "rwkv6",
    "rwkv6qwen2",
    "rwkv7",
    "arwkv7",
    "granite",
    "granitemoe",
    "granitehybrid",
    "graniteswitch",
    "granite_swa",
    "chameleon",
    "wavtokenizer-dec",
    "plm",
    "bailingmoe",
    "bailingmoe2",
    "bailingmoe3",
    "dots1",
    "dots3note",
    "arcee",
    "afmoe",
    "laguna",
    "ernie4_5",
    "ernie4_5-moe",
    "hunyuan-moe",
    "hunyuan-dense",
    "hunyuan_vl",
    "hy_v3",
    "hy_v4",
    "smollm3",
    "gpt-oss",
    "lfm2",
    "lfm2moe",
    "dream",
    "smallthinker",
    "llada",
    "llada-moe",
    "seed_oss",
    "grovemoe",
    "apertus",
    "minimax-01",
    "hrm_text",
    "minimax-m2",
    "minimax-m3",
    "cogvlm",
    "rnd1",
    "pangu-embedded",
    "mistral3",
    "eagle3",
    "dflash",
    "mistral4",
    "paddleocr",
    "mimo2",
    "step35",
    "spark2_5",
    "llama-embed",
    "maincoder",
    "kimi-linear",
    "kimi-k3",
    "glm5-next",
    "talkie",
    "mellum",
    "nanbeige",
    "qwen3tts",
    "pockettts",
];

/// Architectures of networks that generate no text.
///
/// Source: the encoders among `ARCHITECTURES`, and what turns images or sound into numbers or back, llama.cpp of 2026-08-21.
const OTHERS: [&str; 12] = [
    "clip",
    "bert",
    "modern-bert",
    "nomic-bert",
    "nomic-bert-moe",
    "neo-bert",
    "jina-bert-v2",
    "jina-bert-v3",
    "eurobert",
    "t5encoder",
    "wavtokenizer-dec",
    "gemma-embedding",
];

/// True for an architecture whose networks generate text, as far as is known.
#[must_use]
pub fn generates_text(architecture: &str) -> bool {
    !OTHERS.contains(&architecture)
}

/// What this architecture needs; `None` for one that the table does not have.
pub(super) fn needs_of(architecture: &str) -> Option<&'static Needs> {
    TABLE.iter().find(|needs| needs.architecture == architecture)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_agree() {
        for needs in &TABLE {
            assert!(ARCHITECTURES.contains(&needs.architecture) && generates_text(needs.architecture), "{}", needs.architecture);
        }
        for other in OTHERS {
            assert!(ARCHITECTURES.contains(&other), "{other}");
        }
    }
}
