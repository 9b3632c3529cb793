//! The advice: walks the tree, ranks the candidates and says why.

use super::candidates::{self, Scored};
use super::explain::{counterfactual, priority_facts, reasons, warn};
use super::ranking::{Choice, compare, group};
use super::tree::{self, ENTERPRISE_NO, ENTERPRISE_YES, KIND_LANGUAGE, KIND_OTHER, KIND_UNKNOWN};
use super::{Budget, Fit, Goal, Leaf, Learned, Plan, Step, Target, Tree};
use crate::format::generates_text;
use crate::hardware::{Gpu, Machine, Vendor};
use crate::model::{Framework, Level, Model};
use crate::units::{bytes_text, count_text, parameters_text};

/// Part of the free memory that a model may use: the rest is for the system and for what the user opens next.
const RAM_SHARE: (u64, u64) = (4, 5);

/// Part of the free GPU memory that a model may use: the display and the driver take some.
const VRAM_SHARE: (u64, u64) = (9, 10);

/// What is assumed when the machine's memory is unknown.
const ASSUMED_RAM_BYTES: u64 = 8 << 30;

/// The plan for this model, machine and goal. Pure: same input, same output.
///
/// Without a wanted budget, a model may use 80 % of the free main memory and 90 % of the free memory of the largest GPU with memory of
/// its own; a GPU that shares main memory shares its budget. The order of preference among fitting levels is described at
/// `Priority`'s variants and in `candidates::preference`; a level that is not 5 % smaller than the source ranks last. Where the
/// source is quantized already and fits, it is the best choice, unless a level is as good as the goal asks and quality does not
/// count most.
#[must_use]
pub fn advise(model: &Model, machine: &Machine, goal: &Goal) -> Plan {
    advise_with(model, machine, goal, &Learned::default())
}

/// The same, with what measurements on this machine have taught: predictions are corrected by them, and what was measured for a
/// level replaces what is predicted or published.
#[must_use]
pub fn advise_with(model: &Model, machine: &Machine, goal: &Goal, learned: &Learned) -> Plan {
    let mut warnings = Vec::new();
    let place = Place::of(machine, goal);
    let is_here = place.is_here(machine, goal);
    let budget = budget(machine, goal, is_here, &mut warnings);
    let (mut scored, source_fit) = if model.is_convertible() {
        candidates::all(model, machine, goal, &budget, is_here.then_some(learned))
    } else {
        // Nothing is offered for a model that cannot be loaded.
        (Vec::new(), Fit::TooLarge { missing_bytes: 0 })
    };
    if !model.unknown.is_empty() {
        // It can be converted for another llama.cpp; this one runs none of its levels.
        for Scored { candidate, .. } in &mut scored {
            (candidate.decode_tokens_per_sec, candidate.prefill_tokens_per_sec) = (None, None);
        }
    }
    let tree = tree::tree();
    let (path, leaf) = walk(&tree, model, machine, goal, place, &budget, &scored);
    rank(&mut scored, &leaf, goal);
    let n_first = scored.iter().take_while(|scored| group(scored) == 0).count();
    let choice = match model.hindrance() {
        Some(_) => Choice::Nothing,
        None => Choice::of(model, goal, source_fit, scored.first().filter(|_| n_first > 0)),
    };
    let recommended = (choice == Choice::First).then_some(0);
    let runner_up = (choice == Choice::First && n_first > 1).then_some(1);
    warn(model, machine, goal, is_here, &mut warnings);
    Plan {
        reasons: reasons(model, goal, &budget, &leaf, &scored, choice),
        counterfactual: counterfactual(goal, &scored, choice),
        candidates: scored.into_iter().map(|scored| scored.candidate).collect(),
        recommended,
        runner_up,
        keeps_source: choice == Choice::Source,
        tree,
        path,
        leaf,
        warnings,
        budget,
    }
}

/// The answer to "where will it run?"; as a number, the index of the branch of `where`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Apple,
    Intel,
    Nvidia,
    Snapdragon,
    Cross,
}

impl Place {
    fn of(machine: &Machine, goal: &Goal) -> Self {
        match goal.target {
            Target::ThisMachine => Self::detected(machine),
            Target::Apple => Self::Apple,
            Target::Intel => Self::Intel,
            Target::Nvidia => Self::Nvidia,
            Target::Snapdragon => Self::Snapdragon,
            Target::CrossPlatform => Self::Cross,
        }
    }

