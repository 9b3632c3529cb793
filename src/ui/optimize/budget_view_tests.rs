//! The card for a size of one's own, driven by accessible names.

use eframe::egui::{self, vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT as _, Queryable as _};

use super::*;
use crate::advise::budget::{Costs, TensorCosts, candidate_dtypes};
use crate::advise::{Gates, Planner};
use crate::format::Imatrix;
use crate::ui::layout_check::check_layout;
use crate::ui::test_support::{PageState, click, has, optimize_ui, page_harness_sized, store_with_model_and_machine};

const BUTTON: &str = "Smallest that passes my gates";

/// The open model as floats, with what each tensor loses: less with each bit.
fn store(is_known: bool) -> Store {
    let mut store = store_with_model_and_machine();
    let mut model = (**store.model.ready().unwrap()).clone();
    for tensor in model.tensors.iter_mut().filter(|tensor| tensor.dtype.is_quantized()) {
        tensor.dtype = crate::model::DType::F16;
        tensor.size_bytes = 2 * tensor.n_elements();
    }
    model.size_bytes = model.tensor_bytes();
    let planner = Planner::new(&model);
    let tensors = model.tensors.iter().enumerate().filter(|(idx, _)| planner.is_quantizable(*idx));
    let tensors = tensors.map(|(_, tensor)| TensorCosts {
        tensor: tensor.name.clone(),
        disturbance: Some((0.001, 0.0001)),
        errors: candidate_dtypes(tensor).into_iter().map(|dtype| (dtype, 0.25_f64.powf(dtype.bits_per_weight()))).collect(),
    });
    let costs = Costs { tensors: tensors.collect() };
    let imatrix = Imatrix {
        path: "moments.json".into(),
        dataset: None,
        n_chunks: 1,
        entries: std::collections::BTreeMap::new(),
        warnings: Vec::new(),
        moments: None,
    };
    if is_known {
        let seen = "15,872 tokens of bundled calibration text".into();
        store.budget = Slot::Ready(Arc::new(BudgetFacts { model: model.path.clone(), costs, imatrix, seen }));
    }
    store.model = Slot::Ready(Arc::new(model));
    store
}

#[test]
fn a_size_is_chosen_and_what_it_loses_is_told_before_anything_is_made() {
    let mut harness = page_harness_sized(optimize_ui, store(true), Form::default(), vec2(1140.0, 3000.0), 1.0, egui::Theme::Dark);
    assert!(has(&harness, "was learned from 15,872 tokens") && has(&harness, "bits per weight"));
    assert!(has(&harness, "predicted, on the calibration text") && has(&harness, "Predicted loss at every size"));
    click(&mut harness, "Convert and compare at this size");
    click(&mut harness, "Convert to this size");
    let expected = [Command::CompareBudget(Budget::Share(0.3)), Command::ConvertBudget(Budget::Share(0.3))];
    assert_eq!(harness.state().commands, expected);
    // The types can be changed by hand.
    click(&mut harness, "Edit the types…");
    let form = &harness.state().form;
    assert!(form.recipe.is_open && form.recipe.level.is_some_and(|level| form.levels.contains(&level)));
    assert!(has(&harness, "Reset all"));
}

#[test]
fn what_tensors_are_worth_is_learned_on_request() {
    let mut harness =
        page_harness_sized(optimize_ui, store(false), Form::default(), vec2(1140.0, 3000.0), 1.0, egui::Theme::Dark);
    assert!(has(&harness, "to learn what each tensor is worth") && !has(&harness, "Edit the types…"));
    click(&mut harness, "Only learn");
    click(&mut harness, "Convert to this size");
    assert_eq!(harness.state().commands, [Command::Weigh, Command::ConvertBudget(Budget::Share(0.3))]);
    // No file is as small as that.
    let form = Form { budget_percent: 10.0, ..Form::default() };
    let harness = page_harness_sized(optimize_ui, store(true), form, vec2(1140.0, 3000.0), 1.0, egui::Theme::Dark);
    assert!(has(&harness, "are too few"));
}

