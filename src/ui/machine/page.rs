//! What this machine is: what was detected, what was measured, which runtimes are there.

use eframe::egui::{Align, Label, Layout, RichText, Sense, Stroke, Ui, Vec2, vec2};

use crate::fetch;
use crate::hardware::{Bandwidth, Cpu, Disk, Machine, Memory, PowerSource, Runtime, Vendor, own_environment};
use crate::model::RuntimeId;
use crate::path_text;
use crate::state::{Command, Form, JobKind, JobStatus, Slot, Store};
use crate::ui::kit::bars::bar;
use crate::ui::kit::icons::{self, Icon};
use crate::ui::kit::theme::{self, ValueKind};
use crate::ui::kit::widgets::{
    StatTile, Tone, badge, card, card_gap, card_with_actions, copy_button, empty_state, error_banner, key_value_grid, kind_tag,
    notice, page_header, primary_button, sentence, small_button, stat_tiles, two_columns,
};
use crate::ui::shell::waiting_ui;
use crate::units::{bytes_per_sec_text, bytes_text, count_of, count_text, percent_text, significant_text};

/// A narrower list of runtimes has two lines for each.
const WIDE_RUNTIME: f32 = 820.0;

/// Draws the page; an unknown machine can be measured there.
pub fn machine_page_ui(ui: &mut Ui, store: &Store, _form: &mut Form, commands: &mut Vec<Command>) {
    let subtitle = match &store.machine {
        Slot::Ready(machine) if machine.os.is_container => "What this container can use, detected and measured",
        Slot::Ready(_) => "What this machine is, detected and measured",
        Slot::Waiting { .. } => "Looking at the hardware and measuring memory and disk",
        Slot::Empty | Slot::Failed(_) => "Not known yet",
    };
    page_header(ui, "Machine", subtitle, |ui| {
        if !matches!(store.machine, Slot::Empty) {
            let is_idle = store.machine.waiting_for().is_none();
            let button = ui.add_enabled_ui(is_idle, |ui| ui.button("Measure again")).inner;
            if button.on_hover_text("Takes about a second. Close heavy programs first.").clicked() {
                commands.push(Command::Detect);
            }
        }
    });
    match &store.machine {
        Slot::Ready(machine) => ready_ui(ui, machine, store, commands),
        Slot::Waiting { id } => waiting_ui(ui, store, *id),
        Slot::Empty => {
            let text = "Planish looks at processor, memory, GPUs and disk and measures how fast memory and disk are. It takes about a second.";
            empty_state(ui, Icon::Machine, "This machine has not been measured", text, |ui| {
                if primary_button(ui, "Measure this machine").clicked() {
                    commands.push(Command::Detect);
                }
            });
        }
        Slot::Failed(error) => error_banner(ui, error, commands),
    }
}

fn ready_ui(ui: &mut Ui, machine: &Machine, store: &Store, commands: &mut Vec<Command>) {
    for warning in &machine.warnings {
        notice(ui, Tone::Warn, &sentence(warning));
    }
    if !machine.warnings.is_empty() {
        card_gap(ui);
    }
    stat_tiles(ui, &tiles(machine));
    card_gap(ui);
    two_columns(
        ui,
        0.5,
        |ui| {
            cpu_ui(ui, &machine.cpu);
            card_gap(ui);
            memory_ui(ui, &machine.memory, machine.bandwidth);
        },
        |ui| {
            accelerators_ui(ui, machine);
            card_gap(ui);
            disk_ui(ui, machine.disk.as_ref());
            card_gap(ui);
            system_ui(ui, machine);
        },
    );
    card_gap(ui);
    runtimes_ui(ui, &machine.runtimes, store, commands);
}

