//! The window as a whole: rail, shortcuts, status bar, dropped files, long tables; and its portraits.

use std::sync::Arc;

use eframe::egui::{self, Key, Modifiers, Theme as Variant, Vec2, accesskit::Role};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT, Queryable};

use super::test_support::{
    Dropped, PageState, model_with_tensors, page_harness, page_harness_sized, scroll, shoot, store_with_model_and_machine, wheel,
};
use super::window_ui;
use crate::error::Error;
use crate::model::{Level, RuntimeId};
use crate::monitor::{Progress, ProgressUnit};
use crate::state::{Command, Form, JobKind, JobRecord, JobStatus, Page, Slot, Store, Theme};
use crate::worker::JobId;

fn window(store: Store) -> Harness<'static, PageState> {
    page_harness(window_ui, store, Form::default())
}

fn converting() -> JobRecord {
    let progress = Progress {
        stage: "quantizing blk.12.ffn_up.weight".into(),
        done: 420_000_000,
        total: 1_000_000_000,
        unit: ProgressUnit::Bytes,
    };
    let status = JobStatus::Running { progress: Some(progress), elapsed_secs: 2.0, is_cancelling: false };
    JobRecord::new(JobId(7), JobKind::Convert(vec![Level::Q8_0, Level::Q4_K_M])).with_status(status)
}

#[test]
fn pages_are_reached_by_click_and_by_keyboard() {
    let mut harness = window(Store::default());
    harness.get_by_role_and_label(Role::Button, "Machine").click();
    harness.run();
    assert_eq!(harness.state().form.page, Page::Machine);
    harness.key_press_modifiers(Modifiers::COMMAND, Key::Num1);
    harness.run();
    assert_eq!(harness.state().form.page, Page::Model);
    harness.key_press_modifiers(Modifiers::COMMAND, Key::Num5);
    harness.run();
    assert_eq!(harness.state().form.page, Page::Compare);
    // Free for a later page.
    harness.key_press_modifiers(Modifiers::COMMAND, Key::Num6);
    harness.run();
    assert_eq!(harness.state().form.page, Page::Compare);
}

#[test]
fn the_rail_can_be_walked_with_the_tabulator() {
    let mut harness = window(Store::default());
    harness.key_press(Key::Tab);
    harness.run();
    harness.key_press(Key::Tab);
    harness.run();
    harness.key_press(Key::Enter);
    harness.run();
    assert_eq!(harness.state().form.page, Page::Machine);
}

#[test]
fn marks_follow_jobs_and_results() {
    use super::shell::{PageMark, page_mark};
    let mut store = store_with_model_and_machine();
    let check = |store: &Store, page, expected| assert_eq!(page_mark(page, store), expected, "{page:?}");
    check(&Store::default(), Page::Plan, PageMark::None);
    check(&store, Page::Plan, PageMark::Ready);
    check(&store, Page::Optimize, PageMark::None);
    store.jobs.push(converting());
    check(&store, Page::Optimize, PageMark::Busy);
    store.jobs[0].status = JobStatus::Failed(Error::Cancelled);
    check(&store, Page::Optimize, PageMark::None);
    store.jobs[0].status = JobStatus::Failed(Error::Internal { message: "x".into() });
    check(&store, Page::Optimize, PageMark::Failed);
    for (page, kind) in [
        (Page::Optimize, JobKind::CollectImatrix("/m/a.gguf".into())),
        (Page::Optimize, JobKind::Weigh("/m/a.gguf".into())),
        (Page::Compare, JobKind::TensorErrors("/m/a-Q8_0.gguf".into())),
        (Page::Machine, JobKind::SetUp(RuntimeId::Mlx)),
    ] {
        store.jobs.push(JobRecord::new(JobId(9), kind));
        check(&store, page, PageMark::Busy);
    }
}

