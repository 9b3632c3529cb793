//! The Plan, Optimize and Compare pages, driven by accessible names. With `PLANISH_SHOTS=folder`, `pictures` also draws them.

use std::path::PathBuf;
use std::sync::Arc;

use eframe::egui::{self, Role, vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT as _, Queryable as _};

use super::test_support::{
    PageFn, PageState, click, has, optimize_ui, page_harness_sized, scroll, shoot, store_with_model_and_machine, unquantized_at,
};
use super::{compare_page_ui, plan_page_ui};
use crate::advise::{Candidate, Goal, Plan, Priority, advise};
use crate::bench::{Energy, Outcome, Provenance, Run, Stat, Sustained};
use crate::convert::{Conversion, Verification};
use crate::deploy::ChartKind;
use crate::error::Error;
use crate::hardware::Disk;
use crate::model::{Framework, Level};
use crate::monitor::{Progress, ProgressUnit};
use crate::state::{Command, CompareTab, Form, JobKind, JobRecord, JobStatus, Page, Slot, Store, Theme};
use crate::units::{bytes_text, significant_text};
use crate::worker::{JobId, Picked};

const BUSY: &str = "other programs used 41 % of the CPU";
const FAILED: Level = Level::Q3_K_M;
const UNMEASURED: Level = Level::Q2_K;

fn plan_of(store: &Store) -> Plan {
    advise(store.model.ready().unwrap(), store.machine.ready().unwrap(), &Goal::default())
}

fn candidate(plan: &Plan, level: Level) -> &Candidate {
    plan.candidates.iter().find(|candidate| candidate.framework == Framework::LlamaCpp && candidate.level == Some(level)).unwrap()
}

fn unquantized_store() -> Store {
    unquantized_at("/home/ada/models/SmolLM2-135M-Instruct-F16.gguf".into())
}

fn recommended(store: &Store) -> Level {
    let plan = plan_of(store);
    plan.candidates[plan.recommended.unwrap()].level.unwrap()
}

/// A store after an afternoon of work: six levels, four of them measured, one failed, jobs done, failed and at work.
pub(super) fn busy_store() -> Store {
    busy_store_of(unquantized_store())
}

/// The same with a model at this path.
pub(super) fn busy_store_at(path: PathBuf) -> Store {
    busy_store_of(unquantized_at(path))
}

#[allow(clippy::cast_precision_loss, reason = "made-up speeds")]
fn busy_store_of(mut store: Store) -> Store {
    let plan = plan_of(&store);
    let model = store.model.ready().unwrap().clone();
    for (idx, level) in [Level::Q8_0, Level::Q6_K, Level::Q4_K_M, Level::Q4_0, FAILED, UNMEASURED].into_iter().enumerate() {
        let candidate = candidate(&plan, level);
        let path = crate::convert::output_path(&model, level, model.path.parent().unwrap());
        store.conversions.push(Conversion {
            level,
            path: path.clone(),
            source: model.path.clone(),
            size_bytes: candidate.size_bytes,
            bits_per_weight: candidate.bits_per_weight,
            elapsed_secs: 4.2,
            warnings: vec![],
            check: None,
            changes: String::new(),
        });
        let result = if level == FAILED {
            Err(Error::ChildDied { reason: "signal 9".into(), path: path.clone() })
        } else {
            Ok(run(&path, candidate, 0.8 + 0.1 * idx as f64))
        };
        if level != UNMEASURED {
            store.outcomes.push(Outcome { path, result });
        }
    }
    let mut job = |id, kind, status| store.jobs.push(JobRecord::new(JobId(id), kind).with_status(status));
    job(1, JobKind::Detect, JobStatus::Done { elapsed_secs: 1.0 });
    job(2, JobKind::Convert(vec![Level::Q8_0, Level::Q4_K_M]), JobStatus::Done { elapsed_secs: 4.2 });
    job(3, JobKind::Convert(vec![Level::Q5_0]), JobStatus::Failed(Error::OutputExists { path: "/models/x-Q5_0.gguf".into() }));
    let progress = Progress {
        stage: "quantizing blk.17.ffn_up.weight".into(),
        done: 61_000_000,
        total: 98_362_432,
        unit: ProgressUnit::Bytes,
    };
    let running = JobStatus::Running { progress: Some(progress), elapsed_secs: 3.1, is_cancelling: false };
    job(4, JobKind::Convert(vec![Level::Q6_K, Level::Q2_K]), running);
    store
}

