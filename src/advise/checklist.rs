//! Whether a Hugging Face checkpoint is complete and can be understood, from its headers alone.

use std::sync::Arc;

use serde::Serialize;

use super::memory::{compute_bytes, kv_cache_bytes};
use super::preflight::{PreflightRow, folder_row};
use super::recipe::{Planner, output_size_bytes};
use crate::error::{Error, PICKLE_HINT};
use crate::hardware::{EncodingSpeed, Machine};
use crate::import::{Disagreement, class_name, disagreement, gguf_architecture, mapping_of, planned_model};
use crate::model::{
    Checkpoint, CheckpointConfig, CheckpointDType, Framework, Hyperparameters, Model, Preset, QuantizationMethod,
};
use crate::units::{bytes_text, count_of, count_text, duration_text};

/// Levels whose size is predicted, with the bits per weight that are assumed where the tensors are not known one by one.
///
/// Source of 4.89 for `Q4_K_M`: Llama 3.1 8B in `tools/quantize/README.md` of llama.cpp.
const PRESETS: [(Preset, f64); 3] = [(Preset::F16, 16.0), (Preset::Q8_0, 8.5), (Preset::Q4_K_M, 4.89)];
/// Context for which memory is predicted, in tokens.
const N_CTX: u64 = 4096;
/// Layers that a rough prediction counts at most: llama.cpp's own limit (`LLAMA_MAX_LAYERS`).
const MAX_LAYERS: u64 = 512;
/// About how many bytes the tokenizer takes in a GGUF file for each token. SmolLM2 has 36, Llama 3 has 61.
const TOKENIZER_BYTES_PER_TOKEN: u64 = 48;
/// How many names a text lists.
const MAX_NAMES: usize = 3;

/// The points of a check, in the order of a person's questions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checklist {
    /// The points.
    pub items: Vec<CheckItem>,
}

impl Checklist {
    /// True when a point is an obstacle to a conversion.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.items.iter().any(|item| item.state == CheckState::Blocked)
    }

    /// Adds what became of the tokenizer and of the whole, once everything has been read.
    pub fn finish(&mut self, imported: &Result<Model, Error>) {
        match imported {
            Ok(model) => {
                let place = self.items.iter().position(|item| item.name == "Tokenizer").map_or(self.items.len(), |idx| idx + 1);
                let is_new = |text: &&String| !self.items.iter().any(|item| item.text == **text);
                let warnings = model.warnings.iter().filter(is_new).map(|text| warning("Tokenizer", text.clone()));
                let warnings: Vec<_> = warnings.collect();
                self.items.splice(place..place, warnings);
                let own = model.own_level().map_or_else(String::new, |level| format!("; {level} keeps every weight as it is"));
                self.items.push(ok("Conversion", format!("possible, straight to any level of llama.cpp{own}")));
                for (name, framework) in [("ONNX Runtime", Framework::OnnxRuntime), ("MLX", Framework::Mlx)] {
                    let PreflightRow { is_possible, text, .. } = folder_row(framework, model);
                    self.items.push(if is_possible { ok(name, text) } else { warning(name, text) });
                }
            }
            Err(error) => self.items.push(blocked("Conversion", error.reason())),
        }
    }
}

/// One point of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckItem {
    /// What was looked at: `Tokenizer`.
    pub name: &'static str,
    /// How it stands.
    pub state: CheckState,
    /// What was found, and what to do about it; lower case without full stop.
    pub text: String,
}

/// How a point stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckState {
    /// As it should be.
    Ok,
    /// Worth knowing, no obstacle.
    Warning,
    /// An obstacle to a conversion.
    Blocked,
}

impl CheckState {
    /// The state in a word.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Blocked => "blocked",
        }
    }
}

/// What this machine has free and how fast it is; `None` and empty where that is not known.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Room {
    /// Bytes free on the checkpoint's disk.
    pub disk_bytes: Option<u64>,
    /// Bytes of memory available.
    pub memory_bytes: Option<u64>,
    /// How fast weights are encoded.
    pub encoding: EncodingSpeed,
}

