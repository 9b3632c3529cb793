//! Every term of the field in plain words, for tooltips.

use crate::model::{DType, Level};

/// `(term, what it is, in words that need no other term)`. Lower case, sorted by topic.
const TERMS: [(&str, &str); 68] = [
    (
        "quantization",
        "Storing each weight with fewer bits. The file gets smaller and text comes faster; the answers get a little worse.",
    ),
    ("level", "A recipe of llama.cpp for how many bits the weights get. Q4_K_M, for example, is about 4.8 bits per weight."),
    ("weights", "The numbers that a model has learned. Their count is what “7B” in a name means."),
    ("parameters", "The numbers that a model has learned. Their count is what “7B” in a name means."),
    ("bits per weight", "Size of the tensor data in bits divided by the number of weights. Unquantized models have 16."),
    (
        "k-quant",
        "A block format with 256 weights per super-block, whose scales are themselves quantized. Better than the legacy formats at the same size.",
    ),
    ("super-block", "256 weights that share a scale; inside it smaller blocks have scales of their own."),
    ("imatrix", "Importance matrix: which weights matter most for real text. With it, low levels lose less."),
    (
        "calibrated",
        "Codes are chosen by error feedback: what one weight loses the next ones make good, as far as the model's inputs on a text go together.",
    ),
    (
        "requantizing",
        "Quantizing weights that already lie on a coarse grid. The second loss comes on top of the first: start from F16 or BF16 when you can.",
    ),
    ("precision class", "Groups of levels by bits: full (16 and more), medium (5 to 8), low (3 and 4), ultra-low (1 and 2)."),
    ("data types", "How the weights are stored. A file mixes several: sensitive tensors get more bits."),
    ("tensor", "A named table of weights, for example the matrix that turns a hidden state into queries."),
    ("architecture", "The blueprint of the network: how its layers are built and connected."),
    ("layers", "Identical blocks that the text passes through one after the other."),
    ("embedding length", "Width of the model: how many numbers represent one token between two layers."),
    ("feed-forward length", "Width of the widest part of each layer; most weights are here."),
    ("attention heads", "How many independent searches each layer makes over the earlier text."),
    ("kv heads", "How many sets of keys and values each layer keeps. Fewer than attention heads means a smaller KV cache."),
    (
        "gqa",
        "Grouped-query attention: several attention heads share one set of keys and values, so the KV cache is that many times smaller.",
    ),
    ("head dimension", "How many numbers one attention head works with."),
    (
        "experts",
        "A mixture-of-experts model has several feed-forward parts per layer, of which each token uses only a few: large in memory, but quick.",
    ),
    ("sliding window", "Some layers look back only this many tokens. Their part of the KV cache stops growing there."),
    ("rope", "Rotary position embedding: how the model knows the order of tokens."),
    ("tied embeddings", "Input and output share one matrix. This saves space, so that matrix is kept in more bits."),
    (
        "context length",
        "How many tokens the model can look back on: your prompt and its answer together. A token is about three quarters of an English word.",
    ),
    ("vocabulary", "How many different tokens the model knows."),
    ("token", "A piece of text, about three quarters of an English word."),
    ("tokenizer", "Splits text into tokens. Its tables are part of the model file."),
    (
        "pre-tokenizer",
        "The rule that splits text into words before they become tokens. A wrong one makes answers silently worse.",
    ),
    ("bos token", "Beginning of sequence: the token that starts every text."),
    ("eos token", "End of sequence: the token with which the model says that it is done."),
    ("unk token", "Stands for text that the vocabulary does not cover."),
    ("pad token", "Fills up texts to equal length when several are processed at once."),
    (
        "chat template",
        "The pattern that turns messages into the text the model was trained on. With a wrong one, chats go astray.",
    ),
    ("metadata", "Facts about the model that its maker stored in the file."),
    ("license", "What you may do with the model. Ask the maker when the file says nothing."),
    ("gguf", "The model file format of llama.cpp: weights, tokenizer and facts in one file."),
    ("alignment", "Tensor data starts at multiples of this many bytes, so that it can be used right from the map."),
    ("mmap", "The file is mapped into memory and read page by page when needed, instead of being copied at the start."),
    (
        "kv cache",
        "What the model remembers of the text so far. It grows with the context length and comes on top of the weights.",
    ),
    ("compute buffer", "Working memory for one step of the calculation."),
    ("prefill", "Reading your prompt. All its tokens are processed together, so it is limited by arithmetic."),
    ("decode", "Writing the answer, token by token. Every token reads all weights once, so it is limited by memory bandwidth."),
    ("perplexity", "How surprised the model is by real text: lower is better. Quantization raises it a little."),
    (
        "kl divergence",
        "How far the predictions of the quantized model are from those of the original; 0 means identical. The most honest measure of loss.",
    ),
    (
        "memory bandwidth",
        "How many bytes per second the processor can read from memory. It decides how fast answers are written.",
    ),
    (
        "physical cores",
        "Real processor cores. Two hardware threads of one core share its arithmetic, so one thread per physical core is usually fastest.",
    ),
    ("cache", "Small, fast memory inside the processor. Only very small models fit into it; the working data does."),
    ("swap", "Disk space used as memory. A model that swaps is a hundred times slower."),
    ("container limit", "The most memory that this container may use, whatever the machine has."),
    ("unified memory", "The GPU has no memory of its own and shares the main memory."),
    ("gpu", "Graphics processor: much arithmetic and fast memory of its own."),
    ("npu", "Neural processor: runs quantized networks with little power, through special runtimes."),
    ("power source", "On battery most laptops slow down; measure on the source that you will use."),
    ("measured", "Found on this machine by running the file."),
    ("predicted", "Computed from the file and from what was measured of this machine, before anything ran."),
    ("adjusted", "Predicted, then corrected by how far earlier predictions of speed and memory were off on this machine."),
    ("assumed", "Taken from measurements of other models, or from the types of the weights; not measured on this model."),
    ("published", "What the makers of a framework, or of a course about it, say; not for any machine in particular."),
    ("preflight", "What can be done with this file, judged from its header alone, before anything is read or written."),
    ("simd", "Instructions that process many numbers at once. The newer the set, the faster quantized arithmetic."),
    ("avx2", "256-bit instructions of x86 processors since 2013. The baseline for fast inference."),
    ("avx-512", "512-bit instructions of newer x86 processors: twice as wide as AVX2."),
    ("vnni", "Multiplies and adds 8-bit integers in one step: quantized models run faster, prefill above all."),
    ("amx", "Tile registers of recent Intel server processors that multiply whole matrices."),
    ("neon", "128-bit instructions that every 64-bit ARM processor has."),
    ("i8mm", "Multiplies small matrices of 8-bit integers on ARM: quantized prefill gets much faster."),
];

