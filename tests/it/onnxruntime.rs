//! Folders for ONNX Runtime in a child: its logits are those of Python's ONNX Runtime bit by bit, and what goes wrong is told.
//!
//! The library is the one that `planish runtime install onnxruntime` has set up in the folder of the fixtures, as `tests/run.sh` does;
//! without it the tests that need it say so and pass, unless `PLANISH_ONNX_RUNTIME` says that it must be there.
#![cfg(feature = "onnxruntime")]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use planish::error::Error;
use planish::format::Artifact;
use planish::model::Framework;
use planish::runtime::{
    BenchTask, Event, GenerateTask, ProbeInput, ProbeTask, PromptMode, Request, RuntimeId, Sampling, Task, TemplateUse,
};

use crate::common::planish;

const N_THREADS: u32 = 2;
const FOLDERS: [&str; 3] = ["f32", "f16", "int4"];

/// A folder of `tests/golden/make_onnx_golden.py`.
fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/onnx").join(name)
}

/// The environment with the library; `None`, loudly, where it has not been set up.
pub fn environment() -> Option<PathBuf> {
    let fixtures = std::env::var_os("PLANISH_FIXTURES").map(PathBuf::from);
    let fixtures = fixtures.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/planish-fixtures")))?;
    let environment = fixtures.join("data/planish/runtimes/onnxruntime");
    if environment.is_dir() {
        return Some(environment);
    }
    assert!(std::env::var_os("PLANISH_ONNX_RUNTIME").is_none(), "{} is missing", environment.display());
    let fixtures = fixtures.display();
    eprintln!("SKIPPED: no ONNX Runtime, XDG_DATA_HOME={fixtures}/data planish runtime install onnxruntime sets it up");
    None
}

/// What a child answers to a request, with what it needs in `environment`: its events, its standard error, and whether it ended well.
pub fn child(environment: &Path, task: Task) -> (Vec<Event>, String, bool) {
    let mut command = planish();
    command.arg("__child").env("VIRTUAL_ENV", environment);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, "{}", serde_json::to_string(&Request { runtime: RuntimeId::OnnxRuntime, task }).unwrap()).unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let events = lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    let status = child.wait().unwrap();
    drop(stdin); // held until now: its end ends the child
    (events, stderr, status.success())
}

pub fn probe(folder: &Path, inputs: Vec<ProbeInput>) -> Task {
    let (max_tokens, with_logits, exact_attention) = (2048, true, true);
    Task::Probe(ProbeTask { path: folder.into(), inputs, max_tokens, with_logits, exact_attention, n_threads: N_THREADS })
}

fn generate(folder: &Path, prompt: &str, mode: PromptMode, n_predict: u32) -> Task {
    let (path, prompt, sampling) = (folder.into(), prompt.into(), Sampling::Greedy);
    Task::Generate(GenerateTask { path, prompt, mode, n_predict, sampling, n_threads: N_THREADS })
}

/// The reason that a child gives for its failure.
fn reason(environment: &Path, task: Task) -> String {
    let (events, stderr, is_well) = child(environment, task);
    assert!(!is_well);
    match events.last() {
        Some(Event::Error { reason }) => reason.clone(),
        other => panic!("{other:?} {stderr}"),
    }
}

/// Token ids that differ from one text to the next.
fn ids(n: u32) -> Vec<u32> {
    (0..n).map(|idx| (idx * idx * 7 + idx * 13 + n) % 300).collect()
}