fn run(path: &std::path::Path, candidate: &Candidate, of_predicted: f64) -> Run {
    let decode = candidate.decode_tokens_per_sec.map_or(100.0, |band| band.mid) * of_predicted;
    let prefill = candidate.prefill_tokens_per_sec.map_or(900.0, |band| band.mid) * of_predicted;
    Run {
        path: path.into(),
        size_bytes: candidate.size_bytes,
        prefill_tokens_per_sec: Stat { values: vec![prefill, prefill * 1.03, prefill * 0.98] },
        decode_tokens_per_sec: Stat { values: vec![decode, decode * 1.05, decode * 0.96] },
        load_secs: Stat { values: vec![0.21, 0.19, 0.2] },
        peak_memory_bytes: candidate.memory.total_bytes() - 20_000_000,
        provenance: Provenance {
            runtime: "llama.cpp b6500".into(),
            backend: "CPU (AVX512, VNNI)".into(),
            n_threads: 8,
            n_prompt_tokens: 512,
            n_gen_tokens: 128,
            conditions: crate::hardware::Conditions::default(),
            warnings: vec![BUSY.into()],
        },
        energy: Energy { reason: Some("the processor shows no energy counter".into()), ..Energy::default() },
        sustained: None,
        workload: None,
    }
}

/// As wide as a page in a window of 1280 points, high enough to show all of it.
fn harness(page: PageFn, store: Store, form: Form) -> Harness<'static, PageState> {
    page_harness_sized(page, store, form, vec2(1140.0, 3200.0), 1.0, egui::Theme::Dark)
}

/// Levels in the order of their check boxes from top to bottom.
fn order_of_levels(harness: &Harness<'_, PageState>) -> Vec<Level> {
    let mut rows: Vec<(f32, Level)> = Level::all()
        .filter_map(|level| Some((harness.query_by_label(&format!("Select {level}"))?.rect().top(), level)))
        .collect();
    rows.sort_by(|a, b| a.0.total_cmp(&b.0));
    rows.into_iter().map(|row| row.1).collect()
}

#[test]
fn levels_of_mlx_are_offered_for_a_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let path = crate::convert::unpack_sample(dir.path()).unwrap();
    let crate::format::Opened::Checkpoint(checkpoint) = crate::format::read_any(&path).unwrap() else { panic!() };
    let checked = crate::convert::check_checkpoint(*checkpoint);
    let mut store = store_with_model_and_machine();
    store.model = Slot::Ready(std::sync::Arc::clone(checked.model.as_ref().unwrap()));
    store.checkpoint = Some(std::sync::Arc::new(checked));
    let is_offered = |form: Form| has(&harness(optimize_ui, store.clone(), form), "mlx:4-bit-g64");
    let goal = crate::advise::Goal { target: crate::advise::Target::Apple, ..Default::default() };
    assert_eq!(is_offered(Form::default()), cfg!(target_os = "macos"), "who has no Mac is not bothered with it");
    assert!(is_offered(Form { goal, ..Form::default() }));
    let mut all = harness(optimize_ui, store.clone(), Form { all_levels: true, ..Form::default() });
    shoot(&mut all, "optimize-mlx");
    for level in Level::of(Framework::Mlx) {
        assert!(has(&all, level.name()), "{level}");
    }
    let mlx: Level = "mlx:4-bit-g64".parse().unwrap();
    all.get_by_label("mlx:4-bit-g64").scroll_to_me();
    all.run();
    click(&mut all, "mlx:4-bit-g64");
    assert!(all.state().form.levels.contains(&mlx));
    // A GGUF file has none.
    let gguf = harness(optimize_ui, store_with_model_and_machine(), Form { all_levels: true, ..Form::default() });
    assert!(!has(&gguf, "mlx:4-bit-g64"));
}

