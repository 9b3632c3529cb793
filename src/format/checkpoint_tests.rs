//! Checkpoints in all the layouts found in practice, whole and broken.

use std::path::{Path, PathBuf};

use super::test_checkpoints::{CONFIG, llama_tensors, write_described, write_llama, write_safetensors, write_shards};
use super::{Opened, inspect, read_any, read_checkpoint};
use crate::error::Error;
use crate::model::{Checkpoint, QuantizationMethod};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn opened(path: &Path) -> Checkpoint {
    match read_any(path) {
        Ok(Opened::Checkpoint(checkpoint)) => *checkpoint,
        other => panic!("{}: {other:?}", path.display()),
    }
}

#[test]
fn a_folder_and_each_of_its_files_stand_for_the_checkpoint() {
    let dir = folder();
    write_llama(dir.path());
    let of_folder = opened(dir.path());
    for name in ["config.json", "model.safetensors"] {
        assert_eq!(opened(&dir.path().join(name)), of_folder, "{name}");
    }
    assert_eq!((of_folder.tensors.len(), of_folder.files.len()), (30, 1));
    assert_eq!(of_folder.name, dir.path().file_name().unwrap().to_string_lossy());
    assert_eq!(of_folder.tokenizer_files, ["tokenizer.json", "tokenizer_config.json"]);
    assert_eq!(of_folder.tokenizer_class.as_deref(), Some("PreTrainedTokenizerFast"));
    assert_eq!(of_folder.chat_template_file.as_deref(), Some("tokenizer_config.json"));
    assert!(of_folder.has_generation_config && of_folder.pickle_files.is_empty());
    assert_eq!(of_folder.config.as_ref().unwrap().n_layers, 3);
    let error = inspect(dir.path()).unwrap_err();
    assert!(matches!(error, Error::CheckpointNotRunnable { .. }), "{error}");
}

#[test]
fn a_hundred_shards_are_read_in_order_and_fast() {
    let dir = folder();
    write_described(dir.path(), CONFIG);
    let tensors = llama_tensors(110);
    let names = write_shards(dir.path(), &tensors, 100);
    assert!(names.len() > 80);
    read_checkpoint(dir.path()).unwrap(); // the first time the names come from the disk
    let started = std::time::Instant::now();
    let checkpoint = opened(dir.path());
    let elapsed = started.elapsed();
    println!("{} shards, {} tensors: {:.1} ms", names.len(), tensors.len(), elapsed.as_secs_f64() * 1e3);
    // Loose by design, for a busy machine; the aim is 100 ms.
    assert!(elapsed.as_secs_f64() < 2.0, "{elapsed:?}");
    assert_eq!((checkpoint.tensors.len(), checkpoint.files.len()), (tensors.len(), names.len()));
    assert!(checkpoint.tensors.iter().map(|tensor| tensor.file_idx).is_sorted());
    assert!(checkpoint.index_errors.is_empty() && checkpoint.duplicates.is_empty() && checkpoint.missing_files.is_empty());
    assert_eq!(opened(&dir.path().join("model.safetensors.index.json")), checkpoint);
    assert_eq!(opened(&dir.path().join(&names[7])), checkpoint);
}

#[test]
fn missing_shards_are_named() {
    let dir = folder();
    write_described(dir.path(), CONFIG);
    let names = write_shards(dir.path(), &llama_tensors(3), 3);
    std::fs::remove_file(dir.path().join(&names[1])).unwrap();
    let checkpoint = opened(dir.path());
    assert_eq!(checkpoint.missing_files, [names[1].clone()]);
    assert!(checkpoint.index_errors.is_empty(), "what a missing file holds is not told twice");
    // Without an index, the numbers in the names show it.
    std::fs::remove_file(dir.path().join("model.safetensors.index.json")).unwrap();
    assert_eq!(opened(dir.path()).missing_files, [names[1].clone()]);
}