fn tiles(machine: &Machine) -> Vec<StatTile> {
    let fact = |label: &str, text: &str| StatTile::from_text(label, text, ValueKind::Fact);
    let cpu = &machine.cpu;
    let bandwidth = match &machine.bandwidth {
        Some(bandwidth) => {
            StatTile::from_text("Memory bandwidth", &bytes_per_sec_text(bandwidth.all_threads_bytes_per_sec), ValueKind::Measured)
                .note(if bandwidth.is_disturbed() {
                    "measured while busy".into()
                } else {
                    count_of(bandwidth.n_threads, "thread")
                })
        }
        None => fact("Memory bandwidth", "unknown").note("not measured"),
    };
    let disk = match machine.disk.as_ref().and_then(|disk| disk.write_bytes_per_sec) {
        Some(rate) => StatTile::from_text("Disk writing", &bytes_per_sec_text(rate), ValueKind::Measured),
        None => fact("Disk writing", "unknown").note("not measured"),
    };
    let conditions = &machine.conditions;
    let power = match conditions.power_source {
        PowerSource::Mains => fact("Power source", "Mains"),
        PowerSource::Battery => fact("Power source", "Battery").note("slower on most laptops"),
        PowerSource::Unknown => fact("Power source", "Unknown").note("no battery found"),
    };
    let power = match conditions.battery_percent {
        Some(percent) => power.note(format!("battery {percent:.0} %")),
        None => power,
    };
    let load = match conditions.other_load {
        Some(load) => StatTile::from_text("Other load", &percent_text(f64::from(load)), ValueKind::Measured),
        None => fact("Other load", "unknown"),
    };
    let load = load.note(match conditions.temperature_celsius {
        Some(celsius) => format!("CPU {celsius:.0} °C"),
        None => "no sensor".to_string(),
    });
    vec![
        fact("Physical cores", &count_text(cpu.n_physical as u64)).note(format!("{} hardware threads", cpu.n_logical)),
        fact("Memory available", &bytes_text(machine.memory.available_bytes))
            .note(format!("of {}", bytes_text(machine.memory.total_bytes))),
        bandwidth,
        disk,
        power,
        load,
    ]
}

fn cpu_ui(ui: &mut Ui, cpu: &Cpu) {
    card(ui, "Processor", |ui| {
        let mut rows = vec![
            ("Name".to_string(), if cpu.name.is_empty() { "unknown".into() } else { cpu.name.clone() }),
            ("Instruction set".into(), cpu.architecture.clone()),
            ("Physical cores".into(), format!("{}, {}", cpu.n_physical, count_of(cpu.n_logical, "thread"))),
        ];
        if let (Some(n_performance), Some(n_efficiency)) = (cpu.n_performance, cpu.n_efficiency) {
            rows.push(("Kinds of cores".into(), format!("{n_performance} performance, {n_efficiency} efficiency")));
        }
        for cache in &cpu.caches {
            let text = match cache.n_instances {
                1 => bytes_text(cache.size_bytes),
                n => format!("{n} × {}", bytes_text(cache.size_bytes)),
            };
            rows.push((format!("L{} cache", cache.level), text));
        }
        key_value_grid(ui, &rows);
        ui.add_space(theme::UNIT);
        crate::ui::kit::widgets::term(ui, "SIMD");
        if cpu.simd.is_empty() {
            notice(ui, Tone::Warn, "No instruction set that speeds up inference was found.");
        }
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing = vec2(6.0, 6.0);
            // The first row would otherwise be as high as a button, the others as high as a badge.
            ui.spacing_mut().interact_size.y = 0.0;
            for name in &cpu.simd {
                badge(ui, name, Tone::Neutral);
            }
        });
    });
}

