//! The advice for made-up models, machines and goals.

use proptest::prelude::*;

use super::test_models::{Decoder, LLAMA3_8B, SMOLLM2, model_of};
use super::{
    Decision, Fit, Goal, Interval, Learned, LossWord, MeasuredLevel, MeasuredLoss, Plan, Priority, Target, advise, advise_with,
    tree,
};
use crate::hardware::{Bandwidth, Gpu, Machine, Npu, Runtime, Vendor};
use crate::model::{DType, Framework, Level, Metadata, Model, Value};

const GIB: u64 = 1 << 30;

fn machine(cpu_name: &str, ram_gib: u64) -> Machine {
    let mut machine = Machine::default();
    machine.cpu.name = cpu_name.into();
    machine.cpu.n_physical = 2;
    machine.cpu.n_logical = 4;
    machine.cpu.simd = ["AVX", "AVX2", "FMA"].map(String::from).to_vec();
    machine.memory.total_bytes = ram_gib * GIB;
    machine.memory.available_bytes = ram_gib * GIB;
    machine.bandwidth =
        Some(Bandwidth { one_thread_bytes_per_sec: 12e9, all_threads_bytes_per_sec: 24e9, n_threads: 2, other_load: None });
    machine
}

fn gpu(vendor: Vendor, gib: u64, is_unified: bool) -> Gpu {
    Gpu {
        name: format!("{vendor:?} GPU"),
        vendor,
        memory_bytes: Some(gib * GIB),
        free_bytes: Some(gib * GIB),
        is_unified,
        is_integrated: is_unified,
        driver: None,
    }
}

fn npu(vendor: Vendor) -> Npu {
    Npu { name: format!("{vendor:?} NPU"), vendor, driver: None }
}

fn with_gpu(mut machine: Machine, gpu: Gpu) -> Machine {
    machine.gpus.push(gpu);
    machine
}

fn with_npu(mut machine: Machine, npu: Npu) -> Machine {
    machine.npus.push(npu);
    machine
}

fn goal(priority: Priority) -> Goal {
    Goal { priority, ..Goal::default() }
}

fn named(architecture: &'static str) -> Model {
    Decoder { architecture, ..SMOLLM2 }.build()
}

fn recommended(plan: &Plan) -> Option<Level> {
    plan.recommended.and_then(|idx| plan.candidates[idx].level)
}

fn leaf_id(plan: &Plan) -> &'static str {
    plan.tree.nodes[plan.path.last().unwrap().node_idx].id
}

