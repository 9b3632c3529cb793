//! Outputs that are folders: written, interrupted, resumed, replaced, checked and taken away.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::paths::{journal_path, part_path};
use super::*;
use crate::advise::MlxChanges;
use crate::error::Error;
use crate::monitor::Monitor;

struct Sample {
    dir: tempfile::TempDir,
    model: Model,
    level: Level,
}

impl Sample {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let model = open_model(&unpack_sample(dir.path()).unwrap()).unwrap();
        Self { dir, model, level: "mlx:4-bit".parse().unwrap() }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn request(&self, out: &str) -> ConvertRequest {
        ConvertRequest::new(vec![self.level], self.at(out))
    }

    fn convert(&self, request: &ConvertRequest) -> Result<Vec<Conversion>> {
        convert(&self.model, request, &Monitor::silent())
    }

    fn make(&self, out: &str) -> PathBuf {
        self.convert(&self.request(out)).unwrap().remove(0).path
    }

    /// Cancels a conversion half-way.
    fn stop(&self, request: &ConvertRequest) {
        let cancelled = Arc::new(AtomicBool::new(false));
        let (flag, half) = (Arc::clone(&cancelled), self.model.tensor_bytes() / 2);
        let monitor = Monitor::new(cancelled, move |progress| {
            if progress.done >= half {
                flag.store(true, Ordering::Relaxed);
            }
        });
        assert_eq!(convert(&self.model, request, &monitor), Err(Error::Cancelled));
    }
}

/// Names and contents of a folder's files.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap_or_default())).collect()
}

fn names(folder: &Path) -> Vec<String> {
    contents(folder).into_keys().collect()
}

fn findings(path: &Path) -> Vec<String> {
    let request = VerifyRequest { path: path.into(), source: None, imatrix: None };
    verify(&request, &Monitor::silent()).unwrap().findings
}