#[test]
fn plan_leads_to_the_optimize_page_with_the_recommended_level() {
    let store = unquantized_store();
    let level = recommended(&store);
    let mut harness = harness(plan_page_ui, store, Form::default());
    click(&mut harness, &format!("Convert to {level}…"));
    let state = harness.state();
    assert_eq!((state.form.page, state.form.levels.iter().copied().collect::<Vec<_>>()), (Page::Optimize, vec![level]));
    assert_eq!(state.commands, []);
}

#[test]
fn every_node_of_the_tree_has_a_name_and_those_of_the_path_their_facts() {
    let store = store_with_model_and_machine();
    let plan = plan_of(&store);
    let mut harness = harness(plan_page_ui, store, Form::default());
    assert_eq!(harness.query_all_by_role(Role::ListItem).count(), 0, "the tree is shown when asked for");
    click(&mut harness, "Show the whole tree");
    let names: Vec<String> = harness.get_all_by_role(Role::ListItem).filter_map(|node| node.accesskit_node().label()).collect();
    assert_eq!(names.len(), plan.tree.nodes.len());
    for step in &plan.path {
        let node = &plan.tree.nodes[step.node_idx];
        // The end of the path is what is recommended here: to keep the file, because it is quantized already.
        let title = if node.leaf.is_some() { "Keep the file as it is" } else { node.text };
        let taken: Vec<&String> = names.iter().filter(|name| name.starts_with(&format!("{title}, taken"))).collect();
        assert!(taken.iter().any(|name| name.contains(&step.facts)), "{}: {taken:?}", node.text);
        if let Some(branch_idx) = step.branch_idx {
            assert!(taken.iter().any(|name| name.ends_with(node.branches[branch_idx].answer)), "{}: {taken:?}", node.text);
        }
    }
}

#[test]
fn the_tree_stays_inside_the_page() {
    let mut harness = harness(plan_page_ui, store_with_model_and_machine(), Form::default());
    click(&mut harness, "Show the whole tree");
    shoot(&mut harness, "plan-tree");
    for node in harness.get_all_by_role(Role::ListItem) {
        let rect = node.rect();
        assert!(rect.left() >= 0.0 && rect.right() <= 1140.0, "{:?} at {rect:?}", node.accesskit_node().label());
    }
}

#[test]
fn in_a_narrow_window_the_tree_starts_at_its_root_and_scrolls_sideways() {
    let size = vec2(760.0, 3200.0);
    let mut harness =
        page_harness_sized(plan_page_ui, store_with_model_and_machine(), Form::default(), size, 1.0, egui::Theme::Dark);
    click(&mut harness, "Show the whole tree");
    shoot(&mut harness, "plan-tree-narrow");
    let rect_of = |harness: &Harness<'_, PageState>, text: &str| {
        let is_wanted =
            |node: &egui_kittest::Node<'_>| node.accesskit_node().label().is_some_and(|label| label.starts_with(text));
        harness.get_all_by_role(Role::ListItem).find(is_wanted).unwrap().rect()
    };
    let root = rect_of(&harness, "What kind of network is it?, taken");
    let top = harness.get_all_by_role(Role::ListItem).map(|node| node.rect().top()).fold(f32::INFINITY, f32::min);
    assert!(root.left() >= 0.0 && root.right() < size.x && root.top() <= top + 1.0, "{root:?}");
    let end = rect_of(&harness, "Keep the file as it is, taken");
    assert!(end.right() > size.x, "it has to be scrolled: {end:?}");
    scroll(&mut harness, root.center(), vec2(-200.0, 0.0), 20);
    let end = rect_of(&harness, "Keep the file as it is, taken");
    assert!(end.right() <= size.x, "{end:?}");
}

#[test]
fn the_goal_is_changed_in_place() {
    let mut harness = harness(plan_page_ui, store_with_model_and_machine(), Form::default());
    click(&mut harness, "Smallest");
    click(&mut harness, "2K");
    click(&mut harness, "On battery");
    click(&mut harness, "Enterprise pipeline");
    let goal = harness.state().form.goal.clone();
    assert_eq!((goal.priority, goal.n_ctx, goal.battery, goal.enterprise), (Priority::Size, 2048, true, true));
}