fn memory_ui(ui: &mut Ui, memory: &Memory, bandwidth: Option<Bandwidth>) {
    card(ui, "Memory", |ui| {
        let used_bytes = memory.total_bytes.saturating_sub(memory.available_bytes);
        #[allow(clippy::cast_precision_loss, reason = "a bar of a few hundred pixels")]
        let used = if memory.total_bytes == 0 { 0.0 } else { used_bytes as f32 / memory.total_bytes as f32 };
        // Above nine tenths a model has no room.
        let color = if used > 0.9 { theme::bad(ui) } else { theme::accent(ui) };
        bar(ui, "Memory in use", used, color);
        let mut rows = vec![
            ("In use", format!("{}  ({})", bytes_text(used_bytes), percent_text(f64::from(used)))),
            ("Available", bytes_text(memory.available_bytes)),
            ("Total", bytes_text(memory.total_bytes)),
            ("Swap", if memory.swap_bytes == 0 { "none".into() } else { bytes_text(memory.swap_bytes) }),
        ];
        if let Some(limit_bytes) = memory.limit_bytes {
            rows.push(("Container limit", bytes_text(limit_bytes)));
        }
        ui.spacing_mut().item_spacing.y = 0.0;
        key_value_grid(ui, &rows);
        if let Some(bandwidth) = bandwidth {
            measured_row_ui(ui, "Bandwidth, 1 thread", &bytes_per_sec_text(bandwidth.one_thread_bytes_per_sec));
            let name = format!("Bandwidth, {}", count_of(bandwidth.n_threads, "thread"));
            measured_row_ui(ui, &name, &bytes_per_sec_text(bandwidth.all_threads_bytes_per_sec));
            if bandwidth.is_disturbed() {
                let text = "Bandwidth was measured while the machine was busy. It is measured again when it is quiet.";
                notice(ui, Tone::Warn, text);
            }
        }
    });
}

fn vendor_text(vendor: Vendor) -> &'static str {
    match vendor.name() {
        "" => "other maker",
        name => name,
    }
}

fn accelerators_ui(ui: &mut Ui, machine: &Machine) {
    card(ui, "Accelerators", |ui| {
        if machine.gpus.is_empty() && machine.npus.is_empty() {
            ui.label(
                RichText::new("No GPU and no NPU was found: models run on the processor.")
                    .color(theme::palette(ui).text_secondary),
            );
        }
        ui.spacing_mut().item_spacing.y = 4.0;
        ui.spacing_mut().interact_size.y = 24.0;
        for gpu in &machine.gpus {
            let memory = match (gpu.memory_bytes, gpu.free_bytes) {
                (Some(total), Some(free)) => format!("{} free of {}", bytes_text(free), bytes_text(total)),
                (Some(total), None) => bytes_text(total),
                (None, _) => "memory unknown".into(),
            };
            let kind = match (gpu.is_unified, gpu.is_integrated) {
                (true, _) => "unified memory",
                (false, true) => "integrated",
                (false, false) => "dedicated memory",
            };
            device_ui(
                ui,
                "GPU",
                &gpu.name,
                &[vendor_text(gpu.vendor).to_string(), memory, kind.to_string()],
                gpu.driver.as_deref(),
            );
        }
        for npu in &machine.npus {
            device_ui(ui, "NPU", &npu.name, &[vendor_text(npu.vendor).to_string()], npu.driver.as_deref());
        }
    });
}

fn device_ui(ui: &mut Ui, kind: &str, name: &str, facts: &[String], driver: Option<&str>) {
    let p = theme::palette(ui);
    ui.horizontal(|ui| {
        badge(ui, kind, Tone::Neutral);
        ui.add(Label::new(RichText::new(name).font(theme::strong_font())).truncate());
    });
    let mut facts = facts.to_vec();
    facts.extend(driver.map(|driver| format!("driver {driver}")));
    ui.add(Label::new(RichText::new(facts.join("  ·  ")).color(p.text_secondary)).wrap());
    ui.add_space(theme::UNIT);
}

fn disk_ui(ui: &mut Ui, disk: Option<&Disk>) {
    card(ui, "Disk of the output folder", |ui| {
        let Some(disk) = disk else {
            ui.label(RichText::new("The disk could not be determined.").color(theme::muted(ui)));
            return;
        };
        let used_bytes = disk.total_bytes.saturating_sub(disk.free_bytes);
        #[allow(clippy::cast_precision_loss, reason = "a bar of a few hundred pixels")]
        let used = if disk.total_bytes == 0 { 0.0 } else { used_bytes as f32 / disk.total_bytes as f32 };
        let color = if used > 0.95 { theme::bad(ui) } else { theme::accent(ui) };
        bar(ui, "Disk in use", used, color);
        ui.spacing_mut().item_spacing.y = 0.0;
        key_value_grid(
            ui,
            &[
                ("Free", format!("{} of {}", bytes_text(disk.free_bytes), bytes_text(disk.total_bytes))),
                ("Mounted at", format!("{} ({})", disk.mount_point, disk.file_system)),
            ],
        );
        if let Some(rate) = disk.write_bytes_per_sec {
            measured_row_ui(ui, "Write speed", &bytes_per_sec_text(rate));
        }
    });
}

