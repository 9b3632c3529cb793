//! What the tests of all pages share: a real model's header, a laptop, and a window without a screen.

use std::path::PathBuf;
use std::sync::Arc;

use eframe::egui::{self, Ui, UiBuilder, Vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;

use super::kit::theme;
use crate::hardware::{
    Bandwidth, Cache, Conditions, Cpu, Disk, EncodingSpeed, Gpu, Machine, Memory, Npu, Os, PowerSource, Runtime, Vendor,
};
use crate::model::{Array, DType, Framework, Hyperparameters, Metadata, Model, Tensor, Text, Value};
use crate::state::{Command, Form, Slot, Store};

/// What a page reads and writes.
#[derive(Debug, Default)]
pub struct PageState {
    /// Facts.
    pub store: Store,
    /// Choices.
    pub form: Form,
    /// Wishes of all frames so far.
    pub commands: Vec<Command>,
}

/// A page or the whole window.
pub type PageFn = fn(&mut Ui, &Store, &mut Form, &mut Vec<Command>);

/// The Optimize page with the bar below it, as the window has it.
pub fn optimize_ui(ui: &mut Ui, store: &Store, form: &mut Form, commands: &mut Vec<Command>) {
    egui::Panel::bottom("bar").show(ui, |ui| super::optimize::bar::optimize_bar_ui(ui, store, form, commands));
    super::optimize_page_ui(ui, store, form, commands);
}

/// A window of 1280 × 800 points that shows `page`, with the theme of the program.
pub fn page_harness(page: PageFn, store: Store, form: Form) -> Harness<'static, PageState> {
    page_harness_sized(page, store, form, Vec2::new(1280.0, 800.0), 1.0, egui::Theme::Dark)
}

/// The same in any size, scale and variant.
pub fn page_harness_sized(
    page: PageFn,
    store: Store,
    form: Form,
    size: Vec2,
    pixels_per_point: f32,
    variant: egui::Theme,
) -> Harness<'static, PageState> {
    let mut harness = Harness::builder()
        .with_size(size)
        .with_pixels_per_point(pixels_per_point)
        .with_theme(variant)
        .with_max_steps(32)
        .with_context_setup(theme::install)
        .build_ui_state(
            move |ui, state: &mut PageState| {
                // kittest leaves a margin of 8 points around everything; the real window has none.
                let whole = ui.ctx().content_rect();
                ui.scope_builder(UiBuilder::new().max_rect(whole), |ui| {
                    ui.set_clip_rect(whole);
                    page(ui, &state.store, &mut state.form, &mut state.commands);
                });
            },
            PageState { store, form, commands: Vec::new() },
        );
    harness.run();
    harness
}

/// Clicks the only widget of this name and draws until nothing moves.
pub fn click(harness: &mut Harness<'_, PageState>, label: &str) {
    harness.get_by_label(label).click();
    harness.run();
}

/// True when a text with these words is on the page.
pub fn has(harness: &Harness<'_, PageState>, text: &str) -> bool {
    harness.query_all_by_label_contains(text).next().is_some()
}

/// What the wheel sends when it is turned a little.
pub fn wheel(delta: Vec2) -> egui::Event {
    egui::Event::MouseWheel {
        unit: egui::MouseWheelUnit::Point,
        delta,
        source: egui::MouseWheelSource::Wheel,
        modifiers: egui::Modifiers::NONE,
        phase: egui::TouchPhase::Move,
    }
}

/// Turns the wheel over a place, in `n_steps` steps, and draws until nothing moves.
pub fn scroll(harness: &mut Harness<'_, PageState>, at: egui::Pos2, delta: Vec2, n_steps: usize) {
    harness.hover_at(at);
    harness.step();
    for _ in 0..n_steps {
        harness.event(wheel(delta));
        harness.step();
    }
    harness.run();
}

/// A file that is dropped on the window.
#[derive(Debug)]
pub struct Dropped(pub PathBuf);

impl egui::DroppedFile for Dropped {
    fn path(&self) -> &std::path::Path {
        &self.0
    }

    fn bytes(&self) -> Result<Vec<u8>, String> {
        Err("the window must not read files".into())
    }
}

/// Writes the window as `NAME.png` into the existing folder that the variable `PLANISH_SHOTS` names; does nothing without it.
pub fn shoot<State>(harness: &mut Harness<'_, State>, name: &str) {
    if let Some(folder) = std::env::var_os("PLANISH_SHOTS").map(PathBuf::from) {
        harness.render().unwrap().save(folder.join(format!("{name}.png"))).unwrap();
    }
}

/// A store in which model and machine are known.
pub fn store_with_model_and_machine() -> Store {
    let model = sample_model();
    Store {
        model_path: Some(model.path.clone()),
        model: Slot::Ready(Arc::new(model)),
        machine: Slot::Ready(Box::new(sample_machine())),
        ..Store::default()
    }
}