/// Bits of the logits after each text, by Python's ONNX Runtime; each text is a list of steps.
fn of_python(environment: &Path, folder: &Path, texts: &[Vec<Vec<u32>>]) -> Vec<Vec<u32>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracles/onnx_logits.py");
    let python = ["bin/python", "Scripts/python.exe"].map(|name| environment.join(name)).into_iter().find(|path| path.is_file());
    let mut command = Command::new(python.unwrap());
    command.arg(script).arg(folder).arg(N_THREADS.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut python = command.spawn().unwrap();
    writeln!(python.stdin.take().unwrap(), "{}", serde_json::to_string(texts).unwrap()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn logits_are_those_of_python_bit_by_bit() {
    let Some(environment) = environment() else { return };
    for name in FOLDERS {
        let folder = golden(name);
        let texts: Vec<Vec<u32>> = [1, 2, 37, 255, 256].map(ids).to_vec();
        let whole: Vec<Vec<Vec<u32>>> = texts.iter().map(|text| vec![text.clone()]).collect();
        let expected = of_python(&environment, &folder, &whole);
        let (events, stderr, is_well) = child(&environment, probe(&folder, texts.iter().cloned().map(ProbeInput::Ids).collect()));
        assert!(is_well, "{events:?} {stderr}");
        let found: Vec<Vec<u32>> = events
            .iter()
            .filter_map(|event| match event {
                Event::Probed { last_logits, .. } => Some(last_logits.iter().map(|logit| logit.to_bits()).collect()),
                _ => None,
            })
            .collect();
        assert_eq!(found.len(), texts.len());
        assert!(found == expected, "{name}: other bits than Python's");
        let info = events.iter().find_map(|event| match event {
            Event::Loaded { info, .. } => Some(info),
            _ => None,
        });
        let info = info.unwrap();
        assert_eq!((info.version.as_str(), info.backend.as_str()), ("ONNX Runtime 1.32.0", "CPU execution provider"));
    }
}

/// Where GenAI's own tokenizer differs: digits and bytes are split in two steps.
#[cfg(feature = "llama-cpp")]
#[test]
fn texts_are_split_as_llama_cpp_splits_them() {
    let Some(environment) = environment() else { return };
    let dir = tempfile::tempdir().unwrap();
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/sample");
    let made = planish().arg("convert").arg(&sample).args(["--level", "F16", "--out"]).arg(dir.path()).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let folder = copied(&golden("int4"), &dir.path().join("folder"));
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(sample.join(name), folder.join(name)).unwrap();
    }
    let texts = [
        "Hello there",
        "\n\n1. 1984, 3.14159\n\n\n2)  x",
        "na\u{ef}ve \u{6f22}\u{5b57} \u{1f600}",
        "a<|endoftext|>b",
        "  fn main() {\n\t}",
        "",
    ];
    let task = |path: &Path| {
        let (path, inputs) = (path.to_path_buf(), texts.map(|text| ProbeInput::Text(text.into())).to_vec());
        ProbeTask { path, inputs, max_tokens: 0, with_logits: false, exact_attention: false, n_threads: 1 }
    };
    let ids = |events: &[Event]| -> Vec<Vec<u32>> {
        let ids = |event: &Event| if let Event::Probed { ids, .. } = event { Some(ids.clone()) } else { None };
        events.iter().filter_map(ids).collect()
    };
    let (of_folder, stderr, is_well) = child(&environment, Task::Probe(task(&folder)));
    assert!(is_well, "{stderr}");
    let mut of_llama_cpp = Vec::new();
    let request = Request::llama_cpp(Task::Probe(task(&dir.path().join("sample-F16.gguf"))));
    planish::runtime::run_with(
        Path::new(env!("CARGO_BIN_EXE_planish")),
        &request,
        &planish::monitor::Monitor::silent(),
        |event| {
            of_llama_cpp.push(event);
            Ok(())
        },
    )
    .unwrap();
    assert_eq!(ids(&of_folder), ids(&of_llama_cpp));
    assert_eq!(ids(&of_folder).len(), texts.len());
}

/// The likeliest tokens after a prompt, one by one: the steps of an answer.
#[test]
fn an_answer_is_that_of_python_token_by_token() {
    let Some(environment) = environment() else { return };
    for name in FOLDERS {
        let folder = golden(name);
        let (events, stderr, is_well) = child(&environment, generate(&folder, "the quick brown fox", PromptMode::Completion, 40));
        assert!(is_well, "{events:?} {stderr}");
        let tokens: Vec<u32> = events
            .iter()
            .filter_map(|event| match event {
                Event::Token { id, .. } => Some(*id),
                _ => None,
            })
            .collect();
        assert!(tokens.len() >= 8, "{name}: {tokens:?}");
        let (split, ..) = child(&environment, probe(&folder, vec![ProbeInput::Text("the quick brown fox".into())]));
        let prompt = split.iter().find_map(|event| match event {
            Event::Probed { ids, .. } => Some(ids.clone()),
            _ => None,
        });
        let prompt = prompt.unwrap();
        let steps = |n: usize| std::iter::once(prompt.clone()).chain(tokens[..n].iter().map(|&token| vec![token])).collect();
        let texts: Vec<Vec<Vec<u32>>> = (0..tokens.len()).map(steps).collect();
        for (n, logits) in of_python(&environment, &folder, &texts).iter().enumerate() {
            let logit = |idx: usize| f32::from_bits(logits[idx]);
            let likeliest = (0..logits.len()).max_by(|&a, &b| logit(a).total_cmp(&logit(b))).unwrap();
            assert_eq!(u32::try_from(likeliest).unwrap(), tokens[n], "{name}: token {n}");
        }
    }
}

#[test]
fn a_question_stands_in_the_template_of_the_folder() {
    let Some(environment) = environment() else { return };
    let dir = tempfile::tempdir().unwrap();
    let folder = copied(&golden("int4"), dir.path());
    let n_prompt = |mode: PromptMode, expected: TemplateUse| {
        let (events, stderr, is_well) = child(&environment, generate(&folder, "fox", mode, 1));
        assert!(is_well, "{events:?} {stderr}");
        let prompt = events.iter().find_map(|event| match event {
            Event::Prompt { n_tokens, template, .. } => Some((*n_tokens, *template)),
            _ => None,
        });
        let (n_tokens, template) = prompt.unwrap();
        assert_eq!(template, expected);
        n_tokens
    };
    let bare = n_prompt(PromptMode::Completion, TemplateUse::Unwanted);
    assert_eq!(n_prompt(PromptMode::Chat, TemplateUse::Missing), bare);
    // The mark is one token, not its thirteen characters.
    std::fs::write(folder.join("chat_template.jinja"), "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}").unwrap();
    assert_eq!(n_prompt(PromptMode::Chat, TemplateUse::Applied), bare + 2);
    std::fs::write(folder.join("chat_template.jinja"), "{% generation %}").unwrap();
    assert_eq!(n_prompt(PromptMode::Chat, TemplateUse::Unknown), bare);
}

#[test]
fn what_is_wrong_with_a_folder_is_told() {
    let Some(environment) = environment() else { return };
    let dir = tempfile::tempdir().unwrap();
    let check = |name: &str, change: &dyn Fn(&Path), expected: &str| {
        let place = dir.path().join(expected.replace(['/', ' ', ':'], "_"));
        let folder = copied(&golden(name), &place);
        change(&folder);
        let found = reason(&environment, probe(&folder, vec![ProbeInput::Ids(ids(5))]));
        assert!(found.contains(expected), "{found:?} lacks {expected:?}");
    };
    let cut = |file: &'static str| {
        move |folder: &Path| {
            let bytes = std::fs::read(folder.join(file)).unwrap();
            std::fs::write(folder.join(file), &bytes[..bytes.len() / 2]).unwrap();
        }
    };
    let replaced = |from: &'static str, to: &'static str| {
        move |folder: &Path| {
            let path = folder.join("genai_config.json");
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.contains(from));
            std::fs::write(&path, text.replace(from, to)).unwrap();
        }
    };
    check("int4", &cut("model.onnx"), "model.onnx cannot be loaded");
    check("f32", &cut("model.onnx.data"), "out of bounds or can not be read in full");
    check("int4", &|folder| std::fs::remove_file(folder.join("model.onnx")).unwrap(), "does not exist");
    check("int4", &replaced("\"vocab_size\": 3", "\"vocab_size\": 4"), "genai_config.json has a vocabulary of 4");
    check("int4", &replaced("\"num_key_value_heads\": 1", "\"num_key_value_heads\": 3"), "is 1 in the graph and 3");
    check("int4", &replaced("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1"), "input that Planish does not know");
    check("int4", &replaced("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3"), "has no input \"past_key_values.2.key\"");
    check("int4", &replaced("\"context_length\": 256", "\"context_length\": 4"), "the model's context holds 4");
    let far = probe(&golden("f32"), vec![ProbeInput::Ids(ids(257))]);
    assert_eq!(reason(&environment, far), "a text of 257 tokens is wanted, the model's context holds 256");
    let outside = probe(&golden("f32"), vec![ProbeInput::Ids(vec![1, 100_000])]);
    assert!(reason(&environment, outside).contains("token 100000 is outside the vocabulary"));
}

