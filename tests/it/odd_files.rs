//! What public bug reports break: GGUF files that cannot run or are no models, names that are not UTF-8 or too long, limits of the system.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::ffi::OsStr;
use std::fs::File;
use std::io::BufWriter;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use planish::Monitor;
use planish::convert::{ConvertRequest, convert, open_model, unpack_sample};
use planish::format::{Layout, TensorReader, TensorSpec, Writer, inspect};
use planish::model::{Array, Level, Model, Text, Value};
use serde_json::Value as Json;

use crate::common::{planish, run, run_json};

/// The sample as a GGUF file in F32.
fn sample(folder: &Path) -> Model {
    let checkpoint = open_model(&unpack_sample(folder).unwrap()).unwrap();
    let request = ConvertRequest::new(vec![Level::F32], folder.join("base"));
    let made = convert(&checkpoint, &request, &Monitor::silent()).unwrap();
    inspect(&made[0].path).unwrap()
}

/// Writes a GGUF file with the model's metadata and those of its tensors that are wanted, under the names that `name` gives them.
fn write(model: &Model, path: &Path, name: impl Fn(&str) -> Option<String>) -> PathBuf {
    let reader = TensorReader::open(&inspect(&model.path).unwrap()).unwrap();
    let kept: Vec<_> = model.tensors.iter().filter_map(|tensor| Some((tensor, name(&tensor.name)?))).collect();
    let spec = |(tensor, name): &(&planish::model::Tensor, String)| TensorSpec {
        name: name.clone(),
        dtype: tensor.dtype,
        shape: tensor.shape.clone(),
    };
    let layout = Layout::plan(&model.metadata, &kept.iter().map(spec).collect::<Vec<_>>(), model.alignment).unwrap();
    let mut writer = Writer::start(BufWriter::new(File::create(path).unwrap()), layout, path).unwrap();
    for (tensor, _) in kept {
        let mut bytes = vec![0; usize::try_from(tensor.size_bytes).unwrap()];
        reader.read(tensor, 0, &mut bytes).unwrap();
        writer.write_tensor(&bytes).unwrap();
    }
    writer.finish().unwrap();
    path.to_path_buf()
}

/// The same with all tensors under their names.
fn copy(model: &Model, path: &Path) -> PathBuf {
    write(model, path, |name| Some(name.to_string()))
}

fn set_strings(model: &mut Model, key: &str, change: impl FnOnce(&mut Vec<Text>)) {
    let Some(Value::Array(Array::Str(mut texts))) = model.metadata.find(key).cloned() else { panic!("{key}") };
    change(&mut texts);
    model.metadata.set(key, Value::Array(Array::Str(texts)));
}

/// Status 1 with one `error:` and one `hint:` line, which are returned.
fn refused(output: &Output) -> (String, String) {
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let line =
        |start: &str| stderr.lines().find_map(|line| line.strip_prefix(start)).unwrap_or_else(|| panic!("{start} {stderr}"));
    (line("error: ").to_string(), line("hint: ").to_string())
}

fn names(folder: &Path) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().as_bytes().to_vec()).collect();
    names.sort();
    names
}

#[test]
fn a_model_that_cannot_run_is_told_by_every_command() {
    let dir = tempfile::tempdir().unwrap();
    let base = sample(dir.path());
    let check = |path: &Path, expected: &str| {
        let shown = run_json(&[&"inspect", &path, &"--json"]);
        assert!(shown["obstacles"][0].as_str().unwrap().contains(expected), "{}", shown["obstacles"]);
        assert_eq!(shown["preflight"][0]["is_possible"], false);
        let plan = run_json(&[&"recommend", &path, &"--json"]);
        assert_eq!(plan["plan"]["candidates"], Json::Array(Vec::new()), "nothing is predicted");
        assert_eq!(plan["plan"]["recommended"], Json::Null);
        let out = dir.path().join("out");
        let (error, _) = refused(&run(&[&"convert", &path, &"--level", &"Q8_0", &"--out", &out]));
        assert!(error.contains(expected), "{error}");
        assert!(!out.exists());
    };
    let missing = write(&base, &dir.path().join("missing.gguf"), |name| (name != "blk.2.ffn_up.weight").then(|| name.into()));
    check(&missing, "a tensor is missing: blk.2.ffn_up.weight");
    let mut doubled = base.clone();
    set_strings(&mut doubled, "tokenizer.ggml.tokens", |tokens| tokens[100] = tokens[50].clone());
    let doubled = copy(&doubled, &dir.path().join("doubled.gguf"));
    check(&doubled, "a token appears twice in the vocabulary");
    let mut short = base.clone();
    set_strings(&mut short, "tokenizer.ggml.tokens", |tokens| tokens.truncate(2000));
    check(&copy(&short, &dir.path().join("short.gguf")), "the tokenizer has 2000 tokens but token_embd.weight has");

    // If it is measured all the same, the error quotes llama.cpp's own check and blames nothing else.
    if cfg!(feature = "llama-cpp") {
        let args: [&dyn AsRef<OsStr>; 8] =
            [&"bench", &doubled, &"--repetitions", &"1", &"--prompt-tokens", &"8", &"--gen-tokens", &"4"];
        let (error, hint) = refused(&run(&args));
        assert!(error.contains("GGML_ASSERT") && !error.contains(".cargo") && !error.contains("/src/"), "{error}");
        assert!(!hint.contains("more memory than"), "{hint}");
    }
}

