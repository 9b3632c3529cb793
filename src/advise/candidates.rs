//! Every framework at every level, with size, memory, speed and loss.

use super::learned::{Basis, Learned};
use super::loss::{full_loss_percent, is_published, loss_percent, loss_word, percent_of_kld, scaled};
use super::memory::{compute_bytes, kv_cache_bytes};
use super::offered::mark_copies;
use super::own_level::{decoded_from, own_name};
use super::plan::is_apple;
use super::published::Published;
use super::recipe::{Planner, n_elements, n_rows};
use super::speed::{decode_band, prefill_band};
use super::usage::{Load, Repacking, Usage};
use super::workload::Workload;
use super::{Budget, Candidate, Decision, Fit, Goal, MemoryEstimate};
use crate::hardware::Machine;
use crate::model::{DType, Framework, Level, Model, PrecisionClass, Preset, Tensor};
use crate::quant::can_dequantize;
use crate::units::{self, bytes_text, count_text, significant_text};

/// A candidate with the numbers that it is ranked by.
#[derive(Debug, Clone)]
pub(super) struct Scored {
    pub(super) candidate: Candidate,
    /// Expected increase of perplexity in per cent.
    pub(super) loss_percent: f64,
    /// The same from a source that has lost nothing yet.
    pub(super) full_loss_percent: f64,
    /// What one decoded token reads.
    pub(super) read_bytes: f64,
    /// True when it is clearly smaller than the source: anything else only costs.
    pub(super) gains: bool,
    /// True when it may be recommended: its loss is known, the model is all that it takes, and no other level gives the same file.
    pub(super) is_eligible: bool,
    /// The type of each tensor in the file; empty for other formats.
    pub(super) dtypes: Vec<DType>,
}

impl Scored {
    /// The same candidate, made from a source that has lost nothing yet.
    pub(super) fn with_full_source(&self) -> Self {
        let mut scored = self.clone();
        scored.loss_percent = self.full_loss_percent;
        scored.candidate.expected_loss = loss_word(self.full_loss_percent);
        scored.candidate.expected_loss_percent = self.full_loss_percent;
        scored
    }
}

/// What is asked of a level's size: at least 5 % less than the source.
const MAX_PART_OF_SOURCE: f64 = 0.95;

/// All candidates, llama.cpp's first, each framework from the most to the least precise; and whether the source itself fits.
///
/// `learned` is what measurements here have taught; `None` when the target is another machine, whose speed is unknown.
pub(super) fn all(
    model: &Model,
    machine: &Machine,
    goal: &Goal,
    budget: &Budget,
    learned: Option<&Learned>,
) -> (Vec<Scored>, Fit) {
    let context = Context::new(model, machine, goal, budget, learned.is_some());
    let mut scored: Vec<Scored> = Preset::all().map(|preset| context.gguf(preset, learned)).collect();
    mark_copies(&mut scored);
    scored.extend(VARIANTS.iter().map(|variant| context.variant(variant, learned)));
    let source = Workload::of_file(model, &machine.cpu, goal.n_ctx);
    let load = context.usage.load(|_, tensor| (tensor.size_bytes, context.repacking.applies(tensor.dtype, tensor)));
    let source_fit = context.fit(&load, source.memory(), 0).0;
    (scored, source_fit)
}

/// The first type of a matrix that cannot be read, so that no level can be made of it.
fn undecodable(model: &Model, planner: &Planner) -> Option<DType> {
    let mut matrices = model.tensors.iter().enumerate().filter(|(idx, _)| planner.is_quantizable(*idx));
    matrices.find(|(_, tensor)| tensor.dtype.is_quantized() && !can_dequantize(tensor.dtype)).map(|(_, tensor)| tensor.dtype)
}

/// A framework's level whose size is estimated from its bits.
struct Variant {
    framework: Framework,
    name: &'static str,
    /// The level, where Planish writes it.
    level: Option<&'static str>,
    layout: Layout,
    /// Expected increase of perplexity in per cent for a large model.
    loss_percent: f64,
}