/// What a term means, in plain words; also for the names of levels and data types. `None` for an unknown term.
///
/// Case does not matter, and `AVX-512 VNNI` finds the last word that has an entry.
#[must_use]
pub fn explain(term: &str) -> Option<String> {
    let wanted = term.trim().to_lowercase();
    if let Some((_, text)) = TERMS.iter().find(|(name, _)| *name == wanted) {
        return Some((*text).to_string());
    }
    if let Ok(level) = wanted.parse::<Level>() {
        return Some(format!("{}: {}.", level.name(), level.description()));
    }
    if let Some(dtype) = DType::from_name(&wanted) {
        return Some(dtype_text(dtype));
    }
    wanted.split([' ', '_', '/']).rev().find_map(|word| {
        let (_, text) = TERMS.iter().find(|(name, _)| *name == word || (word.starts_with("avx512") && *name == "avx-512"))?;
        Some((*text).to_string())
    })
}

/// A data type's layout: `Q4_K: blocks of 256 weights in 144 bytes, 4.50 bits per weight.`
fn dtype_text(dtype: DType) -> String {
    if dtype.is_quantized() {
        let (len, bytes, bits) = (dtype.block_len(), dtype.block_bytes(), dtype.bits_per_weight());
        format!("{dtype}: blocks of {len} weights in {bytes} bytes, {bits:.2} bits per weight.")
    } else {
        format!("{dtype}: {:.0} bits per weight, not quantized.", dtype.bits_per_weight())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_and_data_type_is_explained() {
        assert!(Level::all().all(|level| explain(level.name()).is_some()));
        assert!(DType::all().all(|dtype| explain(dtype.name()).is_some()));
    }

    #[test]
    fn terms_are_found_in_any_case_and_inside_longer_names() {
        let check = |term: &str, expected: &str| assert!(explain(term).is_some_and(|text| text.contains(expected)), "{term}");
        check("KV cache", "remembers");
        check("kl divergence", "predictions");
        check("AVX-512 VNNI", "8-bit");
        check("avx512_bf16", "512-bit");
        check("Q4_K", "144 bytes");
        assert_eq!(explain("flux capacitor"), None);
    }

    #[test]
    fn no_term_is_explained_twice_and_keys_are_lower_case() {
        for (idx, (name, text)) in TERMS.iter().enumerate() {
            assert!(TERMS[..idx].iter().all(|(other, _)| other != name), "{name}");
            assert!(*name == name.to_lowercase() && text.ends_with('.'), "{name}");
        }
    }
}
