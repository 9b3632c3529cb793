//! The Model page: opening, facts, tables, copies.

use std::sync::Arc;

use crate::error::Error;
use crate::format::CachedModel;
use crate::state::{Command, Form, Page, Slot, Store};
use crate::ui::test_support::{PageState, page_harness, sample_model, shoot, store_with_model_and_machine};
use crate::worker::Picked;
use eframe::egui;
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;

fn harness(store: Store, form: Form) -> Harness<'static, PageState> {
    page_harness(crate::ui::window_ui, store, form)
}

fn ready() -> Harness<'static, PageState> {
    harness(store_with_model_and_machine(), Form::default())
}

#[test]
fn an_empty_page_asks_for_a_model() {
    let mut harness = harness(Store::default(), Form::default());
    harness.get_by_label("Open…").click();
    harness.run();
    harness.get_by_label("Open folder…").click();
    harness.run();
    harness.get_by_label("Try the sample").click();
    harness.run();
    assert_eq!(harness.state().commands, [Command::Pick(Picked::Model), Command::Pick(Picked::ModelFolder), Command::TrySample]);
}

#[test]
fn models_of_the_cache_are_listed() {
    let model = |name: &str, path: &str| CachedModel { name: name.into(), path: path.into(), size_bytes: 270_000_000 };
    let cached = vec![model("ada/tiny", "/cache/tiny"), model("bob/big-GGUF/big-Q8_0.gguf", "/cache/big-Q8_0.gguf")];
    let mut harness = harness(Store { cached, ..Store::default() }, Form::default());
    shoot(&mut harness, "model-cached");
    harness.get_by_label("Open ada/tiny").click();
    harness.run();
    harness.get_by_label("Look again for models in the cache").click();
    harness.run();
    assert_eq!(harness.state().commands, [Command::OpenModel("/cache/tiny".into()), Command::FindModels]);
}

#[test]
fn a_typed_path_is_opened_by_button_and_by_enter() {
    let mut harness = harness(Store::default(), Form::default());
    harness.get_by_label("Path of a model").focus();
    harness.run();
    harness.get_by_label("Path of a model").type_text(" /tmp/a.gguf ");
    harness.run();
    harness.get_by_label("Open").click();
    harness.run();
    harness.get_by_label("Path of a model").focus();
    harness.run();
    harness.key_press(egui::Key::Enter);
    harness.run();
    let expected = Command::OpenModel("/tmp/a.gguf".into());
    assert_eq!(harness.state().commands, [expected.clone(), expected]);
}

#[test]
fn recent_models_can_be_opened_and_forgotten() {
    let mut form = Form::default();
    form.remember("/m/one.gguf".into());
    form.remember("/m/two.gguf".into());
    let mut harness = harness(Store::default(), form);
    harness.get_by_label("Open one.gguf").click();
    harness.run();
    harness.get_by_label("Forget two.gguf").click();
    harness.run();
    let expected = [Command::OpenModel("/m/one.gguf".into()), Command::ForgetRecent("/m/two.gguf".into())];
    assert_eq!(harness.state().commands, expected);
}

#[test]
fn an_error_is_shown_with_its_hint_and_can_be_copied() {
    let error = Error::UnknownFormat { found: "3C 21 64 6F".into(), path: "/m/page.html".into() };
    let store = Store { model: Slot::Failed(error.clone()), ..Store::default() };
    let mut harness = harness(store, Form::default());
    shoot(&mut harness, "model-error");
    harness.get_by_label_contains("a failed download is often an HTML page");
    harness.get_by_label("Copy error").click();
    harness.run();
    assert_eq!(harness.state().commands, [Command::Copy(format!("{error}\nhint: {}", error.hint()))]);
}

#[test]
fn facts_of_the_header_are_shown() {
    let harness = ready();
    for fact in ["135 M", "93.8 MiB", "8,192", "49,152", "3 heads share one KV head", "apache-2.0", "GGUF v3"] {
        assert!(harness.query_all_by_label(fact).next().is_some(), "{fact}");
    }
    harness.get_by_label_contains("Data types: Q4_1 ");
}

#[test]
fn a_file_that_planish_made_says_so_and_can_be_verified() {
    assert!(ready().query_by_label("Verify this file").is_none());
    let mut model = sample_model();
    let path = model.path.clone();
    model.metadata.0.extend(crate::model::provenance_metadata("Q4_1 --pure", false, None).0);
    let store = Store { model: Slot::Ready(Arc::new(model)), ..store_with_model_and_machine() };
    let mut harness = harness(store, Form::default());
    shoot(&mut harness, "model-origin");
    harness.get_by_label("Q4_1 --pure");
    harness.get_by_label("Verify this file").scroll_to_me();
    harness.run();
    harness.get_by_label("Verify this file").click();
    harness.run();
    assert_eq!(harness.state().commands, [Command::Verify(path)]);
}

#[test]
fn tensors_are_filtered_sorted_and_counted() {
    let mut harness = ready();
    harness.get_by_label("Search tensors").scroll_to_me();
    harness.run();
    harness.get_by_label("Search tensors").focus();
    harness.run();
    harness.get_by_label("Search tensors").type_text("attn_k");
    harness.run();
    harness.get_by_label("30 of 272 tensors");
    harness.get_by_label("blk.0.attn_k.weight");
    harness.get_by_label("Sort by layer").click();
    harness.run();
    harness.get_by_label("Sort by layer").click();
    harness.run();
    harness.get_by_label("blk.29.attn_k.weight");
    assert!(harness.query_by_label("blk.0.attn_k.weight").is_none(), "30 rows do not fit the view");
}

