//! Turns an MLX folder into a temporary GGUF file of its decoded weights, which llama.cpp can measure where MLX cannot run.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::disk::free_bytes;
use super::{ConvertRequest, convert, open_model};
use crate::error::{Error, Result};
use crate::format::{Artifact, head_bytes, open_regular, read_exact_at, read_safetensors, read_small};
use crate::model::{CheckpointDType, CheckpointTensor, Level, Model, Origin};
use crate::monitor::{Monitor, Progress, ProgressUnit};
use crate::path_text;
use crate::quant::mlx::{Affine, Components, Float, Mode, dequantize_rows};

/// Weights that are decoded at a time.
const CHUNK_WEIGHTS: u64 = 1 << 20;
const CONFIG: &str = "config.json";
/// The largest `config.json` that is read.
const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// The decoded weights of an MLX folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodedGguf {
    /// A GGUF file in F16.
    pub path: PathBuf,
    /// What the tensors of the file were packed in: `4-bit-g64`; without those that were floats.
    pub packed: BTreeMap<String, String>,
}

/// Writes the decoded weights of a folder to `dir`, as a GGUF file in F16.
///
/// Rounding to F16 changes the mean KL divergence by less than 1e-6 nats. The weights go through a checkpoint in `dir`, which
/// takes as much space again and is removed after success.
///
/// # Errors
/// `Error::CannotWrite` for a folder whose tensors have other names or shapes than the checkpoint's, as those of experts have;
/// `Error::NotEnoughSpace`; `Error::Io`; `Error::DamagedFile`; `Error::Cancelled`.
pub fn decoded_gguf(artifact: &Artifact, dir: &Path, monitor: &Monitor) -> Result<DecodedGguf> {
    let checkpoint = dir.join("checkpoint");
    std::fs::create_dir_all(&checkpoint).map_err(Error::io("create", &checkpoint))?;
    let decoder = Decoder::open(artifact)?;
    let sum = decoder.tensors.iter().fold(0_u64, |sum, tensor| sum.saturating_add(tensor.size_bytes));
    let needed_bytes = sum.saturating_mul(2);
    if let Some(free_bytes) = free_bytes(dir).filter(|free_bytes| *free_bytes < needed_bytes) {
        return Err(Error::NotEnoughSpace { needed_bytes, free_bytes, path: dir.to_path_buf() });
    }
    let modes = decoder.write(&checkpoint, monitor)?;
    let cannot = |error: Error| match error {
        Error::Cancelled | Error::Io { .. } | Error::NotEnoughSpace { .. } => error,
        other => Error::CannotWrite {
            framework: Level::F16.framework().name(),
            why: format!("the decoded weights are not a known checkpoint: {other}"),
            path: artifact.path.clone(),
        },
    };
    let model = open_model(&checkpoint).map_err(cannot)?;
    let made = convert(&model, &ConvertRequest::new(vec![Level::F16], dir), &monitor.without_progress()).map_err(cannot)?;
    std::fs::remove_dir_all(&checkpoint).map_err(Error::io("remove", &checkpoint))?;
    let none = || Error::Internal { message: "no file of decoded weights was made".into() };
    let path = made.into_iter().next().map(|made| made.path).ok_or_else(none)?;
    Ok(DecodedGguf { path, packed: packed(&model, &modes) })
}

/// The mode of each tensor of `model` that is made of a matrix with a mode, given by its offset in the decoded checkpoint.
fn packed(model: &Model, modes: &HashMap<u64, Mode>) -> BTreeMap<String, String> {
    let origins = model.import.iter().flat_map(|import| &import.origins);
    let mode_of = |origin: &Origin| match origin {
        Origin::Stored { parts, .. } => parts.iter().find_map(|part| modes.get(&part.offset)),
        Origin::Computed(_) => None,
    };
    let tensors = model.tensors.iter().zip(origins);
    tensors.filter_map(|(tensor, origin)| Some((tensor.name.clone(), mode_of(origin)?.to_string()))).collect()
}

/// A tensor of the decoded checkpoint.
struct Decoded {
    name: String,
    dtype: &'static str,
    /// Rows first.
    shape: Vec<u64>,
    size_bytes: u64,
    source: Source,
}

/// What a tensor is made of; each part is given by its file's index, offset and size.
enum Source {
    /// The same bytes as in the folder.
    Copy(Spot),
    /// Groups of packed weights.
    Groups { mode: Mode, float: Float, n_weights: u64, weight: Spot, scales: Spot, biases: Option<Spot> },
}

#[derive(Clone, Copy)]
struct Spot {
    file_idx: usize,
    offset: u64,
    size_bytes: u64,
}

struct Decoder<'a> {
    artifact: &'a Artifact,
    files: Vec<File>,
    tensors: Vec<Decoded>,
    config: Map<String, Value>,
}