#[test]
fn a_memory_budget_is_read_with_its_unit_and_nonsense_is_refused() {
    let mut harness = harness(plan_page_ui, store_with_model_and_machine(), Form::default());
    click(&mut harness, "Automatic");
    assert_eq!(harness.state().form.goal.memory_budget_bytes, Some(8 << 30));
    let type_text = |harness: &mut Harness<'_, PageState>, text: &str| {
        let field = harness.get_by_role(Role::TextInput);
        field.focus();
        harness.run();
        harness.key_combination_modifiers(egui::Modifiers::COMMAND, &[egui::Key::A]);
        harness.get_by_role(Role::TextInput).type_text(text);
        harness.run();
    };
    type_text(&mut harness, "600M");
    assert_eq!(harness.state().form.goal.memory_budget_bytes, Some(600 << 20));
    type_text(&mut harness, "many");
    assert_eq!(harness.state().form.goal.memory_budget_bytes, Some(600 << 20));
    assert!(has(&harness, "as a size"));
}

#[test]
fn candidates_are_sorted_and_filtered() {
    let store = store_with_model_and_machine();
    let plan = plan_of(&store);
    let mut harness = harness(plan_page_ui, store, Form::default());
    let size = |level: &Level| candidate(&plan, *level).size_bytes;
    click(&mut harness, "Sort by size");
    let up = order_of_levels(&harness);
    assert!(up.len() > 10 && up.is_sorted_by_key(size), "{up:?}");
    click(&mut harness, "Sort by size");
    let down = order_of_levels(&harness);
    assert!(down.len() == up.len() && down.is_sorted_by_key(|level| std::cmp::Reverse(size(level))), "{down:?}");
    let is_mlx_listed = |harness: &Harness<'_, PageState>| harness.query_all_by_label("4-bit group 64").next().is_some();
    assert!(!is_mlx_listed(&harness));
    click(&mut harness, "Show what cannot be done here");
    assert!(is_mlx_listed(&harness));
}

#[test]
fn candidate_rows_show_the_numbers_of_the_plan_and_choose_levels() {
    let store = store_with_model_and_machine();
    let plan = plan_of(&store);
    let mut harness = harness(plan_page_ui, store, Form::default());
    for level in order_of_levels(&harness) {
        let candidate = candidate(&plan, level);
        #[allow(clippy::cast_precision_loss)]
        let mib = significant_text(candidate.size_bytes as f64 / 1_048_576.0);
        assert!(has(&harness, &mib), "{level}: {mib}");
        assert!(has(&harness, &significant_text(candidate.bits_per_weight)), "{level}");
    }
    click(&mut harness, "Select Q4_K_M");
    assert!(harness.state().form.levels.contains(&Level::Q4_K_M));
    click(&mut harness, "Select Q4_K_M");
    assert!(harness.state().form.levels.is_empty());
}

#[test]
fn pages_without_facts_say_what_to_do_next() {
    let check = |page: PageFn, store: Store, label: &str| -> (Page, Vec<Command>) {
        let mut harness = harness(page, store, Form { page: Page::Plan, ..Form::default() });
        click(&mut harness, label);
        (harness.state().form.page, harness.state().commands.clone())
    };
    for page in [plan_page_ui as PageFn, optimize_ui, compare_page_ui] {
        assert_eq!(check(page, Store::default(), "Go to Model"), (Page::Model, vec![]));
    }
    let no_machine = Store { machine: Slot::Empty, ..store_with_model_and_machine() };
    assert_eq!(check(plan_page_ui, no_machine, "Measure this machine"), (Page::Plan, vec![Command::Detect]));
    assert_eq!(check(compare_page_ui, store_with_model_and_machine(), "Go to Optimize"), (Page::Optimize, vec![]));
}

#[test]
fn a_plan_that_fits_nowhere_says_so() {
    let goal = Goal { memory_budget_bytes: Some(1 << 20), ..Goal::default() };
    let harness = harness(plan_page_ui, unquantized_store(), Form { goal, ..Form::default() });
    assert!(has(&harness, "Nothing fits") && !has(&harness, "Convert to"));
}

#[test]
fn a_quantized_source_is_warned_about_where_levels_are_chosen() {
    for page in [plan_page_ui as PageFn, optimize_ui] {
        assert!(has(&harness(page, store_with_model_and_machine(), Form::default()), "quantized already"));
    }
}