#[test]
fn a_type_that_is_not_known_is_shown_and_no_level_offered() {
    let dir = tempfile::tempdir().unwrap();
    let base = sample(dir.path());
    // The id of the type comes after the name, the number of dimensions and two dimensions.
    let mut bytes = std::fs::read(&base.path).unwrap();
    let name = b"blk.1.attn_k.weight";
    let at = bytes.windows(name.len()).position(|window| window == name).unwrap() + name.len() + 4 + 16;
    bytes[at..at + 4].copy_from_slice(&139_u32.to_le_bytes());
    let path = dir.path().join("newer.gguf");
    std::fs::write(&path, bytes).unwrap();
    let shown = run_json(&[&"inspect", &path, &"--json"]);
    assert_eq!(shown["architecture"], "llama");
    assert!(shown["obstacles"][0].as_str().unwrap().contains("blk.1.attn_k.weight of type 139 (IQ4_K of ik_llama.cpp)"));
    assert_eq!(shown["preflight"][0]["is_possible"], false);
    let (error, _) = refused(&run(&[&"convert", &path, &"--level", &"Q8_0", &"--out", &dir.path().join("out")]));
    assert!(error.contains("139"), "{error}");
}

#[test]
fn what_is_no_model_is_called_what_it_is_by_every_command() {
    let dir = tempfile::tempdir().unwrap();
    let base = sample(dir.path());
    let check = |path: &Path, name: &str, hint: &str| {
        let shown = run_json(&[&"inspect", &path, &"--json"]);
        assert_eq!(shown["preflight"][0]["is_possible"], false);
        let out = dir.path().join("out");
        let refusals: [&[&dyn AsRef<OsStr>]; 5] = [
            &[&"convert", &path, &"--level", &"Q8_0", &"--out", &out],
            &[&"recommend", &path],
            &[&"compare", &path, &"--level", &"Q8_0", &"--out", &out],
            &[&"bench", &path],
            &[&"imatrix", &path, &"--out", &"x.gguf"],
        ];
        for args in refusals {
            let (error, found_hint) = refused(&run(args));
            assert!(error.contains(name) && found_hint.contains(hint), "{error} {found_hint}");
        }
        assert!(!out.exists());
    };
    check(&write(&base, &dir.path().join("vocabulary.gguf"), |_| None), "a vocabulary without weights", "that has the weights");
    let mut adapter = base.clone();
    adapter.metadata.set("general.type", Value::Str("adapter".into()));
    check(&copy(&adapter, &dir.path().join("adapter.gguf")), "a LoRA adapter", "merge");
    let mut imatrix = base.clone();
    imatrix.metadata.set("general.type", Value::Str("imatrix".into()));
    check(&copy(&imatrix, &dir.path().join("imatrix.gguf")), "an importance matrix", "--imatrix");
    let mut projector = base;
    projector.metadata.set("general.architecture", Value::Str("clip".into()));
    check(&copy(&projector, &dir.path().join("mmproj.gguf")), "a projector", "mmproj");
}

