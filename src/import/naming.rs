//! What the name of a repository or folder says about a model, and what its size is called.

use crate::model::Tensor;

/// What the words of a repository's name say.
///
/// Source of the rules: `Metadata.get_model_id_components` in `gguf-py/gguf/metadata.py`, llama.cpp of 2026-08-21.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct NameParts {
    /// The name for a person.
    pub title: Option<String>,
    /// Who made it.
    pub organization: Option<String>,
    /// `Qwen2.5`.
    pub basename: Option<String>,
    /// `Instruct`.
    pub finetune: Option<String>,
    /// `v0.2`.
    pub version: Option<String>,
    /// `7B`.
    pub size_label: Option<String>,
}

/// What a word of a name is; several at once are possible.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Kinds {
    is_basename: bool,
    is_size: bool,
    is_finetune: bool,
    is_version: bool,
    is_type: bool,
}

impl Kinds {
    fn count(self) -> usize {
        [self.is_basename, self.is_size, self.is_finetune, self.is_version, self.is_type].iter().filter(|&&is| is).count()
    }
}

/// Numbers of weights that make a size label.
#[allow(clippy::struct_field_names, reason = "all are counts")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Weights {
    /// All of them.
    pub n_total: u64,
    /// Those that every token passes through.
    pub n_shared: u64,
    /// Those of one expert in all layers.
    pub n_of_expert: u64,
    /// Experts of a layer; 0 for a dense model.
    pub n_experts: u64,
}

impl Weights {
    /// Counts tensors: those of experts have `_exps.` in their names and the experts as their last dimension.
    ///
    /// Source: `get_total_parameter_count` in `gguf-py/gguf/gguf_writer.py`, llama.cpp of 2026-08-21.
    pub(super) fn of(tensors: &[Tensor]) -> Self {
        let mut all = Self::default();
        let (mut n_experts, mut n_expert_tensors) = (0_u64, 0_u64);
        for tensor in tensors {
            let n_weights = tensor.shape.iter().fold(1, |n: u64, &dim| n.saturating_mul(dim));
            all.n_total = all.n_total.saturating_add(n_weights);
            match tensor.shape.as_slice() {
                [_, _, experts] if tensor.name.contains("_exps.") && *experts > 0 => {
                    all.n_of_expert = all.n_of_expert.saturating_add(n_weights / experts);
                    n_experts = n_experts.saturating_add(*experts);
                    n_expert_tensors += 1;
                }
                _ => all.n_shared = all.n_shared.saturating_add(n_weights),
            }
        }
        all.n_experts = n_experts.checked_div(n_expert_tensors).unwrap_or(0);
        all
    }
}

/// `7.2B`; `8x7.3B` for a mixture of experts, with the weights that one expert and what is shared have together.
///
/// Source: `size_label` in `gguf-py/gguf/utility.py`, llama.cpp of 2026-08-21.
pub(super) fn size_label(weights: Weights) -> String {
    match weights.n_experts {
        0 => size_text(weights.n_total),
        n => format!("{n}x{}", size_text(weights.n_shared.saturating_add(weights.n_of_expert))),
    }
}

/// `135M`, `7.2B`: two digits at least.
///
/// Source: `model_weight_count_rounded_notation` in `gguf-py/gguf/utility.py`, llama.cpp of 2026-08-21.
#[allow(clippy::cast_precision_loss, reason = "two digits are shown")]
fn size_text(n_weights: u64) -> String {
    let n = n_weights as f64;
    let (scaled, suffix) = match n {
        _ if n > 1e12 => (n * 1e-12, 'T'),
        _ if n > 1e9 => (n * 1e-9, 'B'),
        _ if n > 1e6 => (n * 1e-6, 'M'),
        _ => (n * 1e-3, 'K'),
    };
    let n_digits = format!("{scaled:.0}").trim_start_matches('0').len();
    format!("{scaled:.*}{suffix}", 2usize.saturating_sub(n_digits))
}

/// Organization and name of `ORG/NAME`.
pub(super) fn split_id(id: &str) -> (Option<&str>, &str) {
    match id.split_once('/') {
        Some((organization, name)) => (Some(organization).filter(|name| !name.starts_with('.')), name),
        None => (None, id),
    }
}

