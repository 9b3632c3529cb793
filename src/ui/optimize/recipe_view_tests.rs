//! The card with the tensor types on the Optimize page, driven by accessible names. With `PLANISH_SHOTS=folder`, `pictures` draws it.

use std::sync::Arc;
use std::time::Instant;

use eframe::egui::accesskit::Role;
use eframe::egui::{self, vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT as _, Queryable as _};

use crate::advise::{Fallback, Overrides, Planner};
use crate::model::{DType, Level, Model};
use crate::state::{Command, Form, Page, Slot, Store, Theme};
use crate::ui::layout_check::check_layout;
use crate::ui::test_support::{
    PageState, click, has, model_with_tensors, optimize_ui, page_harness_sized, sample_model, shoot, store_with_model_and_machine,
};
use crate::units::{exact_bytes_change_text, exact_bytes_text};

fn form(levels: &[Level]) -> Form {
    let mut form = Form { levels: levels.iter().copied().collect(), ..Form::default() };
    form.recipe.is_open = true;
    // Calibration, which is suggested, is none of the changes that are looked at here.
    form.recipe.set(&sample_model(), Overrides::default());
    form
}

fn harness(store: Store, form: Form) -> Harness<'static, PageState> {
    page_harness_sized(optimize_ui, store, form, vec2(1140.0, 3200.0), 1.0, egui::Theme::Dark)
}

fn model(harness: &Harness<'_, PageState>) -> Arc<Model> {
    Arc::clone(harness.state().store.model.ready().unwrap())
}

fn overrides(harness: &Harness<'_, PageState>) -> Overrides {
    harness.state().form.recipe.of(&model(harness))
}

/// Opens the field of this name and takes the entry that starts with `entry`.
fn choose(harness: &mut Harness<'_, PageState>, field: &str, entry: &str) {
    let of_field = |label: &str| label == field || label.strip_prefix(field).is_some_and(|rest| rest.starts_with(": "));
    let open =
        harness.get_all_by_role(Role::ComboBox).find(|node| node.accesskit_node().label().is_some_and(|label| of_field(&label)));
    open.unwrap().click();
    harness.run();
    harness
        .get_all_by_role(Role::Button)
        .find(|node| node.accesskit_node().label().is_some_and(|label| label.starts_with(entry)))
        .unwrap()
        // By its action: the entry may be below what the list shows.
        .click_accesskit();
    harness.run();
    // Such a click leaves the list open.
    harness.key_press(egui::Key::Escape);
    harness.run();
}

#[test]
fn types_of_kinds_and_tensors_are_chosen_and_sizes_follow_to_the_byte() {
    let mut harness = harness(store_with_model_and_machine(), form(&[Level::Q8_0]));
    let whole = model(&harness);
    let size_of = |overrides: &Overrides| {
        let planner = Planner::changed(&whole, None, &whole, overrides).unwrap();
        planner.output_size_bytes(&planner.recipe(crate::model::Preset::Q8_0)).unwrap()
    };
    let plain = size_of(&Overrides::default());
    assert!(has(&harness, &exact_bytes_text(plain)) && has(&harness, "0 of 211"));
    choose(&mut harness, "Type of attn_v.weight", "Q5_1");
    assert_eq!(overrides(&harness).chosen_for_kind("attn_v.weight"), Some(DType::Q5_1));
    choose(&mut harness, "Type of blk.0.attn_k.weight", "F16");
    let found = overrides(&harness);
    assert_eq!(found.chosen_for_tensor("blk.0.attn_k.weight"), Some(DType::F16));
    assert!(has(&harness, "31 of 211") && has(&harness, &exact_bytes_text(size_of(&found))));
    assert!(has(&harness, &exact_bytes_change_text(plain, size_of(&found))));
    choose(&mut harness, "Type of blk.0.attn_k.weight", "As the level");
    assert!(has(&harness, "30 of 211"));
    click(&mut harness, "Copy options");
    let options = r"--tensor-type '^blk\.\d+\.attn_v\.weight$=Q5_1'".to_string();
    assert_eq!(harness.state().commands, [Command::Copy(options)]);
    click(&mut harness, "Reset all tensor types");
    assert_eq!(overrides(&harness), Overrides::default());
    assert!(has(&harness, "0 of 211"));
}

