//! The view of the errors, driven by accessible names. With `PLANISH_SHOTS=folder` it is also drawn.

use std::path::PathBuf;
use std::sync::Arc;

use eframe::egui::{self, Role, vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT as _, Queryable as _};

use super::tensors_view::tensors_view_ui;
use crate::bench::tensors::difference::{Difference, Mismatch};
use crate::bench::tensors::tensor_error::{TensorError, TensorErrors};
use crate::convert::Conversion;
use crate::error::Error;
use crate::model::{DType, Level};
use crate::monitor::{Progress, ProgressUnit};
use crate::state::{Command, Form, JobKind, JobRecord, JobStatus, Page, Slot, Store, Theme};
use crate::ui::layout_check::check_layout;
use crate::ui::test_support::{PageState, click, has, page_harness_sized, shoot, store_with_model_and_machine};
use crate::worker::JobId;

fn conversion(level: Level) -> Conversion {
    Conversion {
        level,
        path: format!("/home/ada/models/SmolLM2-135M-Instruct-{level}.gguf").into(),
        source: "/home/ada/models/SmolLM2-135M-Instruct.Q4_1.gguf".into(),
        size_bytes: 98_362_432,
        bits_per_weight: 5.5,
        elapsed_secs: 1.0,
        warnings: Vec::new(),
        check: None,
        changes: String::new(),
    }
}

/// The tensors of the sample model at 3 bits: worse in the middle, the norms copied, one lost and one damaged.
#[allow(clippy::cast_precision_loss, reason = "made-up errors")]
pub fn errors_of(store: &Store, converted: PathBuf) -> TensorErrors {
    let model = store.model.ready().unwrap();
    let tensor = |tensor: &crate::model::Tensor| {
        let layer_idx = tensor.layer_idx();
        let kind = tensor.name.trim_end_matches(".weight").rsplit('.').next().unwrap().to_string();
        let of_kind = 0.02 + 0.01 * (kind.len() % 7) as f64;
        let relative_rms = of_kind * (1.0 + layer_idx.map_or(0.5, |layer| 1.0 - (layer as f64 - 14.0).abs() / 15.0));
        let difference = Difference {
            relative_rms,
            max_abs: relative_rms * 2.0,
            cosine: Some(1.0 - relative_rms * relative_rms / 2.0),
            is_identical: false,
        };
        TensorError {
            name: tensor.name.clone(),
            layer_idx,
            kind,
            source_dtype: Some(tensor.dtype),
            converted_dtype: Some(if tensor.dtype == DType::F32 { DType::F32 } else { DType::Q3_K }),
            packed: None,
            n_elements: tensor.n_elements(),
            result: match tensor.name.as_str() {
                _ if tensor.dtype == DType::F32 => Ok(Difference::IDENTICAL),
                "blk.4.attn_v.weight" => Err(Mismatch::NotFinite { n_in_source: 0, n_in_converted: 3 }),
                "blk.9.attn_k.weight" => Err(Mismatch::OnlyInSource),
                _ => Ok(difference),
            },
        }
    };
    TensorErrors {
        source: model.path.clone(),
        converted,
        tensors: model.tensors.iter().map(tensor).collect(),
        overall_relative_rms: Some(0.0943),
        warnings: vec![
            "2 of 272 tensors could not be compared: blk.4.attn_v.weight (NaN or infinite weights in the converted file: 3), \
                        blk.9.attn_k.weight (missing in the converted file)"
                .into(),
        ],
    }
}

fn converted_store() -> Store {
    let mut store = store_with_model_and_machine();
    store.conversions = [Level::Q8_0, Level::Q3_K_M].map(conversion).to_vec();
    store
}

fn measured_store() -> Store {
    let mut store = converted_store();
    let errors = errors_of(&store, conversion(Level::Q3_K_M).path);
    store.tensor_errors = Slot::Ready(Arc::new(errors));
    store
}

/// The same with 120 layers.
fn deep_store() -> Store {
    let mut store = measured_store();
    let mut errors = (**store.tensor_errors.ready().unwrap()).clone();
    let layers: Vec<TensorError> = errors.tensors.iter().filter(|tensor| tensor.layer_idx.is_some()).cloned().collect();
    for copy in 1..4 {
        errors.tensors.extend(layers.iter().cloned().map(|tensor| {
            let layer_idx = tensor.layer_idx.map(|layer_idx| layer_idx + 30 * copy);
            TensorError { name: format!("blk.{}.{}.weight", layer_idx.unwrap(), tensor.kind), layer_idx, ..tensor }
        }));
    }
    store.tensor_errors = Slot::Ready(Arc::new(errors));
    store
}

fn harness(store: Store) -> Harness<'static, PageState> {
    page_harness_sized(tensors_view_ui, store, Form::default(), vec2(1140.0, 1200.0), 1.0, egui::Theme::Dark)
}