#[test]
fn speed_is_measured_and_a_long_run_forgets() {
    let Some(environment) = environment() else { return };
    for name in FOLDERS {
        let (path, n_prompt_tokens, n_gen_tokens, sustained_secs) = (golden(name), 32, 8, Some(1));
        let task = Task::Bench(BenchTask { path, n_prompt_tokens, n_gen_tokens, n_threads: N_THREADS, sustained_secs });
        let (events, stderr, is_well) = child(&environment, task);
        assert!(is_well, "{events:?} {stderr}");
        for wanted in ["Prefill", "Decode", "SustainedSecond", "Done"] {
            assert!(events.iter().any(|event| format!("{event:?}").starts_with(wanted)), "{wanted} {events:?}");
        }
    }
}

#[test]
fn a_folder_is_an_artifact_of_onnx_runtime() {
    for (name, recipe, n_files) in
        [("f32", "float32 throughout", 5), ("f16", "F16", 4), ("int4", "MatMulNBits, 4 bits, blocks of 32", 4)]
    {
        let artifact = Artifact::open(&golden(name)).unwrap();
        assert_eq!((artifact.framework, artifact.runtime()), (Framework::OnnxRuntime, Ok(RuntimeId::OnnxRuntime)));
        assert_eq!((artifact.recipe.as_str(), artifact.files.len()), (recipe, n_files), "{:?}", artifact.files);
        assert_eq!(artifact.size_bytes, crate::common::folder_size(&golden(name)));
    }
}