impl Room {
    /// What this machine has free, without how fast it encodes.
    #[must_use]
    pub fn of(machine: &Machine) -> Self {
        Self {
            disk_bytes: machine.disk.as_ref().map(|disk| disk.free_bytes),
            memory_bytes: Some(machine.memory.available_bytes).filter(|&free_bytes| free_bytes > 0),
            encoding: EncodingSpeed::default(),
        }
    }
}

/// A checkpoint with its check.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckedCheckpoint {
    /// The model that it becomes; `None` where the check found an obstacle.
    pub model: Option<Arc<Model>>,
    /// The checkpoint as it was read.
    pub checkpoint: Checkpoint,
    /// Whether it is complete and can be understood.
    pub checklist: Checklist,
    /// Why Planish cannot compute it itself, one layer at a time; `None` where it can.
    pub own_obstacle: Option<String>,
}

/// The check of a checkpoint, from its headers and what the machine has free.
#[must_use]
pub fn checklist(checkpoint: &Checkpoint, room: &Room) -> Checklist {
    let mut items = Vec::new();
    let config = checkpoint.config.as_ref();
    let architecture = config.and_then(gguf_architecture);
    items.push(config.map_or_else(
        || {
            let text = "config.json is missing: nothing says what kind of network this is";
            blocked("Configuration", checkpoint.with_unfinished(text.into()))
        },
        |config| ok("Configuration", config_text(config)),
    ));
    if let Some(config) = config {
        items.push(architecture_item(config, architecture));
        if config.has_vision {
            let text = "an image encoder belongs to it; in GGUF that is a file of its own (the projector), the rest is the language model";
            items.push(warning("Images", text.into()));
        }
    }
    items.push(tokenizer_item(checkpoint));
    items.extend(checkpoint.warnings.iter().map(|text| warning("Description", text.clone())));
    items.push(files_item(checkpoint));
    let quantization = config.and_then(|config| config.quantization.as_ref());
    if !checkpoint.tensors.is_empty() {
        items.push(dtypes_item(checkpoint, quantization.is_some()));
    }
    if let Some(quantization) = quantization {
        let bits = quantization.bits.map_or(String::new(), |bits| format!(" in {bits} bits"));
        items.push(quantization_item(quantization.method, &format!("{}{bits}", quantization.name)));
    }
    let is_packed = quantization.is_some_and(|quantization| !quantization.method.is_float());
    let mapping = config.and_then(mapping_of);
    if let Some(Ok(mapping)) = &mapping {
        items.extend(mapping.warnings.iter().map(|text| warning("Architecture", text.clone())));
    }
    if !checkpoint.tensors.is_empty() {
        match mapping.as_ref() {
            Some(Ok(mapping)) if !is_packed => items.extend(tensor_items(checkpoint, &disagreement(checkpoint, mapping))),
            Some(Err(problem)) => items.push(blocked("Tensors", problem.clone())),
            _ => items.push(files_agree_item(checkpoint)),
        }
    }
    let model = mapping.and_then(Result::ok).filter(|_| !is_packed).map(|mapping| planned_model(checkpoint, &mapping));
    items.extend(size_items(checkpoint, config.zip(architecture), model.as_ref(), is_packed, room));
    if let Some(model) = &model {
        items.extend(time_item(model, &room.encoding));
    }
    Checklist { items }
}

fn ok(name: &'static str, text: String) -> CheckItem {
    CheckItem { name, state: CheckState::Ok, text }
}

fn warning(name: &'static str, text: String) -> CheckItem {
    CheckItem { name, state: CheckState::Warning, text }
}

fn blocked(name: &'static str, text: String) -> CheckItem {
    CheckItem { name, state: CheckState::Blocked, text }
}

fn config_text(config: &CheckpointConfig) -> String {
    let known = |n: u64, what: &str| if n == 0 { format!("{what} not stated") } else { format!("{} {what}", count_text(n)) };
    format!(
        "{}, width {}, {}, {} of context, vocabulary of {}",
        known(config.n_layers, "layers"),
        known(config.n_embd, "").trim(),
        known(config.n_heads, "heads"),
        known(config.n_ctx_train, "tokens"),
        known(config.n_vocab, "tokens"),
    )
}

