//! The importance matrix on the Optimize page, driven by accessible names.

use std::sync::Arc;

use eframe::egui::{self, Role, vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT as _, Queryable as _};

use crate::advise::Overrides;
use crate::calibrate::imatrix::{Collected, ImportanceChange};
use crate::format::UnusedExperts;
use crate::model::Level;
use crate::monitor::{Progress, ProgressUnit};
use crate::state::{Command, Form, ImatrixForm, JobKind, JobRecord, JobStatus, Page, Store, TextChoice, Theme};
use crate::ui::layout_check::check_layout;
use crate::ui::test_support::{
    PageState, click, has, optimize_ui, page_harness_sized, sample_model, shoot, store_with_model_and_machine,
};
use crate::ui::window_ui;
use crate::worker::{JobId, Picked};

const MATRIX: &str = "/home/ada/models/SmolLM2-135M-Instruct.Q4_1.imatrix.gguf";

fn harness(store: Store, form: Form) -> Harness<'static, PageState> {
    page_harness_sized(optimize_ui, store, form, vec2(1140.0, 2400.0), 1.0, egui::Theme::Dark)
}

fn collected() -> Collected {
    Collected {
        path: MATRIX.into(),
        sources: vec!["/home/ada/models/SmolLM2-135M-Instruct.Q4_1.gguf".into()],
        texts: vec!["bundled calibration text".into()],
        n_tensors: 211,
        n_chunks: 50,
        chunk_tokens: 512,
        changes: vec![ImportanceChange { n_chunks: 25, change: 0.03 }, ImportanceChange { n_chunks: 50, change: 0.018 }],
        unused_tensors: Vec::new(),
        unused_experts: vec![UnusedExperts { tensor: "blk.0.ffn_up_exps.weight".into(), n_unused: 2, n_experts: 8 }],
        foreign: None,
        is_reused: false,
        elapsed_secs: 61.0,
    }
}

fn chosen(imatrix: ImatrixForm) -> Form {
    let mut form = Form { levels: [Level::Q3_K_M].into(), imatrix, ..Form::default() };
    // Quick, as somebody has chosen it: a matrix is of no use otherwise.
    form.recipe.set(&sample_model(), Overrides::default());
    form
}

#[test]
fn calibrated_levels_need_no_matrix() {
    let mut harness = harness(store_with_model_and_machine(), chosen(ImatrixForm { collect: true, ..ImatrixForm::default() }));
    assert!(has(&harness, "Collect, then convert 1 level"));
    click(&mut harness, "Calibrated");
    assert!(has(&harness, "called NAME-LEVEL-calibrated") && has(&harness, "Calibrated ones have a few more bytes"));
    assert!(!has(&harness, "Collect an importance matrix first") && !has(&harness, "Reset all"));
    harness.get_by_label_contains("Convert 1 level").click();
    harness.run();
    assert_eq!(harness.state().commands, [Command::Convert(vec![Level::Q3_K_M])]);
    click(&mut harness, "Quick");
    assert!(has(&harness, "Collect, then convert 1 level"));
}

#[test]
fn the_switch_collects_before_it_converts() {
    let mut harness = harness(store_with_model_and_machine(), chosen(ImatrixForm::default()));
    assert!(!has(&harness, "Calibration text") && has(&harness, "Sizes are exact"));
    click(&mut harness, "Collect an importance matrix first");
    assert!(has(&harness, "Writes SmolLM2-135M-Instruct.Q4_1.imatrix.gguf into the output folder"));
    assert!(!has(&harness, "Sizes are exact"));
    let field = harness.get_by_role_and_label(Role::TextInput, "Importance matrix");
    assert!(field.accesskit_node().is_disabled(), "it is filled by the collecting");
    click(&mut harness, "Use the file if it is there already");
    harness.get_by_label_contains("Collect, then convert 1 level").click();
    harness.run();
    assert_eq!(harness.state().commands, [Command::CollectImatrix(vec![Level::Q3_K_M])]);
    let saved = serde_json::to_string(&harness.state().form).unwrap();
    let form: Form = serde_json::from_str(&saved).unwrap();
    assert_eq!(form.imatrix, ImatrixForm { collect: true, reuse: true, ..ImatrixForm::default() });
}

