//! Every page in every size of the window that is promised: nothing is cut off, nothing covers anything else.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use eframe::egui::{self, Ui, Vec2, vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;

use super::compare::answers_view_tests::{FIRST, SECOND, outcome};
use super::compare::tensors_view_tests::errors_of;
use super::layout_check::layout_faults;
use super::page_tests::busy_store_at;
use super::test_support::{PageState, page_harness_sized, shoot};
use super::window_ui;
use crate::bench::history::test_runs::{NOON, kept, quality, speed};
use crate::bench::history::{Kind, Measurement, NewRun};
use crate::bench::known::{Difference, RunOrigin};
use crate::bench::quality::{QualityOutcome, QualityRun, Strip};
use crate::convert::Existing;
use crate::deploy::ChartKind;
use crate::error::Error;
use crate::format::CachedModel;
use crate::model::Level;
use crate::state::{
    Command, CompareTab, DeleteForm, Dialog, ExistingForm, Form, FoundNote, HistoryForm, JobKind, JobRecord, JobStatus, Page,
    Slot, Store,
};
use crate::worker::JobId;

/// As long as names get: an organisation, a model, its size, what it was trained for.
const MODEL: &str =
    "/home/ada/models/an-organisation-with-a-long-name/A-Model-With-A-Rather-Long-Name-And-Version-2507-135M-Instruct-F16.gguf";
/// High enough to show the longest page without scrolling.
const WHOLE_PAGE: f32 = 6000.0;

/// A store after a week of work with one model: everything is measured, some of it elsewhere, something failed.
pub(super) fn full_store() -> Store {
    let mut store = busy_store_at(MODEL.into());
    let paths: Vec<PathBuf> = store.conversions.iter().map(|made| made.path.clone()).collect();
    for (idx, (made, kld)) in store.conversions.iter().zip([0.0004, 0.002, 0.031, 0.25, 1.5]).enumerate() {
        let Measurement::Quality(run) = quality(made.level.name(), &[kld, kld * 1.1]).measurement else { panic!() };
        let mut run = QualityRun { path: made.path.clone(), ..(*run).clone() };
        for kind in ["code", "tool calls", "facts"] {
            let of_kind = crate::bench::quality::KindSummary { kind: kind.into(), ..run.by_kind[0].clone() };
            run.by_kind.push(of_kind);
        }
        let words = "In the year 1969 two men walked on the moon and looked back at a small blue disc . ".repeat(12);
        let tokens = words.split_inclusive(' ').map(|word| (word.to_string(), Some(0.2))).collect();
        run.strips = Arc::new(vec![Strip { kind: "prose".into(), tokens }]);
        let result = if idx == 1 { Err(died(&made.path)) } else { Ok(Arc::new(run)) };
        store.quality.push(QualityOutcome { path: made.path.clone(), result });
    }
    let origin = |path: &PathBuf, kind, differences| RunOrigin {
        path: path.clone(),
        kind,
        run_id: 1,
        recorded_unix_secs: NOON,
        differences,
    };
    store.origins = vec![
        origin(&paths[0], Kind::Speed, vec![Difference::Machine("Apple M3 Max, 16.0 GiB".into())]),
        origin(&paths[2], Kind::Quality, vec![Difference::Text("letters of a long life.txt".into())]),
    ];
    store.tensor_errors = Slot::Ready(Arc::new(errors_of(&store, paths[2].clone())));
    let source = store.model.ready().unwrap().path.clone();
    store.answers = vec![outcome(source, &FIRST, |_| {}), outcome(paths[3].clone(), &SECOND, |_| {})];
    (store.history, store.history_comparison) = {
        let (rows, comparison) = kept(&runs(), &[1, 2, 3]);
        (Slot::Ready(Arc::new(rows)), Slot::Ready(Arc::new(comparison)))
    };
    store.history_export = Some("/home/ada/models/planish-history-2.csv".into());
    store.exported = Some("/home/ada/models/A-Model-With-A-Rather-Long-Name-report.html".into());
    store.cached = vec![CachedModel {
        name: "an-organisation/A-Model-With-A-Rather-Long-Name-And-Version-2507-135M-Instruct".into(),
        path: "/home/ada/.cache/huggingface/hub/x".into(),
        size_bytes: 1 << 30,
    }];
    store.found = Some(FoundNote { n_levels: 5, n_measured: 4, latest_unix_secs: Some(NOON), has_moments: false });
    store.notices = vec!["The settings could not be read; they were put aside as settings.json.bad".into()];
    store
}

fn died(path: &std::path::Path) -> Error {
    Error::ChildDied { reason: "signal 9".into(), path: path.into() }
}

fn runs() -> Vec<NewRun> {
    let elsewhere = NewRun {
        machine: "Intel Xeon Platinum 8488C with a very long name, 61.8 GiB".into(),
        ..speed("Q2_K", &[93.1, 88.4, 97.9])
    };
    let later = |run: NewRun| NewRun { recorded_unix_secs: NOON + 86_400, ..run };
    vec![
        speed("Q8_0", &[1041.2, 1040.6, 1041.8]),
        speed("Q4_K_M", &[60.3, 62.0, 61.1]),
        later(elsewhere),
        quality("Q8_0", &[0.0021, 0.0034]),
        later(quality("Q4_K_M", &[0.031, 0.045])),
    ]
}

