//! How far the weights of a converted file are from those of its source, tensor by tensor.
//!
//! Both files are read in pieces that are decoded, compared and forgotten, so memory does not depend on the size of the models.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};

use super::difference::{Difference, Mismatch};
use super::tensor_pieces::{Meter, Piecewise, compare};
use crate::bench::decoded::Decoded;
use crate::convert::open_model;
use crate::error::{Error, Result};
use crate::format::{Artifact, TensorReader};
use crate::model::{DType, Framework, Model, Tensor};
use crate::monitor::Monitor;
use crate::units::count_text;

/// The most names in a warning.
const N_NAMED: usize = 3;

/// The error of every tensor of a converted file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TensorErrors {
    /// The file that the other was made from.
    #[serde(with = "crate::path_text")]
    pub source: PathBuf,
    /// The converted file.
    #[serde(with = "crate::path_text")]
    pub converted: PathBuf,
    /// One entry per tensor in the order of the source, then those that only the converted file has.
    pub tensors: Vec<TensorError>,
    /// Relative RMS error over all tensors that could be compared, each counted by its number of weights:
    /// `sqrt(Σ n_elements * relative_rms² / Σ n_elements)`. `None` when there is none.
    ///
    /// Not the error of all weights in one sum: that would be the error of the tensors with the largest weights.
    pub overall_relative_rms: Option<f64>,
    /// Why the result does not speak for the whole file; empty when it does.
    pub warnings: Vec<String>,
}

impl TensorErrors {
    /// Refuses a result that says nothing: files of different models.
    ///
    /// # Errors
    /// `Error::NotComparable` when no tensor could be compared.
    pub fn check(&self) -> Result<()> {
        if self.tensors.iter().any(|tensor| tensor.result.is_ok()) {
            return Ok(());
        }
        let is_shared = |tensor: &TensorError| tensor.source_dtype.is_some() && tensor.converted_dtype.is_some();
        let what = if self.tensors.iter().any(is_shared) {
            "no tensor of it can be compared with that of the source"
        } else {
            "it has no tensor in common with the source"
        };
        Err(Error::NotComparable { what, path: self.converted.clone() })
    }
}

/// What became of one tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorError {
    /// The name in the file: `blk.0.attn_q.weight`.
    pub name: String,
    /// 0 for `blk.0.attn_q.weight`; `None` outside the layers.
    pub layer_idx: Option<u64>,
    /// What the tensor does, without its layer: `attn_q`, `ffn_down`, `token_embd`, `attn_q.bias`.
    pub kind: String,
    /// Its type in the source; `None` when it is not there.
    pub source_dtype: Option<DType>,
    /// Its type in the converted file; `None` when it is not there. Of an MLX folder the type that it was decoded to.
    pub converted_dtype: Option<DType>,
    /// What it is packed in in an MLX folder: `4-bit-g64`; `None` for floats, and for GGUF files.
    pub packed: Option<String>,
    /// Number of weights; the source's, if both files have the tensor.
    pub n_elements: u64,
    /// How far the weights are apart, or why that cannot be said.
    pub result: std::result::Result<Difference, Mismatch>,
}