#[test]
fn the_slider_goes_to_the_smallest_file_that_passes_the_gates() {
    let harness =
        |store: Store, form: Form| page_harness_sized(optimize_ui, store, form, vec2(1140.0, 3000.0), 1.0, egui::Theme::Dark);
    let gates = |limit: f64| {
        let mut form = Form::default();
        form.limits.gates = Gates { max_mean_kld: Some(limit), ..Gates::default() };
        form
    };
    // What each tensor loses is known: the limit decides, and a tighter one needs a larger file.
    let mut percents = Vec::new();
    for limit in [0.001, 0.000_2] {
        let mut harness = harness(store(true), gates(limit));
        assert!(has(&harness, &format!("mean KL divergence allows {}", nats_text(limit))), "{limit}");
        click(&mut harness, BUTTON);
        percents.push(harness.state().form.budget_percent);
        click(&mut harness, "Convert to this size");
        let budget = Budget::Share(percents[percents.len() - 1] / 100.0);
        assert_eq!(harness.state().commands, [Command::ConvertBudget(budget)]);
    }
    assert!(percents[0] > 10.0 && percents[0] < percents[1] && percents[1] < 100.0, "{percents:?}");
    // Gates that anything passes, that nothing is predicted for, and nothing learned yet.
    assert!(has(&harness(store(true), gates(10.0)), "even the smallest file is predicted to pass them"));
    let mut form = gates(1.0);
    form.limits.gates.max_mean_kld = None;
    let only_accuracy = harness(store(true), form);
    assert!(has(&only_accuracy, "can only be found for a limit on one of mean KL divergence"));
    let is_disabled = |harness: &Harness<'_, PageState>| harness.get_by_label(BUTTON).accesskit_node().is_disabled();
    assert!(is_disabled(&only_accuracy) && is_disabled(&harness(store(false), Form::default())));
}

#[test]
fn nothing_is_cut_in_a_low_window() {
    for is_known in [true, false] {
        let form = Form { page: crate::state::Page::Optimize, ..Form::default() };
        let size = vec2(960.0, 600.0);
        check_layout(&page_harness_sized(crate::ui::window_ui, store(is_known), form.clone(), size, 1.0, egui::Theme::Dark));
        let whole = vec2(960.0, 4000.0);
        check_layout(&page_harness_sized(crate::ui::window_ui, store(is_known), form, whole, 1.0, egui::Theme::Dark));
    }
}

#[test]
fn decades_are_written_out() {
    let check = |exponent: f64, expected: &str| assert_eq!(decade_text(exponent), expected);
    check(-2.0, "0.01");
    check(0.0, "1");
    check(-4.0, "0.0001");
    check(-1.5, "");
}

#[test]
fn marks_stand_at_round_sizes() {
    let check = |length: f64, expected: f64| assert!((tick_step(length) / expected - 1.0).abs() < 1e-9, "{length}");
    check(2.4, 0.5);
    check(8.0, 1.0);
    check(100.0, 20.0);
    assert!(tick_step(0.0).is_finite());
    let check = |value: f64, step: f64, expected: &str| assert_eq!(tick_text(value, step), expected);
    check(1.5, 0.5, "1.5");
    check(2.0, 0.05, "2.00");
    check(120.0, 20.0, "120");
}

#[test]
fn what_was_predicted_stands_beside_what_was_measured() {
    let point = |data_bytes, loss| CurvePoint { data_bytes, loss, loss_error: 0.0 };
    let curve = [point(10, 0.5), point(20, 0.1), point(30, 0.02)];
    let file = |size_bytes, is_budgeted| MeasuredFile { name: String::new(), size_bytes, loss: 0.2, is_budgeted };
    let found = predicted_and_measured(&[file(19, true), file(25, false), file(31, true)], &curve);
    assert_eq!(found, [(0.1, 0.2), (0.02, 0.2)]);
}