#[test]
fn quick_picks_and_check_cards_choose_levels_and_convert() {
    let store = unquantized_store();
    let best = recommended(&store);
    let mut harness = harness(optimize_ui, store, Form::default());
    let chosen = |harness: &Harness<'_, PageState>| harness.state().form.levels.iter().copied().collect::<Vec<_>>();
    assert!(harness.get_by_label("Convert").accesskit_node().is_disabled());
    assert!(has(&harness, "No level is chosen yet"));
    click(&mut harness, "Choose the recommended level and its neighbours");
    assert!(chosen(&harness).contains(&best) && chosen(&harness).len() >= 2);
    click(&mut harness, "All levels");
    click(&mut harness, "Choose the ladder");
    assert_eq!(chosen(&harness), [Level::Q8_0, Level::Q4_K_M, Level::Q3_K_M, Level::Q2_K]);
    click(&mut harness, "Choose no level");
    assert_eq!(chosen(&harness), []);
    harness.get_by_role_and_label(Role::CheckBox, "Q6_K").click();
    harness.run();
    assert_eq!(chosen(&harness), [Level::Q6_K]);
    let size = bytes_text(candidate(&plan_of(&harness.state().store), Level::Q6_K).size_bytes);
    click(&mut harness, &format!("Convert 1 level ({size})"));
    click(&mut harness, "Choose output folder");
    assert_eq!(harness.state().commands, [Command::Convert(vec![Level::Q6_K]), Command::Pick(Picked::OutputDir)]);
}

#[test]
fn a_full_disk_is_refused_and_what_exists_is_not_made_again() {
    let form = || Form { levels: [Level::Q8_0].into(), ..Form::default() };
    let mut full = store_with_model_and_machine();
    let disk = full.machine.ready().unwrap().disk.clone().unwrap();
    let dir = full.model_path.clone().unwrap().parent().unwrap().to_path_buf();
    full.output_disk = Some((dir.clone(), Some(Disk { free_bytes: 1 << 20, mount_point: "/data".into(), ..disk })));
    let mut full = harness(optimize_ui, full, form());
    assert!(full.get_by_label_contains("Convert 1 level").accesskit_node().is_disabled());
    assert!(has(&full, "more are needed on this disk"));
    // The folder counts, not the machine's disk.
    full.state_mut().store.output_disk.as_mut().unwrap().1.as_mut().unwrap().free_bytes = 9 << 30;
    full.run();
    assert!(has(&full, &format!("Into {}: 9.00 GiB free on /data", dir.display())));
    full.state_mut().form.output_dir = "/elsewhere".into();
    full.run();
    assert!(has(&full, "Into /elsewhere: free space unknown"));

    let mut existing = harness(optimize_ui, busy_store(), form());
    assert!(has(&existing, "Q8_0 is there already") && existing.query_by_label_contains("Convert 1 level").is_none());
    click(&mut existing, "Convert again…");
    assert_eq!(existing.state().commands, [Command::Convert(vec![Level::Q8_0])], "what becomes of the file is asked then");
    let mut more = harness(optimize_ui, busy_store(), Form { levels: [Level::Q8_0, Level::Q5_K_M].into(), ..Form::default() });
    assert!(has(&more, "1 of 2 levels are still to be made"));
    more.get_by_label_contains("Convert 1 level").click();
    more.run();
    assert_eq!(more.state().commands, [Command::Convert(vec![Level::Q5_K_M])]);
}

#[test]
fn an_importance_matrix_is_named_and_remembered() {
    let mut harness = harness(optimize_ui, unquantized_store(), Form::default());
    click(&mut harness, "Quick");
    assert!(has(&harness, "Sizes are exact"));
    let field = harness.get_by_role_and_label(Role::TextInput, "Importance matrix");
    field.focus();
    field.type_text("/data/text.imatrix");
    harness.run();
    assert!(!has(&harness, "Sizes are exact") && has(&harness, "without an importance matrix"));
    let saved = serde_json::to_string(&harness.state().form).unwrap();
    let form: Form = serde_json::from_str(&saved).unwrap();
    assert_eq!(form.imatrix_path, "/data/text.imatrix");
}