/// How the weights of a matrix are stored; everything else takes 16 bits. Scales, zero points and biases are counted.
#[derive(Clone, Copy)]
enum Layout {
    /// `bits` per weight and `extra_bits` per group along the row; 16 bits where rows are not whole groups.
    Groups { bits: u64, group: u64, extra_bits: u64 },
    /// `bits` per weight and `extra_bits` per row.
    Rows { bits: u64, extra_bits: u64 },
    /// Groups in the blocks; rows of 8 bits in embeddings, head and where rows are not whole groups.
    GroupsInBlocks { bits: u64, group: u64, extra_bits: u64 },
}

const fn mlx(bits: u64) -> Layout {
    Layout::Groups { bits, group: 64, extra_bits: 32 } // scale and bias in 16 bits each
}

const fn onnx(bits: u64) -> Layout {
    Layout::Groups { bits, group: 32, extra_bits: 32 } // MatMulNBits: an f32 scale
}

/// QNN: symmetric per channel, an f32 scale.
const PER_CHANNEL: Layout = Layout::Rows { bits: 8, extra_bits: 32 };

/// Layouts: MLX affine groups, ONNX Runtime's `MatMulNBits`, OpenVINO's compressed constants, QNN per channel.
///
/// Losses are assumed from the type of llama.cpp with the same bits and group (its published table is in `loss`): MLX 4-bit stands
/// near `Q4_K_S`, ONNX Runtime's symmetric INT4 near `Q4_0`; 3-bit near `Q3_K_S`.
const VARIANTS: [Variant; 10] = [
    Variant {
        framework: Framework::OnnxRuntime,
        name: "INT8",
        level: Some("onnx:INT8-g32"),
        layout: onnx(8),
        loss_percent: 0.05,
    },
    Variant { framework: Framework::OnnxRuntime, name: "INT4", level: Some("onnx:INT4-g32"), layout: onnx(4), loss_percent: 7.5 },
    Variant {
        framework: Framework::OpenVino,
        name: "INT8",
        level: None,
        layout: Layout::Rows { bits: 8, extra_bits: 24 },
        loss_percent: 0.3,
    },
    Variant {
        framework: Framework::OpenVino,
        name: "INT4 group 64",
        level: None,
        layout: Layout::GroupsInBlocks { bits: 4, group: 64, extra_bits: 16 },
        loss_percent: 7.5,
    },
    Variant {
        framework: Framework::Mlx,
        name: "8-bit group 64",
        level: Some("mlx:8-bit-g64"),
        layout: mlx(8),
        loss_percent: 0.05,
    },
    Variant {
        framework: Framework::Mlx,
        name: "6-bit group 64",
        level: Some("mlx:6-bit-g64"),
        layout: mlx(6),
        loss_percent: 0.4,
    },
    Variant {
        framework: Framework::Mlx,
        name: "4-bit group 64",
        level: Some("mlx:4-bit-g64"),
        layout: mlx(4),
        loss_percent: 4.3,
    },
    Variant {
        framework: Framework::Mlx,
        name: "3-bit group 64",
        level: Some("mlx:3-bit-g64"),
        layout: mlx(3),
        loss_percent: 26.0,
    },
    Variant { framework: Framework::Qnn, name: "A16W8", level: None, layout: PER_CHANNEL, loss_percent: 0.5 },
    Variant { framework: Framework::Qnn, name: "A8W8", level: None, layout: PER_CHANNEL, loss_percent: 5.0 },
];

impl Layout {
    fn bytes(self, tensor: &Tensor, is_quantizable: bool) -> u64 {
        let (n, row_len) = (n_elements(tensor), tensor.row_len());
        let grouped = |bits: u64, group: u64, extra_bits: u64| {
            n.saturating_mul(bits).saturating_add((n / group).saturating_mul(extra_bits))
        };
        let in_rows =
            |bits: u64, extra_bits: u64| n.saturating_mul(bits).saturating_add(n_rows(tensor).saturating_mul(extra_bits));
        let bits = match self {
            _ if !is_quantizable => n.saturating_mul(16),
            Self::Groups { bits, group, extra_bits } if row_len % group == 0 => grouped(bits, group, extra_bits),
            Self::Groups { .. } => n.saturating_mul(16),
            Self::Rows { bits, extra_bits } => in_rows(bits, extra_bits),
            Self::GroupsInBlocks { bits, group, extra_bits } if row_len % group == 0 && !is_table(tensor) => {
                grouped(bits, group, extra_bits)
            }
            Self::GroupsInBlocks { .. } => in_rows(8, 24),
        };
        bits / 8
    }