/// Compares a converted file or folder with what it was made from. Tensors are matched by name; those that cannot be compared get the reason.
///
/// An MLX folder is decoded to a temporary file in F16 first, which takes up to four bytes for each weight on the disk and rounds by up to
/// 2^-11 of a weight; its tensors have the names that GGUF files have.
///
/// Reads each file once, except for the equal start of tensors that keep their type but not all their bytes, which is read
/// twice. The result does not depend on the number of threads. Progress is counted in bytes of both files.
///
/// # Errors
/// Those of opening either file; for a folder those of `convert::decoded_gguf`; `Error::SourceChanged`, `Error::Io`; `Error::Cancelled` within some milliseconds.
pub fn tensor_errors(source: &Path, converted: &Path, monitor: &Monitor) -> Result<TensorErrors> {
    let path = converted;
    let decoded = decoded(path, monitor)?;
    let (source, converted) = (Side::open(source)?, Side::open(decoded.as_ref().map_or(path, |decoded| &decoded.gguf.path))?);
    let pairs = source.matched(&converted);
    let total = pairs.iter().map(|(a, b)| a.size_bytes + b.map_or(0, |b| b.size_bytes)).sum();
    let mut meter = Meter::new(monitor, total);
    let mut tensors = Vec::with_capacity(pairs.len());
    let is_pruned = source.model.hyperparameters.n_layers != converted.model.hyperparameters.n_layers;
    for (a, b) in pairs {
        let result = match b {
            None => Err(Mismatch::OnlyInSource),
            Some(_) if is_pruned && a.layer_idx().is_some() => Err(Mismatch::OtherLayers),
            Some(b) => compare(
                Piecewise { reader: &source.reader, tensor: a },
                Piecewise { reader: &converted.reader, tensor: b },
                &mut meter,
            )?,
        };
        meter.pass(a.size_bytes + b.map_or(0, |b| b.size_bytes));
        let packed = decoded.as_ref().and_then(|decoded| decoded.gguf.packed.get(&a.name).cloned());
        tensors.push(TensorError { packed, ..TensorError::new(a, Some(a.dtype), b.map(|b| b.dtype), result) });
    }
    let known: HashSet<&str> = source.model.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    let added = converted.model.tensors.iter().filter(|tensor| !known.contains(tensor.name.as_str()));
    tensors.extend(added.map(|tensor| TensorError::new(tensor, None, Some(tensor.dtype), Err(Mismatch::OnlyInConverted))));
    source.reader.check_unchanged()?;
    converted.reader.check_unchanged()?;
    meter.report("finished".into(), 0)?;
    Ok(TensorErrors {
        source: source.model.path,
        converted: decoded.map_or(converted.model.path, |_| path.to_path_buf()),
        overall_relative_rms: overall(&tensors),
        warnings: warnings(&tensors),
        tensors,
    })
}

impl TensorErrors {
    /// All tensors: first those without an error, because something is wrong with them, then the others, the largest error
    /// first.
    #[must_use]
    pub fn worst_first(&self) -> Vec<&TensorError> {
        let mut tensors: Vec<&TensorError> = self.tensors.iter().collect();
        tensors.sort_by(|a, b| b.badness().total_cmp(&a.badness()));
        tensors
    }
}

impl TensorError {
    fn new(
        tensor: &Tensor,
        source_dtype: Option<DType>,
        converted_dtype: Option<DType>,
        result: std::result::Result<Difference, Mismatch>,
    ) -> Self {
        let (layer_idx, kind) = place_of(&tensor.name);
        Self {
            name: tensor.name.clone(),
            layer_idx,
            kind,
            source_dtype,
            converted_dtype,
            packed: None,
            n_elements: tensor.n_elements(),
            result,
        }
    }

    /// What the converted file has it in: `Q4_K`, `4-bit-g64`; `None` when it is not there.
    #[must_use]
    pub fn converted_type(&self) -> Option<&str> {
        self.packed.as_deref().or(self.converted_dtype.map(DType::name))
    }

    /// The relative RMS error; infinite where there is none.
    #[must_use]
    pub fn badness(&self) -> f64 {
        self.result.as_ref().map_or(f64::INFINITY, |difference| difference.relative_rms)
    }

    /// `F16 → Q4_K`; `none` for a side that lacks the tensor.
    #[must_use]
    pub fn types_text(&self) -> String {
        format!("{} → {}", self.source_dtype.map_or("none", DType::name), self.converted_type().unwrap_or("none"))
    }
}

/// One flat object for each tensor; what is not known is `null`.
impl Serialize for TensorError {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let difference = self.result.as_ref().ok();
        let mut object = serializer.serialize_struct("TensorError", 11)?;
        object.serialize_field("name", &self.name)?;
        object.serialize_field("layer_idx", &self.layer_idx)?;
        object.serialize_field("kind", &self.kind)?;
        object.serialize_field("source_dtype", &self.source_dtype.map(DType::name))?;
        object.serialize_field("converted_dtype", &self.converted_type())?;
        object.serialize_field("n_elements", &self.n_elements)?;
        object.serialize_field("relative_rms", &difference.map(|found| found.relative_rms))?;
        object.serialize_field("max_abs", &difference.map(|found| found.max_abs))?;
        object.serialize_field("cosine", &difference.and_then(|found| found.cosine))?;
        object.serialize_field("is_identical", &difference.is_some_and(|found| found.is_identical))?;
        object.serialize_field("problem", &self.result.as_ref().err().map(ToString::to_string))?;
        object.end()
    }
}

impl Difference {
    /// The difference of a tensor whose bytes were only copied: none.
    pub const IDENTICAL: Self = Self { relative_rms: 0.0, max_abs: 0.0, cosine: Some(1.0), is_identical: true };
}