#[test]
fn a_folder_has_the_planned_size_and_is_what_was_written() {
    let sample = Sample::new();
    let mut request = sample.request("out");
    request.levels.push(Level::Q8_0);
    let planned = preflight(&sample.model, &request).unwrap().outputs;
    let made = sample.convert(&request).unwrap();
    assert_eq!(made.iter().map(|made| made.level).collect::<Vec<_>>(), request.levels);
    assert_eq!(
        names(&sample.at("out")),
        ["planish-sample-Q8_0.gguf", "planish-sample-Q8_0.gguf.manifest.json", "planish-sample-mlx-4-bit-g64"]
    );
    let files = contents(&made[0].path);
    let expected = [
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "model.safetensors.index.json",
        "planish.manifest.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    assert_eq!(files.keys().map(String::as_str).collect::<Vec<_>>(), expected);
    let size: usize = files.iter().filter(|(name, _)| *name != "planish.manifest.json").map(|(_, bytes)| bytes.len()).sum();
    assert_eq!((planned[0].size_bytes, made[0].size_bytes), (size as u64, size as u64));
    assert_eq!(files["tokenizer.json"], std::fs::read(sample.model.path.join("tokenizer.json")).unwrap());
    let request = |source: &Path| VerifyRequest { path: made[0].path.clone(), source: Some(source.into()), imatrix: None };
    let found = verify(&request(&sample.model.path), &Monitor::silent()).unwrap();
    assert_eq!((found.findings.as_slice(), found.recipe.as_str()), ([].as_slice(), "mlx:4-bit-g64"));
    let other = verify(&request(&made[1].path), &Monitor::silent()).unwrap();
    assert_eq!(other.findings.len(), 1, "{:?}", other.findings);
    // Any number of threads, the same bytes.
    let alone = ConvertRequest { n_threads: Some(5), ..sample.request("again") };
    assert!(contents(&sample.convert(&alone).unwrap()[0].path) == files);
}

#[test]
fn damage_anywhere_in_a_folder_is_found() {
    let sample = Sample::new();
    let path = sample.make("out");
    let check = |name: &str, change: &dyn Fn(&mut Vec<u8>), expected: &str| {
        let file = path.join(name);
        let before = std::fs::read(&file).unwrap();
        let mut after = before.clone();
        change(&mut after);
        std::fs::write(&file, after).unwrap();
        let found = findings(&path);
        assert!(matches!(found.as_slice(), [only] if only.contains(expected)), "{found:?}");
        std::fs::write(&file, before).unwrap();
    };
    check("config.json", &|bytes| bytes[20] ^= 1, "config.json is not what was written");
    check("config.json", &|bytes| bytes.truncate(7), "config.json has 7 bytes");
    check("model.safetensors", &|bytes| bytes[12] ^= 1, "model.safetensors is not what was written");
    check("model.safetensors", &|bytes| *bytes.last_mut().unwrap() ^= 1, "1 of 38 tensors is not what was written (");
    check("planish.manifest.json", &|bytes| *bytes = replaced_sum(bytes), "its manifest is not what was written");
}

/// A manifest with another checksum of all tensors.
fn replaced_sum(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(text.to_vec()).unwrap();
    let mark = "\"tensors_blake3\": \"";
    let at = text.find(mark).unwrap() + mark.len();
    let other = if text[at..].starts_with('0') { "1" } else { "0" };
    format!("{}{other}{}", &text[..at], &text[at + 1..]).into_bytes()
}

#[test]
fn missing_and_foreign_files_are_found() {
    let sample = Sample::new();
    let path = sample.make("out");
    std::fs::write(path.join("model-lora.safetensors"), "x").unwrap();
    std::fs::write(path.join("notes.txt"), "mine").unwrap();
    assert_eq!(findings(&path), ["model-lora.safetensors was not written with it"]);
    std::fs::remove_file(path.join("model-lora.safetensors")).unwrap();
    std::fs::remove_file(path.join("tokenizer.json")).unwrap();
    assert_eq!(findings(&path), ["tokenizer.json is missing"]);
    std::fs::remove_file(path.join("planish.manifest.json")).unwrap();
    let request = VerifyRequest { path, source: None, imatrix: None };
    assert!(matches!(verify(&request, &Monitor::silent()), Err(Error::NoChecksums { .. })));
}

#[test]
fn an_interrupted_folder_goes_on_with_the_same_bytes_or_leaves_nothing() {
    let sample = Sample::new();
    let expected = contents(&sample.make("whole"));
    let request = sample.request("out");
    sample.stop(&request);
    assert_eq!(names(&sample.at("out")), [""; 0]);
    let request = ConvertRequest { resume: Resume::Required, keep_unfinished: true, ..request };
    sample.stop(&request);
    let output = sample.at("out/planish-sample-mlx-4-bit-g64");
    let n_lines = std::fs::read_to_string(journal_path(&output)).unwrap().lines().count();
    assert!(!output.exists() && part_path(&output).is_dir() && n_lines > 5, "{n_lines} lines");
    // What is left of another plan goes; the journal is believed only as far as the bytes are there.
    std::fs::write(part_path(&output).join("model-00001-of-00002.safetensors"), "old").unwrap();
    let weights = part_path(&output).join("model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let len = bytes.len();
    bytes[len / 3] ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    let made = sample.convert(&request).unwrap();
    assert!(contents(&made[0].path) == expected);
    assert_eq!(names(&sample.at("out")), ["planish-sample-mlx-4-bit-g64"]);
}

#[test]
fn two_runs_cannot_write_one_folder() {
    let sample = Sample::new();
    let files =
        [crate::format::PlannedFile::whole("config.json", b"{}".to_vec()), crate::format::PlannedFile::whole("a", Vec::new())];
    let path = sample.at("x");
    let first = part_output::PartOutput::open(&path, &files).unwrap();
    std::fs::write(journal_path(&path), "the first run's").unwrap();
    assert!(matches!(part_output::PartOutput::open(&path, &files), Err(Error::OutputLocked { .. })));
    assert!(journal_path(&path).exists() && part_path(&path).join("config.json").exists());
    drop(first);
    assert!(!part_path(&path).exists() && !journal_path(&path).exists());
    // Something else has the name.
    std::fs::write(part_path(&path), "mine").unwrap();
    assert!(matches!(part_output::PartOutput::open(&path, &files), Err(Error::NotAFolder { .. })));
    std::fs::remove_file(part_path(&path)).unwrap();
    std::fs::create_dir_all(part_path(&path).join("folder")).unwrap();
    assert!(matches!(part_output::PartOutput::open(&path, &files), Err(Error::NotAFile { kind: "a folder", .. })));
    assert!(part_path(&path).join("folder").is_dir());
}

#[test]
fn a_folder_is_replaced_as_a_whole_and_only_if_it_is_ours() {
    let sample = Sample::new();
    let path = sample.make("out");
    let expected = contents(&path);
    let request = sample.request("out");
    assert_eq!(sample.convert(&request), Err(Error::OutputExists { path: path.clone() }));
    let replacing = ConvertRequest { overwrite: Overwrite::Allowed, ..request.clone() };
    std::fs::write(path.join("config.json"), "{}").unwrap();
    assert_eq!(sample.convert(&replacing).unwrap()[0].warnings, [""; 0]);
    assert!(contents(&path) == expected);
    // What others put there is kept.
    std::fs::write(path.join("notes.txt"), "mine").unwrap();
    let warnings = sample.convert(&replacing).unwrap().remove(0).warnings;
    assert!(matches!(warnings.as_slice(), [only] if only.contains("mlx-4-bit-g64.replaced")), "{warnings:?}");
    assert!(contents(&path) == expected);
    assert_eq!(names(&sample.at("out/planish-sample-mlx-4-bit-g64.replaced")), ["notes.txt"]);
    // Beside it, with a number.
    let both = ConvertRequest { existing: BTreeMap::from([(sample.level, Existing::KeepBoth)]), ..request.clone() };
    let made = sample.convert(&both).unwrap().remove(0);
    assert_eq!(
        (made.name().as_str(), made.path.as_path()),
        ("mlx:4-bit-g64 (2)", sample.at("out/planish-sample-mlx-4-bit-g64-2").as_path())
    );
    // Taken away.
    remove_output(&made.path, Removal::ForGood).unwrap();
    assert!(!made.path.exists());
    // Somebody else's.
    let foreign = sample.at("out/planish-sample-mlx-4-bit-g64");
    std::fs::remove_file(foreign.join("planish.manifest.json")).unwrap();
    assert_eq!(sample.convert(&replacing), Err(Error::NotOurFolder { path: foreign.clone() }));
    assert_eq!(remove_output(&foreign, Removal::ForGood), Err(Error::NotOurFolder { path: foreign.clone() }));
    std::fs::remove_dir_all(&foreign).unwrap();
    std::fs::write(&foreign, "mine").unwrap();
    assert_eq!(sample.convert(&replacing), Err(Error::NotAFolder { path: foreign.clone() }));
    #[cfg(unix)]
    {
        std::fs::remove_file(&foreign).unwrap();
        std::os::unix::fs::symlink(sample.make("elsewhere"), &foreign).unwrap();
        assert_eq!(sample.convert(&replacing), Err(Error::NotAFolder { path: foreign }));
        assert_eq!(findings(&sample.at("elsewhere/planish-sample-mlx-4-bit-g64")), [""; 0]);
    }
}

#[test]
fn a_manifest_that_names_files_elsewhere_is_none_of_ours() {
    let sample = Sample::new();
    let path = sample.make("out");
    let manifest = path.join("planish.manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(sample.at("out/victim"), "mine").unwrap();
    for name in ["../victim", "/etc/hostname", "..", "a/b", ""] {
        std::fs::write(&manifest, text.replace("\"name\": \"README.md\"", &format!("\"name\": \"{name}\""))).unwrap();
        assert_eq!(remove_output(&path, Removal::ForGood), Err(Error::NotOurFolder { path: path.clone() }), "{name}");
    }
    assert!(sample.at("out/victim").is_file() && path.join("README.md").is_file());
}

#[test]
fn a_manifest_of_impossible_sizes_is_answered_at_once() {
    let sample = Sample::new();
    let path = sample.make("out");
    let manifest = path.join("planish.manifest.json");
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&manifest).unwrap()).unwrap();
    let check = |change: &dyn Fn(&mut serde_json::Value), expected: &str| {
        let mut changed = json.clone();
        change(&mut changed);
        let text = serde_json::to_string_pretty(&changed).unwrap();
        std::fs::write(&manifest, text).unwrap();
        let found = findings(&path);
        assert!(found.iter().any(|finding| finding.contains(expected)), "{found:?}");
    };
    check(&|json| json["tensors"][0]["shape"] = serde_json::json!([1, 1_u64 << 60]), "1 of 38 tensors");
    check(&|json| json["tensors"][0]["shape"] = serde_json::json!([u64::MAX, u64::MAX]), "1 of 38 tensors");
    check(&|json| json["tensors"][0]["components"][0]["size_bytes"] = u64::MAX.into(), "1 of 38 tensors");
    check(&|json| json["tensors"][0]["components"][0]["offset"] = u64::MAX.into(), "1 of 38 tensors");
    check(&|json| json["tensors"][0]["components"] = serde_json::json!([]), "1 of 38 tensors");
    check(&|json| json["files"][0]["head_bytes"] = u64::MAX.into(), "is not what was written");
}

#[test]
fn an_importance_matrix_is_told_to_be_of_no_use() {
    let sample = Sample::new();
    let gguf = sample.convert(&ConvertRequest { levels: vec![Level::F32], ..sample.request("gguf") }).unwrap().remove(0).path;
    let tensors = crate::format::inspect(&gguf).unwrap().tensors;
    let matrix = tensors.iter().find(|tensor| tensor.name == "blk.0.attn_q.weight").unwrap();
    // The old format: entries of a name, how often it was seen, and sums.
    let mut bytes = 1_i32.to_le_bytes().to_vec();
    bytes.extend(i32::try_from(matrix.name.len()).unwrap().to_le_bytes());
    bytes.extend_from_slice(matrix.name.as_bytes());
    bytes.extend(1_i32.to_le_bytes());
    bytes.extend(i32::try_from(matrix.row_len()).unwrap().to_le_bytes());
    bytes.extend((0..matrix.row_len()).flat_map(|_| 1.0_f32.to_le_bytes()));
    let imatrix = sample.at("imatrix.dat");
    std::fs::write(&imatrix, bytes).unwrap();
    let plan = preflight(&sample.model, &ConvertRequest { imatrix: Some(imatrix), ..sample.request("out") }).unwrap();
    assert!(plan.outputs[0].warnings.iter().any(|warning| warning.contains("importance matrix is not used")));
}

#[test]
fn what_mlx_does_not_take_is_refused_before_any_work() {
    let sample = Sample::new();
    let gguf = sample.convert(&ConvertRequest { levels: vec![Level::Q8_0], ..sample.request("out") }).unwrap();
    let gguf = open_model(&gguf[0].path).unwrap();
    let check = |model: &Model, request: &ConvertRequest, why: &str| {
        let error = convert(model, request, &Monitor::silent()).unwrap_err();
        assert!(matches!(&error, Error::CannotWrite { framework: "MLX", .. }) && error.to_string().contains(why), "{error}");
        assert!(!request.out_dir.exists());
    };
    check(&gguf, &sample.request("none"), "checkpoint of a model");
    let overrides = Overrides { pruned_layers: [1].into(), ..Overrides::default() };
    check(&sample.model, &ConvertRequest { overrides, ..sample.request("none") }, "leave out layers");
}

#[test]
fn a_changed_folder_has_a_name_and_a_recipe_of_its_own() {
    let sample = Sample::new();
    let mlx = MlxChanges { tensor_types: vec!["layers\\.0\\..*v_proj=mlx:float".parse().unwrap()], ..MlxChanges::wide_ends() };
    let mut request = sample.request("out");
    request.levels.extend([Level::Q8_0, Level::MLX_BF16]);
    request.overrides = Overrides { mlx, ..Overrides::default() };
    let planned = preflight(&sample.model, &request).unwrap().outputs;
    let made = sample.convert(&request).unwrap();
    let names: Vec<_> = made.iter().map(|made| crate::path_text::file_name(&made.path)).collect();
    assert_eq!(names, ["planish-sample-mlx-4-bit-g64-custom", "planish-sample-Q8_0.gguf", "planish-sample-mlx-bf16"]);
    assert!(made.iter().zip(&planned).all(|(made, planned)| made.size_bytes == planned.size_bytes), "{planned:?}");
    assert!(planned[2].warnings.iter().any(|warning| warning.contains("keeps floats")), "{:?}", planned[2].warnings);
    let changes =
        "--tensor-type 'layers\\.0\\..*v_proj=mlx:float' --output-tensor-type mlx:8-bit-g64 --token-embedding-type mlx:8-bit-g64";
    assert_eq!(made.iter().map(|made| made.changes.as_str()).collect::<Vec<_>>(), [changes, "", ""]);
    let config: serde_json::Value = serde_json::from_slice(&std::fs::read(made[0].path.join("config.json")).unwrap()).unwrap();
    assert_eq!((&config["quantization"]["bits"], &config["quantization"]["model.embed_tokens"]["bits"]), (&4.into(), &8.into()));
    assert!(findings(&made[0].path).is_empty());
    // The same again is known for what it is, another recipe is not taken for it.
    let before = |request: &ConvertRequest| made_before(&sample.model, sample.level, request).unwrap().map(|made| made.changes);
    assert_eq!(before(&request), Some(changes.into()));
    request.overrides.mlx = MlxChanges::wide_ends();
    assert_eq!(before(&request), None);
    request.overrides = Overrides::default();
    assert_eq!(before(&request), None, "another name");
}