    /// The loss of weights whose rows are not whole groups: that of 8 bits per row, or none where they keep 16 bits.
    fn ungrouped_loss_percent(self) -> f64 {
        match self {
            Self::GroupsInBlocks { .. } => 0.3,
            Self::Groups { .. } | Self::Rows { .. } => 0.0,
        }
    }
}

/// True for embeddings and head.
fn is_table(tensor: &Tensor) -> bool {
    matches!(tensor.name.as_str(), "token_embd.weight" | "output.weight")
}

/// What a candidate is, before it is judged.
struct Output {
    framework: Framework,
    level: Option<Level>,
    name: &'static str,
    size_bytes: u64,
    is_exact: bool,
}

/// What all candidates of one model share.
pub(super) struct Context<'a> {
    planner: Planner<'a>,
    usage: Usage<'a>,
    machine: &'a Machine,
    goal: &'a Goal,
    budget: &'a Budget,
    repacking: Repacking,
    undecodable: Option<DType>,
    source_bits: f64,
    /// What the source's weights are or were quantized to.
    lost_before: Option<String>,
    /// False when the target is another machine.
    is_here: bool,
}

impl<'a> Context<'a> {
    pub(super) fn new(model: &'a Model, machine: &'a Machine, goal: &'a Goal, budget: &'a Budget, is_here: bool) -> Self {
        let planner = Planner::new(model);
        Self {
            source_bits: model.bits_per_weight(),
            lost_before: if model.is_quantized() { Some(own_name(model)) } else { decoded_from(model) },
            repacking: Repacking::of(&machine.cpu),
            undecodable: undecodable(model, &planner),
            planner,
            usage: Usage::new(model),
            machine,
            goal,
            budget,
            is_here,
        }
    }

    /// A level of llama.cpp, with what measurements here have taught; `learned` is `None` when the target is another machine.
    pub(super) fn gguf(&self, preset: Preset, learned: Option<&Learned>) -> Scored {
        let level = Level::from(preset);
        let recipe = self.planner.recipe(preset);
        // A model that cannot be written has no size; it is shown as too large rather than hidden.
        let size_bytes = self.planner.output_size_bytes(&recipe).unwrap_or(u64::MAX);
        let load = self.usage.recipe_load(&recipe, self.repacking);
        let workload = Workload::new(&self.usage, &recipe.dtypes, &load, self.goal.n_ctx);
        let mut notes = Vec::new();
        if recipe.n_fallbacks > 0 {
            let n_tensors = count_text(recipe.dtypes.len() as u64);
            let (get, its) = if recipe.n_fallbacks == 1 { ("gets", "its") } else { ("get", "their") };
            notes.push(format!(
                "{} of {n_tensors} tensors {get} {} because of {its} row length",
                recipe.n_fallbacks,
                recipe.other_type()
            ));
        }
        let measured_loss = learned.and_then(|learned| learned.loss(level));
        let percent =
            measured_loss.map_or_else(|| loss_percent(&self.planner, &recipe), |loss| percent_of_kld(loss.mean_kld.value));
        if !is_published(preset) && measured_loss.is_none() {
            notes.push("its loss is assumed from the error of its weights".into());
        }
        let (offset, memory_basis) =
            learned.map_or((0, Basis::Predicted), |learned| learned.memory_offset(level, self.goal.n_ctx));
        let output =
            Output { framework: Framework::LlamaCpp, level: Some(level), name: level.name(), size_bytes, is_exact: true };
        let mut scored = self.scored(&output, &load, (workload.memory(), offset), percent, notes);
        let candidate = &mut scored.candidate;
        if let Some(learned) = learned {
            let plain = decode_band(&workload, self.machine);
            (candidate.decode_tokens_per_sec, candidate.decode_basis) =
                learned.decode_band(level, &workload, self.machine, plain);
            let plain = prefill_band(&workload, &self.machine.cpu);
            (candidate.prefill_tokens_per_sec, candidate.prefill_basis) = learned.prefill_band(&workload, self.machine, plain);
        }
        candidate.memory_basis = memory_basis;
        candidate.measured_loss = measured_loss;
        if let Some(prerequisite) = preset.prerequisite() {
            candidate.missing.get_or_insert(format!("{level} needs {prerequisite}"));
        }
        scored.is_eligible = (is_published(preset) || measured_loss.is_some()) && preset.prerequisite().is_none();
        Scored { full_loss_percent: full_loss_percent(&self.planner, &recipe), dtypes: recipe.dtypes, ..scored }
    }