/// Takes a repository's or folder's name apart; `n_weights` tells a size from a context length.
pub(super) fn parts_of(id: &str, n_weights: u64) -> NameParts {
    if id.contains(' ') {
        return NameParts { title: Some(title_of(id)), ..NameParts::default() };
    }
    let (organization, name) = split_id(id);
    let mut words: Vec<(String, Kinds)> =
        name.split('-').filter(|word| !word.is_empty()).map(|word| (word.to_string(), Kinds::default())).collect();
    for (idx, (word, kinds)) in words.iter_mut().enumerate() {
        classify(idx, word, kinds, n_weights);
    }
    // A size in words counts only where no number says it.
    if words.iter().any(|(word, kinds)| kinds.is_size && word.chars().any(|c| c.is_ascii_digit())) {
        for (word, kinds) in &mut words {
            kinds.is_size &= !word.chars().all(char::is_alphabetic);
        }
    }
    let mut is_at_start = true;
    for (word, kinds) in &mut words {
        let is_plain = kinds.count() == 0 && word.starts_with(char::is_alphabetic);
        if is_at_start && (is_plain || kinds.is_version) {
            kinds.is_basename = true;
        } else {
            is_at_start = false;
            kinds.is_finetune |= kinds.count() == 0;
        }
    }
    // A version at the end of the base name is not part of it.
    for (_, kinds) in words.iter_mut().rev() {
        if !(kinds.is_basename && kinds.count() > 1) {
            break;
        }
        kinds.is_basename = false;
    }
    let joined = |wanted: fn(&Kinds) -> bool| {
        let found: Vec<&str> = words.iter().filter(|(_, kinds)| wanted(kinds)).map(|(word, _)| word.as_str()).collect();
        (!found.is_empty()).then(|| found.join("-"))
    };
    let mut sizes: Vec<&str> = Vec::new();
    for (word, kinds) in &words {
        if kinds.is_size && !sizes.contains(&word.as_str()) {
            sizes.push(word);
        }
    }
    let mut parts = NameParts {
        title: Some(title_of(name)),
        organization: organization.map(title_of),
        basename: joined(|kinds| kinds.is_basename),
        finetune: joined(|kinds| kinds.is_finetune),
        version: joined(|kinds| kinds.is_version && !kinds.is_basename),
        size_label: (!sizes.is_empty()).then(|| sizes.join("-")),
    };
    // A name alone says too little to be taken for the base.
    if parts.size_label.is_none() && parts.finetune.is_none() && parts.version.is_none() {
        parts.basename = None;
    }
    parts
}

fn classify(idx: usize, word: &mut String, kinds: &mut Kinds, n_weights: u64) {
    let lower = word.to_ascii_lowercase();
    if is_version(&lower) {
        kinds.is_version = true;
    } else if is_type(&lower) {
        kinds.is_type = true;
        *word = word.to_ascii_uppercase();
    } else if let (true, Some(size)) = (idx > 0, size_word(word)) {
        let (text, n_claimed) = size;
        *word = text;
        #[allow(clippy::cast_precision_loss, reason = "compared roughly")]
        let n = n_weights as f64;
        // If it is far from the number of weights, it is a context length.
        if n_claimed.is_some_and(|claimed| n > 0.0 && (claimed - n).abs() > (7.0 * n / 8.0).floor()) {
            kinds.is_finetune = true;
            if let Some(last) = word.pop() {
                word.push(last.to_ascii_lowercase());
            }
        } else {
            kinds.is_size = true;
        }
    } else if idx > 0 && matches!(lower.as_str(), "chat" | "instruct" | "vision" | "lora") {
        kinds.is_finetune = true;
    }
}

/// `v1.5`, `2`, `iter3`.
fn is_version(word: &str) -> bool {
    let rest = word.strip_prefix("iter").or_else(|| word.strip_prefix('v')).unwrap_or(word);
    rest.split('.').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}

/// `q4_k_m`, `iq3_s`, `f16`, `bf16`, `fp32`.
fn is_type(word: &str) -> bool {
    let float = word.strip_prefix('b').unwrap_or(word).strip_prefix('f').map(|rest| rest.strip_prefix('p').unwrap_or(rest));
    if matches!(float, Some("16" | "32")) {
        return true;
    }
    let Some(rest) = word.strip_prefix('i').unwrap_or(word).strip_prefix('q') else { return false };
    let mut pieces = rest.split('_');
    let is_digit = pieces.next().is_some_and(|piece| piece.len() == 1 && piece.bytes().all(|byte| byte.is_ascii_digit()));
    is_digit && pieces.all(|piece| piece.chars().count() == 1)
}

/// `7B`, `8x7B`, `1_5b`, `A3B`, `7b1`, `mini`: the word as it is kept, and the number of weights that it claims.
fn size_word(word: &str) -> Option<(String, Option<f64>)> {
    let lower = word.to_ascii_lowercase();
    if matches!(lower.as_str(), "small" | "mini" | "medium" | "large" | "xl" | "xxl") {
        return Some((word.to_string(), None));
    }
    let number = lower.strip_prefix('a').unwrap_or(&lower);
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = match number.split_once('x') {
        Some((experts, rest)) if is_digits(experts) && !lower.starts_with('a') => rest,
        Some(_) => return None,
        None => number,
    };
    let end = number.find(['k', 'm', 'b', 't'])?;
    let (digits, unit) = (number.get(..end)?, number.get(end..)?);
    let is_number = match digits.split_once(['.', '_']) {
        Some((whole, fraction)) => is_digits(whole) && is_digits(fraction),
        None => is_digits(digits),
    };
    let is_unit = unit.len() == 1 || unit.len() == 2 && unit.ends_with(|c: char| c.is_ascii_digit());
    if !is_number || !is_unit {
        return None;
    }
    let mut text = word.replace('_', ".");
    if unit.len() == 2 {
        // bloom-7b1 has 7.1 billion.
        let (digit, unit) = (text.pop()?, text.pop()?);
        text = format!("{text}.{digit}{unit}");
    }
    let unit = text.pop()?.to_ascii_uppercase();
    let claimed = text
        .parse::<f64>()
        .ok()
        .map(|number| number * 1000f64.powi(" KMBT".find(unit).map_or(0, |at| i32::try_from(at).unwrap_or(0))));
    Some((format!("{text}{unit}"), claimed))
}