/// A line like those of `key_value_grid`, marked as measured.
fn measured_row_ui(ui: &mut Ui, name: &str, value: &str) {
    let p = theme::palette(ui);
    ui.painter().hline(ui.max_rect().x_range(), ui.cursor().top(), Stroke::new(1.0, p.line));
    ui.allocate_ui_with_layout(vec2(ui.available_width(), 30.0), Layout::left_to_right(Align::Center), |ui| {
        crate::ui::kit::widgets::term(ui, name);
        kind_tag(ui, ValueKind::Measured);
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.label(RichText::new(value).font(theme::strong_font()));
        });
    });
}

fn system_ui(ui: &mut Ui, machine: &Machine) {
    card(ui, "System", |ui| {
        let conditions = &machine.conditions;
        let or_unknown = |text: &str| if text.is_empty() { "unknown".to_string() } else { text.to_string() };
        let mut rows = vec![
            ("Operating system", or_unknown(&machine.os.name)),
            ("Kernel", or_unknown(&machine.os.kernel)),
            ("Container", if machine.os.is_container { "yes" } else { "no" }.to_string()),
        ];
        if let Some(celsius) = conditions.temperature_celsius {
            rows.push(("CPU temperature", format!("{} °C", significant_text(f64::from(celsius)))));
        }
        key_value_grid(ui, &rows);
    });
}

/// One line per runtime: found or not, and how to get it.
fn runtimes_ui(ui: &mut Ui, runtimes: &[Runtime], store: &Store, commands: &mut Vec<Command>) {
    let p = theme::palette(ui);
    let n_found = runtimes.iter().filter(|runtime| runtime.version.is_some()).count();
    let actions = |ui: &mut Ui| {
        ui.label(RichText::new(format!("{n_found} of {} found", runtimes.len())).color(p.muted));
    };
    card_with_actions(ui, "Runtimes", actions, |ui| {
        for (idx, runtime) in runtimes.iter().enumerate() {
            if idx > 0 {
                let y = ui.cursor().top() - ui.spacing().item_spacing.y / 2.0;
                ui.painter().hline(ui.max_rect().x_range(), y, Stroke::new(1.0, p.line));
            }
            runtime_ui(ui, runtime, store, commands);
        }
        let is_of_runtimes = |kind: &JobKind| matches!(kind, JobKind::SetUp(_) | JobKind::RemoveRuntime(_));
        let latest = store.latest_job(is_of_runtimes).filter(|job| !matches!(job.status, JobStatus::Done { .. }));
        if let Some(job) = latest {
            crate::ui::jobs::queue::job_ui(ui, job, commands);
        }
    });
}

fn runtime_ui(ui: &mut Ui, runtime: &Runtime, store: &Store, commands: &mut Vec<Command>) {
    let p = theme::palette(ui);
    let name = runtime.framework.name();
    // In a narrow window the note gets a line of its own.
    let is_wide = ui.available_width() >= WIDE_RUNTIME;
    ui.horizontal(|ui| {
        ui.set_min_height(28.0);
        let column = |ui: &mut Ui, width: f32, add: &mut dyn FnMut(&mut Ui)| {
            ui.allocate_ui_with_layout(vec2(width, 28.0), Layout::left_to_right(Align::Center), |ui| {
                ui.set_width(width);
                add(ui);
            });
        };
        let (tone, icon) = if runtime.version.is_some() { (Tone::Good, Icon::Check) } else { (Tone::Neutral, Icon::Dash) };
        let (rect, _) = ui.allocate_exact_size(Vec2::splat(16.0), Sense::hover());
        icons::paint(ui.painter(), rect, icon, tone.color(ui));
        column(ui, 180.0, &mut |ui| {
            ui.label(RichText::new(name).font(theme::strong_font()));
        });
        column(ui, 140.0, &mut |ui| match &runtime.version {
            Some(version) => {
                ui.add(Label::new(version).truncate());
            }
            None => {
                ui.label(RichText::new("not found").color(p.muted));
            }
        });
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            set_up_ui(ui, runtime, store, commands);
            if let Some(command) = shell_command(&runtime.note).filter(|_| runtime.version.is_none()) {
                copy_button(ui, &format!("command for {name}"), || command.to_string(), commands);
            }
            if is_wide {
                ui.with_layout(Layout::left_to_right(Align::Center), |ui| runtime_note_ui(ui, runtime));
            }
        });
    });
    if !is_wide {
        runtime_note_ui(ui, runtime);
    }
}