    fn variant(&self, variant: &Variant, learned: Option<&Learned>) -> Scored {
        let load = self.usage.load(|idx, tensor| (variant.layout.bytes(tensor, self.planner.is_quantizable(idx)), false));
        let grouped = self.grouped_share(variant.layout);
        let large = variant.loss_percent * grouped + variant.layout.ungrouped_loss_percent() * (1.0 - grouped);
        let percent = scaled(large, self.planner.model().n_parameters());
        let memory = Workload::new(&self.usage, &[], &load, self.goal.n_ctx).memory();
        let written = self.planner.model().others.iter().find(|other| Some(other.level.name()) == variant.level);
        let (framework, level) = (variant.framework, written.map(|other| other.level));
        let size_bytes = written.map_or(load.weights_bytes, |other| other.size_bytes);
        let name = level.map_or(variant.name, Level::name);
        let measured_loss = level.zip(learned).and_then(|(level, learned)| learned.loss(level));
        let percent = measured_loss.map_or(percent, |loss| percent_of_kld(loss.mean_kld.value));
        let output = Output { framework, level, name, size_bytes, is_exact: level.is_some() };
        let mut scored = self.scored(&output, &load, (memory, 0), percent, Vec::new());
        scored.candidate.measured_loss = measured_loss;
        scored
    }

    /// The part of the blocks' weights whose rows are whole groups.
    #[allow(clippy::cast_precision_loss, reason = "a mean")]
    fn grouped_share(&self, layout: Layout) -> f64 {
        let (Layout::Groups { group, .. } | Layout::GroupsInBlocks { group, .. }) = layout else { return 1.0 };
        let (mut all, mut grouped) = (0.0, 0.0);
        for (idx, tensor) in self.planner.model().tensors.iter().enumerate() {
            if self.planner.is_quantizable(idx) && !is_table(tensor) {
                all += n_elements(tensor) as f64;
                grouped += if tensor.row_len() % group == 0 { n_elements(tensor) as f64 } else { 0.0 };
            }
        }
        if all > 0.0 { grouped / all } else { 1.0 }
    }

    #[allow(clippy::cast_precision_loss, reason = "shown with three digits")]
    fn scored(
        &self,
        output: &Output,
        load: &Load,
        (memory, offset): (MemoryEstimate, i64),
        percent: f64,
        mut notes: Vec<String>,
    ) -> Scored {
        let model = self.planner.model();
        let n_parameters = model.n_parameters();
        let bits_per_weight = units::bits_per_weight(load.weights_bytes, n_parameters);
        let (fit, memory) = self.fit(load, memory, offset);
        // A file's size counts too: what is no weight, such as the vocabulary, does not get smaller.
        let is_smaller_file = !output.is_exact || (output.size_bytes as f64) < model.size_bytes as f64 * MAX_PART_OF_SOURCE;
        let gains = bits_per_weight < self.source_bits * MAX_PART_OF_SOURCE && is_smaller_file;
        if !gains {
            let how = if bits_per_weight < self.source_bits { "hardly a gain" } else { "no gain" };
            notes.insert(0, format!("{how}: the source has {} bits per weight", significant_text(self.source_bits)));
        }
        let is_quantized = output.level.is_none_or(|level| level.class() != PrecisionClass::Full);
        if let Some(first) = self.lost_before.as_ref().filter(|_| is_quantized && percent > 0.0) {
            notes.push(format!("requantized from {first}"));
        }
        match fit {
            Fit::TooLarge { missing_bytes } => notes.insert(0, format!("{} too large", bytes_text(missing_bytes))),
            Fit::FitsWithOffload { n_gpu_layers } => {
                notes.insert(0, format!("{n_gpu_layers} of {} layers on the GPU", model.hyperparameters.n_layers));
            }
            Fit::Fits => {}
        }
        let framework = output.framework;
        let candidate = Candidate {
            framework,
            level: output.level,
            level_name: output.name.to_string(),
            size_bytes: output.size_bytes,
            size_is_exact: output.is_exact,
            bits_per_weight,
            memory,
            decode_tokens_per_sec: None,
            decode_basis: Basis::Predicted,
            prefill_tokens_per_sec: None,
            prefill_basis: Basis::Predicted,
            memory_basis: Basis::Predicted,
            expected_loss: loss_word(percent),
            expected_loss_percent: percent,
            measured_loss: None,
            fit,
            missing: self.missing(framework),
            copy_of: None,
            published: (framework != Framework::LlamaCpp).then(|| Published::of(framework)),
            note: (!notes.is_empty()).then(|| notes.join("; ")),
        };
        Scored {
            candidate,
            loss_percent: percent,
            full_loss_percent: percent,
            read_bytes: load.read_bytes,
            gains,
            is_eligible: true,
            dtypes: Vec::new(),
        }
    }