/// `smollm2-135M` → `Smollm2 135M`: words in small letters get a capital, except versions and those that begin with a digit.
pub(super) fn title_of(id: &str) -> String {
    let is_small = |word: &str| word.chars().any(char::is_lowercase) && !word.chars().any(char::is_uppercase);
    let title = |word: &str| {
        let is_numbered = word.starts_with(|c: char| c.is_ascii_digit()) || word.starts_with('v') && is_version(word);
        if !is_small(word) || is_numbered {
            return word.to_string();
        }
        // As Python's str.title: a letter after anything but a letter is a capital.
        let mut is_inside = false;
        let capital = |c: char| {
            let shown: String = if is_inside { c.to_string() } else { c.to_uppercase().collect() };
            is_inside = c.is_alphabetic();
            shown
        };
        word.chars().map(capital).collect()
    };
    id.replace('-', " ").split_whitespace().map(title).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        // Values of Metadata.get_model_id_components of gguf-py.
        let check = |id: &str, n: u64, expected: [Option<&str>; 6]| {
            let parts = parts_of(id, n);
            let found = [&parts.title, &parts.organization, &parts.basename, &parts.finetune, &parts.version, &parts.size_label];
            assert_eq!(found.map(Option::as_deref), expected, "{id}");
        };
        let some = Some;
        check(
            "HuggingFaceTB/SmolLM2-135M-Instruct",
            134_515_008,
            [some("SmolLM2 135M Instruct"), some("HuggingFaceTB"), some("SmolLM2"), some("Instruct"), None, some("135M")],
        );
        check(
            "smollm2-135M-8k-lc100K-mix1-ep2",
            134_515_008,
            [some("Smollm2 135M 8k lc100K Mix1 Ep2"), None, some("smollm2"), some("8k-lc100K-mix1-ep2"), None, some("135M")],
        );
        check("Qwen2.5-0.5B", 494_000_000, [some("Qwen2.5 0.5B"), None, some("Qwen2.5"), None, None, some("0.5B")]);
        check(
            "Mixtral-8x7B-v0.1",
            46_700_000_000,
            [some("Mixtral 8x7B v0.1"), None, some("Mixtral"), None, some("v0.1"), some("8x7B")],
        );
        check("bloom-7b1", 7_069_016_064, [some("Bloom 7b1"), None, some("bloom"), None, None, some("7.1B")]);
        check("Tiny-0.1M-x", 72_000, [some("Tiny 0.1M X"), None, some("Tiny"), some("x"), None, some("0.1M")]);
        check("gpt2", 124_000_000, [some("Gpt2"), None, None, None, None, None]);
    }

    #[test]
    fn sizes_have_two_digits() {
        let check = |n, expected: &str| assert_eq!(size_text(n), expected, "{n}");
        check(134_515_008, "135M");
        check(7_241_732_096, "7.2B");
        check(70_553_706_496, "71B");
        check(312_000, "312K");
        check(22_713_216, "23M");
        check(500, "0.50K");
        check(0, "0.00K");
    }

    #[test]
    fn names_and_sizes_are_those_of_llama_cpps_converter() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/checkpoints/names/names.json");
        let golden: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        for case in golden["folders"].as_array().unwrap() {
            let n_weights = case["n_parameters"].as_u64().unwrap();
            let parts = parts_of(case["folder"].as_str().unwrap(), n_weights);
            let size = parts.size_label.unwrap_or_else(|| size_text(n_weights));
            let expected = |key: &str| case["general"].get(key).map(|text| text.as_str().unwrap().to_string());
            assert_eq!(parts.title, expected("name"), "{case}");
            assert_eq!(parts.version, expected("version"), "{case}");
            assert_eq!(parts.finetune, expected("finetune"), "{case}");
            assert_eq!(parts.basename, expected("basename"), "{case}");
            assert_eq!(Some(size), expected("size_label"), "{case}");
        }
        for case in golden["size_labels"].as_array().unwrap() {
            let n = |idx: usize| case[idx].as_u64().unwrap();
            let label = size_label(Weights { n_total: n(0), n_shared: n(1), n_of_expert: n(2), n_experts: n(3) });
            assert_eq!(label, case[4].as_str().unwrap(), "{case}");
        }
    }
}