fn architecture_item(config: &CheckpointConfig, architecture: Option<&str>) -> CheckItem {
    let class_name = class_name(config);
    match architecture {
        Some(architecture) => ok("Architecture", format!("{class_name}, in GGUF {architecture}")),
        None if class_name.is_empty() => {
            blocked("Architecture", "config.json names neither a class nor a known model_type".into())
        }
        None => blocked("Architecture", format!("{class_name} is not known")),
    }
}

fn tokenizer_item(checkpoint: &Checkpoint) -> CheckItem {
    let has = |name: &str| checkpoint.tokenizer_files.iter().any(|file| file == name);
    let is_complete = has("tokenizer.json")
        || has("tokenizer.model")
        || has("spiece.model")
        || has("vocab.txt")
        || has("vocab.json") && has("merges.txt");
    if !is_complete {
        let text = "tokenizer.json or tokenizer.model is missing: fetch it from where the weights came from";
        return blocked("Tokenizer", checkpoint.with_unfinished(text.into()));
    }
    let class = checkpoint.tokenizer_class.as_ref().map_or(String::new(), |class| format!("{class}, "));
    let template = checkpoint
        .chat_template_file
        .as_ref()
        .map_or_else(|| "no chat template".into(), |file| format!("chat template in {file}"));
    let files: Vec<&str> = checkpoint.tokenizer_files.iter().map(String::as_str).collect();
    ok("Tokenizer", format!("{class}{}; {template}", files.join(", ")))
}

fn files_item(checkpoint: &Checkpoint) -> CheckItem {
    const NAME: &str = "Files";
    let Checkpoint { files, pickle_files, size_bytes, .. } = checkpoint;
    if let Some(lack) = checkpoint.missing_weights() {
        let is_pickled = files.is_empty() && !pickle_files.is_empty() && checkpoint.missing_files.is_empty();
        return blocked(NAME, if is_pickled { format!("{lack}; {PICKLE_HINT}") } else { lack });
    }
    match (files.len(), pickle_files.as_slice()) {
        (n, []) => ok(NAME, format!("{}, {}", count_of(n, "safetensors file"), bytes_text(*size_bytes))),
        (n, pickles) => {
            let files = count_of(n, "safetensors file");
            ok(NAME, format!("{files}, {}; not opened: {}", bytes_text(*size_bytes), names_text(pickles)))
        }
    }
}