/// A Python environment that looks as if it had ONNX Runtime, with this library.
#[cfg(unix)]
fn pretended(dir: &Path, version: &str, library: &[u8]) -> PathBuf {
    let site = dir.join("lib/python3.11/site-packages");
    let capi = site.join("onnxruntime/capi");
    for folder in [&capi, &dir.join("bin"), &site.join(format!("onnxruntime-{version}.dist-info"))] {
        std::fs::create_dir_all(folder).unwrap();
    }
    std::fs::create_dir_all(site.join("onnxruntime_genai-0.18.0.dist-info")).unwrap();
    std::fs::write(dir.join("bin/python3"), "").unwrap();
    std::fs::write(capi.join("libonnxruntime.so.1.32.0"), library).unwrap();
    dir.to_path_buf()
}

#[cfg(target_os = "linux")]
#[test]
fn a_library_that_does_not_serve_is_told_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    // The header of a library for a processor of 32 bits.
    let mut other = vec![0_u8; 256];
    other[..20].copy_from_slice(b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x28\0");
    let cases: [(&str, &[u8]); 3] = [("text", b"not a library"), ("other", &other), ("empty", b"")];
    for (name, library) in cases {
        let environment = pretended(&dir.path().join(name), "1.32.0", library);
        let found = reason(&environment, Task::Info);
        assert!(found.starts_with("the library of ONNX Runtime cannot be loaded"), "{found}");
        let error = Error::Runtime { runtime: "ONNX Runtime".into(), reason: found, path: "model".into() };
        assert!(error.hint().contains("planish runtime install onnxruntime"));
        let output =
            planish().arg("ask").arg(golden("f32")).args(["--prompt", "x"]).env("VIRTUAL_ENV", &environment).output().unwrap();
        assert!(!output.status.success());
    }
    let without = pretended(&dir.path().join("without"), "1.32.0", b"");
    std::fs::remove_dir_all(without.join("lib/python3.11/site-packages/onnxruntime/capi")).unwrap();
    assert!(reason(&without, Task::Info).starts_with("the library of ONNX Runtime is not there"));
}

/// A library that ends the process, as an exception of C++ does that nobody catches; and one of an older version.
#[cfg(target_os = "linux")]
#[test]
fn a_library_that_crashes_ends_the_child_alone() {
    let dir = tempfile::tempdir().unwrap();
    let library = |name: &str, code: &str| {
        let (source, built) = (dir.path().join(format!("{name}.c")), dir.path().join(format!("{name}.so")));
        std::fs::write(&source, code).unwrap();
        let status = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&built).arg(&source).status();
        assert!(status.unwrap().success(), "llama.cpp needs a C compiler too");
        pretended(&dir.path().join(name), "1.32.0", &std::fs::read(built).unwrap())
    };
    let crashing = library("crashing", "#include <stdlib.h>\nvoid *OrtGetApiBase(void) { abort(); }\n");
    let (events, _, is_well) = child(&crashing, Task::Info);
    assert!(events.is_empty() && !is_well, "{events:?}");
    let mut command = planish();
    command.args(["bench", "--json"]).arg(golden("f32")).env("VIRTUAL_ENV", &crashing);
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && told.contains("SIGABRT"), "{told}");
    let old = "static const char *version(void) { return \"1.20.1\"; }\nstatic void *api(unsigned n) { return 0; }\n\
               struct Base { void *(*api)(unsigned); const char *(*version)(void); };\nstatic struct Base base = { api, version };\n\
               void *OrtGetApiBase(void) { return &base; }\n";
    let found = reason(&library("old", old), Task::Info);
    assert!(found.contains("it has version 1.20.1, 1.24 or newer is needed"), "{found}");
}

/// Copies a folder of files.
fn copied(folder: &Path, to: &Path) -> PathBuf {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    to.to_path_buf()
}