/// The same with the sample model, at this path, before anybody quantized it: such a source gets a recommendation.
pub fn unquantized_at(path: PathBuf) -> Store {
    let mut store = store_with_model_and_machine();
    let mut model = sample_model();
    for tensor in model.tensors.iter_mut().filter(|tensor| tensor.dtype.is_quantized()) {
        tensor.dtype = DType::F16;
        tensor.size_bytes = tensor.n_elements() * 2;
    }
    model.path = path;
    model.size_bytes = model.tensor_bytes() + 1_785_664;
    store.model_path = Some(model.path.clone());
    store.model = Slot::Ready(Arc::new(model));
    store
}

/// The header of SmolLM2-135M-Instruct.Q4_1.gguf as the file has it; the tables of the tokenizer are made up or left out.
pub fn sample_model() -> Model {
    const N_LAYERS: u64 = 30;
    let mut tensors = Vec::new();
    let mut offset = 1_785_664;
    let mut push = |name: String, dtype: DType, shape: &[u64]| {
        let n_rows: u64 = shape.iter().skip(1).product();
        let size_bytes = dtype.row_bytes(shape[0]).unwrap() * n_rows;
        tensors.push(Tensor { name, dtype, shape: shape.to_vec(), file_idx: 0, offset, size_bytes });
        offset += size_bytes.next_multiple_of(32);
    };
    push("token_embd.weight".into(), DType::Q8_0, &[576, 49152]);
    for layer_idx in 0..N_LAYERS {
        let mut block = |name: &str, dtype, shape: &[u64]| push(format!("blk.{layer_idx}.{name}.weight"), dtype, shape);
        block("attn_norm", DType::F32, &[576]);
        block("ffn_down", DType::Q4_1, &[1536, 576]);
        block("ffn_gate", DType::Q4_1, &[576, 1536]);
        block("ffn_up", DType::Q4_1, &[576, 1536]);
        block("ffn_norm", DType::F32, &[576]);
        block("attn_k", DType::Q4_1, &[576, 192]);
        block("attn_output", DType::Q4_1, &[576, 576]);
        block("attn_q", DType::Q4_1, &[576, 576]);
        block("attn_v", DType::Q4_1, &[576, 192]);
    }
    push("output_norm.weight".into(), DType::F32, &[576]);
    let metadata = sample_metadata();
    let path = PathBuf::from("/home/ada/models/SmolLM2-135M-Instruct.Q4_1.gguf");
    Model {
        files: vec![path.clone()],
        path,
        size_bytes: 98_362_432,
        format_name: "GGUF v3".into(),
        alignment: 32,
        hyperparameters: Hyperparameters::from_metadata(&metadata),
        metadata,
        tensors,
        warnings: Vec::new(),
        obstacles: Vec::new(),
        unknown: Vec::new(),
        import: None,
        others: Vec::new(),
    }
}

fn sample_metadata() -> Metadata {
    let text = |value: &str| Value::Str(Text::from(value));
    let tokens = (0..49_152).map(|idx| Text::from(format!("token{idx}").as_str())).collect();
    Metadata(
        [
            ("general.architecture", text("llama")),
            ("general.type", text("model")),
            ("general.name", text("Smollm2 135M 8k Lc100K Mix1 Ep2")),
            ("general.organization", text("HuggingFaceTB")),
            ("general.finetune", text("8k-lc100k-mix1-ep2")),
            ("general.basename", text("smollm2")),
            ("general.size_label", text("135M")),
            ("general.license", text("apache-2.0")),
            ("general.languages", Value::Array(Array::Str(vec![Text::from("en")]))),
            ("llama.block_count", Value::U32(30)),
            ("llama.context_length", Value::U32(8192)),
            ("llama.embedding_length", Value::U32(576)),
            ("llama.feed_forward_length", Value::U32(1536)),
            ("llama.attention.head_count", Value::U32(9)),
            ("llama.attention.head_count_kv", Value::U32(3)),
            ("llama.rope.freq_base", Value::F32(100_000.0)),
            ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
            ("general.file_type", Value::U32(3)),
            ("llama.vocab_size", Value::U32(49152)),
            ("llama.rope.dimension_count", Value::U32(64)),
            ("tokenizer.ggml.add_space_prefix", Value::Bool(false)),
            ("tokenizer.ggml.add_bos_token", Value::Bool(false)),
            ("tokenizer.ggml.model", text("gpt2")),
            ("tokenizer.ggml.pre", text("smollm")),
            ("tokenizer.ggml.tokens", Value::Array(Array::Str(tokens))),
            ("tokenizer.ggml.token_type", Value::Array(Array::I32(vec![1; 49_152]))),
            ("tokenizer.ggml.bos_token_id", Value::U32(1)),
            ("tokenizer.ggml.eos_token_id", Value::U32(2)),
            ("tokenizer.ggml.unknown_token_id", Value::U32(0)),
            ("tokenizer.ggml.padding_token_id", Value::U32(2)),
            ("tokenizer.chat_template", text(CHAT_TEMPLATE)),
            ("general.quantization_version", Value::U32(2)),
        ]
        .map(|(key, value)| (key.to_string(), value))
        .to_vec(),
    )
}