#[test]
fn paths_that_are_not_utf8_work_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join(OsStr::from_bytes(b"mod\xe8les"));
    std::fs::create_dir(&folder).unwrap();
    let base = sample(dir.path());
    let path = folder.join(OsStr::from_bytes(b"caf\xe9-F32.gguf"));
    std::fs::rename(&base.path, &path).unwrap();
    let ends_in = |json: &Json, end: &str| {
        let text = json.as_str().unwrap();
        assert!(text.starts_with("file:///") && text.ends_with(end), "{text}");
        assert!(planish::path_text::from_text(text).exists(), "{text}");
    };
    ends_in(&run_json(&[&"inspect", &path, &"--json"])["path"], "/mod%E8les/caf%E9-F32.gguf");
    ends_in(&run_json(&[&"recommend", &path, &"--context", &"128", &"--json"])["model"]["path"], "caf%E9-F32.gguf");
    let out = folder.join(OsStr::from_bytes(b"out\xff"));
    let made = run_json(&[&"convert", &path, &"--level", &"Q8_0", &"--out", &out, &"--json"]);
    ends_in(&made["conversions"][0]["path"], "/out%FF/caf%E9-Q8_0.gguf");
    ends_in(&made["conversions"][0]["source"], "caf%E9-F32.gguf");
    let expected: [&[u8]; 2] = [b"caf\xe9-Q8_0.gguf", b"caf\xe9-Q8_0.gguf.manifest.json"];
    assert_eq!(names(&out), expected);
    let quantized = out.join(OsStr::from_bytes(b"caf\xe9-Q8_0.gguf"));
    assert!(run(&[&"verify", &quantized, &"--source", &path]).status.success());
    ends_in(&run_json(&[&"errors", &path, &quantized, &"--json"])["converted"], "caf%E9-Q8_0.gguf");
    if cfg!(feature = "llama-cpp") {
        let short: [&dyn AsRef<OsStr>; 6] = [&"--repetitions", &"1", &"--prompt-tokens", &"8", &"--gen-tokens", &"4"];
        let mut args: Vec<&dyn AsRef<OsStr>> = vec![&"bench", &path, &"--json"];
        args.extend(short);
        ends_in(&run_json(&args)["runs"][0]["path"], "caf%E9-F32.gguf");
        ends_in(&run_json(&args)["runs"][0]["run"]["path"], "caf%E9-F32.gguf");
        let answers = run_json(&[&"ask", &path, &"--prompt", &"a", &"--max-tokens", &"2", &"--json"]);
        assert!(answers.to_string().contains("caf%E9-F32.gguf"), "{answers}");
        let text = folder.join(OsStr::from_bytes(b"text\xe9.txt"));
        std::fs::write(&text, "A small text about a small model. ".repeat(200)).unwrap();
        let args: [&dyn AsRef<OsStr>; 9] =
            [&"quality", &"--reference", &path, &quantized, &"--text", &text, &"--tokens", &"256", &"--json"];
        let output = run(&args);
        assert!(matches!(output.status.code(), Some(0 | 3)), "{}", String::from_utf8_lossy(&output.stderr));
        let found: Json = serde_json::from_slice(&output.stdout).unwrap();
        ends_in(&found["runs"][0]["run"]["reference"], "caf%E9-F32.gguf");
    }
}

#[test]
fn limits_of_the_system_end_in_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let base = sample(dir.path());
    let out = dir.path().join("out");
    // The limit on the size of files, in blocks of 1 KiB or 512 bytes.
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "ulimit -f 1000; exec \"$0\" convert \"$1\" --level Q8_0 --out \"$2\""]);
    command.arg(planish().get_program()).arg(&base.path).arg(&out);
    let (error, hint) = refused(&command.output().unwrap());
    assert!(hint.contains("ulimit -f"), "{error} {hint}");
    assert_eq!(names(&out), [] as [Vec<u8>; 0], "nothing is left");
    // A name that leaves no room for what is appended to it.
    let long = dir.path().join(format!("{}.gguf", "m".repeat(240)));
    std::fs::rename(&base.path, &long).unwrap();
    let (error, _) = refused(&run(&[&"convert", &long, &"--level", &"Q8_0", &"--out", &out]));
    assert!(error.starts_with("the name of the output is too long"), "{error}");
    assert_eq!(names(&out), [] as [Vec<u8>; 0]);
}

#[test]
fn what_cannot_be_compared_or_read_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let base = sample(dir.path());
    let other = write(&base, &dir.path().join("other.gguf"), |name| Some(format!("x.{name}")));
    let (error, _) = refused(&run(&[&"errors", &base.path, &other]));
    assert!(error.starts_with("it has no tensor in common with the source"), "{error}");
    let args: [&dyn AsRef<OsStr>; 6] = [&"quality", &"--reference", &base.path, &base.path, &"--text", &dir.path()];
    let (error, hint) = refused(&run(&args));
    assert!(error.contains("it is a folder") && hint.contains("text"), "{error} {hint}");
}

#[test]
fn texts_of_files_cannot_move_the_cursor() {
    let dir = tempfile::tempdir().unwrap();
    let mut base = sample(dir.path());
    base.metadata.set("general.name", Value::Str("a\u{1b}[31mred\u{1b}]0;title\u{7}\nsize  forged".into()));
    base.metadata.set("general.license", Value::Str("mit\u{202e}\u{9b}31m".into()));
    base.metadata.set("general.\u{1b}[2J", Value::Str("x".into()));
    let evil = dir.path().join("evil\u{1b}[31m\n.gguf");
    let path = copy(&base, &evil);
    let out = dir.path().join("out");
    let commands: [&[&dyn AsRef<OsStr>]; 3] = [
        &[&"inspect", &path, &"--metadata", &"--tensors"],
        &[&"recommend", &path],
        &[&"convert", &path, &"--level", &"Q8_0", &"--out", &out],
    ];
    for args in commands {
        let output = run(args);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(!text.contains(|c: char| c.is_control() && c != '\n' || c == '\u{202e}'), "{text:?}");
        assert!(!text.lines().any(|line| line.starts_with("size  forged")), "{text}");
    }
    let (error, _) = refused(&run(&[&"inspect", &dir.path().join("no\u{1b}[31m\nhint: forged")]));
    assert!(error.contains("no\\u{1b}[31m\\nhint: forged"), "{error}");
}