#[test]
fn all_outputs_are_counted_with_the_changes_and_have_names_of_their_own() {
    let mut harness = harness(store_with_model_and_machine(), form(&[Level::Q8_0]));
    let path = crate::convert::output_path(&model(&harness), Level::Q8_0, model(&harness).path.parent().unwrap());
    let label =
        |harness: &Harness<'_, PageState>| harness.get_by_label_contains("Convert 1 level").accesskit_node().label().unwrap();
    let before = label(&harness);
    let kind = crate::state::JobKind::Convert(vec![Level::Q8_0]);
    let job = crate::state::JobRecord { outputs: vec![path], ..crate::state::JobRecord::new(crate::worker::JobId(1), kind) };
    harness.state_mut().store.jobs.push(job);
    harness.run();
    assert!(has(&harness, "Q8_0 is being converted already"));
    choose(&mut harness, "Type of ffn_down.weight", "Q4_K ");
    assert!(!has(&harness, "Q8_0 is being converted already"), "the changed file has another name");
    assert_ne!(label(&harness), before);
    assert!(has(&harness, "Sizes on the cards are those of the plain levels"));
}

#[test]
fn menus_layers_and_purity_are_chosen() {
    let mut harness = harness(store_with_model_and_machine(), form(&[Level::Q4_K_M, Level::Q2_K]));
    choose(&mut harness, "Rows that do not fit", "Same size");
    click(&mut harness, "One type for all");
    let field = harness.get_by_role_and_label(Role::TextInput, "Leave out layers");
    field.focus();
    field.type_text("3,5-6");
    harness.run();
    let found = overrides(&harness);
    assert_eq!((found.fallback, found.pure), (Fallback::SameSize, true));
    assert_eq!(found.pruned_layers, [3, 5, 6].into());
    assert!(has(&harness, "3 of 30 layers are left out"));
    choose(&mut harness, "Level", "Q2_K");
    assert!(has(&harness, "Q2_K file"));
}

#[test]
fn only_levels_with_types_to_change_are_listed() {
    let mlx: Level = "mlx:4-bit-g64".parse().unwrap();
    let mut harness = harness(store_with_model_and_machine(), form(&[Level::Q8_0, Level::Q2_K, mlx]));
    let n_buttons = |harness: &Harness<'_, PageState>, level: Level| {
        let is_named = |label: Option<String>| label.is_some_and(|label| label == level.name());
        harness.get_all_by_role(Role::Button).filter(|node| is_named(node.accesskit_node().label())).count()
    };
    let before = [Level::Q2_K, mlx].map(|level| n_buttons(&harness, level));
    let is_level = |label: Option<String>| label.is_some_and(|label| label == "Level" || label.starts_with("Level: "));
    harness.get_all_by_role(Role::ComboBox).find(|node| is_level(node.accesskit_node().label())).unwrap().click();
    harness.run();
    assert_eq!([Level::Q2_K, mlx].map(|level| n_buttons(&harness, level)), [before[0] + 1, before[1]]);
}

#[test]
fn what_cannot_be_done_says_why_and_does_not_convert() {
    let mut harness = harness(store_with_model_and_machine(), form(&[Level::Q4_K_M]));
    let field = harness.get_by_role_and_label(Role::TextInput, "Leave out layers");
    field.focus();
    field.type_text("30");
    harness.run();
    assert!(has(&harness, "there is no layer 30"));
    assert!(harness.get_by_label_contains("Convert 1 level").accesskit_node().is_disabled());
    click(&mut harness, "Reset all tensor types");
    assert!(!harness.get_by_label_contains("Convert 1 level").accesskit_node().is_disabled());
    let field = harness.get_by_role_and_label(Role::TextInput, "Leave out layers");
    field.focus();
    field.type_text("x");
    harness.run();
    assert!(has(&harness, "is not a layer number"));
}