/// The first few names, and how many more there are.
fn names_text<T: AsRef<str>>(names: &[T]) -> String {
    let first: Vec<&str> = names.iter().take(MAX_NAMES).map(AsRef::as_ref).collect();
    match names.len().saturating_sub(MAX_NAMES) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

fn dtypes_item(checkpoint: &Checkpoint, is_quantized: bool) -> CheckItem {
    let rows = checkpoint.weights_by_dtype();
    let text = rows
        .iter()
        .map(|(dtype, n, _, size_bytes)| format!("{} ({}, {})", dtype.name(), count_of(*n, "tensor"), bytes_text(*size_bytes)))
        .collect::<Vec<_>>()
        .join(", ");
    let is_8_bits = |dtype: CheckpointDType| matches!(dtype, CheckpointDType::F8_E4M3 | CheckpointDType::F8_E5M2);
    if is_quantized {
        return ok("Data types", text);
    }
    if let Some((dtype, n, ..)) = rows.iter().find(|row| !row.0.is_weight_float()) {
        let text = format!("{text}; {} of type {}, unusable as weights", count_of(*n, "tensor"), dtype.name());
        return warning("Data types", text);
    }
    if rows.iter().any(|row| is_8_bits(row.0)) {
        return warning("Data types", format!("{text}; config.json says nothing about scales of the 8-bit floats"));
    }
    ok("Data types", text)
}

fn quantization_item(method: QuantizationMethod, name: &str) -> CheckItem {
    const NAME: &str = "Quantization";
    let packed = "its integers lie on a grid of their own, and converting them would add a second loss: \
        take the unquantized original";
    match method {
        QuantizationMethod::Gptq => blocked(NAME, format!("GPTQ ({name}): {packed}")),
        QuantizationMethod::Awq => blocked(NAME, format!("AWQ ({name}): {packed}")),
        QuantizationMethod::Mlx => blocked(NAME, format!("its weights are quantized already by MLX ({name}): {packed}")),
        QuantizationMethod::BitsAndBytes => blocked(NAME, format!("bitsandbytes ({name}): {packed}")),
        QuantizationMethod::Other => blocked(NAME, format!("{name} is not known; take the unquantized original")),
        QuantizationMethod::Fp8 => {
            let text = "its 8-bit floats are multiplied by their scales and kept in BF16, as transformers does; \
                the unquantized original loses less";
            warning(NAME, format!("FP8 ({name}): {text}"))
        }
        QuantizationMethod::Mxfp4 => {
            let text = "its blocks are kept as they are, at every level that would not make them smaller";
            ok(NAME, format!("MXFP4 ({name}): {text}"))
        }
    }
}

/// The tensors compared with what `config.json` leads one to expect.
fn tensor_items(checkpoint: &Checkpoint, found: &Disagreement) -> [CheckItem; 2] {
    let Disagreement { n_needed, prefix, missing, extra, wrong_shapes, cause } = found;
    let n_matched = n_needed - missing.len();
    let tensors = match files_agree_item(checkpoint) {
        item if item.state == CheckState::Blocked => item,
        _ if cause.is_some() => blocked("Tensors", cause.clone().unwrap_or_default()),
        _ if !missing.is_empty() && !checkpoint.missing_files.is_empty() => {
            let text = format!("{n_matched} of {n_needed} are there; the others may be in the missing files");
            blocked("Tensors", text)
        }
        _ if !missing.is_empty() => {
            blocked("Tensors", format!("{} of {n_needed} are missing: {}", missing.len(), names_text(missing)))
        }
        _ if !extra.is_empty() => {
            blocked("Tensors", format!("{} that this architecture does not have: {}", extra.len(), names_text(extra)))
        }
        _ if !prefix.is_empty() => ok("Tensors", format!("all {n_needed} are there, under names that begin with {prefix}")),
        _ => ok("Tensors", format!("all {n_needed} are there")),
    };
    let shapes = match wrong_shapes.as_slice() {
        [] if n_matched == 0 => blocked("Shapes", "no tensor has a name that config.json leads to".into()),
        [] => ok("Shapes", format!("all {n_matched} agree with config.json")),
        [first] => blocked("Shapes", first.clone()),
        [first, ..] => blocked("Shapes", format!("{} disagree with config.json: {first}", wrong_shapes.len())),
    };
    [tensors, shapes]
}

/// What can be said without knowing the architecture: the files agree with each other.
fn files_agree_item(checkpoint: &Checkpoint) -> CheckItem {
    let Checkpoint { duplicates, index_errors, tensors, .. } = checkpoint;
    if !duplicates.is_empty() {
        return blocked("Tensors", format!("in two files: {}", names_text(duplicates)));
    }
    if !index_errors.is_empty() {
        return blocked("Tensors", format!("index and files disagree: {}", names_text(index_errors)));
    }
    ok("Tensors", format!("{}, not compared with config.json", count_text(tensors.len() as u64)))
}

/// Predicted sizes on disk and in memory. Nothing is predicted for packed integers or without weights.
fn size_items(
    checkpoint: &Checkpoint,
    known: Option<(&CheckpointConfig, &str)>,
    model: Option<&Model>,
    is_packed: bool,
    room: &Room,
) -> Vec<CheckItem> {
    let (false, false, Some((config, architecture))) = (is_packed, checkpoint.tensors.is_empty(), known) else {
        return Vec::new();
    };
    // The sizes then come from the number of weights, which is not known while files are missing.
    if model.is_none() && !checkpoint.missing_files.is_empty() {
        return Vec::new();
    }
    let sizes: Vec<(Preset, u64)> = PRESETS
        .iter()
        .filter_map(|&(preset, bits)| {
            let tensors = match model {
                Some(model) => output_size_bytes(model, preset).ok()?,
                None => bytes_at(checkpoint.n_parameters(), bits),
            };
            Some((preset, tensors.saturating_add(config.n_vocab.saturating_mul(TOKENIZER_BYTES_PER_TOKEN))))
        })
        .collect();
    if sizes.is_empty() {
        return Vec::new();
    }
    let n_ctx = if config.n_ctx_train == 0 { N_CTX } else { config.n_ctx_train.min(N_CTX) };
    let rough = || rough_hyperparameters(config, architecture);
    let shape = model.map_or_else(rough, |model| model.hyperparameters.clone());
    let beside_weights = kv_cache_bytes(&shape, n_ctx).saturating_add(compute_bytes(&shape, n_ctx));
    let in_memory: Vec<(Preset, u64)> =
        sizes.iter().map(|&(preset, size_bytes)| (preset, size_bytes.saturating_add(beside_weights))).collect();
    let how = if model.is_some() { "predicted" } else { "predicted roughly, from the number of weights" };
    vec![
        room_item("Disk", format!("{how}: {}", sizes_text(&sizes)), &sizes, room.disk_bytes),
        room_item(
            "Memory",
            format!("{how}, to run at {} tokens: {}", count_text(n_ctx), sizes_text(&in_memory)),
            &in_memory,
            room.memory_bytes,
        ),
    ]
}

/// How long a conversion to each level takes when the disk keeps up.
fn time_item(model: &Model, encoding: &EncodingSpeed) -> Option<CheckItem> {
    let planner = Planner::new(model);
    let secs = |preset: Preset| encoding.predicted_secs(&model.tensors, &planner.recipe(preset).dtypes);
    let times: Vec<String> =
        PRESETS.iter().filter_map(|&(preset, _)| Some(format!("{preset} about {}", duration_text(secs(preset)?)))).collect();
    let text = format!(
        "predicted from how fast this machine encodes on {}, if the disk keeps up: {}",
        count_of(encoding.n_threads, "thread"),
        times.join(", ")
    );
    (!times.is_empty()).then(|| ok("Time", text))
}

/// The numbers that decide memory, for a checkpoint whose tensors are not known one by one.
fn rough_hyperparameters(config: &CheckpointConfig, architecture: &str) -> Hyperparameters {
    let n_layers = config.n_layers.min(MAX_LAYERS);
    let per_layer = |number: u64| (0..n_layers).map(|_| number).collect();
    Hyperparameters {
        architecture: architecture.into(),
        n_layers,
        n_embd: config.n_embd,
        n_ctx_train: config.n_ctx_train,
        n_vocab: config.n_vocab,
        n_heads: per_layer(config.n_heads),
        n_kv_heads: per_layer(config.n_kv_heads),
        n_ff: per_layer(config.n_ff),
        head_dim_k: config.head_dim,
        head_dim_v: config.head_dim,
        n_rot: config.head_dim,
        sliding_window: config.sliding_window,
        ..Hyperparameters::default()
    }
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rough prediction")]
fn bytes_at(n_weights: u64, bits: f64) -> u64 {
    (n_weights as f64 * bits / 8.0) as u64
}

fn sizes_text(sizes: &[(Preset, u64)]) -> String {
    sizes.iter().map(|(preset, size_bytes)| format!("{preset} about {}", bytes_text(*size_bytes))).collect::<Vec<_>>().join(", ")
}

/// Compares what each level needs with what is free.
fn room_item(name: &'static str, text: String, sizes: &[(Preset, u64)], free_bytes: Option<u64>) -> CheckItem {
    let Some(free_bytes) = free_bytes else { return ok(name, text) };
    let text = format!("{text}; {} free", bytes_text(free_bytes));
    let too_large: Vec<&str> = sizes.iter().filter(|row| row.1 > free_bytes).map(|row| row.0.name()).collect();
    if too_large.is_empty() { ok(name, text) } else { warning(name, format!("{text}, too little for {}", too_large.join(", "))) }
}