const CHAT_TEMPLATE: &str =
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system
You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>
' }}{% endif %}{{'<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}";

/// The sample model with `n_tensors` tensors of growing size, for tests of long tables.
pub fn model_with_tensors(n_tensors: usize) -> Model {
    let mut model = sample_model();
    model.tensors = (0..n_tensors)
        .map(|idx| Tensor {
            name: format!("blk.{}.expert_{}.weight", idx / 100, idx % 100),
            dtype: if idx % 2 == 0 { DType::Q4_K } else { DType::Q6_K },
            shape: vec![4096, 1024 + idx as u64],
            file_idx: 0,
            offset: idx as u64 * 4096,
            size_bytes: 4096 * (1024 + idx as u64) / 2,
        })
        .collect();
    model
}

/// A laptop with an integrated GPU and an NPU, on mains, in good shape.
pub fn sample_machine() -> Machine {
    Machine {
        cpu: Cpu {
            name: "AMD Ryzen 7 PRO 7840U".into(),
            architecture: "x86_64".into(),
            n_physical: 8,
            n_logical: 16,
            n_performance: None,
            n_efficiency: None,
            simd: ["AVX2", "FMA", "F16C", "AVX-512", "AVX-512 VNNI", "AVX-512 BF16"].map(String::from).to_vec(),
            caches: vec![
                Cache { level: 1, size_bytes: 32 << 10, n_instances: 8 },
                Cache { level: 2, size_bytes: 1 << 20, n_instances: 8 },
                Cache { level: 3, size_bytes: 16 << 20, n_instances: 1 },
            ],
        },
        memory: Memory { total_bytes: 29_360_128_000, available_bytes: 22_100_000_000, swap_bytes: 8 << 30, limit_bytes: None },
        gpus: vec![Gpu {
            name: "AMD Radeon 780M".into(),
            vendor: Vendor::Amd,
            memory_bytes: Some(4 << 30),
            free_bytes: Some(3_600_000_000),
            is_unified: true,
            is_integrated: true,
            driver: Some("amdgpu 6.1".into()),
        }],
        npus: vec![Npu { name: "AMD XDNA (Ryzen AI)".into(), vendor: Vendor::Amd, driver: Some("amdxdna".into()) }],
        disk: Some(Disk {
            mount_point: "/home".into(),
            file_system: "ext4".into(),
            total_bytes: 1_000_000_000_000,
            free_bytes: 412_000_000_000,
            write_bytes_per_sec: Some(2.31e9),
        }),
        os: Os { name: "Debian GNU/Linux 12".into(), kernel: "6.1.0-18-amd64".into(), is_container: false },
        conditions: Conditions {
            power_source: PowerSource::Mains,
            battery_percent: Some(87.0),
            temperature_celsius: Some(48.5),
            other_load: Some(0.04),
        },
        encoding: EncodingSpeed {
            secs_per_weight: [
                DType::F32,
                DType::F16,
                DType::Q8_0,
                DType::Q6_K,
                DType::Q5_K,
                DType::Q5_1,
                DType::Q4_K,
                DType::Q3_K,
            ]
            .map(|dtype| (dtype, 2e-8))
            .to_vec(),
            n_threads: 8,
        },
        bandwidth: Some(Bandwidth {
            one_thread_bytes_per_sec: 24.6e9,
            all_threads_bytes_per_sec: 61.8e9,
            n_threads: 8,
            other_load: Some(0.03),
        }),
        runtimes: vec![
            Runtime { framework: Framework::LlamaCpp, version: Some("b6210".into()), note: "built in".into() },
            Runtime { framework: Framework::OnnxRuntime, version: None, note: "planish runtime install onnxruntime".into() },
            Runtime { framework: Framework::OpenVino, version: None, note: "pip install openvino nncf".into() },
            Runtime { framework: Framework::Mlx, version: None, note: "only on Apple silicon".into() },
            Runtime {
                framework: Framework::Qnn,
                version: None,
                note: "only on Snapdragon, with the Qualcomm AI Engine SDK".into(),
            },
        ],
        warnings: vec!["NPU memory unknown, not counted".into()],
    }
}