#[test]
fn an_index_that_disagrees_is_told() {
    let dir = folder();
    let tensors = llama_tensors(1);
    let names = write_shards(dir.path(), &tensors, 2);
    // The second file now has the last tensor of the first, and lacks its own last.
    let mut second = tensors[6..11].to_vec();
    second.push(tensors[5].clone());
    write_safetensors(&dir.path().join(&names[1]), &second);
    let checkpoint = opened(dir.path());
    assert_eq!(checkpoint.duplicates, [tensors[5].0.clone()]);
    assert_eq!(
        checkpoint.index_errors,
        [
            format!("{} is in {}, the index says {}", tensors[5].0, names[1], names[0]),
            format!("lm_head.weight is not in {}", names[1]),
        ]
    );
}

#[test]
fn a_hostile_index_is_refused() {
    let check = |text: &str, expected: &str| {
        let dir = folder();
        let path = dir.path().join("model.safetensors.index.json");
        std::fs::write(&path, text).unwrap();
        let message = read_checkpoint(dir.path()).unwrap_err().to_string();
        assert!(message.contains(expected) && message.starts_with("damaged index of shards, "), "{message}");
    };
    for name in ["../model.safetensors", "/etc/passwd", "a/b", "", "..", "C:\\\\x", "a\\u0000b"] {
        check(&format!(r#"{{"weight_map":{{"a":"{name}"}}}}"#), "a file that is not in its folder");
    }
    check("{}", "it has no weight_map");
    check(r#"{"weight_map":{"a":"x","a":"y"}}"#, "tensor a appears twice");
    check(r#"{"weight_map":{},"weight_map":{}}"#, "weight_map appears twice");
    check(r#"{"weight_map":{"a":1}}"#, "invalid type");
    check(r#"{"weight_map":[]}"#, "invalid type");
    check("{", "EOF");
    let many = (0..2001).map(|idx| format!(r#""t{idx}":"f{idx}""#)).collect::<Vec<_>>().join(",");
    check(&format!(r#"{{"weight_map":{{{many}}}}}"#), "more than 2000 files");
}

#[test]
fn pickles_are_named_and_never_opened() {
    let dir = folder();
    write_described(dir.path(), CONFIG);
    // Not a pickle at all: opening it would be an error.
    std::fs::write(dir.path().join("pytorch_model.bin"), "x").unwrap();
    std::fs::write(dir.path().join("training_args.bin"), "x").unwrap();
    let checkpoint = opened(dir.path());
    assert_eq!((checkpoint.pickle_files.as_slice(), checkpoint.tensors.len()), (&["pytorch_model.bin".to_string()][..], 0));
    std::fs::remove_file(dir.path().join("config.json")).unwrap();
    let error = read_any(dir.path()).unwrap_err();
    assert!(matches!(error, Error::Pickle { .. }) && error.hint().contains("save_pretrained"), "{error}");
}

#[test]
fn a_file_beside_the_set_is_judged_by_itself() {
    let dir = folder();
    write_llama(dir.path());
    let adapter = dir.path().join("adapter.safetensors");
    write_safetensors(&adapter, &[("lora".into(), "F32", vec![4])]);
    let checkpoint = opened(&adapter);
    assert_eq!((checkpoint.name.as_str(), checkpoint.tensors.len(), checkpoint.config), ("adapter.safetensors", 1, None));
    std::fs::remove_file(dir.path().join("model.safetensors")).unwrap();
    assert_eq!(opened(dir.path()).tensors.len(), 1, "the only file is the model");
    write_safetensors(&dir.path().join("other.safetensors"), &[("lora".into(), "F32", vec![4])]);
    let error = read_any(dir.path()).unwrap_err();
    assert!(matches!(error, Error::UnclearFolder { .. }), "{error}");
    assert_eq!(opened(&adapter).name, "adapter.safetensors");
}

#[test]
fn damaged_files_are_errors() {
    let check = |name: &str, content: &[u8], expected: &str| {
        let dir = folder();
        write_llama(dir.path());
        std::fs::write(dir.path().join(name), content).unwrap();
        let message = read_any(dir.path()).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    };
    check("config.json", b"{", "damaged config.json, EOF");
    check("config.json", &vec![b' '; 2 << 20], "it has 2097152 bytes, at most 1048576 are read");
    check("tokenizer_config.json", b"[1]", "damaged tokenizer_config.json");
    check("model.safetensors", &[0xff; 100], "damaged safetensors, the header's length");
}

#[test]
fn what_lies_in_the_place_of_a_file_is_named() {
    const LFS: &[u8] = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 123456789\n";
    let check = |name: &str, content: &[u8], expected: &str| {
        let dir = folder();
        write_llama(dir.path());
        std::fs::write(dir.path().join(name), content).unwrap();
        let error = read_any(dir.path()).unwrap_err();
        assert!(matches!(error, Error::Placeholder { .. }) && error.to_string().contains(expected), "{name}: {error}");
    };
    for name in ["config.json", "tokenizer_config.json", "model.safetensors", "model.safetensors.index.json"] {
        check(name, LFS, "a Git LFS pointer");
        check(name, b"<!DOCTYPE html><html>", "an HTML page");
        check(name, b"", "an empty file");
        check(name, br#"{"error":"Invalid credentials"}"#, "an error message from a server");
        check(name, b"../../blobs/4d7a2146", "the text of a link");
    }
    check("model.safetensors", &[0; 4096], "zeros");
    // For files that are not needed, a warning is enough.
    let dir = folder();
    write_llama(dir.path());
    std::fs::write(dir.path().join("generation_config.json"), LFS).unwrap();
    std::fs::write(dir.path().join("README.md"), "<p align=\"center\">").unwrap();
    let warnings = opened(dir.path()).warnings;
    assert!(warnings.len() == 1 && warnings[0].contains("a Git LFS pointer"), "{warnings:?}");
}

#[test]
fn unfinished_downloads_are_told() {
    let dir = folder();
    write_described(dir.path(), CONFIG);
    std::fs::write(dir.path().join("model.safetensors.crdownload"), "x").unwrap();
    std::fs::write(dir.path().join("out.gguf.part"), "x").unwrap();
    let hidden = dir.path().join(".cache/huggingface/download");
    std::fs::create_dir_all(&hidden).unwrap();
    std::fs::write(hidden.join("abc.incomplete"), "x").unwrap();
    let lack = opened(dir.path()).missing_weights().unwrap();
    let expected = "no safetensors file: there are no weights; downloads that have not ended: \
        model.safetensors.crdownload, abc.incomplete";
    assert_eq!(lack, expected);
    write_llama(dir.path());
    assert_eq!(opened(dir.path()).missing_weights(), None);
}

#[test]
fn an_adapter_is_no_model() {
    let dir = folder();
    let (file, description) = (dir.path().join("adapter_model.safetensors"), dir.path().join("adapter_config.json"));
    write_safetensors(&file, &[("base_model.model.q_proj.lora_A.weight".into(), "F32", vec![4])]);
    let check = |path: &Path, expected: &str| match read_any(path) {
        Err(error @ Error::Adapter { .. }) => {
            assert!(error.to_string().starts_with(expected) && error.hint().contains("merge"), "{error}");
        }
        other => panic!("{other:?}"),
    };
    check(dir.path(), "a LoRA adapter, which is not a model by itself");
    check(&file, "a LoRA adapter, ");
    std::fs::write(&description, r#"{"peft_type":"LORA","base_model_name_or_path":"meta/Llama"}"#).unwrap();
    check(dir.path(), "a LoRA adapter of meta/Llama, ");
    check(&file, "a LoRA adapter of meta/Llama, ");
    // Some trainers leave the description of the base model there too.
    std::fs::write(dir.path().join("config.json"), CONFIG).unwrap();
    std::fs::write(&description, r#"{"peft_type":"IA3"}"#).unwrap();
    check(dir.path(), "a PEFT adapter (IA3), ");
    // A merged adapter is a model.
    write_llama(dir.path());
    assert_eq!(opened(dir.path()).tensors.len(), 30);
}

#[cfg(unix)]
#[test]
fn a_link_to_nothing_is_named() {
    for name in ["config.json", "model.safetensors", "tokenizer_config.json"] {
        let dir = folder();
        write_llama(dir.path());
        std::fs::remove_file(dir.path().join(name)).unwrap();
        std::os::unix::fs::symlink("../../blobs/4d7a", dir.path().join(name)).unwrap();
        let error = read_any(dir.path()).unwrap_err();
        assert!(matches!(error, Error::BrokenLink { .. }) && error.hint().contains("download"), "{name}: {error}");
    }
}

#[test]
fn gptq_is_known_by_its_own_file() {
    let dir = folder();
    write_llama(dir.path());
    std::fs::write(dir.path().join("quantize_config.json"), "{}").unwrap();
    let checkpoint = opened(dir.path());
    assert!(
        checkpoint.config.unwrap().quantization.is_none() && checkpoint.warnings[0].contains("(gptq)"),
        "its tensors are floats"
    );
    let mut tensors = llama_tensors(3);
    tensors.push(("model.layers.0.self_attn.q_proj.qweight".into(), "I32", vec![8, 64]));
    tensors.push(("model.layers.0.self_attn.q_proj.g_idx".into(), "I32", vec![64]));
    write_safetensors(&dir.path().join("model.safetensors"), &tensors);
    assert_eq!(opened(dir.path()).config.unwrap().quantization.unwrap().method, QuantizationMethod::Gptq);
}

#[cfg(unix)]
#[test]
fn the_cache_of_hugging_face_is_understood() {
    use std::os::unix::fs::symlink;
    let dir = folder();
    let model = dir.path().join("models--ada--tiny");
    let snapshot = model.join("snapshots").join("0123abcd");
    let blobs = model.join("blobs");
    for path in [&snapshot, &blobs, &model.join("refs")] {
        std::fs::create_dir_all(path).unwrap();
    }
    write_llama(&blobs);
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        symlink(PathBuf::from("../../blobs").join(name), snapshot.join(name)).unwrap();
    }
    let of_snapshot = opened(&snapshot);
    assert_eq!((of_snapshot.name.as_str(), of_snapshot.tensors.len()), ("ada/tiny", 30));
    // The model's own folder: the only snapshot, then the one that the reference names.
    assert_eq!(opened(&model), of_snapshot);
    std::fs::create_dir(model.join("snapshots").join("older")).unwrap();
    // Of several snapshots, the latest with a description is taken, with a warning.
    let mut of_latest = opened(&model);
    assert!(of_latest.warnings.remove(0).contains("2 snapshots and none is named main: 0123abcd"));
    assert_eq!(of_latest, of_snapshot);
    std::fs::write(model.join("refs").join("main"), "0123abcd\n").unwrap();
    assert_eq!(opened(&model), of_snapshot);
    // A reference cannot lead out of the folder, and one to nothing is ignored.
    for reference in ["../../..", "fedcba98"] {
        std::fs::write(model.join("refs").join("main"), reference).unwrap();
        assert_eq!(opened(&model).path, of_snapshot.path, "{reference}");
    }
    std::fs::remove_dir_all(model.join("snapshots")).unwrap();
    std::fs::create_dir(model.join("snapshots")).unwrap();
    let error = read_any(&model).unwrap_err();
    assert!(matches!(error, Error::UnclearFolder { .. }) && error.hint().contains("download"), "{error}");
}

#[cfg(unix)]
#[test]
fn links_in_a_circle_and_fifos_are_errors() {
    let dir = folder();
    write_described(dir.path(), CONFIG);
    let path = dir.path().join("model.safetensors");
    std::os::unix::fs::symlink(&path, &path).unwrap();
    assert!(matches!(read_any(dir.path()), Err(Error::BrokenLink { .. })));
    std::fs::remove_file(&path).unwrap();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert!(matches!(read_any(dir.path()), Err(Error::NotAFile { .. })));
}

#[cfg(unix)]
#[test]
fn names_of_any_bytes_are_opened() {
    use std::os::unix::ffi::OsStrExt as _;
    let odd = |dir: &Path, name: &[u8]| dir.join(std::ffi::OsStr::from_bytes(name));
    let dir = folder();
    write_llama(dir.path());
    let expected = opened(dir.path()).tensors;
    std::fs::rename(dir.path().join("model.safetensors"), odd(dir.path(), b"mod\xe8l.safetensors")).unwrap();
    assert_eq!(opened(dir.path()).tensors, expected);
    assert_eq!(opened(&odd(dir.path(), b"mod\xe8l.safetensors")).tensors, expected);
    // Numbered, without an index; one of them missing.
    let dir = folder();
    write_described(dir.path(), CONFIG);
    for (idx, name) in write_shards(dir.path(), &llama_tensors(3), 3).iter().enumerate() {
        let other = [b"\xff-0000", (idx + 1).to_string().as_bytes(), b"-of-00003.safetensors"].concat();
        std::fs::rename(dir.path().join(name), odd(dir.path(), &other)).unwrap();
    }
    std::fs::remove_file(dir.path().join("model.safetensors.index.json")).unwrap();
    assert_eq!((opened(dir.path()).tensors.len(), opened(dir.path()).files.len()), (30, 3));
    std::fs::remove_file(odd(dir.path(), b"\xff-00002-of-00003.safetensors")).unwrap();
    let lack = opened(dir.path()).missing_weights().unwrap();
    assert_eq!(lack, "1 of 3 files are missing: \u{FFFD}-00002-of-00003.safetensors");
    // A name is shown on one line.
    let dir = folder();
    write_described(dir.path(), CONFIG);
    std::fs::write(dir.path().join("a\n\u{1b}[31m.bin"), "x").unwrap();
    let lack = opened(dir.path()).missing_weights().unwrap();
    assert!(lack.contains("(a\\n\\u{1b}[31m.bin)"), "{lack}");
}

#[test]
fn an_index_that_was_left_over_is_not_believed() {
    let dir = folder();
    write_described(dir.path(), CONFIG);
    let names = write_shards(dir.path(), &llama_tensors(3), 3);
    for name in &names {
        std::fs::remove_file(dir.path().join(name)).unwrap();
    }
    let index = std::fs::read(dir.path().join("model.safetensors.index.json")).unwrap();
    assert_eq!(opened(dir.path()).missing_files, names, "nothing else is there");
    // Another file is no reason to forget what is missing.
    write_safetensors(&dir.path().join("vision.safetensors"), &llama_tensors(1));
    assert_eq!(opened(dir.path()).missing_files, names);
    std::fs::remove_file(dir.path().join("vision.safetensors")).unwrap();
    let is_told = |checkpoint: &Checkpoint, name: &str| {
        let told = format!(
            "model.safetensors.index.json is left over: none of the files that it names is there, {name} is taken instead"
        );
        checkpoint.warnings == [told] && checkpoint.missing_files.is_empty() && checkpoint.tensors.len() == 30
    };
    // Split anew.
    write_shards(dir.path(), &llama_tensors(3), 2);
    std::fs::write(dir.path().join("model.safetensors.index.json"), &index).unwrap();
    assert!(is_told(&opened(dir.path()), "model-00001-of-00002.safetensors"), "{:?}", opened(dir.path()).warnings);
    // Joined.
    write_safetensors(&dir.path().join("model.safetensors"), &llama_tensors(3));
    assert!(is_told(&opened(dir.path()), "model.safetensors"));
}
