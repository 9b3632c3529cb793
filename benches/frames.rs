//! What the window costs: the time to find what is known about a model, and the time of a frame of every page.
//!
//! `cargo bench --bench frames -- [MODEL.gguf]`; without a model: the sample. Twelve levels are made and forty runs noted in a folder and a
//! history of their own; the tables are then filled up to forty rows. A frame is layout and tessellation of 1280 × 800 points; what the
//! graphics driver does is not in it. The aims: 100 ms to open, 8 ms a frame.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints, and stops at the first failure")]
#![allow(clippy::disallowed_methods, reason = "it names its own files")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use eframe::egui;
use planish::Monitor;
use planish::bench::history::{Filter, History, PATH_VARIABLE, record_all};
use planish::bench::known::{FindRequest, Known, find_known};
use planish::bench::quality::{QualityOutcome, QualityRequest, Stopping, quality_with};
use planish::bench::{BenchRequest, Outcome, bench_with, model_sha256};
use planish::convert::{ConvertRequest, convert, open_model, unpack_sample};
use planish::format::inspect;
use planish::hardware::detect;
use planish::model::{Level, Model};
use planish::state::{CompareTab, Dialog, Form, Page, Slot, Store};
use planish::ui::kit::theme;
use planish::ui::window_ui;

const LEVELS: [Level; 12] = [
    Level::Q8_0,
    Level::Q6_K,
    Level::Q5_K_M,
    Level::Q5_K_S,
    Level::Q5_0,
    Level::Q4_K_M,
    Level::Q4_K_S,
    Level::Q4_0,
    Level::Q3_K_L,
    Level::Q3_K_M,
    Level::Q3_K_S,
    Level::Q2_K,
];
const N_RUNS: usize = 40;
const N_ROWS: usize = 40;
const N_FRAMES: usize = 120;

fn main() {
    let dir = std::env::temp_dir().join("planish-frames");
    // The user's history stays out of this: the program starts itself again with a history of its own.
    if std::env::var_os(PATH_VARIABLE).is_none_or(|path| !Path::new(&path).starts_with(&dir)) {
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        let exe = std::env::current_exe().unwrap();
        let ended =
            Command::new(exe).args(std::env::args_os().skip(1)).env(PATH_VARIABLE, dir.join("history.sqlite3")).status().unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        std::process::exit(ended.code().unwrap_or(1));
    }
    let source = prepare(&dir);
    let (model, known) = open(&source);
    let (mut store, form) = filled(&dir, model, known);
    println!("{:24}{:>10}{:>10}{:>10}", "frame (ms)", "first", "median", "longest");
    for (name, page, tab, dialog) in [
        ("Model", Page::Model, CompareTab::Levels, None),
        ("Machine", Page::Machine, CompareTab::Levels, None),
        ("Plan", Page::Plan, CompareTab::Levels, None),
        ("Optimize", Page::Optimize, CompareTab::Levels, None),
        ("Compare, levels", Page::Compare, CompareTab::Levels, None),
        ("Compare, flips", Page::Compare, CompareTab::Flips, None),
        ("Compare, answers", Page::Compare, CompareTab::Answers, None),
        ("Compare, tensors", Page::Compare, CompareTab::Tensors, None),
        ("Compare, history", Page::Compare, CompareTab::History, None),
        ("Settings", Page::Compare, CompareTab::Levels, Some(Dialog::Settings)),
    ] {
        let form = Form { page, compare_tab: tab, dialog, all_levels: true, ..form.clone() };
        let [first, median, longest] = frame_times(&mut store, form).map(|time| time.as_secs_f64() * 1e3);
        println!("{name:24}{first:>10.2}{median:>10.2}{longest:>10.2}");
    }
}

/// Makes the levels, measures two files and notes forty runs. Returns the source.
fn prepare(dir: &Path) -> PathBuf {
    let silent = Monitor::silent();
    let out = dir.join("levels");
    let (source, levels) = match std::env::args_os().skip(1).find(|arg| !arg.to_string_lossy().starts_with("--")) {
        Some(path) => (PathBuf::from(path), LEVELS.to_vec()),
        None => (unpack_sample(dir).unwrap(), [vec![Level::BF16], LEVELS.to_vec()].concat()),
    };
    let is_file = source.is_file();
    let made = convert(&open_model(&source).unwrap(), &ConvertRequest::new(levels, &out), &silent).unwrap();
    let mut paths: Vec<PathBuf> = made.iter().map(|made| made.path.clone()).collect();
    let source = if is_file { source } else { paths.remove(0) };
    // The hash of a file is remembered unless it was written a moment ago.
    for path in paths.iter().chain((!is_file).then_some(&source)) {
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_hours(1)).unwrap();
    }
    let exe = Path::new(env!("CARGO_BIN_EXE_planish"));
    let request = BenchRequest {
        models: vec![source.clone()],
        n_prompt_tokens: 64,
        n_gen_tokens: 16,
        n_repetitions: 3,
        ..BenchRequest::default()
    };
    let speed = bench_with(exe, &request, &silent).unwrap().remove(0);
    let request = QualityRequest {
        reference: source.clone(),
        candidates: vec![paths[0].clone()],
        n_ctx: 128,
        max_tokens: 4_000,
        stopping: Stopping::Full,
        cache_dir: Some(dir.join("answers")),
        ..QualityRequest::default()
    };
    let loss = quality_with(exe, &request, &silent, |_| {}).unwrap().remove(0);
    note(&source, &paths, &speed, &loss);
    source
}