#[test]
fn every_leaf_is_reached() {
    use Framework::{LlamaCpp, Mlx, OnnxRuntime, OpenVino, Qnn};
    let llm = SMOLLM2.build();
    let enterprise = Goal { enterprise: true, ..Goal::default() };
    let target = |target| Goal { target, ..Goal::default() };
    let intel = || machine("Intel(R) Core(TM) Ultra 7 155H", 16);
    let amd = || machine("AMD Ryzen 7 7840U", 16);
    let mut reached = Vec::new();
    let mut check = |model: &Model, machine: &Machine, goal: &Goal, id: &'static str, first: Framework| {
        let plan = advise(model, machine, goal);
        assert_eq!((leaf_id(&plan), plan.leaf.frameworks[0]), (id, first), "{:?}", plan.path);
        reached.push(id);
    };
    check(&llm, &machine("Apple M3 Pro", 18), &Goal::default(), "leaf-apple", Mlx);
    check(&llm, &with_gpu(machine("", 18), gpu(Vendor::Apple, 12, true)), &Goal::default(), "leaf-apple", Mlx);
    check(&llm, &machine("Apple M3 Pro", 18), &enterprise, "leaf-enterprise", OnnxRuntime);
    check(&llm, &intel(), &Goal::default(), "leaf-intel", OpenVino);
    check(&llm, &with_gpu(intel(), gpu(Vendor::Intel, 8, true)), &Goal::default(), "leaf-intel", OpenVino);
    check(&llm, &with_npu(amd(), npu(Vendor::Intel)), &Goal::default(), "leaf-intel", OpenVino);
    check(&llm, &intel(), &enterprise, "leaf-enterprise", OnnxRuntime);
    check(&llm, &with_gpu(intel(), gpu(Vendor::Nvidia, 8, false)), &Goal::default(), "leaf-nvidia", LlamaCpp);
    check(&llm, &with_gpu(intel(), gpu(Vendor::Nvidia, 8, false)), &enterprise, "leaf-enterprise", OnnxRuntime);
    check(
        &llm,
        &with_npu(machine("Snapdragon X Elite", 16), npu(Vendor::Qualcomm)),
        &Goal::default(),
        "leaf-snapdragon",
        LlamaCpp,
    );
    check(&llm, &with_npu(machine("Snapdragon X Elite", 16), npu(Vendor::Qualcomm)), &enterprise, "leaf-snapdragon", LlamaCpp);
    check(&llm, &machine("Cortex-A76", 8), &Goal::default(), "leaf-cross", LlamaCpp);
    check(&llm, &with_gpu(amd(), gpu(Vendor::Amd, 4, true)), &Goal::default(), "leaf-cross", LlamaCpp);
    check(&llm, &amd(), &enterprise, "leaf-enterprise", OnnxRuntime);
    check(&llm, &amd(), &target(Target::Apple), "leaf-apple", Mlx);
    check(&llm, &amd(), &target(Target::Intel), "leaf-intel", OpenVino);
    check(&llm, &amd(), &target(Target::Nvidia), "leaf-nvidia", LlamaCpp);
    check(&llm, &amd(), &target(Target::Snapdragon), "leaf-snapdragon", LlamaCpp);
    check(&llm, &intel(), &target(Target::CrossPlatform), "leaf-cross", LlamaCpp);
    let vision = named("clip");
    check(&vision, &amd(), &Goal::default(), "leaf-other", OnnxRuntime);
    check(&vision, &intel(), &Goal::default(), "leaf-other-intel", OpenVino);
    check(&vision, &amd(), &target(Target::Snapdragon), "leaf-other-snapdragon", Qnn);
    check(&named("bert"), &amd(), &Goal::default(), "leaf-other", OnnxRuntime);
    check(&model_of(Metadata::default(), &[]), &amd(), &Goal::default(), "leaf-unknown", LlamaCpp);
    let leaves = tree().nodes.into_iter().filter(|node| node.leaf.is_some()).map(|node| node.id);
    let missed: Vec<_> = leaves.filter(|id| !reached.contains(id)).collect();
    assert_eq!(missed, Vec::<&str>::new());
}

#[test]
fn the_tree_leads_on_from_every_question() {
    let tree = tree();
    let mut ids: Vec<_> = tree.nodes.iter().map(|node| node.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), tree.nodes.len());
    for (idx, node) in tree.nodes.iter().enumerate() {
        assert_eq!(node.leaf.is_some(), node.branches.is_empty(), "{}", node.id);
        assert!(node.branches.iter().all(|branch| branch.to > idx && branch.to < tree.nodes.len()), "{}", node.id);
        let has_parent = tree.nodes.iter().any(|parent| parent.branches.iter().any(|branch| branch.to == idx));
        assert_eq!(has_parent, idx > 0, "{}", node.id);
    }
}

#[test]
fn the_path_asks_five_questions_and_gives_the_numbers() {
    let plan = advise(&SMOLLM2.build(), &machine("Intel(R) Xeon(R)", 22), &Goal::default());
    let ids: Vec<_> = plan.path.iter().map(|step| plan.tree.nodes[step.node_idx].id).collect();
    assert_eq!(ids, ["kind", "where", "enterprise-intel", "memory-intel", "priority-intel", "leaf-intel"]);
    assert_eq!(plan.path[0].facts, "llama, 135 M weights, 30 layers, vocabulary 49,152");
    assert_eq!(plan.path[1].facts, "2 cores, AVX2, no GPU");
    assert_eq!(plan.path[3].facts, "80 % of 22.0 GiB free: Q8_0 needs 292 MiB at 4,096 tokens");
    for (from, to) in plan.path.iter().zip(plan.path.iter().skip(1)) {
        assert_eq!(plan.tree.nodes[from.node_idx].branches[from.branch_idx.unwrap()].to, to.node_idx);
    }
    assert_eq!(plan.path.last().unwrap().branch_idx, None);
}

