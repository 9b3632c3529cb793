//! The headline of the Compare page, driven by accessible names. With `PLANISH_SHOTS=folder`, `headline_pictures` also draws it.

use std::sync::Arc;

use eframe::egui;
use eframe::egui::accesskit::Role;
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;

use super::page::compare_page_ui;
use crate::advise::Preset;
use crate::bench::history::{Measurement, test_runs};
use crate::bench::quality::{QualityOutcome, QualityRun};
use crate::bench::{Outcome, Run};
use crate::convert::Conversion;
use crate::deploy::ChartKind;
use crate::model::Level;
use crate::state::{Command, Form, Slot, Store};
use crate::ui::test_support::{PageState, click, has, page_harness_sized, sample_model, shoot, store_with_model_and_machine};

/// Two levels: `(level, bytes, decode speed, mean KL divergence)`.
const LEVELS: [(Level, u64, f64, f64); 2] = [(Level::Q8_0, 53_000_000, 30.0, 0.001), (Level::Q2_K, 30_000_000, 36.0, 0.5)];

fn measured_store() -> Store {
    let mut store = store_with_model_and_machine();
    let mut model = sample_model();
    // A name that a shell would split, and a source that had lost nothing.
    (model.path, model.size_bytes) = ("/home/ada/my models/Smol.gguf".into(), 100_000_000);
    for tensor in &mut model.tensors {
        tensor.dtype = crate::model::DType::F16;
    }
    let model = Arc::new(model);
    store.model = Slot::Ready(Arc::clone(&model));
    let speed_of = |path: &std::path::Path, decode: f64| {
        let Measurement::Speed(run) = test_runs::speed("x", &[decode, decode * 1.01]).measurement else { panic!() };
        Outcome { path: path.into(), result: Ok(Run { path: path.into(), ..*run }) }
    };
    store.outcomes.push(speed_of(&model.path, 20.0));
    for (level, size_bytes, decode, kld) in LEVELS {
        let path = model.path.with_file_name(format!("Smol-{level}.gguf"));
        store.outcomes.push(speed_of(&path, decode));
        store.conversions.push(Conversion {
            level,
            path: path.clone(),
            source: model.path.clone(),
            size_bytes,
            bits_per_weight: 8.5,
            elapsed_secs: 1.0,
            warnings: Vec::new(),
            check: None,
            changes: String::new(),
        });
        let Measurement::Quality(run) = test_runs::quality(level.name(), &[kld, kld]).measurement else { panic!() };
        store.quality.push(QualityOutcome { path: path.clone(), result: Ok(Arc::new(QualityRun { path, ..(*run).clone() })) });
    }
    store
}

fn harness(store: Store, form: Form) -> Harness<'static, PageState> {
    page_harness_sized(compare_page_ui, store, form, egui::vec2(1160.0, 1900.0), 1.0, egui::Theme::Dark)
}

#[test]
fn the_winner_stands_on_top_in_words_with_what_to_do() {
    let mut harness = harness(measured_store(), Form::default());
    let title = "Q8_0: 1.9x smaller, 1.5x faster, 9 of 10 next words the same";
    harness.get_by_role_and_label(Role::Heading, title);
    assert!(has(&harness, "Q8_0 is the smallest level here that passes the gates on quality"));
    assert!(harness.query_all_by_label("hard to notice?").count() >= 1, "the loss in a word");
    for button in [
        "Open the folder of the winner",
        "Copy the path of the winner",
        "Copy the command for llama-cli",
        "Copy the commands for Ollama",
    ] {
        click(&mut harness, button);
    }
    let path = "/home/ada/my models/Smol-Q8_0.gguf";
    let ollama =
        format!("printf 'FROM %s\\n' '{path}' > Modelfile && ollama create smol:q8_0 -f Modelfile && ollama run smol:q8_0");
    assert_eq!(
        harness.state().commands,
        [
            Command::Reveal(path.into()),
            Command::Copy(path.into()),
            Command::Copy(format!("llama-cli --model '{path}'")),
            Command::Copy(ollama),
        ]
    );
}

#[test]
fn a_wish_is_told_in_words_and_never_as_a_failure() {
    let limits = Preset::built_in().into_iter().last().unwrap().limits;
    let all_pass = {
        let mut store = measured_store();
        store.conversions.truncate(1);
        store
    };
    let harness = harness(all_pass, Form { limits, ..Form::default() });
    assert!(has(&harness, "Too slow for your wish: 1.50 of 2.00 ×"));
    assert!(has(&harness, "Too much memory for your wish: 100 of 50.0 %"));
    assert_eq!(harness.query_all_by_label("FAIL").count(), 0, "a wish is no verdict");
    assert!(harness.query_all_by_label("PASS").count() >= 1);
}

#[test]
fn without_a_level_that_passes_the_closest_is_named_with_what_to_do() {
    let mut store = measured_store();
    store.conversions.remove(0);
    let harness = harness(store, Form::default());
    assert!(has(&harness, "None passes yet"));
    assert!(has(&harness, "No level here passes the gates on quality; Q2_K comes closest and fails mean KL divergence"));
    assert!(has(&harness, "Convert and measure a larger level"));
}

#[test]
fn the_plot_answers_the_question_with_what_is_measured() {
    let form = Form::default();
    assert_eq!(form.plot(&[]), ChartKind::SizeSpeed);
    let rows = crate::deploy::test_rows::rows();
    assert_eq!(form.plot(&rows), ChartKind::SizeLoss);
    assert_eq!(Form { compare_plot: Some(ChartKind::Memory), ..form }.plot(&rows), ChartKind::Memory);
}

#[test]
fn headline_pictures() {
    for (name, variant) in [("headline-dark", egui::Theme::Dark), ("headline-light", egui::Theme::Light)] {
        let size = egui::vec2(1160.0, 1400.0);
        let mut harness = page_harness_sized(compare_page_ui, measured_store(), Form::default(), size, 1.0, variant);
        shoot(&mut harness, name);
    }
}
