//! The window while a checkpoint is open: facts, checklist, and the way to its levels.

use std::sync::Arc;

use eframe::egui;
use eframe::egui::accesskit::Role;
use egui_kittest::kittest::{NodeT as _, Queryable};

use crate::advise::{CheckedCheckpoint, Room, checklist};
use crate::format::read_checkpoint;
use crate::format::test_checkpoints::{llama_tensors, write_llama, write_safetensors};
use crate::import::checked_model;
use crate::model::Level;
use crate::state::{Command, Form, Page, Slot, Store, Theme};
use crate::ui::test_support::{has, page_harness, page_harness_sized, shoot, store_with_model_and_machine};

/// A checkpoint with all its layers, whose levels were found.
pub fn whole_checkpoint() -> Store {
    let found = crate::state::FoundNote { n_levels: 5, n_measured: 4, latest_unix_secs: Some(0), has_moments: false };
    Store { found: Some(found), ..store(3) }
}

/// The store after a checkpoint was opened that has `n_layers` of its three layers.
fn store(n_layers: usize) -> Store {
    let dir = tempfile::tempdir().unwrap();
    write_llama(dir.path());
    write_safetensors(&dir.path().join("model.safetensors"), &llama_tensors(n_layers));
    let mut checkpoint = read_checkpoint(dir.path()).unwrap();
    checkpoint.name = "ada/tiny".into();
    checkpoint.path = "/home/ada/models/tiny".into();
    let mut checklist =
        checklist(&checkpoint, &Room { disk_bytes: Some(100 << 30), memory_bytes: Some(8 << 30), ..Room::default() });
    let imported = checked_model(&checkpoint);
    checklist.finish(&imported);
    let model = imported.ok().map(Arc::new);
    let open = model.clone().map_or(Slot::Empty, Slot::Ready);
    let checkpoint = Some(Arc::new(CheckedCheckpoint { model, checkpoint, checklist, own_obstacle: None }));
    Store { model: open, checkpoint, conversions: Vec::new(), outcomes: Vec::new(), ..store_with_model_and_machine() }
}

#[test]
fn facts_and_checklist_are_shown() {
    let variants = [(egui::Theme::Dark, Theme::Dark, "checkpoint-dark"), (egui::Theme::Light, Theme::Light, "checkpoint-light")];
    for (variant, theme, name) in variants {
        let size = egui::vec2(1280.0, 1400.0);
        let form = Form { theme, ..Form::default() };
        let mut harness = page_harness_sized(crate::ui::window_ui, store(2), form, size, 1.0, variant);
        shoot(&mut harness, name);
        harness.get_by_label("ada/tiny");
        harness.get_by_label("LlamaForCausalLM, in GGUF llama");
        assert!(has(&harness, "config.json says 3 layers (num_hidden_layers), the tensors have 2"));
        harness.get_by_label_contains("cannot be converted");
        harness.get_by_label("Show in folder").click();
        harness.run();
        assert_eq!(harness.state().commands, [Command::Reveal("/home/ada/models/tiny".into())]);
    }
}

#[test]
fn no_page_offers_to_convert_one_that_is_incomplete() {
    for page in [Page::Plan, Page::Optimize, Page::Compare] {
        let mut harness = page_harness(crate::ui::window_ui, store(2), Form { page, ..Form::default() });
        harness.get_by_label("This checkpoint cannot be converted");
        let buttons: Vec<String> =
            harness.query_all_by_role(Role::Button).filter_map(|button| button.accesskit_node().label()).collect();
        let pages = Page::ALL.map(Page::label);
        let others: Vec<&str> = buttons.iter().map(String::as_str).filter(|name| !pages.contains(name)).collect();
        assert!(others.contains(&"Go to Model"), "{others:?}");
        assert!(others.iter().all(|name| !name.contains("Convert") && !name.contains("Measure")), "{page:?}: {others:?}");
        if page == Page::Plan {
            shoot(&mut harness, "checkpoint-plan");
        }
        harness.get_by_label("Go to Model").click();
        harness.run();
        assert_eq!(harness.state().form.page, Page::Model);
    }
}

#[test]
fn a_complete_one_is_planned_and_converted_like_a_model() {
    let size = egui::vec2(1280.0, 1000.0);
    let shown = |page| {
        let form = Form { page, levels: [Level::BF16, Level::Q8_0].into(), ..Form::default() };
        page_harness_sized(crate::ui::window_ui, store(3), form, size, 1.0, egui::Theme::Light)
    };
    let mut model = shown(Page::Model);
    shoot(&mut model, "checkpoint-complete");
    model.get_by_label_contains("BF16 keeps every weight, and what the others lose");
    let mut optimize = shown(Page::Optimize);
    shoot(&mut optimize, "checkpoint-optimize");
    optimize.get_by_label_contains("Convert 2 levels").click();
    optimize.run();
    assert_eq!(optimize.state().commands, [Command::Convert(vec![Level::BF16, Level::Q8_0])]);
    // It cannot be run itself.
    let compare = shown(Page::Compare);
    assert!(compare.get_by_label("Measure the source alone").accesskit_node().is_disabled());
}