#[test]
fn priorities_choose_different_levels() {
    let check = |model: Decoder, goal: &Goal, expected| {
        let plan = advise(&model.build(), &machine("AMD Ryzen", 64), goal);
        assert_eq!(recommended(&plan), Some(expected), "{goal:?}: {:?}", plan.reasons);
    };
    check(LLAMA3_8B, &goal(Priority::Quality), Level::Q8_0);
    check(LLAMA3_8B, &goal(Priority::Balanced), Level::Q4_K_M);
    check(LLAMA3_8B, &goal(Priority::Speed), Level::Q4_K_S);
    check(LLAMA3_8B, &goal(Priority::Size), Level::Q3_K_M);
    // A small model loses more, so it gets more bits.
    check(SMOLLM2, &goal(Priority::Quality), Level::Q8_0);
    check(SMOLLM2, &goal(Priority::Balanced), Level::Q6_K);
    check(SMOLLM2, &goal(Priority::Size), Level::Q3_K_M);
    // On battery fewer bytes per token win where the word for the loss allows.
    check(LLAMA3_8B, &Goal { battery: true, ..goal(Priority::Quality) }, Level::Q6_K);
    check(LLAMA3_8B, &Goal { battery: true, ..goal(Priority::Balanced) }, Level::Q4_K_S);
}

#[test]
fn the_budget_decides_what_fits() {
    let model = LLAMA3_8B.build();
    let with_budget = |gib: f64| {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let bytes = (gib * GIB as f64) as u64;
        advise(&model, &machine("AMD Ryzen", 64), &Goal { memory_budget_bytes: Some(bytes), ..goal(Priority::Quality) })
    };
    let check = |gib, expected: Option<Level>, counterfactual: &str| {
        let plan = with_budget(gib);
        assert_eq!((recommended(&plan), plan.counterfactual.as_deref()), (expected, Some(counterfactual)), "{gib} GiB");
    };
    check(12.0, Some(Level::Q8_0), "with less than 8.64 GiB of memory: Q6_K");
    check(8.0, Some(Level::Q6_K), "with 656 MiB more memory: Q8_0");
    let nothing = with_budget(2.0);
    assert_eq!((nothing.recommended, nothing.runner_up), (None, None));
    assert!(nothing.reasons[0].starts_with("no level fits at 4,096 tokens: the smallest needs"), "{:?}", nothing.reasons);
    assert!(nothing.counterfactual.unwrap().contains("more memory: "));
    assert!(
        nothing
            .candidates
            .iter()
            .filter(|candidate| candidate.level.is_some())
            .all(|candidate| matches!(candidate.fit, Fit::TooLarge { .. }))
    );
    assert_eq!(nothing.budget.origin, "2.00 GiB as wanted");
}

#[test]
fn layers_go_to_the_gpu_when_main_memory_is_small() {
    let model = LLAMA3_8B.build();
    let q8_0 = |plan: &Plan| plan.candidates.iter().find(|candidate| candidate.level == Some(Level::Q8_0)).unwrap().clone();
    let check = |vram_gib, ram_gib, expected: Fit| {
        let plan =
            advise(&model, &with_gpu(machine("AMD Ryzen", ram_gib), gpu(Vendor::Nvidia, vram_gib, false)), &Goal::default());
        assert_eq!(q8_0(&plan).fit, expected, "{vram_gib} + {ram_gib} GiB");
    };
    check(24, 4, Fit::Fits);
    check(1, 64, Fit::Fits);
    check(6, 8, Fit::FitsWithOffload { n_gpu_layers: 22 });
    let plan = advise(&model, &with_gpu(machine("AMD Ryzen", 2), gpu(Vendor::Nvidia, 2, false)), &Goal::default());
    assert!(matches!(q8_0(&plan).fit, Fit::TooLarge { missing_bytes } if missing_bytes > GIB));
    // A GPU that shares main memory brings none of its own.
    let shared = advise(&model, &with_gpu(machine("AMD Ryzen", 8), gpu(Vendor::Amd, 8, true)), &Goal::default());
    assert_eq!(shared.budget.vram_bytes, 0);
    // On the GPU there is no rearranged copy.
    let on_gpu = advise(&model, &with_gpu(machine("AMD Ryzen", 64), gpu(Vendor::Nvidia, 24, false)), &goal(Priority::Balanced));
    let on_cpu = advise(&model, &machine("AMD Ryzen", 64), &goal(Priority::Balanced));
    assert!(on_gpu.candidates[0].memory.weights_bytes < on_cpu.candidates[0].memory.weights_bytes);
}