#[test]
fn another_model_has_no_changes() {
    let mut harness = harness(store_with_model_and_machine(), form(&[Level::Q8_0]));
    click(&mut harness, "One type for all");
    let other = Model { path: "/other.gguf".into(), ..(*model(&harness)).clone() };
    harness.state_mut().store.model = Slot::Ready(Arc::new(other));
    harness.run();
    assert_eq!(overrides(&harness).of_types(), Overrides::default());
    assert!(has(&harness, "Each level as it is"));
}

#[test]
fn a_type_that_needs_a_matrix_is_told() {
    let mut harness = harness(store_with_model_and_machine(), form(&[Level::Q4_K_M]));
    choose(&mut harness, "Type of ffn_down.weight", "IQ2_XS");
    assert!(has(&harness, "IQ2_XS is worth nothing without an importance matrix"));
    harness.state_mut().form.imatrix_path = "/data/text.imatrix".into();
    harness.run();
    assert!(!has(&harness, "IQ2_XS is worth nothing"));
}

#[test]
fn ten_thousand_rows_scroll_fluidly() {
    const N_FRAMES: u32 = 20;
    let mut store = store_with_model_and_machine();
    let mut long = model_with_tensors(10_000);
    for tensor in &mut long.tensors {
        tensor.dtype = DType::F16;
        tensor.size_bytes = tensor.n_elements() * 2;
    }
    store.model = Slot::Ready(Arc::new(long));
    let mut harness =
        page_harness_sized(optimize_ui, store, form(&[Level::Q4_K_M]), vec2(1140.0, 2400.0), 1.0, egui::Theme::Dark);
    assert!(has(&harness, "10,000 of 10,000 tensors"));
    let started = Instant::now();
    for _ in 0..N_FRAMES {
        harness.step();
    }
    let ms_per_frame = started.elapsed().as_secs_f64() * 1e3 / f64::from(N_FRAMES);
    println!("{ms_per_frame:.1} ms for a frame");
    assert!(ms_per_frame < 50.0, "{ms_per_frame} ms");
}

#[test]
fn nothing_is_wider_than_the_page() {
    let check = |width: f32| {
        let harness = page_harness_sized(
            optimize_ui,
            store_with_model_and_machine(),
            form(&[Level::Q4_K_M]),
            vec2(width, 3000.0),
            1.0,
            egui::Theme::Dark,
        );
        check_layout(&harness);
    };
    check(820.0);
    check(1140.0);
}

/// Draws the page for people to look at.
#[test]
#[ignore = "writes pictures into the folder that PLANISH_SHOTS names"]
fn pictures() {
    for (size_name, size, scale) in
        [("1280", vec2(1280.0, 2400.0), 1.0), ("1920", vec2(1920.0, 1800.0), 1.0), ("2x", vec2(1280.0, 1900.0), 2.0)]
    {
        for (variant, variant_name, theme) in
            [(egui::Theme::Light, "light", Theme::Light), (egui::Theme::Dark, "dark", Theme::Dark)]
        {
            let store = store_with_model_and_machine();
            let mut form = Form { page: Page::Optimize, theme, ..form(&[Level::Q4_K_M, Level::Q2_K]) };
            let mut overrides = Overrides { fallback: Fallback::SameSize, pruned_layers: [28].into(), ..Overrides::default() };
            overrides.choose_for_kind("attn_v.weight", Some(DType::Q8_0));
            overrides.choose_for_kind("ffn_down.weight", Some(DType::IQ2_XS));
            overrides.choose_for_tensor("blk.1.attn_k.weight", Some(DType::F16));
            form.recipe.set(store.model.ready().unwrap(), overrides);
            let mut harness = page_harness_sized(crate::ui::window_ui, store, form, size, scale, variant);
            shoot(&mut harness, &format!("recipe-{size_name}-{variant_name}"));
            harness.get_by_label_contains("Type of attn_v.weight").click();
            harness.run();
            shoot(&mut harness, &format!("recipe-{size_name}-{variant_name}-list"));
        }
    }
}