    /// The most specialised hardware decides: a Hexagon NPU before a GPU, an NVIDIA GPU before an Intel processor.
    fn detected(machine: &Machine) -> Self {
        let has_gpu = |vendor| machine.gpus.iter().any(|gpu| gpu.vendor == vendor);
        let has_npu = |vendor| machine.npus.iter().any(|npu| npu.vendor == vendor);
        let cpu_is = |name: &str| machine.cpu.name.contains(name);
        if is_apple(machine) {
            Self::Apple
        } else if has_npu(Vendor::Qualcomm) {
            Self::Snapdragon
        } else if has_gpu(Vendor::Nvidia) {
            Self::Nvidia
        } else if has_gpu(Vendor::Intel) || has_npu(Vendor::Intel) || cpu_is("Intel") {
            Self::Intel
        } else {
            Self::Cross
        }
    }

    /// True when the measured speed and memory are those of the target.
    fn is_here(self, machine: &Machine, goal: &Goal) -> bool {
        matches!(goal.target, Target::ThisMachine | Target::CrossPlatform) || self == Self::detected(machine)
    }
}

/// True for a Mac with an M chip.
pub(super) fn is_apple(machine: &Machine) -> bool {
    machine.cpu.name.contains("Apple") || machine.gpus.iter().any(|gpu| gpu.vendor == Vendor::Apple)
}

fn dedicated_gpu(machine: &Machine) -> Option<&Gpu> {
    let gpus = machine.gpus.iter().filter(|gpu| !gpu.is_unified && !gpu.is_integrated);
    gpus.max_by_key(|gpu| gpu.free_bytes.or(gpu.memory_bytes).unwrap_or(0))
}

fn share(bytes: u64, (part, whole): (u64, u64)) -> u64 {
    bytes / whole * part
}

/// The memory that a model may use on this machine, whatever the goal's target is; warnings about it are dropped.
pub(super) fn budget_here(machine: &Machine, goal: &Goal) -> Budget {
    budget(machine, goal, true, &mut Vec::new())
}

fn budget(machine: &Machine, goal: &Goal, is_here: bool, warnings: &mut Vec<String>) -> Budget {
    let gpu = dedicated_gpu(machine).filter(|_| is_here);
    let gpu_bytes = gpu.and_then(|gpu| gpu.free_bytes.or(gpu.memory_bytes)).unwrap_or(0);
    if gpu.is_some() && gpu_bytes == 0 {
        warnings.push("GPU memory unknown, planned for the CPU".into());
    }
    let vram_bytes = share(gpu_bytes, VRAM_SHARE);
    if let Some(wanted) = goal.memory_budget_bytes {
        return Budget {
            ram_bytes: wanted,
            vram_bytes: vram_bytes.min(wanted),
            origin: format!("{} as wanted", bytes_text(wanted)),
        };
    }
    let (free, what) = match (machine.memory.available_bytes, machine.memory.total_bytes) {
        (0, 0) => {
            warnings.push(format!("memory unknown, {} assumed", bytes_text(ASSUMED_RAM_BYTES)));
            (ASSUMED_RAM_BYTES, "assumed")
        }
        (0, total) => {
            warnings.push("free memory unknown, planned with all of it".into());
            (total, "in all")
        }
        (available, _) => (available, "free"),
    };
    let mut origin = format!("80 % of {} {what}", bytes_text(free));
    if vram_bytes > 0 {
        origin = format!("{origin}; GPU: 90 % of {}", bytes_text(gpu_bytes));
    }
    Budget { ram_bytes: share(free, RAM_SHARE), vram_bytes, origin }
}

/// The answer to "what kind of network is it?" and the facts behind it.
fn kind(model: &Model) -> (usize, String) {
    let shape = &model.hyperparameters;
    let weights = parameters_text(model.n_parameters());
    match shape.architecture.as_str() {
        "" => (KIND_UNKNOWN, format!("no architecture in the file, {weights} weights")),
        name if !generates_text(name) || model.metadata.str("general.type").as_deref() == Some("mmproj") => {
            (KIND_OTHER, format!("{name}, {weights} weights"))
        }
        name if shape.n_layers == 0 => (KIND_UNKNOWN, format!("{name} without layers, {weights} weights")),
        name => {
            let vocabulary = count_text(shape.n_vocab);
            (KIND_LANGUAGE, format!("{name}, {weights} weights, {} layers, vocabulary {vocabulary}", shape.n_layers))
        }
    }
}

/// Instruction sets, the one that matters most first.
const SIMD_BEST_FIRST: [&str; 9] = ["AMX-INT8", "AVX-512 VNNI", "AVX-VNNI", "AVX-512F", "AVX2", "AVX", "i8mm", "dotprod", "NEON"];