/// Layer and kind from a name: `(Some(12), "ffn_up")` for `blk.12.ffn_up.weight`, `(None, "output_norm")` for `output_norm.weight`.
///
/// Layers of a second stack keep its name: `enc.attn_q` for `enc.blk.3.attn_q.weight`.
fn place_of(name: &str) -> (Option<u64>, String) {
    let name = name.strip_suffix(".weight").unwrap_or(name);
    let (before, rest) = match name.strip_prefix("blk.") {
        Some(rest) => ("", rest),
        None => match name.split_once(".blk.") {
            Some((before, rest)) => (before, rest),
            None => return (None, name.to_string()),
        },
    };
    match rest.split_once('.').and_then(|(number, kind)| Some((number.parse().ok()?, kind))) {
        Some((layer_idx, kind)) if before.is_empty() => (Some(layer_idx), kind.to_string()),
        Some((layer_idx, kind)) => (Some(layer_idx), format!("{before}.{kind}")),
        None => (None, name.to_string()),
    }
}

#[allow(clippy::cast_precision_loss, reason = "weights of a mean")]
fn overall(tensors: &[TensorError]) -> Option<f64> {
    let found = tensors.iter().filter_map(|tensor| Some((tensor.n_elements as f64, tensor.result.as_ref().ok()?.relative_rms)));
    let (n, sum) = found.fold((0.0, 0.0), |(n, sum), (n_elements, error)| (n + n_elements, sum + n_elements * error * error));
    (n > 0.0).then(|| (sum / n).sqrt())
}

/// One line that says how many tensors have no error, with the first of them.
fn warnings(tensors: &[TensorError]) -> Vec<String> {
    let bad: Vec<(&str, &Mismatch)> =
        tensors.iter().filter_map(|tensor| Some((tensor.name.as_str(), tensor.result.as_ref().err()?))).collect();
    if bad.is_empty() {
        return Vec::new();
    }
    let mut named: Vec<String> = bad.iter().take(N_NAMED).map(|(name, mismatch)| format!("{name} ({mismatch})")).collect();
    if bad.len() > N_NAMED {
        named.push("…".into());
    }
    let (n, n_all) = (count_text(bad.len() as u64), count_text(tensors.len() as u64));
    vec![format!("{n} of {n_all} tensors could not be compared: {}", named.join(", "))]
}

/// The weights of an MLX folder; `None` for anything else.
fn decoded(path: &Path, monitor: &Monitor) -> Result<Option<Decoded>> {
    if !path.is_dir() {
        return Ok(None);
    }
    match Artifact::open(path) {
        Ok(artifact) if artifact.framework == Framework::Mlx => Decoded::write(&artifact, monitor).map(Some),
        // A checkpoint is read as it is.
        _ => Ok(None),
    }
}

/// One of the two files.
struct Side {
    model: Model,
    reader: TensorReader,
}

impl Side {
    fn open(path: &Path) -> Result<Self> {
        let model = open_model(path)?;
        let reader = TensorReader::open(&model)?;
        Ok(Self { model, reader })
    }

    /// Each tensor of this file with that of the same name in the other.
    fn matched<'a>(&'a self, other: &'a Self) -> Vec<(&'a Tensor, Option<&'a Tensor>)> {
        let by_name: HashMap<&str, &Tensor> = other.model.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
        self.model.tensors.iter().map(|tensor| (tensor, by_name.get(tensor.name.as_str()).copied())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layer_and_kind_come_from_the_name() {
        let check =
            |name: &str, layer_idx: Option<u64>, kind: &str| assert_eq!(place_of(name), (layer_idx, kind.into()), "{name}");
        check("blk.12.ffn_up.weight", Some(12), "ffn_up");
        check("blk.0.attn_q.bias", Some(0), "attn_q.bias");
        check("token_embd.weight", None, "token_embd");
        check("enc.blk.3.attn_q.weight", Some(3), "enc.attn_q");
        check("blk.x.attn_q.weight", None, "blk.x.attn_q");
        check("blk.7", None, "blk.7");
        check("", None, "");
    }

    #[test]
    fn damaged_weights_are_counted_where_they_are() {
        let check = |n_in_source, n_in_converted, expected: &str| {
            assert_eq!(Mismatch::NotFinite { n_in_source, n_in_converted }.to_string(), expected);
        };
        check(2, 0, "NaN or infinite weights in the source: 2");
        check(0, 1000, "NaN or infinite weights in the converted file: 1,000");
        check(2, 3, "NaN or infinite weights: 2 in the source, 3 in the converted file");
    }
}