#[test]
fn the_queue_shows_progress_failures_and_results() {
    let mut harness = harness(super::optimize_page_ui, busy_store(), Form::default());
    let bar = harness.get_by_role_and_label(Role::ProgressIndicator, "Progress of Convert to Q6_K, Q2_K");
    assert_eq!(bar.accesskit_node().numeric_value(), Some(62.0));
    assert!(has(&harness, "19.7 MB/s") && has(&harness, "1.9 s left") && has(&harness, "blk.17.ffn_up"));
    assert!(has(&harness, "Output exists") && has(&harness, "done in 4.2 s"));
    assert!(!has(&harness, "Measure this machine"), "a finished detection is no news");
    click(&mut harness, "Cancel Convert to Q6_K, Q2_K");
    click(&mut harness, "Clear finished jobs");
    let path = harness.state().store.conversions[1].path.clone();
    click(&mut harness, "Reveal Q6_K");
    click(&mut harness, "Copy path of Q6_K");
    let expected = [
        Command::Cancel(JobId(4)),
        Command::ClearFinished,
        Command::Reveal(path.clone()),
        Command::Copy(path.display().to_string()),
    ];
    assert_eq!(harness.state().commands, expected);
}

#[test]
fn finished_files_are_measured_on_the_compare_page() {
    let check = |with_source: bool| {
        let mut form = Form { compare_tab: CompareTab::Flips, ..Form::default() };
        form.bench.with_source = with_source;
        let mut harness = harness(optimize_ui, busy_store(), form);
        click(&mut harness, "Measure these");
        let state = harness.state();
        let made = state.store.conversions.iter().map(|made| made.path.clone());
        let paths: Vec<PathBuf> = state.store.model_path.clone().filter(|_| with_source).into_iter().chain(made).collect();
        assert_eq!((state.form.page, state.form.compare_tab), (Page::Compare, CompareTab::Levels));
        assert_eq!(state.commands, [Command::Bench(paths)]);
    };
    check(true);
    check(false);
}

#[test]
fn a_finished_file_is_verified_and_the_finding_stays_beside_it() {
    let mut store = busy_store();
    let path = store.conversions[0].path.clone();
    let found = |findings: &[&str]| Verification {
        path: path.clone(),
        size_bytes: 1,
        n_tensors: 1,
        version: "1".into(),
        recipe: "Q8_0".into(),
        source_blake3: String::new(),
        source_name: None,
        compared: vec!["manifest"],
        findings: findings.iter().map(ToString::to_string).collect(),
    };
    store.verified = vec![Arc::new(found(&["its metadata is not what was written"]))];
    let name = store.conversions[0].name();
    let mut harness = harness(optimize_ui, store, Form::default());
    harness.get_by_label("Damaged: Its metadata is not what was written");
    click(&mut harness, &format!("Verify {name}"));
    assert_eq!(harness.state().commands, [Command::Verify(path.clone())]);
    harness.state_mut().store.verified = vec![Arc::new(found(&[]))];
    harness.run();
    harness.get_by_label("As it was written; compared: header, tensors, manifest");
}

#[test]
fn measuring_takes_the_source_in_front_when_wanted() {
    let store = busy_store();
    let source = store.model_path.clone().unwrap();
    let made: Vec<PathBuf> = store.conversions.iter().map(|made| made.path.clone()).collect();
    let mut harness = harness(compare_page_ui, store, Form::default());
    click(&mut harness, "Measure 7 files");
    click(&mut harness, "With the source");
    click(&mut harness, "Measure 6 files");
    let with_source: Vec<PathBuf> = std::iter::once(source).chain(made.clone()).collect();
    assert_eq!(harness.state().commands, [Command::Bench(with_source), Command::Bench(made)]);
}

#[test]
fn a_measurement_at_work_is_not_started_twice() {
    let mut store = busy_store();
    store.jobs.push(JobRecord::new(JobId(9), JobKind::Bench(6)));
    let harness = harness(compare_page_ui, store, Form::default());
    assert!(harness.get_by_label("Measure 7 files").accesskit_node().is_disabled());
    assert!(harness.query_by_label("Cancel Measure 6 files").is_some());
}