impl<'a> Decoder<'a> {
    fn open(artifact: &'a Artifact) -> Result<Self> {
        let config_path = artifact.path.join(CONFIG);
        let damaged = |what: String| Error::DamagedFile { format: CONFIG, what, path: config_path.clone() };
        let text = read_small(&config_path, CONFIG, MAX_CONFIG_BYTES)?;
        let mut config: Map<String, Value> = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        let quantization = config.remove("quantization").and_then(|value| value.as_object().cloned()).unwrap_or_default();
        config.remove("quantization_config");
        let (mut files, mut all) = (Vec::new(), Vec::new());
        let is_weights = |path: &&PathBuf| path.extension().is_some_and(|ending| ending == "safetensors");
        for path in artifact.files.iter().filter(is_weights) {
            let (_, tensors) = read_safetensors(path)?;
            all.extend(tensors.into_iter().map(|tensor| CheckpointTensor { file_idx: files.len(), ..tensor }));
            files.push(open_regular(path)?.0);
        }
        let tensors = joined(&all, &quantization).map_err(damaged)?;
        Ok(Self { artifact, files, tensors, config })
    }

    /// Writes the checkpoint, and returns the modes of matrices by the offset of their decoded weights.
    fn write(&self, dir: &Path, monitor: &Monitor) -> Result<HashMap<u64, Mode>> {
        let path = dir.join("model.safetensors");
        let file = File::create(&path).map_err(Error::io("create", &path))?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        let mut header = Map::new();
        let mut end = 0_u64;
        for tensor in &self.tensors {
            let start = end;
            end = end.saturating_add(tensor.size_bytes);
            let entry = json!({ "dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [start, end] });
            header.insert(tensor.name.clone(), entry);
        }
        let no_json = || Error::Internal { message: "the header of the decoded weights cannot be written as JSON".into() };
        let head = head_bytes(&header).ok_or_else(no_json)?;
        out.write_all(&head).map_err(Error::io("write", &path))?;
        let (mut done, mut modes) = (0, HashMap::new());
        for tensor in &self.tensors {
            let stage = format!("decoding {}", path_text::file_name(&self.artifact.path));
            monitor.report(Progress { stage, done, total: end, unit: ProgressUnit::Bytes })?;
            self.write_tensor(tensor, monitor, &mut |bytes| out.write_all(bytes).map_err(Error::io("write", &path)))?;
            if let Source::Groups { mode, .. } = tensor.source {
                modes.insert(head.len() as u64 + done, mode);
            }
            done += tensor.size_bytes;
        }
        out.flush().map_err(Error::io("write", &path))?;
        let config_path = dir.join(CONFIG);
        let text = Value::Object(self.config.clone()).to_string();
        std::fs::write(&config_path, text).map_err(Error::io("write", &config_path))?;
        for path in &self.artifact.files {
            let name = path_text::file_name(path);
            // The index and the weights are of the packed tensors.
            if !name.contains(".safetensors") && name != CONFIG {
                std::fs::copy(path, dir.join(&name)).map_err(Error::io("copy", path))?;
            }
        }
        Ok(modes)
    }

    fn write_tensor(&self, tensor: &Decoded, monitor: &Monitor, out: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let read = |spot: Spot, start: u64, n_bytes: u64| -> Result<Vec<u8>> {
            let none = || Error::Internal { message: format!("{} lies in no file", tensor.name) };
            let file = self.files.get(spot.file_idx).ok_or_else(none)?;
            let mut bytes = vec![0; usize::try_from(n_bytes).map_err(|_| none())?];
            read_exact_at(file, &mut bytes, spot.offset + start).map_err(Error::io("read", &self.artifact.path))?;
            Ok(bytes)
        };
        match &tensor.source {
            Source::Copy(spot) => {
                let mut start = 0;
                while start < spot.size_bytes {
                    monitor.check()?;
                    let n_bytes = (spot.size_bytes - start).min(4 * CHUNK_WEIGHTS);
                    out(&read(*spot, start, n_bytes)?)?;
                    start += n_bytes;
                }
            }
            &Source::Groups { mode, float, n_weights, weight, scales, biases } => {
                let mut first = 0;
                while first < n_weights {
                    monitor.check()?;
                    let n = (n_weights - first).min(CHUNK_WEIGHTS);
                    // Chunks are whole groups: all components grow evenly with the weights.
                    let sizes = |n| mode.sizes(float, n).unwrap_or_default();
                    let (before, now) = (sizes(first), sizes(n));
                    let (weight, scales) = (read(weight, before.weight, now.weight)?, read(scales, before.scales, now.scales)?);
                    let biases = biases.map(|spot| read(spot, before.biases, now.biases)).transpose()?.unwrap_or_default();
                    let mut weights = vec![0.0; usize::try_from(n).unwrap_or(0)];
                    let components = Components { weight: &weight, scales: &scales, biases: &biases };
                    dequantize_rows(mode, float, Float::F32, components, &mut weights)
                        .map_err(|error| Error::Internal { message: format!("{}: {error}", tensor.name) })?;
                    let bytes: Vec<u8> = weights.iter().flat_map(|weight| half::f16::from_f32(*weight).to_le_bytes()).collect();
                    out(&bytes)?;
                    first += n;
                }
            }
        }
        Ok(())
    }
}

/// The tensors as they are without quantization: codes, scales and biases of a matrix become one.
fn joined(all: &[CheckpointTensor], quantization: &Map<String, Value>) -> std::result::Result<Vec<Decoded>, String> {
    let by_name: HashMap<&str, &CheckpointTensor> = all.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let find = |name: &str| by_name.get(name).copied();
    let spot =
        |tensor: &CheckpointTensor| Spot { file_idx: tensor.file_idx, offset: tensor.offset, size_bytes: tensor.size_bytes };
    let mut decoded = Vec::new();
    for tensor in all {
        let path = tensor.name.strip_suffix(".weight").filter(|_| tensor.dtype == CheckpointDType::U32);
        let Some((path, scales)) = path.and_then(|path| Some((path, find(&format!("{path}.scales"))?))) else {
            let stem = tensor.name.strip_suffix(".scales").or_else(|| tensor.name.strip_suffix(".biases"));
            let is_part = stem
                .is_some_and(|stem| find(&format!("{stem}.weight")).is_some_and(|weight| weight.dtype == CheckpointDType::U32));
            if !is_part {
                let (name, dtype, shape) = (tensor.name.clone(), tensor.dtype.name(), tensor.shape.clone());
                decoded.push(Decoded { name, dtype, shape, size_bytes: tensor.size_bytes, source: Source::Copy(spot(tensor)) });
            }
            continue;
        };
        let mode = mode_of(quantization, path).ok_or_else(|| format!("it names no known mode for {path}"))?;
        let float = match (mode, scales.dtype) {
            (Mode::Affine(_), CheckpointDType::F32) => Float::F32,
            (Mode::Affine(_), CheckpointDType::F16) => Float::F16,
            _ => Float::BF16,
        };
        let broken = || format!("{path} has other sizes than {mode} needs");
        let (row_codes, rows) = tensor.shape.split_last().ok_or_else(broken)?;
        let row_len = row_codes.checked_mul(32).ok_or_else(broken)? / mode.bits();
        let shape: Vec<u64> = rows.iter().copied().chain([row_len]).collect();
        let n_weights = shape.iter().try_fold(1, |n: u64, &dim| n.checked_mul(dim)).ok_or_else(broken)?;
        let sizes = mode.sizes(float, n_weights).filter(|_| row_len.is_multiple_of(mode.group_len())).ok_or_else(broken)?;
        let biases = find(&format!("{path}.biases"));
        let found = (tensor.size_bytes, scales.size_bytes, biases.map_or(0, |biases| biases.size_bytes));
        if found != (sizes.weight, sizes.scales, sizes.biases) {
            return Err(broken());
        }
        let (weight, scales, biases) = (spot(tensor), spot(scales), biases.map(spot));
        decoded.push(Decoded {
            name: tensor.name.clone(),
            dtype: "F16",
            shape,
            size_bytes: n_weights.checked_mul(2).ok_or_else(broken)?,
            source: Source::Groups { mode, float, n_weights, weight, scales, biases },
        });
    }
    Ok(decoded)
}

/// The mode of a matrix: its own if the config gives one, else the one for all; `None` for an unknown one.
fn mode_of(quantization: &Map<String, Value>, path: &str) -> Option<Mode> {
    let own = quantization.get(path).and_then(Value::as_object);
    let get = |key: &str| own.and_then(|own| own.get(key)).or_else(|| quantization.get(key));
    match get("mode").and_then(Value::as_str).unwrap_or("affine") {
        "affine" => {
            let number = |key: &str| u8::try_from(get(key)?.as_u64()?).ok();
            Affine::new(number("bits")?, number("group_size")?).map(Mode::Affine)
        }
        "mxfp4" => Some(Mode::Mxfp4),
        "mxfp8" => Some(Mode::Mxfp8),
        "nvfp4" => Some(Mode::Nvfp4),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::unpack_sample;
    use crate::format::{TensorReader, inspect};

    #[test]
    fn decoded_weights_are_those_of_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let model = open_model(&unpack_sample(dir.path()).unwrap()).unwrap();
        let levels = ["mlx:8-bit-g64", "mlx:mixed_3_6", "mlx:mxfp4", "mlx:bf16"].map(|name| name.parse::<Level>().unwrap());
        let made = convert(&model, &ConvertRequest::new(levels.to_vec(), dir.path()), &Monitor::silent()).unwrap();
        let source = weights(&model, "blk.1.ffn_up.weight");
        let mut errors = Vec::new();
        for made in &made {
            let artifact = Artifact::open(&made.path).unwrap();
            let work = tempfile::tempdir().unwrap();
            let gguf = decoded_gguf(&artifact, work.path(), &Monitor::silent()).unwrap();
            assert!(!work.path().join("checkpoint").exists());
            let packed = gguf.packed.get("blk.1.ffn_up.weight").map_or("", |mode| mode);
            assert!(
                ["8-bit-g64", "3-bit-g64", "mxfp4", ""].contains(&packed) && !gguf.packed.contains_key("blk.1.attn_norm.weight")
            );
            assert_eq!(packed.is_empty(), made.level == Level::MLX_BF16);
            let decoded = weights(&inspect(&gguf.path).unwrap(), "blk.1.ffn_up.weight");
            let error: f64 = source.iter().zip(&decoded).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt();
            let norm: f64 = source.iter().map(|a| f64::from(*a).powi(2)).sum::<f64>().sqrt();
            errors.push(error / norm);
        }
        let [eight, mixed, four, floats] = errors[..] else { panic!("{errors:?}") };
        assert!(floats < 1e-6 && eight < 0.01 && eight < four && four < 0.15 && mixed < 0.25 && mixed > eight, "{errors:?}");
    }

    fn weights(model: &crate::model::Model, name: &str) -> Vec<f32> {
        let tensor = model.tensors.iter().find(|tensor| tensor.name == name).unwrap();
        let mut bytes = vec![0; usize::try_from(tensor.size_bytes).unwrap()];
        TensorReader::open(model).unwrap().read(tensor, 0, &mut bytes).unwrap();
        let mut weights = vec![0.0; usize::try_from(tensor.n_elements()).unwrap()];
        crate::quant::dequantize_rows(tensor.dtype, &bytes, &mut weights).unwrap();
        weights
    }

    #[test]
    fn modes_come_from_the_layer_then_from_all() {
        let of = |json: Value| mode_of(json.as_object().unwrap(), "a.b").map(|mode| mode.to_string());
        assert_eq!(of(json!({ "bits": 4, "group_size": 64 })).as_deref(), Some("4-bit-g64"));
        let own = json!({ "bits": 4, "group_size": 64, "mode": "affine", "a.b": { "bits": 6, "group_size": 64 } });
        assert_eq!(of(own).as_deref(), Some("6-bit-g64"));
        assert_eq!(of(json!({ "bits": 4, "group_size": 32, "mode": "mxfp4" })).as_deref(), Some("mxfp4"));
        assert_eq!(of(json!({ "bits": 7, "group_size": 64 })), None);
        assert_eq!(of(json!({ "bits": 4, "group_size": 64, "mode": "unheard of" })), None);
        assert_eq!(of(json!({})), None);
    }

    #[test]
    fn components_of_other_sizes_are_refused() {
        let tensor = |name: &str, dtype: CheckpointDType, shape: &[u64]| CheckpointTensor {
            name: name.into(),
            dtype,
            shape: shape.into(),
            file_idx: 0,
            offset: 0,
            size_bytes: shape.iter().product::<u64>() * dtype.bits() / 8,
        };
        let quantization = json!({ "bits": 4, "group_size": 64 }).as_object().unwrap().clone();
        let mut all = vec![
            tensor("a.weight", CheckpointDType::U32, &[3, 16]),
            tensor("a.scales", CheckpointDType::BF16, &[3, 2]),
            tensor("a.biases", CheckpointDType::BF16, &[3, 2]),
            tensor("norm.weight", CheckpointDType::BF16, &[128]),
        ];
        let decoded = joined(&all, &quantization).unwrap();
        assert_eq!(decoded.iter().map(|tensor| tensor.shape.as_slice()).collect::<Vec<_>>(), [&[3_u64, 128][..], &[128]]);
        all[1] = tensor("a.scales", CheckpointDType::BF16, &[3, 1]);
        assert!(joined(&all, &quantization).is_err());
        all[1] = tensor("a.scales", CheckpointDType::BF16, &[3, 2]);
        all.remove(1);
        let names = |all: &[CheckpointTensor]| {
            joined(all, &quantization).unwrap().into_iter().map(|tensor| tensor.name).collect::<Vec<_>>()
        };
        assert_eq!(names(&all), ["a.weight", "norm.weight"], "without scales it is a tensor of numbers");
    }
}
