//! The Plan, Optimize and Compare pages, driven by accessible names.

use std::path::PathBuf;
use std::sync::Arc;

use eframe::egui;
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT as _, Queryable as _};

use super::{compare_page_ui, optimize_page_ui, plan_page_ui, theme};
use crate::advise::{Goal, advise};
use crate::bench::{Outcome, Provenance, Run, Stat};
use crate::convert::Conversion;
use crate::error::Error;
use crate::hardware::{Bandwidth, Conditions, Cpu, Disk, Machine, Memory};
use crate::model::{DType, Hyperparameters, Level, Metadata, Model, Tensor};
use crate::monitor::{Progress, ProgressUnit};
use crate::state::{Command, Form, JobKind, JobRecord, JobStatus, Page, Slot, Store};
use crate::worker::JobId;

/// What a page sees and makes.
struct State {
    store: Store,
    form: Form,
    commands: Vec<Command>,
}

fn model() -> Model {
    let tensor = |name: &str, dtype: DType, shape: &[u64], size_bytes| Tensor { name: name.into(), dtype, shape: shape.into(), file_idx: 0, offset: 0, size_bytes };
    Model {
        path: "/models/SmolLM2-135M-Instruct.Q4_1.gguf".into(),
        files: vec!["/models/SmolLM2-135M-Instruct.Q4_1.gguf".into()],
        size_bytes: 98_362_432,
        format_name: "GGUF v3".into(),
        alignment: 32,
        metadata: Metadata::default(),
        tensors: vec![tensor("token_embd.weight", DType::Q4_1, &[576, 49_152], 17_694_720)],
        hyperparameters: Hyperparameters { architecture: "llama".into(), n_ctx_train: 8192, n_layers: 30, ..Default::default() },
        warnings: vec![],
    }
}

fn machine() -> Machine {
    Machine {
        cpu: Cpu { name: "AMD EPYC".into(), n_physical: 2, n_logical: 2, ..Default::default() },
        memory: Memory { total_bytes: 24 << 30, available_bytes: 22 << 30, ..Default::default() },
        disk: Some(Disk { mount_point: "/".into(), file_system: "ext4".into(), total_bytes: 256 << 30, free_bytes: 120 << 30, write_bytes_per_sec: Some(4e8) }),
        bandwidth: Some(Bandwidth { one_thread_bytes_per_sec: 11.2e9, all_threads_bytes_per_sec: 18.4e9, n_threads: 2 }),
        ..Default::default()
    }
}

fn sample() -> State {
    let model = model();
    let machine = machine();
    let plan = advise(&model, &machine, &Goal::default());
    let mut store = Store { model_path: Some(model.path.clone()), ..Store::default() };
    for (idx, level) in [Level::Q8_0, Level::Q6_K, Level::Q4_K_M, Level::Q4_0, Level::Q3_K_M, Level::Q2_K].into_iter().enumerate() {
        let candidate = plan.candidates.iter().find(|candidate| candidate.level == Some(level)).unwrap();
        let path = PathBuf::from(format!("/models/SmolLM2-135M-Instruct.Q4_1-{level}.gguf"));
        store.conversions.push(Conversion {
            level,
            path: path.clone(),
            source: model.path.clone(),
            size_bytes: candidate.size_bytes,
            bits_per_weight: candidate.bits_per_weight,
            elapsed_secs: 4.2,
            warnings: vec![],
        });
        let speed = 18.4e9 * 0.85 / candidate.size_bytes as f64 * (1.0 + 0.1 * (idx as f64 - 2.0));
        let result = if level == Level::Q3_K_M {
            Err(Error::ChildDied { reason: "signal 9".into(), path: path.clone() })
        } else {
            Ok(Run {
                path: path.clone(),
                size_bytes: candidate.size_bytes,
                prefill_tokens_per_sec: Stat { values: vec![510.0 - 20.0 * idx as f64, 520.0 - 22.0 * idx as f64, 500.0 - 16.0 * idx as f64] },
                decode_tokens_per_sec: Stat { values: vec![speed, speed * 1.05, speed * 0.96] },
                load_secs: Stat { values: vec![0.21, 0.19, 0.2] },
                peak_memory_bytes: candidate.memory.total_bytes() - 20_000_000,
                provenance: Provenance {
                    runtime: "llama.cpp b6500".into(),
                    backend: "CPU (AVX512, VNNI)".into(),
                    n_threads: 2,
                    n_prompt_tokens: 512,
                    n_gen_tokens: 128,
                    conditions: Conditions::default(),
                    warnings: vec!["other programs used 41 % of the CPU: measure again when the machine is quiet".into()],
                },
            })
        };
        if level != Level::Q2_K {
            store.outcomes.push(Outcome { path, result });
        }
    }
    store.jobs.push(JobRecord { id: JobId(1), kind: JobKind::Detect, status: JobStatus::Done { elapsed_secs: 1.0 } });
    store.jobs.push(JobRecord { id: JobId(2), kind: JobKind::Convert(vec![Level::Q8_0, Level::Q4_K_M]), status: JobStatus::Done { elapsed_secs: 4.2 } });
    store.jobs.push(JobRecord { id: JobId(3), kind: JobKind::Convert(vec![Level::Q5_0]), status: JobStatus::Failed(Error::OutputExists { path: "/models/x-Q5_0.gguf".into() }) });
    store.jobs.push(JobRecord {
        id: JobId(4),
        kind: JobKind::Convert(vec![Level::Q6_K, Level::Q2_K]),
        status: JobStatus::Running {
            progress: Some(Progress { stage: "quantizing blk.17.ffn_up.weight".into(), done: 61_000_000, total: 98_362_432, unit: ProgressUnit::Bytes }),
            elapsed_secs: 3.1,
            is_cancelling: false,
        },
    });
    store.jobs.push(JobRecord { id: JobId(5), kind: JobKind::Bench(3), status: JobStatus::Queued });
    store.model = Slot::Ready(Arc::new(model));
    store.machine = Slot::Ready(Box::new(machine));
    let mut form = Form::default();
    form.levels = [Level::Q8_0, Level::Q4_K_M].into();
    State { store, form, commands: Vec::new() }
}