#[test]
fn other_frameworks_say_what_is_missing() {
    let mut intel = machine("Intel(R) Core(TM)", 16);
    intel.runtimes.push(Runtime { framework: Framework::OpenVino, version: None, note: "pip install openvino".into() });
    intel.runtimes.push(Runtime { framework: Framework::Mlx, version: Some("0.32".into()), note: "/usr".into() });
    let plan = advise(&SMOLLM2.build(), &intel, &Goal::default());
    for framework in Framework::ALL {
        assert!(plan.candidates.iter().any(|candidate| candidate.framework == framework), "{framework:?}");
    }
    let missing =
        |framework| plan.candidates.iter().find(|candidate| candidate.framework == framework).unwrap().missing.as_deref();
    assert_eq!(missing(Framework::LlamaCpp), None);
    assert_eq!(missing(Framework::Mlx), Some("it is made from the checkpoint of a model, not from its GGUF file"));
    let openvino = "this version of Planish does not write for OpenVINO; OpenVINO is not installed: pip install openvino";
    assert_eq!(missing(Framework::OpenVino), Some(openvino));
    assert!(plan.reasons.contains(&format!("first choice here is OpenVINO, but {openvino}")), "{:?}", plan.reasons);
    assert_eq!(plan.candidates[plan.recommended.unwrap()].framework, Framework::LlamaCpp);
    assert_eq!(plan.candidates.iter().filter(|candidate| candidate.level.is_some() && candidate.size_is_exact).count(), 33);
}

#[test]
fn other_frameworks_have_published_speeds_and_none_of_ours() {
    let plan = advise(&LLAMA3_8B.build(), &machine("AMD Ryzen", 64), &Goal::default());
    for candidate in &plan.candidates {
        let is_ours = candidate.framework == Framework::LlamaCpp;
        assert_eq!(candidate.decode_tokens_per_sec.is_some(), is_ours, "{}", candidate.level_name);
        assert_eq!(candidate.published.is_none(), is_ours, "{}", candidate.level_name);
    }
    let qnn = plan.candidates.iter().find(|candidate| candidate.framework == Framework::Qnn).unwrap();
    let text = "published: 5-15 times as fast, 50-80 % smaller (EdgeAI for Beginners, module 04)";
    assert_eq!(qnn.published.unwrap().text(), text);
}

#[test]
fn no_leaf_claims_an_npu_for_one_framework_alone() {
    for node in tree().nodes {
        let texts = node.leaf.into_iter().flat_map(|leaf| leaf.reasons).chain([node.text]);
        for text in texts {
            assert!(!(text.contains("only") && text.contains("NPU")), "{}: {text}", node.id);
        }
    }
}

#[test]
fn estimated_sizes_follow_the_formats() {
    let plan = advise(&LLAMA3_8B.build(), &machine("AMD Ryzen", 64), &Goal::default());
    let check = |name: &str, expected: f64| {
        let found = plan.candidates.iter().find(|candidate| candidate.level_name == name).unwrap();
        assert!((found.bits_per_weight - expected).abs() < 0.01, "{name}: {}", found.bits_per_weight);
    };
    check("8-bit group 64", 8.5);
    check("4-bit group 64", 4.5);
    check("3-bit group 64", 3.5);
    check("A16W8", 8.006);
    check("INT4 group 64", 4.74); // 13 % of the weights are embeddings and head, in 8 bits
}