#[test]
fn doubts_are_one_line_with_details_and_a_way_to_better_numbers() {
    let mut store = busy_store();
    let first = store.outcomes.iter_mut().find_map(|outcome| outcome.result.as_mut().ok()).unwrap();
    first.provenance.warnings.push("decode speed varied by ±12.0 % between rounds".into());
    let measured: Vec<PathBuf> =
        store.outcomes.iter().filter(|outcome| outcome.result.is_ok()).map(|outcome| outcome.path.clone()).collect();
    let mut harness = harness(compare_page_ui, store, Form::default());
    assert!(has(&harness, "Speeds varied by up to 4") && has(&harness, "the machine was busy"));
    assert!(!has(&harness, "Other programs used 41 %"), "only when asked for");
    harness.get_all_by_label_contains("warnings…").next().unwrap().click();
    harness.run();
    assert!(has(&harness, "Other programs used 41 %"));
    click(&mut harness, "Hide details");
    click(&mut harness, "Measure again when it is quiet");
    let [Command::BenchWhenQuiet(paths)] = &harness.state().commands[..] else { panic!("{:?}", harness.state().commands) };
    assert_eq!(paths.iter().collect::<std::collections::BTreeSet<_>>(), measured.iter().collect());
    harness.state_mut().store.jobs.push(JobRecord::new(JobId(9), JobKind::Bench(6)));
    harness.run();
    assert!(harness.get_by_label("Measure again when it is quiet").accesskit_node().is_disabled());
}

#[test]
fn comparison_rows_are_shown_copied_and_sorted() {
    let store = busy_store();
    let rows = crate::bench::comparison_rows(
        store.model.ready().unwrap(),
        store.machine.ready().unwrap(),
        &Goal::default(),
        &store.conversions,
        crate::bench::Measured {
            speed: &store.outcomes,
            quality: &[],
            limits: &crate::advise::Limits::default(),
            lessons: &[],
            origins: &[],
        },
    );
    let mut harness = harness(compare_page_ui, store, Form::default());
    for row in &rows {
        #[allow(clippy::cast_precision_loss)]
        let mib = crate::units::significant_text(row.size_bytes as f64 / 1_048_576.0);
        assert!(harness.query_all_by_label(&mib).next().is_some(), "{}: {mib}", row.name);
        if let Some(run) = &row.run {
            let decode = &run.decode_tokens_per_sec;
            let text = crate::bench::rows::pair::measured_text(decode.median(), decode.spread());
            assert!(has(&harness, &text), "{}: {text}", row.name);
        }
    }
    assert_eq!(harness.query_all_by_label("failed").count(), 2);
    assert_eq!(harness.query_all_by_label("not measured").count(), 2);

    click(&mut harness, "Copy as TSV");
    click(&mut harness, "Copy as JSON");
    let [Command::Copy(tsv), Command::Copy(json)] = &harness.state().commands[..] else {
        panic!("{:?}", harness.state().commands)
    };
    let lines: Vec<Vec<&str>> = tsv.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(lines.len(), rows.len() + 1);
    assert!(lines.iter().all(|cells| cells.len() == lines[0].len()));
    assert_eq!((lines[1][0], lines[1][1]), (rows[0].name.as_str(), rows[0].size_bytes.to_string().as_str()));
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(json.as_array().map(Vec::len), Some(rows.len()));
    assert_eq!(json[0]["size_bytes"], rows[0].size_bytes);

    let top_of = |harness: &Harness<'_, PageState>, name: &str| {
        harness.get_all_by_label(name).map(|node| node.rect().top()).fold(0.0, f32::max)
    };
    click(&mut harness, "Sort by size");
    assert!(top_of(&harness, "Q2_K") < top_of(&harness, "Q8_0"));
    click(&mut harness, "Sort by size");
    assert!(top_of(&harness, "Q2_K") > top_of(&harness, "Q8_0"));
}