/// A page as the user may see it.
pub(super) struct Scene {
    pub(super) name: &'static str,
    pub(super) form: Form,
    store: fn() -> Store,
    /// What is clicked first.
    clicks: &'static [&'static str],
}

fn scene(name: &'static str, form: Form) -> Scene {
    Scene { name, form, store: full_store, clicks: &[] }
}

fn on(page: Page) -> Form {
    let recent = vec![MODEL.into(), "/home/ada/models/other.gguf".into()];
    Form { page, recent, levels: [Level::Q5_K_M, Level::Q4_K_M].into(), ..Form::default() }
}

fn tab(compare_tab: CompareTab) -> Form {
    Form { compare_tab, ..on(Page::Compare) }
}

fn dialog(dialog: Dialog) -> Form {
    Form { dialog: Some(dialog), ..on(Page::Optimize) }
}

fn unmeasured_store() -> Store {
    Store { tensor_errors: Slot::Empty, ..full_store() }
}

fn failing_store() -> Store {
    let error = Error::NotEnoughSpace { needed_bytes: 2 << 30, free_bytes: 1 << 30, path: MODEL.into() };
    let failed = JobRecord::new(JobId(70), JobKind::Convert(vec![Level::Q8_0])).with_status(JobStatus::Failed(error.clone()));
    let job = JobRecord { model: Some(MODEL.into()), ..failed };
    Store { jobs: vec![job], open_failure: Some(("/no/such.gguf".into(), error)), ..full_store() }
}

fn pages() -> Vec<Scene> {
    let mut recipe = crate::state::RecipeForm::default();
    recipe.is_open = true;
    let mut scenes = vec![
        scene("model", on(Page::Model)),
        Scene { clicks: &["Metadata"], ..scene("metadata", on(Page::Model)) },
        Scene { clicks: &["Tokenizer and chat template"], ..scene("tokenizer", on(Page::Model)) },
        Scene { store: Store::default, ..scene("empty", on(Page::Model)) },
        scene("machine", on(Page::Machine)),
        Scene { store: Store::default, ..scene("machine empty", on(Page::Machine)) },
        scene("plan", on(Page::Plan)),
        Scene { clicks: &["Show the whole tree"], ..scene("tree", on(Page::Plan)) },
        scene("optimize", on(Page::Optimize)),
        scene("all levels", Form { all_levels: true, ..on(Page::Optimize) }),
        scene("recipe", Form { recipe, ..on(Page::Optimize) }),
        Scene { store: failing_store, ..scene("failed", on(Page::Optimize)) },
        Scene { store: Store::default, ..scene("no model", on(Page::Compare)) },
        scene("flips", tab(CompareTab::Flips)),
        scene("answers", tab(CompareTab::Answers)),
        scene("blind", {
            let ask =
                crate::state::AskForm { is_blind: true, more_prompts: vec!["And why is it red?".into()], ..Default::default() };
            Form { ask, ..tab(CompareTab::Answers) }
        }),
        scene("tensors", tab(CompareTab::Tensors)),
        Scene { store: unmeasured_store, ..scene("tensors unmeasured", tab(CompareTab::Tensors)) },
        Scene { store: super::model::checkpoint_view_tests::whole_checkpoint, ..scene("checkpoint", on(Page::Model)) },
        scene("history", {
            let history = HistoryForm { selected: vec![1, 2], asks_delete: true, ..HistoryForm::default() };
            Form { history, ..tab(CompareTab::History) }
        }),
    ];
    scenes.extend(ChartKind::ALL.map(|kind| {
        let form = Form { compare_plot: Some(kind), ..tab(CompareTab::Levels) };
        scene(kind.title(), form)
    }));
    scenes
}

pub(super) fn questions() -> Vec<Scene> {
    let files = [Level::Q8_0, Level::Q4_K_M, Level::Q3_K_M, Level::Q2_K].map(|level| {
        (level, PathBuf::from(format!("/home/ada/models/A-Model-With-A-Rather-Long-Name-{level}.gguf")), Existing::Skip)
    });
    let existing = ExistingForm {
        levels: files.iter().map(|file| file.0).collect(),
        files: files.to_vec(),
        matrix: Some(("/home/ada/models/A-Model-With.imatrix.gguf".into(), Existing::Skip)),
        is_collecting: false,
    };
    let deleting = DeleteForm { paths: vec![MODEL.into()], no_bin: Some(died(MODEL.as_ref())) };
    let dropped = (0..6).map(|idx| PathBuf::from(format!("{MODEL}-{idx}.gguf"))).collect();
    vec![
        scene("quit", dialog(Dialog::Quit)),
        scene("keys", dialog(Dialog::Shortcuts)),
        scene("about", dialog(Dialog::About)),
        scene("settings", dialog(Dialog::Settings)),
        scene("open path", dialog(Dialog::OpenPath)),
        scene("dropped", dialog(Dialog::Dropped(dropped))),
        scene("existing", Form { existing: Some(existing), ..on(Page::Optimize) }),
        scene("deleting", Form { deleting: Some(deleting), ..on(Page::Optimize) }),
    ]
}