#[test]
fn a_text_of_ones_own_has_to_be_named() {
    let mut harness = harness(store_with_model_and_machine(), chosen(ImatrixForm { collect: true, ..ImatrixForm::default() }));
    click(&mut harness, "Own file");
    let is_disabled =
        |harness: &Harness<'_, PageState>| harness.get_by_label_contains("Collect, then convert").accesskit_node().is_disabled();
    assert!(is_disabled(&harness) && has(&harness, "Name a calibration text first"));
    click(&mut harness, "Choose calibration text");
    let field = harness.get_by_role_and_label(Role::TextInput, "Calibration text");
    field.focus();
    field.type_text("/texts/letters.txt");
    harness.run();
    assert!(!is_disabled(&harness));
    let state = harness.state();
    assert_eq!((state.form.imatrix.text, state.form.imatrix.text_path.as_str()), (TextChoice::File, "/texts/letters.txt"));
    assert_eq!(state.commands, [Command::Pick(Picked::CalibrationText)]);
}

#[test]
fn what_was_collected_is_told_beside_its_file() {
    let store = Store { imatrix: Some(Arc::new(collected())), ..store_with_model_and_machine() };
    let mut harness = harness(store, Form { imatrix_path: MATRIX.into(), ..Form::default() });
    assert!(has(&harness, "Collected: 211 tensors, 25,600 tokens of bundled calibration text."));
    assert!(has(&harness, "Importances changed by 1.80 % with the last doubling of the text."));
    assert!(has(&harness, "2 experts were not reached by the text"));
    click(&mut harness, "Choose importance matrix");
    assert_eq!(harness.state().commands, [Command::Pick(Picked::Imatrix)]);
    harness.state_mut().form.imatrix_path = "/other.gguf".into();
    harness.run();
    assert!(!has(&harness, "211 tensors"), "of another file nothing is known");
}

/// A page while a matrix is collected.
fn busy() -> (Store, Form) {
    let mut store = store_with_model_and_machine();
    let stage = "chunk 26 of 50, the last doubling changed importances by 3.00 %".into();
    let progress = Progress { stage, done: 25, total: 50, unit: ProgressUnit::Steps };
    let status = JobStatus::Running { progress: Some(progress), elapsed_secs: 31.0, is_cancelling: false };
    let kind = JobKind::CollectImatrix("/home/ada/models/SmolLM2-135M-Instruct.Q4_1.gguf".into());
    store.jobs.push(JobRecord::new(JobId(1), kind).with_status(status));
    let imatrix = ImatrixForm { collect: true, text: TextChoice::File, ..ImatrixForm::default() };
    (store, chosen(imatrix))
}

#[test]
fn collecting_shows_how_far_it_is_and_can_be_cancelled() {
    let (store, form) = busy();
    let mut harness = harness(store, form);
    assert!(has(&harness, "changed importances by 3.00 %") && has(&harness, "31 s left"));
    click(&mut harness, "Cancel Collect importances of SmolLM2-135M-Instruct.Q4_1.gguf");
    assert_eq!(harness.state().commands, [Command::Cancel(JobId(1))]);
    check_layout(&harness);
}

/// Draws the page in its window for people to look at.
#[test]
#[ignore = "writes pictures into the folder that PLANISH_SHOTS names"]
fn pictures() {
    for (variant, name, theme) in [(egui::Theme::Light, "light", Theme::Light), (egui::Theme::Dark, "dark", Theme::Dark)] {
        let shot = |name: String, store: Store, form: Form| {
            let form = Form { page: Page::Optimize, theme, ..form };
            let mut harness = page_harness_sized(window_ui, store, form, vec2(1280.0, 1700.0), 1.0, variant);
            shoot(&mut harness, &name);
        };
        let (store, form) = busy();
        shot(format!("imatrix-collecting-{name}"), store, form);
        let store = Store { imatrix: Some(Arc::new(collected())), ..store_with_model_and_machine() };
        shot(format!("imatrix-collected-{name}"), store, Form { imatrix_path: MATRIX.into(), ..Form::default() });
    }
}