/// The machine in one line: `2 cores, AVX-512 VNNI, no GPU`.
fn machine_facts(machine: &Machine, goal: &Goal, is_here: bool) -> String {
    if !is_here || goal.target == Target::CrossPlatform {
        return "chosen as the target".into();
    }
    let n_cores = machine.cpu.n_physical;
    let mut facts = vec![format!("{n_cores} core{}", if n_cores == 1 { "" } else { "s" })];
    facts.extend(SIMD_BEST_FIRST.into_iter().find(|name| machine.cpu.simd.iter().any(|found| found == name)).map(String::from));
    match machine.gpus.first() {
        Some(gpu) => facts.push(match gpu.memory_bytes {
            Some(bytes) => format!("{} with {}", gpu.name, bytes_text(bytes)),
            None => gpu.name.clone(),
        }),
        None => facts.push("no GPU".into()),
    }
    facts.extend(machine.npus.first().map(|npu| npu.name.clone()));
    facts.join(", ")
}

fn walk(
    tree: &Tree,
    model: &Model,
    machine: &Machine,
    goal: &Goal,
    place: Place,
    budget: &Budget,
    scored: &[Scored],
) -> (Vec<Step>, Leaf) {
    let is_here = place.is_here(machine, goal);
    let mut path = Vec::new();
    let mut node_idx = 0;
    while let Some(node) = tree.nodes.get(node_idx) {
        let question = node.id.split('-').next().unwrap_or_default();
        let (answer, facts) = match (node.id, question) {
            _ if node.leaf.is_some() => (None, node.leaf.as_ref().map(|leaf| leaf.level_family.to_string()).unwrap_or_default()),
            ("kind", _) => {
                let (answer, facts) = kind(model);
                (Some(answer), facts)
            }
            ("where-other", _) => {
                let answer = match place {
                    Place::Intel => 0,
                    Place::Snapdragon => 1,
                    Place::Apple | Place::Nvidia | Place::Cross => 2,
                };
                (Some(answer), machine_facts(machine, goal, is_here))
            }
            ("where", _) => (Some(place as usize), machine_facts(machine, goal, is_here)),
            (_, "enterprise") if goal.enterprise => (Some(ENTERPRISE_YES), "wanted".into()),
            (_, "enterprise") => (Some(ENTERPRISE_NO), "not wanted".into()),
            (_, "memory") => {
                let (answer, facts) = memory_answer(goal, budget, scored);
                (Some(answer), facts)
            }
            _ => (Some(goal.priority as usize), priority_facts(goal).into()),
        };
        path.push(Step { node_idx, branch_idx: answer, facts });
        if let Some(leaf) = &node.leaf {
            return (path, leaf.clone());
        }
        match answer.and_then(|answer| node.branches.get(answer)) {
            Some(branch) => node_idx = branch.to,
            None => break,
        }
    }
    // Unreachable: the tests walk every branch to a leaf. An empty leaf keeps the function total.
    (path, Leaf { frameworks: vec![Framework::LlamaCpp], level_family: "", reasons: Vec::new() })
}

fn memory_answer(goal: &Goal, budget: &Budget, scored: &[Scored]) -> (usize, String) {
    let eligible = || scored.iter().filter(|scored| scored.is_eligible);
    let of = |level| eligible().find(|scored| scored.candidate.level == Some(level)).map(|scored| &scored.candidate);
    let fits = |level| of(level).is_some_and(|candidate| !matches!(candidate.fit, Fit::TooLarge { .. }));
    let (answer, level) = if fits(Level::Q8_0) {
        (0, Level::Q8_0)
    } else if fits(Level::Q4_K_M) {
        (1, Level::Q4_K_M)
    } else {
        match Level::of(Framework::LlamaCpp).rev().find(|&level| fits(level)) {
            Some(level) => (2, level),
            // Repacked copies count: the level of the smallest file may need more memory than another.
            None => (
                3,
                Level::of(Framework::LlamaCpp)
                    .filter_map(|level| Some((of(level)?.memory.total_bytes(), level)))
                    .min_by_key(|&(needed_bytes, _)| needed_bytes)
                    .map_or(Level::Q2_K, |(_, level)| level),
            ),
        }
    };
    let needed = of(level).map_or(0, |candidate| candidate.memory.total_bytes());
    let context = count_text(goal.n_ctx);
    (answer, format!("{}: {level} needs {} at {context} tokens", budget.origin, bytes_text(needed)))
}

fn rank(scored: &mut [Scored], leaf: &Leaf, goal: &Goal) {
    let framework_rank =
        |framework| leaf.frameworks.iter().position(|&found| found == framework).unwrap_or(leaf.frameworks.len());
    scored.sort_by(|a, b| {
        let place = |scored: &Scored| (group(scored), framework_rank(scored.candidate.framework), scored.candidate.framework);
        place(a).cmp(&place(b)).then_with(|| compare(a, b, goal))
    });
}