#[test]
fn energy_has_a_column_where_it_was_measured_and_a_reason_where_it_was_not() {
    let without = harness(compare_page_ui, busy_store(), Form::default());
    assert!(has(&without, "Energy: not measurable here, because the processor shows no energy counter"));
    assert!(without.query_by_label("Sort by energy").is_none());
    let mut store = busy_store();
    for outcome in &mut store.outcomes {
        if let Ok(run) = &mut outcome.result {
            run.energy = Energy {
                decode_joules_per_token: Some(Stat { values: vec![0.5, 0.25, 0.75] }),
                source: Some("processor package (RAPL)".into()),
                idle_watts: Some(4.0),
                ..Energy::default()
            };
        }
    }
    let mut with = harness(compare_page_ui, store, Form::default());
    assert!(has(&with, "0.500 ± 0.250") && !has(&with, "not measurable here"));
    with.get_by_label("Sort by energy");
    assert!(with.query_by_label("Sort by sustained").is_none());
    shoot(&mut with, "compare-energy");
    let mut store = with.state().store.clone();
    for outcome in &mut store.outcomes {
        if let Ok(run) = &mut outcome.result {
            run.sustained = Sustained::from_speeds(vec![200.0, 190.0, 150.0]);
        }
    }
    let mut long = harness(compare_page_ui, store, Form::default());
    assert!(has(&long, "150 (75.0 %)"));
    click(&mut long, "Sort by sustained");
    shoot(&mut long, "compare-sustained");
}

#[test]
fn the_plot_is_chosen_and_remembered() {
    let mut harness = harness(compare_page_ui, busy_store(), Form::default());
    for (label, plot) in [
        ("Size against loss", ChartKind::SizeLoss),
        ("Loss against speed", ChartKind::LossSpeed),
        ("Size against same top", ChartKind::SameTop),
        ("Speed", ChartKind::Decode),
        ("Memory", ChartKind::Memory),
        ("Size against speed", ChartKind::SizeSpeed),
    ] {
        click(&mut harness, label);
        assert_eq!(harness.state().form.compare_plot, Some(plot));
    }
}

#[test]
fn the_tabs_of_compare_are_reached_by_mouse_and_keyboard() {
    let mut harness = harness(compare_page_ui, busy_store(), Form::default());
    let mut press = |key, expected| {
        harness.key_press_modifiers(egui::Modifiers::COMMAND, key);
        harness.run();
        assert_eq!(harness.state().form.compare_tab, expected);
    };
    press(egui::Key::PageDown, CompareTab::Flips);
    press(egui::Key::PageUp, CompareTab::Levels);
    press(egui::Key::PageUp, CompareTab::History);
    press(egui::Key::PageDown, CompareTab::Levels);
    click(&mut harness, "Tensors");
    assert_eq!(harness.state().form.compare_tab, CompareTab::Tensors);
    assert!(has(&harness, "Measure errors"));
}

/// Draws the pages in their window for people to look at.
#[test]
#[ignore = "writes pictures into the folder that PLANISH_SHOTS names"]
fn pictures() {
    let only = std::env::var("PLANISH_SHOTS_ONLY").unwrap_or_default();
    let pages = [
        ("plan", Page::Plan, ChartKind::SizeSpeed),
        ("optimize", Page::Optimize, ChartKind::SizeSpeed),
        ("compare-size", Page::Compare, ChartKind::SizeSpeed),
        ("compare-speed", Page::Compare, ChartKind::Decode),
        ("compare-memory", Page::Compare, ChartKind::Memory),
    ];
    let sizes = [("1280", 1280.0, 800.0), ("1920", 1920.0, 1080.0), ("long", 1280.0, 2500.0)];
    for (size_name, width, height) in sizes {
        for (variant, variant_name, choice) in
            [(egui::Theme::Light, "light", Theme::Light), (egui::Theme::Dark, "dark", Theme::Dark)]
        {
            for (name, page, compare_plot) in pages {
                let name = format!("{name}-{size_name}-{variant_name}");
                if !name.contains(&only) {
                    continue;
                }
                let levels = [Level::Q5_K_M, Level::Q4_K_M].into();
                let form = Form { page, theme: choice, levels, compare_plot: Some(compare_plot), ..Form::default() };
                let scale = if height > 1100.0 { 1.0 } else { 1.5 };
                let mut harness = page_harness_sized(super::window_ui, busy_store(), form, vec2(width, height), scale, variant);
                shoot(&mut harness, &name);
            }
        }
    }
}