/// The button that sets up a runtime that is missing, or removes one that Planish has set up.
fn set_up_ui(ui: &mut Ui, runtime: &Runtime, store: &Store, commands: &mut Vec<Command>) {
    let Some(id) = RuntimeId::of(runtime.framework).filter(|&id| fetch::is_offered(id)) else { return };
    let is_at_work =
        store.jobs.iter().any(|job| job.is_open() && matches!(job.kind, JobKind::SetUp(_) | JobKind::RemoveRuntime(_)));
    let name = id.name();
    if runtime.version.is_none() {
        let (download_bytes, installed_bytes) = fetch::sizes(id);
        let hover = format!(
            "Fetches some {} of Python packages, pinned by checksum, into a folder of Planish's own; {} on the disk. Takes half a minute \
             on a fast line. Remove takes it away again.",
            bytes_text(download_bytes),
            bytes_text(installed_bytes)
        );
        let button = ui.add_enabled_ui(!is_at_work, |ui| small_button(ui, "Set up", &format!("Set up {name}"))).inner;
        if button.on_hover_text(hover).clicked() {
            commands.push(Command::SetUp(id));
        }
    } else if own_environment(id).is_some_and(|folder| runtime.note.starts_with(&path_text::shown(&folder))) {
        let button = ui.add_enabled_ui(!is_at_work, |ui| small_button(ui, "Remove", &format!("Remove {name}"))).inner;
        if button.on_hover_text("Removes what Planish has set up").clicked() {
            commands.push(Command::RemoveRuntime(id));
        }
    }
}

fn runtime_note_ui(ui: &mut Ui, runtime: &Runtime) {
    let text = RichText::new(&runtime.note).color(theme::palette(ui).text_secondary);
    ui.add(Label::new(if shell_command(&runtime.note).is_some() { text.monospace() } else { text }).wrap());
}