fn page_ui(ui: &mut egui::Ui, page: Page, state: &mut State) {
    match page {
        Page::Plan => plan_page_ui(ui, &state.store, &mut state.form, &mut state.commands),
        Page::Optimize => optimize_page_ui(ui, &state.store, &mut state.form, &mut state.commands),
        _ => compare_page_ui(ui, &state.store, &mut state.form, &mut state.commands),
    }
}

fn harness(page: Page, state: State) -> Harness<'static, State> {
    Harness::builder().with_size([1100.0, 3000.0]).with_context_setup(theme::install).build_ui_state(move |ui, state| page_ui(ui, page, state), state)
}

/// Pictures of all pages for a person to look at: `PLANISH_SHOTS=dir cargo test --lib shots -- --ignored`.
#[test]
#[ignore = "draws pictures for people, checks nothing"]
fn shots() {
    let dir = PathBuf::from(std::env::var_os("PLANISH_SHOTS").unwrap());
    std::fs::create_dir_all(&dir).unwrap();
    let only = std::env::var("PLANISH_SHOTS_ONLY").unwrap_or_default();
    for (size, size_name) in [([1280.0, 800.0], "1280"), ([1920.0, 1080.0], "1920")] {
        for (egui_theme, theme_name) in [(egui::Theme::Light, "light"), (egui::Theme::Dark, "dark")] {
            for (name, page, plot) in [
                ("plan", Page::Plan, 0),
                ("optimize", Page::Optimize, 0),
                ("compare-size", Page::Compare, 0),
                ("compare-speed", Page::Compare, 1),
                ("compare-memory", Page::Compare, 2),
            ] {
                let full = format!("{name}-{size_name}-{theme_name}");
                if !full.contains(&only) {
                    continue;
                }
                let mut state = sample();
                state.form.compare_plot = [crate::state::ComparePlot::SizeSpeed, crate::state::ComparePlot::Speed, crate::state::ComparePlot::Memory][plot];
                let height = if page == Page::Compare { size[1] + 350.0 } else { 1900.0 };
                let mut harness = Harness::builder()
                    .with_size([size[0] - 200.0, height])
                    .with_pixels_per_point(1.25)
                    .with_theme(egui_theme)
                    .with_context_setup(theme::install)
                    .wgpu()
                    .build_ui_state(
                        move |ui, state| {
                            egui::CentralPanel::default().frame(egui::Frame::new().fill(ui.visuals().panel_fill).inner_margin(16)).show(ui, |ui| page_ui(ui, page, state));
                        },
                        state,
                    );
                harness.run();
                harness.render().unwrap().save(dir.join(format!("{full}.png"))).unwrap();
            }
        }
    }
}