#[test]
fn a_quantized_source_stays_unless_a_level_is_worth_it() {
    let check = |dtype, goal: &Goal, expected: Option<Level>, reason: &str, counterfactual: &str| {
        let source = Decoder { dtype, ..LLAMA3_8B }.build();
        let plan = advise(&source, &machine("AMD Ryzen", 64), goal);
        assert!(plan.warnings[0].contains(&format!("quantized already ({dtype}")), "{:?}", plan.warnings);
        assert_eq!(recommended(&plan), expected, "{:?}", plan.reasons);
        assert!(plan.reasons[0].contains(reason), "{:?}", plan.reasons);
        assert!(plan.counterfactual.as_deref().unwrap().contains(counterfactual), "{:?}", plan.counterfactual);
        let first_useless =
            plan.candidates.iter().position(|candidate| candidate.bits_per_weight >= source.bits_per_weight()).unwrap();
        for candidate in &plan.candidates[first_useless..] {
            assert!(candidate.note.as_deref().unwrap().contains(" gain: the source has "), "{candidate:?}");
        }
        assert!(plan.candidates[first_useless..].iter().any(|candidate| candidate.level == Some(Level::F32)));
    };
    let keep = "keep the file as it is: it is ";
    check(DType::Q8_0, &goal(Priority::Balanced), Some(Level::Q4_K_M), "Q4_K_M: the smallest", "with less than");
    check(DType::Q8_0, &goal(Priority::Quality), None, keep, "from an F16 source: Q8_0");
    check(DType::Q4_1, &goal(Priority::Balanced), None, keep, "from an F16 source: Q4_K_M");
    check(DType::Q2_K, &goal(Priority::Size), None, keep, "from an F16 source: Q3_K_M");
    // The source's own level changes nothing, but an F16 source would lose by it.
    let plan = advise(&Decoder { dtype: DType::Q4_1, ..SMOLLM2 }.build(), &machine("AMD Ryzen", 64), &Goal::default());
    assert_eq!(plan.counterfactual.as_deref(), Some("from an F16 source: Q6_K"));
    // It does not fit: then the least loss that fits, although it is a second quantization.
    let small = Goal { memory_budget_bytes: Some(13 * GIB / 2), ..goal(Priority::Quality) };
    check(DType::Q8_0, &small, Some(Level::Q5_K_M), "Q5_K_M: the least loss", "more memory: Q6_K");
}

#[test]
fn a_source_that_cannot_be_decoded_gets_no_level() {
    let plan = advise(&Decoder { dtype: DType::Q8_K, ..LLAMA3_8B }.build(), &machine("AMD Ryzen", 64), &Goal::default());
    assert_eq!((plan.recommended, plan.reasons[1].as_str()), (None, "this version of Planish cannot decode Q8_K"));
}

#[test]
fn losses_are_the_published_ones_and_worse_for_small_models() {
    let check = |model: Decoder, level, expected| {
        let plan = advise(&model.build(), &machine("AMD Ryzen", 64), &Goal::default());
        let found = plan.candidates.iter().find(|candidate| candidate.level == Some(level)).unwrap();
        assert_eq!(found.expected_loss, expected, "{level}");
    };
    check(LLAMA3_8B, Level::F32, LossWord::None);
    check(LLAMA3_8B, Level::F16, LossWord::None);
    check(LLAMA3_8B, Level::BF16, LossWord::None);
    check(LLAMA3_8B, Level::Q6_K, LossWord::None);
    check(LLAMA3_8B, Level::Q5_K_M, LossWord::HardToNotice);
    check(LLAMA3_8B, Level::Q4_K_M, LossWord::Slight);
    check(LLAMA3_8B, Level::Q4_0, LossWord::Slight);
    check(LLAMA3_8B, Level::Q3_K_M, LossWord::Noticeable);
    check(LLAMA3_8B, Level::Q2_K, LossWord::Broken);
    // Measured on SmolLM2: Q8_0 0.6 %, Q4_K_M 6.2 %, Q3_K_M 15.6 %, Q4_0 25 %, Q2_K 42 %.
    check(SMOLLM2, Level::Q8_0, LossWord::None);
    check(SMOLLM2, Level::Q4_K_M, LossWord::Slight);
    check(SMOLLM2, Level::Q3_K_M, LossWord::Noticeable);
    check(SMOLLM2, Level::Q4_0, LossWord::Noticeable);
    // A little below where that word begins; measured it is beyond.
    check(SMOLLM2, Level::Q2_K, LossWord::Noticeable);
}