/// The note, when it is a command for a terminal; or the command after the last `: `.
fn shell_command(note: &str) -> Option<&str> {
    let candidate = note.rsplit(": ").next().unwrap_or(note).trim();
    let starts = ["pip ", "pip3 ", "python", "sudo ", "apt ", "brew ", "winget ", "cargo ", "dnf ", "conda ", "uv ", "planish "];
    starts.iter().any(|start| candidate.starts_with(start)).then_some(candidate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{JobKind, JobRecord, JobStatus, Page};
    use crate::ui::test_support::{page_harness, sample_machine, shoot, store_with_model_and_machine};
    use crate::worker::JobId;
    use eframe::egui::Role;
    use egui_kittest::kittest::{NodeT as _, Queryable};

    fn form() -> Form {
        Form { page: Page::Machine, ..Form::default() }
    }

    #[test]
    fn an_unknown_machine_can_be_measured() {
        let mut harness = page_harness(crate::ui::window_ui, Store::default(), form());
        shoot(&mut harness, "machine-empty");
        harness.get_by_label("Measure this machine").click();
        harness.run();
        assert_eq!(harness.state().commands, [Command::Detect]);
    }

    #[test]
    fn facts_are_shown_and_can_be_measured_again() {
        let mut harness = page_harness(crate::ui::window_ui, store_with_model_and_machine(), form());
        for fact in ["AMD Ryzen 7 PRO 7840U", "61.8 GB/s", "AVX-512 VNNI", "AMD Radeon 780M", "8 × 32.0 KiB", "Mains"] {
            assert!(harness.query_all_by_label(fact).next().is_some(), "{fact}");
        }
        harness.get_by_label("NPU memory unknown, not counted");
        harness.get_by_label("Measure again").click();
        harness.run();
        assert_eq!(harness.state().commands, [Command::Detect]);
    }

    #[test]
    fn commands_for_missing_runtimes_can_be_copied() {
        let mut harness = page_harness(crate::ui::window_ui, store_with_model_and_machine(), form());
        harness.get_by_label("Copy command for OpenVINO").scroll_to_me();
        harness.run();
        harness.get_by_label("Copy command for OpenVINO").click();
        harness.run();
        assert_eq!(harness.state().commands, [Command::Copy("pip install openvino nncf".into())]);
        assert!(harness.query_by_label("Copy command for MLX").is_none(), "its note is no command");
    }

    #[test]
    fn a_runtime_is_set_up_by_a_button_and_its_progress_is_shown() {
        let mut harness = page_harness(crate::ui::window_ui, store_with_model_and_machine(), form());
        harness.get_by_label("Set up MLX").scroll_to_me();
        harness.run();
        harness.get_by_label("Set up MLX").click();
        harness.run();
        assert_eq!(harness.state().commands, [Command::SetUp(RuntimeId::Mlx)]);
        let mut store = store_with_model_and_machine();
        let progress = crate::monitor::Progress {
            stage: "MLX: numpy==2.4.6".into(),
            done: 12,
            total: 42,
            unit: crate::monitor::ProgressUnit::Steps,
        };
        let status = JobStatus::Running { progress: Some(progress), elapsed_secs: 4.0, is_cancelling: false };
        store.jobs.push(JobRecord::new(JobId(1), JobKind::SetUp(RuntimeId::Mlx)).with_status(status));
        let mut harness = page_harness(crate::ui::window_ui, store, form());
        shoot(&mut harness, "machine-set-up");
        harness.get_by_label("Cancel Set up MLX");
        assert!(harness.query_all_by_label("MLX: numpy==2.4.6").next().is_some());
        let mut buttons = harness.query_all_by_label("Set up MLX").filter(|node| node.accesskit_node().role() == Role::Button);
        assert!(buttons.next().is_some_and(|button| button.accesskit_node().is_disabled()), "once is enough");
    }

    #[test]
    fn onnx_runtime_is_set_up_by_a_button_too() {
        let mut harness = page_harness(crate::ui::window_ui, store_with_model_and_machine(), form());
        harness.get_by_label("Set up ONNX Runtime").scroll_to_me();
        harness.run();
        harness.get_by_label("Set up ONNX Runtime").click();
        harness.run();
        assert_eq!(harness.state().commands, [Command::SetUp(RuntimeId::OnnxRuntime)]);
    }

    #[test]
    fn while_it_is_measured_there_is_nothing_to_click() {
        let mut store = Store { machine: Slot::Waiting { id: JobId(1) }, ..Store::default() };
        let progress = crate::monitor::Progress {
            stage: "reading memory with 8 threads".into(),
            done: 3,
            total: 5,
            unit: crate::monitor::ProgressUnit::Steps,
        };
        let status = JobStatus::Running { progress: Some(progress), elapsed_secs: 0.4, is_cancelling: false };
        store.jobs.push(JobRecord::new(JobId(1), JobKind::Detect).with_status(status));
        let mut harness = page_harness(crate::ui::window_ui, store, form());
        shoot(&mut harness, "machine-waiting");
        harness.get_by_label("reading memory with 8 threads");
        harness.get_by_label("Measure again").click();
        harness.run();
        assert_eq!(harness.state().commands, []);
    }

    #[test]
    fn a_bare_machine_is_shown_too() {
        let store = Store { machine: Slot::Ready(Box::default()), ..Store::default() };
        let mut harness = page_harness(crate::ui::window_ui, store, form());
        shoot(&mut harness, "machine-bare");
        harness.get_by_label_contains("No GPU and no NPU was found");
    }

    #[test]
    fn only_commands_are_copied() {
        let check = |note: &str, expected| assert_eq!(shell_command(note), expected, "{note}");
        check("pip install x", Some("pip install x"));
        check("get it with: pip install x", Some("pip install x"));
        check("only on Apple silicon", None);
        check("built in", None);
        assert!(sample_machine().runtimes.iter().any(|runtime| shell_command(&runtime.note).is_none()));
    }
}