    /// Whether it fits, and the memory where it would run: on the GPU if it fits there as a whole, else on the CPU.
    ///
    /// `offset` is by how much runs on the CPU took more than predicted. With a dedicated GPU and too little main memory, as many layers
    /// as fit go to the GPU, each with its part of the KV cache.
    fn fit(&self, load: &Load, memory: MemoryEstimate, offset: i64) -> (Fit, MemoryEstimate) {
        let shape = &self.planner.model().hyperparameters;
        let (n_ctx, budget) = (self.goal.n_ctx, self.budget);
        let on_cpu = memory.with_offset(offset);
        let on_gpu = MemoryEstimate { weights_bytes: load.weights_bytes, compute_bytes: compute_bytes(shape, n_ctx), ..memory };
        if budget.vram_bytes > 0 && on_gpu.total_bytes() <= budget.vram_bytes {
            return (Fit::Fits, on_gpu);
        }
        let total = on_cpu.total_bytes();
        if total <= budget.ram_bytes {
            return (Fit::Fits, on_cpu);
        }
        let n_layers = shape.n_layers;
        if budget.vram_bytes == 0 || n_layers == 0 {
            return (Fit::TooLarge { missing_bytes: total - budget.ram_bytes }, on_cpu);
        }
        let kv_bytes = kv_cache_bytes(shape, n_ctx);
        let gpu_layer = (load.block_gpu_bytes.saturating_add(kv_bytes)).div_ceil(n_layers).max(1);
        let cpu_layer = load.block_bytes.saturating_add(kv_bytes) / n_layers;
        let room = budget.vram_bytes.saturating_sub(on_gpu.compute_bytes);
        let n_gpu_layers = (room / gpu_layer).min(n_layers);
        let rest = total.saturating_sub(cpu_layer.saturating_mul(n_gpu_layers));
        if n_gpu_layers > 0 && rest <= budget.ram_bytes {
            (Fit::FitsWithOffload { n_gpu_layers }, on_cpu)
        } else {
            (Fit::TooLarge { missing_bytes: rest.saturating_sub(budget.ram_bytes).max(1) }, on_cpu)
        }
    }

    /// What keeps a framework's files from being made here; `None` for GGUF files of a source that can be decoded.
    fn missing(&self, framework: Framework) -> Option<String> {
        match framework {
            Framework::LlamaCpp => self.undecodable.map(|dtype| format!("this version of Planish cannot decode {dtype}")),
            Framework::Mlx => self.missing_for_mlx(),
            Framework::OnnxRuntime => self.missing_for_onnx(),
            Framework::OpenVino | Framework::Qnn => Some(self.missing_writer(framework)),
        }
    }

    /// That nothing is written for a framework, and what it lacks here besides.
    fn missing_writer(&self, framework: Framework) -> String {
        let runtime = self.machine.runtimes.iter().find(|runtime| runtime.framework == framework);
        let absent = runtime.filter(|runtime| runtime.version.is_none() && self.is_here);
        let name = framework.name();
        let own = format!("this version of Planish does not write for {name}");
        match absent {
            Some(runtime) if runtime.note.is_empty() => format!("{own}; {name} is not installed"),
            Some(runtime) => format!("{own}; {name} is not installed: {}", runtime.note),
            None => own,
        }
    }