#[test]
fn a_running_job_is_told_in_full_and_can_be_cancelled() {
    let mut store = store_with_model_and_machine();
    store.jobs.push(converting());
    store.jobs.push(JobRecord::new(JobId(8), JobKind::Bench(3)));
    let mut harness = window(store);
    let bar = harness.get_by_role_and_label(Role::ProgressIndicator, "Converting to Q8_0, Q4_K_M");
    assert_eq!(bar.accesskit_node().numeric_value(), Some(42.0));
    harness.get_by_label("42 %");
    harness
        .get_by_label("Converting to Q8_0, Q4_K_M  ·  quantizing blk.12.ffn_up.weight  ·  210 MB/s  ·  2.8 s left  ·  1 waiting");
    harness.get_by_label("Cancel job").click();
    harness.run();
    assert_eq!(harness.state().commands, [Command::Cancel(JobId(7))]);
}

#[test]
fn the_status_bar_tells_how_the_last_job_ended() {
    let check = |status: JobStatus, expected: &str| {
        let mut store = Store::default();
        store.jobs.push(JobRecord::new(JobId(1), JobKind::Detect).with_status(status));
        window(store).get_by_label(expected);
    };
    check(JobStatus::Done { elapsed_secs: 0.5 }, "Done in 500 ms: Measuring this machine");
    check(JobStatus::Failed(Error::Cancelled), "Cancelled: Measuring this machine");
    check(JobStatus::Failed(Error::Internal { message: "x".into() }), "Failed: Internal error: x");
    window(Store::default()).get_by_label("Ready");
}

#[test]
fn a_refused_wish_is_told_on_every_page() {
    let store = Store { refusal: Some(Error::OutputExists { path: "/m/x.gguf".into() }), ..Store::default() };
    for page in [Page::Model, Page::Machine] {
        let harness = page_harness(window_ui, store.clone(), Form { page, ..Form::default() });
        harness.get_by_label("Output exists: /m/x.gguf");
    }
}

#[test]
fn the_variant_is_chosen_in_the_status_bar() {
    let mut harness = window(Store::default());
    harness.get_by_label("Light").click();
    harness.run();
    assert_eq!(harness.state().form.theme, Theme::Light);
    assert!(!harness.ctx.global_style().visuals.dark_mode);
}

#[test]
fn the_zoom_is_shown_and_reset() {
    let mut harness = window(Store::default());
    harness.ctx.set_zoom_factor(1.5);
    harness.run();
    harness.get_by_label("Reset zoom").click();
    harness.run();
    assert!((harness.ctx.zoom_factor() - 1.0).abs() < 0.01, "{}", harness.ctx.zoom_factor());
}

#[test]
fn a_dropped_file_is_opened_from_any_page() {
    let mut harness = page_harness(window_ui, Store::default(), Form { page: Page::Machine, ..Form::default() });
    harness.input_mut().hovered_files.push(egui::HoveredFile { path: Some("/m/a.gguf".into()), ..Default::default() });
    harness.step();
    shoot(&mut harness, "drop-hover");
    harness.input_mut().hovered_files.clear();
    harness.input_mut().dropped_files.push(Arc::new(Dropped("/m/a.gguf".into())));
    harness.run();
    assert_eq!(harness.state().commands, [Command::OpenModel("/m/a.gguf".into())]);
    assert_eq!(harness.state().form.page, Page::Model);
}