#[test]
fn without_a_converted_file_the_way_to_one_is_shown() {
    let mut harness = harness(store_with_model_and_machine());
    click(&mut harness, "Go to Optimize");
    assert_eq!((harness.state().form.page, harness.state().commands.len()), (Page::Optimize, 0));
}

#[test]
fn the_chosen_file_is_measured() {
    let mut harness = harness(converted_store());
    click(&mut harness, "Measure errors");
    // The latest file is the first choice; another one is taken from the list.
    harness.get_by_role_and_label(Role::ComboBox, "Converted file").click();
    harness.run();
    harness.get_by_label_contains("Q8_0").click();
    harness.run();
    click(&mut harness, "Measure errors");
    let expected = [Level::Q3_K_M, Level::Q8_0].map(|level| Command::TensorErrors(conversion(level).path));
    assert_eq!(harness.state().commands, expected);
    assert!(!has(&harness, "Relative RMS error by layer"), "nothing is measured yet");
}

#[test]
fn a_comparison_at_work_shows_its_progress_and_can_be_cancelled() {
    let mut store = converted_store();
    let progress = Progress { stage: "comparing blk.3.ffn_up.weight".into(), done: 50, total: 200, unit: ProgressUnit::Bytes };
    let status = JobStatus::Running { progress: Some(progress), elapsed_secs: 1.0, is_cancelling: false };
    store.jobs.push(JobRecord::new(JobId(7), JobKind::TensorErrors(conversion(Level::Q8_0).path)).with_status(status));
    store.tensor_errors = Slot::Waiting { id: JobId(7) };
    let mut harness = harness(store);
    assert!(harness.get_by_label("Measure errors").accesskit_node().is_disabled());
    assert!(has(&harness, "comparing blk.3.ffn_up.weight"));
    click(&mut harness, "Cancel Compare the tensors of SmolLM2-135M-Instruct-Q8_0.gguf");
    assert_eq!(harness.state().commands, [Command::Cancel(JobId(7))]);
}

#[test]
fn a_failure_is_told_but_a_cancelled_comparison_is_none() {
    let with = |error: Error| harness(Store { tensor_errors: Slot::Failed(error), ..converted_store() });
    assert!(has(&with(Error::SourceChanged { path: "/m/x.gguf".into() }), "Source changed while it was read"));
    assert!(!has(&with(Error::Cancelled), "ancelled"));
}

#[test]
fn results_are_shown_for_the_file_they_are_of() {
    let mut harness = harness(measured_store());
    harness.get_by_label_contains("Relative RMS error by kind and layer, up to");
    assert!(has(&harness, "9.43 %") && has(&harness, "2 of 272 tensors could not be compared"));
    assert!(has(&harness, "272 tensors") && has(&harness, "copied, no error"));
    harness.get_by_label("Measure errors again");
    harness.get_by_role_and_label(Role::ComboBox, "Converted file").click();
    harness.run();
    harness.get_by_label_contains("Q8_0").click();
    harness.run();
    assert!(!has(&harness, "Relative RMS error by kind"), "of another file");
    harness.get_by_label("Measure errors");
}

#[test]
fn the_table_is_sorted_filtered_and_copied() {
    let mut harness = harness(measured_store());
    let top_of = |harness: &Harness<'_, PageState>, name: &str| harness.query_by_label(name).map(|node| node.rect().top());
    // Without an error, then the largest errors.
    assert!(top_of(&harness, "blk.9.attn_k.weight").unwrap() < top_of(&harness, "blk.14.ffn_up.weight").unwrap());
    assert_eq!(harness.query_all_by_label("not comparable").count(), 3, "two rows and the legend");
    click(&mut harness, "Sort by relative rms error");
    assert!(top_of(&harness, "blk.9.attn_k.weight").is_none(), "unknown last, far below the rows in view");
    click(&mut harness, "Sort by relative rms error");
    click(&mut harness, "Sort by relative rms error");
    harness.get_by_label("Search errors").focus();
    harness.run();
    harness.get_by_label("Search errors").type_text("attn_q blk.2");
    harness.run();
    assert!(has(&harness, "11 of 272 tensors"));
    click(&mut harness, "Copy errors as TSV");
    let [Command::Copy(tsv)] = &harness.state().commands[..] else { panic!("{:?}", harness.state().commands) };
    let lines: Vec<Vec<&str>> = tsv.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(lines.len(), 12);
    assert!(lines[1..].is_sorted_by_key(|cells| std::cmp::Reverse(cells[6].parse::<f64>().unwrap().to_bits())), "{tsv}");
}

fn click_at(harness: &mut Harness<'_, PageState>, at: egui::Pos2) {
    harness.hover_at(at);
    harness.run();
    harness.drag_at(at);
    harness.drop_at(at);
    harness.run();
}