    /// Folders for MLX are made from checkpoints, and run on Macs.
    fn missing_for_mlx(&self) -> Option<String> {
        if let Some(hindrance) = self.hindrance(Framework::Mlx) {
            return Some(hindrance);
        }
        if self.is_here && !is_apple(self.machine) {
            return Some("it runs on Macs with an M chip; Planish writes it here, and measures what it loses".into());
        }
        self.is_absent(Framework::Mlx).then(|| "it is not set up: planish runtime install mlx".into())
    }

    /// Folders for ONNX Runtime are made from checkpoints.
    fn missing_for_onnx(&self) -> Option<String> {
        let absent =
            || self.is_absent(Framework::OnnxRuntime).then(|| "it is not set up: planish runtime install onnxruntime".into());
        self.hindrance(Framework::OnnxRuntime).or_else(absent)
    }

    /// Why no level of a framework can be made of this model; `None` where one can.
    fn hindrance(&self, framework: Framework) -> Option<String> {
        let model = self.planner.model();
        if model.others.iter().any(|other| other.level.framework() == framework) {
            return None;
        }
        let mut hindrances = model.import.iter().flat_map(|import| &import.hindrances);
        let found = hindrances.find(|(hindered, _)| *hindered == framework).map(|(_, why)| why.clone());
        Some(found.unwrap_or_else(|| "it is made from the checkpoint of a model, not from its GGUF file".into()))
    }

    /// Whether the model is to run here, where the framework's runtime is not.
    fn is_absent(&self, framework: Framework) -> bool {
        let runtime = self.machine.runtimes.iter().find(|runtime| runtime.framework == framework);
        self.is_here && runtime.is_some_and(|runtime| runtime.version.is_none())
    }
}

/// On speed, one per cent of loss counts as much as two per cent of bytes: else `Q4_0` would win against `Q4_K_S` of equal size.
const BYTES_PER_LOSS: f64 = 2.0;

/// The most loss in per cent of perplexity that a goal takes.
const BALANCED_PERCENT: f64 = 3.0;
const SPEED_PERCENT: f64 = 8.0;
const SIZE_PERCENT: f64 = 20.0;

/// The order of preference among candidates that fit: lower is better, first the tier, then the value.
///
/// A predicted loss has to stay under the limit; a measured one counts as within it when it passes the gates on quality, as for
/// the headline of a comparison: what is known needs no margin.
///
/// - Quality: the least expected loss. On battery the mildest word for the loss, then the fewest bytes per token.
/// - Balanced: the smallest with less than 3 % loss. On battery as with speed.
/// - Speed: the fewest bytes per token, which decide decode speed, with less than 8 % loss; see `BYTES_PER_LOSS`.
/// - Size: the smallest with less than 20 % loss.
///
/// Where nothing is good enough, the least loss.
#[allow(clippy::cast_precision_loss, reason = "a rank")]
pub(super) fn preference(scored: &Scored, goal: &Goal) -> (u8, f64) {
    use super::Priority::{Balanced, Quality, Size, Speed};
    let size = scored.candidate.size_bytes as f64;
    let weighted_bytes = scored.read_bytes * (1.0 + BYTES_PER_LOSS * scored.loss_percent / 100.0);
    let (limit, value) = match (goal.priority, goal.battery) {
        (Quality, false) => return (0, scored.loss_percent),
        (Quality, true) => return (scored.candidate.expected_loss as u8, scored.read_bytes),
        (Balanced, false) => (BALANCED_PERCENT, size),
        (Balanced, true) | (Speed, _) => (SPEED_PERCENT, weighted_bytes),
        (Size, _) => (SIZE_PERCENT, size),
    };
    let measured = scored.candidate.measured_loss.map(|loss| loss.decision == Decision::Pass);
    if measured.unwrap_or(scored.loss_percent < limit) { (0, value) } else { (1, scored.loss_percent) }
}

/// True when it is as good as the goal asks, not just the least bad.
pub(super) fn is_acceptable(scored: &Scored, goal: &Goal) -> bool {
    goal.priority == super::Priority::Quality || preference(scored, goal).0 == 0
}