#[test]
fn mlx_is_recommended_for_a_mac_where_it_can_be_made() {
    let mut model = SMOLLM2.build();
    for tensor in &mut model.tensors {
        tensor.dtype = crate::model::DType::F16;
        tensor.size_bytes = tensor.n_elements() * 2;
    }
    model.size_bytes = model.tensor_bytes();
    let size = |name: &str| if name.contains("8-bit") { 143_000_000 } else { 76_000_000 };
    model.others = Level::of(Framework::Mlx)
        .map(|level| crate::model::OtherLevel { level, size_bytes: size(level.name()), bits_per_weight: 4.5, wide_ends: None })
        .collect();
    let apple = Goal { target: Target::Apple, ..Goal::default() };
    let plan = advise(&model, &machine("AMD Ryzen", 16), &apple);
    let best = &plan.candidates[plan.recommended.unwrap()];
    assert_eq!((best.framework, best.missing.as_deref(), best.size_is_exact), (Framework::Mlx, None, true));
    let level = plan.recommended_level().unwrap();
    assert_eq!((level.framework(), best.level_name.as_str()), (Framework::Mlx, level.name()));
    assert!(plan.levels_to_compare(&model).iter().all(|level| level.framework() == Framework::Mlx));
    assert_eq!(plan.candidate_of("mlx:8-bit".parse().unwrap()).unwrap().size_bytes, 143_000_000);
    // On a Mac it must be set up; elsewhere it is written for one, and not recommended.
    let mut mac = machine("Apple M3 Pro", 18);
    mac.runtimes = vec![Runtime { framework: Framework::Mlx, version: None, note: String::new() }];
    let missing = |plan: &Plan| plan.candidates.iter().find(|found| found.framework == Framework::Mlx).unwrap().missing.clone();
    let unset = advise(&model, &mac, &Goal::default());
    assert!(missing(&unset).unwrap().contains("planish runtime install mlx"));
    assert_eq!(unset.recommended_level().unwrap().framework(), Framework::LlamaCpp);
    mac.runtimes[0].version = Some("0.32.4".into());
    assert_eq!(advise(&model, &mac, &Goal::default()).recommended_level().unwrap().framework(), Framework::Mlx);
    let here = advise(&model, &machine("AMD Ryzen", 16), &Goal::default());
    assert!(missing(&here).unwrap().contains("runs on Macs"));
    assert_eq!(here.recommended_level().unwrap().framework(), Framework::LlamaCpp);
}

#[test]
fn speed_is_predicted_only_where_it_is_known() {
    let model = SMOLLM2.build();
    let mut unmeasured = machine("AMD Ryzen", 16);
    unmeasured.bandwidth = None;
    let plan = advise(&model, &unmeasured, &Goal::default());
    assert!(plan.candidates.iter().all(|candidate| candidate.decode_tokens_per_sec.is_none()));
    assert!(plan.warnings.iter().any(|warning| warning.contains("bandwidth not measured")));
    let elsewhere = advise(&model, &machine("AMD Ryzen", 16), &Goal { target: Target::Apple, ..Goal::default() });
    assert!(
        elsewhere
            .candidates
            .iter()
            .all(|candidate| candidate.decode_tokens_per_sec.is_none() && candidate.prefill_tokens_per_sec.is_none())
    );
    assert!(elsewhere.warnings.iter().any(|warning| warning.contains("another machine")));
}

#[test]
fn an_unknown_machine_still_gets_a_plan() {
    let plan = advise(&SMOLLM2.build(), &Machine::default(), &Goal::default());
    assert_eq!(plan.warnings[0], "memory unknown, 8.00 GiB assumed");
    assert!(plan.recommended.is_some());
}

#[test]
fn hostile_models_never_panic() {
    let mut metadata = Metadata::default();
    metadata.set("general.architecture", Value::Str("llama".into()));
    let keys = [
        "block_count",
        "embedding_length",
        "context_length",
        "vocab_size",
        "feed_forward_length",
        "attention.head_count",
        "attention.head_count_kv",
        "attention.key_length",
        "attention.value_length",
        "attention.kv_lora_rank",
        "attention.sliding_window",
        "expert_count",
        "expert_used_count",
        "rope.dimension_count",
        "ssm.conv_kernel",
        "ssm.inner_size",
        "ssm.state_size",
        "ssm.group_count",
        "nextn_predict_layers",
    ];
    let tensors = [
        ("blk.99999999999999999999.attn_v.weight", vec![256, 2], DType::F32),
        ("blk.-5.ffn_down.weight", vec![256, 2], DType::F32),
        ("blk.", vec![1], DType::F32),
        ("", vec![], DType::F32),
        ("token_embd.weight", vec![3, 2], DType::F32),
        ("output.weight", vec![256, 0], DType::F32),
    ];
    for architecture in ["llama", "nanbeige", "graniteswitch", "gemma3", "clip", "deepseek2"] {
        for number in [0, 1, 80, u64::from(u32::MAX), u64::MAX] {
            metadata.set("general.architecture", Value::Str(architecture.into()));
            for key in keys.into_iter().chain(["num_loops"]) {
                metadata.set(&format!("{architecture}.{key}"), Value::U64(number));
            }
            let mut model = model_of(metadata.clone(), &tensors);
            model.tensors[4].shape = vec![u64::MAX / 2, 1];
            for n_ctx in [0, 1, 4096, u64::MAX] {
                for memory_budget_bytes in [None, Some(0), Some(u64::MAX)] {
                    let goal = Goal { n_ctx, memory_budget_bytes, ..Goal::default() };
                    let plan = advise(&model, &with_gpu(machine("x", 16), gpu(Vendor::Nvidia, 8, false)), &goal);
                    // A projector is no model: nothing is offered for it.
                    assert_eq!(plan.candidates.len(), if architecture == "clip" { 0 } else { 33 + 10 });
                }
            }
        }
    }
}