/// Prints the time of a frame that scrolls the table, without drawing it on the screen; it asserts no time, because test
/// machines differ.
#[test]
fn a_table_of_ten_thousand_rows_scrolls() {
    const N_FRAMES: u32 = 200;
    let store = Store { model: Slot::Ready(Arc::new(model_with_tensors(10_000))), ..Store::default() };
    let mut harness =
        page_harness_sized(window_ui, store.clone(), Form::default(), Vec2::new(1280.0, 1600.0), 1.0, Variant::Dark);
    assert_eq!(harness.query_all_by_label("10,000 tensors").count(), 2, "tile and table");
    assert!(harness.query_by_label("blk.0.expert_0.weight").is_some());
    let table = harness.get_by_label("Sort by name").rect().center() + egui::vec2(0.0, 120.0);
    let turn = Vec2::new(0.0, -400.0);
    scroll(&mut harness, table, turn, 10);
    assert!(harness.query_by_label("blk.0.expert_0.weight").is_none(), "the table did not scroll");

    // Without the harness, which also builds the tree for screen readers.
    let ctx = egui::Context::default();
    super::kit::theme::install(&ctx);
    let (mut form, mut commands) = (Form::default(), Vec::new());
    let mut frame = |events: Vec<egui::Event>, time: f64| {
        let screen_rect = Some(egui::Rect::from_min_size(egui::Pos2::ZERO, egui::vec2(1280.0, 1600.0)));
        let input = egui::RawInput { screen_rect, time: Some(time), events, ..Default::default() };
        let mut output = ctx.run_ui(input, |ui| window_ui(ui, &store, &mut form, &mut commands));
        output.textures_delta.clear();
        ctx.tessellate(output.shapes, 1.0).len()
    };
    frame(vec![egui::Event::PointerMoved(table)], 0.0);
    frame(vec![wheel(turn)], 0.02);
    let start = std::time::Instant::now();
    for idx in 0..N_FRAMES {
        frame(vec![wheel(turn)], 0.04 + f64::from(idx) / 60.0);
    }
    println!("frame with 10,000 tensors, scrolling: {:.2} ms", start.elapsed().as_secs_f64() * 1e3 / f64::from(N_FRAMES));
}

/// Portraits for people to look at.
#[test]
#[ignore = "writes pictures into the folder that PLANISH_SHOTS names"]
fn portraits() {
    let busy = || {
        let mut store = store_with_model_and_machine();
        store.jobs.push(converting());
        store
    };
    let with_recent = || {
        let mut form = Form::default();
        form.remember("/home/ada/models/Qwen3-0.6B-F16.gguf".into());
        form.remember("/home/ada/models/SmolLM2-135M-Instruct.Q4_1.gguf".into());
        form
    };
    let filled: fn() -> Store = store_with_model_and_machine;
    let scenes = [
        ("plan", filled, Page::Plan),
        ("optimize", filled, Page::Optimize),
        ("model", filled, Page::Model),
        ("model-empty", Store::default as fn() -> Store, Page::Model),
        ("machine", filled, Page::Machine),
    ];
    for (name, store, page) in scenes {
        for (variant, theme) in [(Variant::Dark, Theme::Dark), (Variant::Light, Theme::Light)] {
            for (size, scale) in
                [(Vec2::new(1280.0, 800.0), 1.0), (Vec2::new(1920.0, 1080.0), 1.0), (Vec2::new(1280.0, 800.0), 2.0)]
            {
                let form = Form { page, theme, ..with_recent() };
                let mut harness = page_harness_sized(window_ui, store(), form, size, scale, variant);
                shoot(&mut harness, &format!("{name}-{}-{}x{}@{scale}", format!("{variant:?}").to_lowercase(), size.x, size.y));
            }
        }
    }
    // The whole page at once, without scrolling.
    for (name, page) in [("model", Page::Model), ("machine", Page::Machine)] {
        for (variant, theme) in [(Variant::Dark, Theme::Dark), (Variant::Light, Theme::Light)] {
            let form = Form { page, theme, ..with_recent() };
            let mut harness = page_harness_sized(window_ui, busy(), form, Vec2::new(1280.0, 1700.0), 1.0, variant);
            shoot(&mut harness, &format!("{name}-whole-{}", format!("{variant:?}").to_lowercase()));
        }
    }
    for tab in ["Metadata", "Tokenizer and chat template"] {
        let mut harness = page_harness_sized(window_ui, busy(), with_recent(), Vec2::new(1280.0, 1700.0), 1.0, Variant::Dark);
        harness.get_by_label(tab).click();
        harness.run();
        shoot(&mut harness, &format!("tab-{}", tab.to_lowercase().replace(' ', "-")));
    }
}