#[test]
fn cells_rows_of_the_map_and_rows_of_the_table_choose_tensors() {
    let mut harness = harness(measured_store());
    let map = harness.get_by_label_contains("Relative RMS error by kind and layer, up to").rect();
    let chosen = |harness: &Harness<'_, PageState>| harness.state().form.errors_chosen.iter().cloned().collect::<Vec<_>>();
    // The last column but the one outside the layers, in the row of the second kind in the file.
    let cell = egui::pos2(map.right() - 56.0 - 16.0 - 5.0, map.top() + 2.5 * 20.0);
    click_at(&mut harness, cell);
    assert_eq!(chosen(&harness), ["blk.29.ffn_down.weight"]);
    click_at(&mut harness, cell);
    assert!(chosen(&harness).is_empty(), "a second click takes it back");
    click_at(&mut harness, egui::pos2(map.left() + 8.0, map.top() + 2.5 * 20.0));
    assert_eq!(chosen(&harness).len(), 30, "all of the kind");
    click(&mut harness, "Choose no tensors");
    click(&mut harness, "Select blk.9.attn_k.weight");
    assert_eq!(chosen(&harness), ["blk.9.attn_k.weight"]);
    click(&mut harness, "Select all tensors of the table");
    assert_eq!(chosen(&harness).len(), 272);
    let box_of_all =
        |harness: &Harness<'_, PageState>| harness.get_by_label("Select all tensors of the table").accesskit_node().toggled();
    assert_eq!(box_of_all(&harness), Some(egui::accesskit::Toggled::True));
    click(&mut harness, "Select all tensors of the table");
    assert!(chosen(&harness).is_empty());
    harness.state_mut().form.errors_filter = "no such tensor".into();
    harness.run();
    assert!(has(&harness, "0 of 272 tensors"));
    assert_eq!(box_of_all(&harness), Some(egui::accesskit::Toggled::False), "none is not all");
}

#[test]
fn chosen_tensors_get_more_bits_as_a_recipe_on_the_optimize_page() {
    let mut store = measured_store();
    let mut model = (**store.model.ready().unwrap()).clone();
    for tensor in model.tensors.iter_mut().filter(|tensor| tensor.dtype.is_quantized()) {
        tensor.dtype = crate::model::DType::F16;
        tensor.size_bytes = 2 * tensor.n_elements();
    }
    let model = Arc::new(model);
    store.model = Slot::Ready(Arc::clone(&model));
    let names: std::collections::BTreeSet<String> = (0..12).map(|idx| format!("blk.{idx}.ffn_up.weight")).collect();
    let form = Form { errors_chosen: names.clone(), ..Form::default() };
    let mut harness = page_harness_sized(tensors_view_ui, store, form, vec2(1140.0, 1200.0), 1.0, egui::Theme::Dark);
    let found =
        crate::advise::more_bits(&model, crate::model::Preset::Q3_K_M, &crate::advise::Overrides::default(), &names).unwrap();
    let grown = crate::units::bytes_change_text(found.from_bytes, found.to_bytes);
    click(&mut harness, &format!("Give these 12 tensors more bits ({grown})"));
    let form = &harness.state().form;
    assert_eq!(
        (form.page, form.recipe.level, form.levels.iter().copied().collect::<Vec<_>>()),
        (Page::Optimize, Some(Level::Q3_K_M), vec![Level::Q3_K_M])
    );
    assert_eq!(form.recipe.of(&model), found.overrides);
}

#[test]
fn nothing_is_wider_than_the_view() {
    // The narrowest is what the smallest window leaves to a page.
    for width in [820.0, 1140.0, 1500.0] {
        let harness =
            page_harness_sized(tensors_view_ui, deep_store(), Form::default(), vec2(width, 1200.0), 1.0, egui::Theme::Light);
        check_layout(&harness);
    }
}

/// Draws the view for people to look at.
#[test]
#[ignore = "writes pictures into the folder that PLANISH_SHOTS names"]
fn pictures() {
    for (variant, name, theme) in [(egui::Theme::Dark, "dark", Theme::Dark), (egui::Theme::Light, "light", Theme::Light)] {
        for (store, what, width) in
            [(converted_store(), "before", 1140.0), (measured_store(), "after", 1140.0), (deep_store(), "deep", 820.0)]
        {
            let form = Form { theme, ..Form::default() };
            let mut harness = page_harness_sized(tensors_view_ui, store, form, vec2(width, 1000.0), 1.0, variant);
            if what == "after" {
                let map = harness.get_by_label_contains("Relative RMS error by kind and layer, up to").rect();
                harness.hover_at(map.left_top() + vec2(400.0, 70.0));
                harness.run();
                harness.step();
            }
            shoot(&mut harness, &format!("tensors-{what}-{name}"));
        }
    }
}