/// How long it takes is printed by `benches/frames.rs`.
#[test]
fn the_same_facts_give_the_same_advice_however_large_the_vocabulary() {
    let small = SMOLLM2.build();
    let mut large = small.clone();
    let words = (0..97_000).map(|idx| crate::model::Text::from(format!("token {idx}").as_str())).collect();
    large.metadata.set("tokenizer.ggml.tokens", Value::Array(crate::model::Array::Str(words)));
    let (machine, goal) = (machine("Intel", 16), Goal::default());
    let plan = advise(&large, &machine, &goal);
    assert_eq!(plan, advise(&large, &machine, &goal));
    let bare = advise(&small, &machine, &goal);
    assert_eq!((recommended(&plan), &plan.path), (recommended(&bare), &bare.path));
    let extra = |level| plan.candidate_of(level).unwrap().size_bytes - bare.candidate_of(level).unwrap().size_bytes;
    assert!(extra(Level::Q8_0) > 97_000 * 8 && extra(Level::Q8_0) == extra(Level::Q2_K), "{}", extra(Level::Q8_0));
}

proptest! {
    #[test]
    fn more_memory_never_costs_quality(
        is_large in any::<bool>(),
        battery in any::<bool>(),
        vram_gib in 0_u64..12,
        less in 0_u64..20 << 30,
        more in 0_u64..20 << 30,
        n_ctx in 1_u64..40_000,
    ) {
        let model = if is_large { LLAMA3_8B } else { SMOLLM2 }.build();
        let machine = with_gpu(machine("AMD Ryzen", 16), gpu(Vendor::Nvidia, vram_gib, false));
        let loss = |budget: u64| {
            let goal = Goal { memory_budget_bytes: Some(budget), battery, n_ctx, ..goal(Priority::Quality) };
            let plan = advise(&model, &machine, &goal);
            plan.recommended.map(|idx| plan.candidates[idx].expected_loss)
        };
        match (loss(less), loss(less + more)) {
            (Some(with_less), Some(with_more)) => prop_assert!(with_more <= with_less),
            (Some(_), None) => prop_assert!(false, "more memory, but nothing fits"),
            (None, _) => {}
        }
    }
}

#[test]
fn the_gates_judge_a_loss_once_it_is_measured_and_the_goal_s_limit_before() {
    use Decision::{Fail, Inconclusive, Pass};
    let model = SMOLLM2.build();
    let plan_with = |measured: &[(Level, f64, Decision)], priority| {
        let levels = measured.iter().map(|&(level, kld, decision)| {
            let loss = MeasuredLoss { mean_kld: Interval::exact(kld), same_top: Interval::exact(0.9), decision };
            (level, MeasuredLevel { loss: Some(loss), ..MeasuredLevel::default() })
        });
        let learned = Learned { levels: levels.collect(), ..Learned::default() };
        recommended(&advise_with(&model, &machine("AMD Ryzen", 16), &goal(priority), &learned))
    };
    assert_eq!(plan_with(&[], Priority::Balanced), Some(Level::Q6_K), "predicted: 6 % are too much");
    // What the headline of a comparison takes: the smallest that passes.
    assert_eq!(plan_with(&[(Level::Q4_K_M, 0.049, Pass)], Priority::Balanced), Some(Level::Q4_K_M));
    assert_eq!(plan_with(&[(Level::Q4_K_M, 0.049, Inconclusive)], Priority::Balanced), Some(Level::Q6_K));
    assert_eq!(plan_with(&[(Level::Q5_K_M, 0.01, Fail), (Level::Q4_K_M, 0.02, Fail)], Priority::Balanced), Some(Level::Q6_K));
    // Within the 20 % of this goal, but not within the gates.
    let failing = [(Level::Q3_K_M, 0.15, Fail), (Level::Q4_K_M, 0.049, Pass)];
    assert_ne!(plan_with(&failing, Priority::Size), Some(Level::Q3_K_M));
}