fn draw(size: Vec2, zoom: f32, scene: &Scene) -> Harness<'static, PageState> {
    let mut harness =
        page_harness_sized(window_ui, (scene.store)(), scene.form.clone(), (size / zoom).floor(), zoom, egui::Theme::Dark);
    for label in scene.clicks {
        harness.get_by_label(label).click();
        harness.run();
    }
    harness
}

/// Asserts that all scenes are in order, and names all faults at once.
fn check(width: f32, height: f32, zoom: f32) {
    let mut found = Vec::new();
    let mut look = |size: Vec2, scene: &Scene, part: &str| {
        let mut harness = draw(size, zoom, scene);
        if size.y < WHOLE_PAGE {
            shoot(&mut harness, &format!("layout-{width}-{zoom}-{}", scene.name.replace(' ', "-")));
        }
        let faults = layout_faults(&harness);
        found.extend(faults.into_iter().map(|fault| format!("{} ({part}): {fault}", scene.name)));
    };
    for scene in pages() {
        look(vec2(width, height), &scene, "window");
        look(vec2(width, WHOLE_PAGE), &scene, "whole");
    }
    for scene in questions() {
        look(vec2(width, height), &scene, "question");
    }
    assert!(found.is_empty(), "{width} × {height} at {zoom}: {} faults\n{}", found.len(), found.join("\n"));
}

#[test]
fn nothing_is_cut_or_covered_at_960_by_600() {
    check(960.0, 600.0, 1.0);
}

#[test]
fn nothing_is_cut_or_covered_at_960_by_600_and_150_percent() {
    check(960.0, 600.0, 1.5);
}

#[test]
fn nothing_is_cut_or_covered_at_1280_by_800() {
    check(1280.0, 800.0, 1.0);
}

#[test]
fn nothing_is_cut_or_covered_at_1280_by_800_and_150_percent() {
    check(1280.0, 800.0, 1.5);
}

#[test]
fn nothing_is_cut_or_covered_at_1920_by_1080() {
    check(1920.0, 1080.0, 1.0);
}

#[test]
fn nothing_is_cut_or_covered_at_1920_by_1080_and_150_percent() {
    check(1920.0, 1080.0, 1.5);
}

/// What the check must find: each fault in a window of its own.
#[test]
fn faults_of_the_layout_are_found() {
    fn faults(page: super::test_support::PageFn) -> BTreeSet<String> {
        layout_faults(&page_harness_sized(page, Store::default(), Form::default(), vec2(400.0, 300.0), 1.0, egui::Theme::Dark))
    }
    fn in_order(ui: &mut Ui, _: &Store, _: &mut Form, _: &mut Vec<Command>) {
        ui.label("a label");
        let _ = ui.button("a button");
    }
    fn cut(ui: &mut Ui, _: &Store, _: &mut Form, _: &mut Vec<Command>) {
        let rect = egui::Rect::from_min_size(egui::pos2(10.0, 10.0), vec2(40.0, 30.0));
        ui.set_clip_rect(rect);
        ui.put(rect, egui::Label::new("wider than forty points").extend());
    }
    fn early(ui: &mut Ui, _: &Store, _: &mut Form, _: &mut Vec<Command>) {
        ui.set_max_width(60.0);
        ui.add(egui::Label::new("wider than sixty points").truncate());
    }
    fn covered(ui: &mut Ui, _: &Store, _: &mut Form, _: &mut Vec<Command>) {
        let rect = egui::Rect::from_min_size(egui::pos2(10.0, 10.0), vec2(120.0, 30.0));
        ui.put(rect, egui::Button::new("one"));
        ui.put(rect.translate(vec2(60.0, 10.0)), egui::Button::new("other"));
    }
    fn outgrown(ui: &mut Ui, _: &Store, _: &mut Form, _: &mut Vec<Command>) {
        let rect = egui::Rect::from_min_size(egui::pos2(10.0, 10.0), vec2(60.0, 30.0));
        ui.painter().rect_filled(rect, 0.0, egui::Color32::DARK_GRAY);
        ui.put(rect, egui::Label::new("wider than its box").extend());
    }
    fn apart(ui: &mut Ui, _: &Store, _: &mut Form, _: &mut Vec<Command>) {
        ui.set_max_width(200.0);
        ui.horizontal_wrapped(|ui| {
            ui.add_space(100.0);
            let name = ui.label("a name");
            ui.add_sized([150.0, 20.0], egui::DragValue::new(&mut 1.0)).labelled_by(name.id);
        });
    }
    let check = |page: super::test_support::PageFn, expected: &str| {
        let found = faults(page);
        assert!(found.iter().any(|fault| fault.starts_with(expected)), "{expected}: {found:?}");
    };
    assert_eq!(faults(in_order), BTreeSet::new());
    check(cut, "cut off: ");
    check(early, "ends early: ");
    check(covered, "cover each other: ");
    check(outgrown, "across the edge of its box: ");
    check(apart, "apart from its field: ");
}