/// Notes the two measurements as if every file had been measured: only the time to find and to draw them matters here.
fn note(source: &Path, levels: &[PathBuf], speed: &Outcome, loss: &QualityOutcome) {
    let silent = Monitor::silent();
    let speed_of = |path: &Path| {
        let mut run = speed.result.clone().unwrap();
        run.path = path.into();
        run.size_bytes = path.metadata().unwrap().len();
        Outcome { path: path.into(), result: Ok(run) }
    };
    let loss_of = |path: &PathBuf| {
        let mut run = (*loss.result.clone().unwrap()).clone();
        run.path.clone_from(path);
        run.size_bytes = path.metadata().unwrap().len();
        run.provenance.model_sha256 = model_sha256(path, &silent).unwrap();
        QualityOutcome { path: path.clone(), result: Ok(Arc::new(run)) }
    };
    let all = || std::iter::once(source).chain(levels.iter().map(PathBuf::as_path));
    let losses: Vec<QualityOutcome> = levels.iter().map(loss_of).collect();
    let speeds: Vec<Outcome> = all().chain(all()).chain(all()).take(N_RUNS - losses.len()).map(speed_of).collect();
    record_all(&speeds, &silent).unwrap();
    record_all(&losses, &silent).unwrap();
}

/// Does what opening a model does, nine times, and prints how long it takes.
fn open(source: &Path) -> (Arc<Model>, Known) {
    let mut times = Vec::new();
    loop {
        let started = Instant::now();
        let model = Arc::new(inspect(source).unwrap());
        let header = started.elapsed();
        let request = FindRequest { model: Arc::clone(&model), folders: Vec::new(), known: Vec::new(), machine: None };
        let known = find_known(&request).unwrap();
        times.push((started.elapsed(), header));
        if times.len() == 9 {
            let first = times[0].0;
            times.sort();
            let (median, header) = times[times.len() / 2];
            println!(
                "opening with {} levels and {N_RUNS} runs: {:.1} ms at first, {:.1} ms median ({:.1} ms of it the header)",
                known.levels.len(),
                first.as_secs_f64() * 1e3,
                median.as_secs_f64() * 1e3,
                header.as_secs_f64() * 1e3,
            );
            assert_eq!((known.levels.len(), known.quality.len()), (LEVELS.len(), LEVELS.len()));
            return (model, known);
        }
    }
}

/// The window after the model was opened, with `N_ROWS` rows in its tables.
fn filled(dir: &Path, model: Arc<Model>, known: Known) -> (Store, Form) {
    let form = Form { output_dir: dir.to_string_lossy().into_owned(), levels: LEVELS.into(), ..Form::default() };
    let mut store = Store {
        model_path: Some(model.path.clone()),
        model: Slot::Ready(model),
        machine: Slot::Ready(Box::new(detect(dir))),
        conversions: known.levels,
        outcomes: known.outcomes,
        quality: known.quality,
        history: Slot::Ready(Arc::new(History::open_default().unwrap().list(&Filter::default()).unwrap())),
        ..Store::default()
    };
    for n in 0..N_ROWS - 1 - store.conversions.len() {
        let mut made = store.conversions[n % LEVELS.len()].clone();
        let copy = |path: &Path| path.with_file_name(format!("{n}-{}", path.file_name().unwrap().to_string_lossy()));
        let mut speed = store.outcomes.iter().find(|outcome| outcome.path == made.path).unwrap().clone();
        let mut loss = store.quality.iter().find(|outcome| outcome.path == made.path).unwrap().clone();
        (made.path, speed.path, loss.path) = (copy(&made.path), copy(&speed.path), copy(&loss.path));
        store.conversions.push(made);
        store.outcomes.push(speed);
        store.quality.push(loss);
    }
    (store, form)
}

/// Times of the first frame, and of the median and the longest of the others, while a pointer crosses the window.
fn frame_times(store: &mut Store, mut form: Form) -> [Duration; 3] {
    let ctx = egui::Context::default();
    theme::install(&ctx);
    let size = egui::vec2(1280.0, 800.0);
    let mut commands = Vec::new();
    let mut times: Vec<Duration> = (0..N_FRAMES)
        .map(|n| {
            #[allow(clippy::cast_precision_loss, reason = "a small count")]
            let part = n as f32 / N_FRAMES as f32;
            let input = egui::RawInput {
                screen_rect: Some(egui::Rect::from_min_size(egui::Pos2::ZERO, size)),
                time: Some(f64::from(part) * 2.0),
                events: vec![egui::Event::PointerMoved(egui::pos2(size.x * part, size.y * (0.2 + 0.6 * part)))],
                ..egui::RawInput::default()
            };
            let started = Instant::now();
            let mut output = ctx.run_ui(input, |ui| window_ui(ui, store, &mut form, &mut commands));
            let primitives = ctx.tessellate(output.shapes, output.pixels_per_point);
            let time = started.elapsed();
            assert!(!primitives.is_empty());
            output.textures_delta.clear(); // there is no graphics card to send it to
            commands.clear();
            time
        })
        .collect();
    let first = times.remove(0);
    times.sort();
    [first, times[times.len() / 2], times[times.len() - 1]]
}