#[test]
fn metadata_and_template_can_be_copied() {
    let mut harness = ready();
    harness.get_by_label("Metadata").scroll_to_me();
    harness.run();
    harness.get_by_label("Metadata").click();
    harness.run();
    harness.get_by_label("Copy general.architecture").click();
    harness.run();
    harness.get_by_label("Tokenizer and chat template").click();
    harness.run();
    harness.get_by_label("Copy chat template").click();
    harness.run();
    let template = sample_model().metadata.str("tokenizer.chat_template").unwrap().into_owned();
    assert_eq!(harness.state().commands, [Command::Copy("llama".into()), Command::Copy(template)]);
}

#[test]
fn an_empty_model_is_no_problem() {
    let mut model = sample_model();
    model.tensors.clear();
    model.metadata = crate::model::Metadata::default();
    model.hyperparameters = crate::model::Hyperparameters::default();
    model.warnings = vec!["tokenizer missing".into()];
    let mut store = store_with_model_and_machine();
    store.model = Slot::Ready(Arc::new(model));
    let mut harness = harness(store, Form::default());
    shoot(&mut harness, "model-without-anything");
    harness.get_by_label("Tokenizer missing");
    harness.get_by_label("This file holds no tensors.");
    harness.get_by_label_contains("This is a file with settings and no weights");
}

#[test]
fn another_model_is_opened_from_the_menu_which_then_closes() {
    let mut form = Form::default();
    form.remember("/m/two.gguf".into());
    let mut harness = harness(store_with_model_and_machine(), form);
    assert!(harness.query_by_label("Path of a model").is_none());
    harness.get_by_label("Open recent").click();
    harness.run();
    shoot(&mut harness, "model-menu");
    harness.get_by_label("Path of a model").click();
    harness.run();
    harness.get_by_label("Open two.gguf").click();
    harness.run();
    assert_eq!(harness.state().commands, [Command::OpenModel("/m/two.gguf".into())]);
    assert!(harness.query_by_label("Path of a model").is_none(), "the menu is still open");
}

/// The store with the sample model after `change` has put something in its way.
fn hindered(change: impl FnOnce(&mut crate::model::Model)) -> Store {
    let mut store = store_with_model_and_machine();
    let mut model = sample_model();
    change(&mut model);
    store.model = Slot::Ready(Arc::new(model));
    store
}

#[test]
fn what_llama_cpp_cannot_load_is_told_and_no_level_is_offered() {
    let store = hindered(|model| model.obstacles.push("a tensor is missing: blk.2.ffn_up.weight".into()));
    let mut harness = harness(store, Form::default());
    harness.get_by_label_contains("llama.cpp cannot load this file: a tensor is missing: blk.2.ffn_up.weight.");
    assert!(harness.query_by_label_contains("Q4_K_M to").is_none(), "no levels in the preflight");
    shoot(&mut harness, "model-obstacle");
    for page in [Page::Plan, Page::Optimize] {
        harness.state_mut().form.page = page;
        harness.run();
        harness.get_by_label("llama.cpp cannot load this model");
        assert!(harness.query_by_label_contains("tok/s").is_none(), "nothing is predicted");
    }
}

#[test]
fn what_this_llama_cpp_does_not_know_can_be_converted_and_is_not_predicted() {
    let unknown = "the llama.cpp of this version does not know the pre-tokenizer new: it cannot run it";
    let store = hindered(|model| {
        model.unknown.push(unknown.into());
        model.warnings.push(unknown.into());
    });
    let (model, machine) = (store.model.ready().unwrap(), store.machine.ready().unwrap());
    let plan = crate::advise::advise(model, machine, &crate::advise::Goal::default());
    assert!(plan.candidates.iter().filter(|candidate| candidate.level.is_some()).count() > 20 && plan.recommended.is_none());
    assert!(plan.candidates.iter().all(|candidate| candidate.decode_tokens_per_sec.is_none()));
    let mut harness = harness(store, Form::default());
    harness.get_by_label_contains("does not know the pre-tokenizer new");
    harness.state_mut().form.page = Page::Plan;
    harness.run();
    harness.get_by_label_contains(
        "So no conversion is recommended: the llama.cpp of this version does not know the pre-tokenizer new",
    );
    assert!(harness.query_by_label_contains("tok/s").is_none(), "nothing is predicted");
    harness.state_mut().form.page = Page::Optimize;
    harness.run();
    harness.get_by_label("Choose output folder");
}

#[test]
fn what_is_no_model_is_called_what_it_is() {
    let store = hindered(|model| model.metadata.set("general.type", crate::model::Value::Str("imatrix".into())));
    let mut harness = harness(store, Form::default());
    harness.get_by_label_contains("This is an importance matrix, not a model");
    harness.state_mut().form.page = Page::Optimize;
    harness.run();
    harness.get_by_label("This file is not a model");
    harness.get_by_label_contains("--imatrix");
}
