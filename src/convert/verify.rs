//! Is a file what was written, and was it made from what it says?

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;

use super::chunk::{Chunk, chunks, extent};
use super::manifest::Manifest;
use super::{manifest_path, open_model, verify_folder, without_layers};
use crate::advise::{Overrides, layers_from_text};
use crate::error::{Error, Result};
use crate::format::{Checksum, TensorReader, header_checksum, read_gguf};
use crate::model::{
    HEADER_CHECKSUM_KEY, IMATRIX_CHECKSUM_KEY, Model, RECIPE_KEY, SOURCE_CHECKSUM_KEY, TENSORS_CHECKSUM_KEY, VERSION_KEY,
};
use crate::monitor::{Monitor, Progress, ProgressUnit};
use crate::path_text;

/// Chunks between two reports: some 50 MB.
const CHUNKS_AT_ONCE: usize = 64;
/// Damaged tensors that are named.
const MAX_NAMED: usize = 3;

/// A file, and what it is said to be made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyRequest {
    /// The file or folder.
    pub path: PathBuf,
    /// The model that it should be made from; `None`: not asked.
    pub source: Option<PathBuf>,
    /// The importance matrix that it should be made with; `None`: not asked.
    pub imatrix: Option<PathBuf>,
}

/// What an output says about itself, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// The file or folder.
    #[serde(with = "crate::path_text")]
    pub path: PathBuf,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// How many tensors it has.
    pub n_tensors: usize,
    /// The version of Planish that made it.
    pub version: String,
    /// Its level, and the changes of its recipe as options of the command line.
    pub recipe: String,
    /// Checksum of the tensors that it was made from.
    pub source_blake3: String,
    /// The name of the model that it was made from, from the manifest; `None` without one of its own.
    pub source_name: Option<String>,
    /// What was compared beside header and tensors: `manifest`, `source`, `imatrix`.
    pub compared: Vec<&'static str>,
    /// What is wrong; empty for a file that is as it was written.
    pub findings: Vec<String>,
}

impl Verification {
    /// Everything that was compared: `header, tensors, manifest`.
    #[must_use]
    pub fn compared_text(&self) -> String {
        ["header", "tensors"].iter().chain(&self.compared).copied().collect::<Vec<_>>().join(", ")
    }

    /// The findings as an error; `Ok` without any.
    ///
    /// # Errors
    /// `Error::Damaged` with all findings.
    pub fn outcome(&self) -> Result<()> {
        if self.findings.is_empty() {
            return Ok(());
        }
        Err(Error::Damaged { what: self.findings.join("; "), path: self.path.clone() })
    }
}

/// Compares every byte of a file made by Planish with the checksums that it carries, and with the manifest beside it if there
/// is one; a folder with its manifest.
///
/// Progress is counted in bytes of the file, and of the source where one is compared.
///
/// # Errors
/// `Error::NoChecksums` for other files; those of `read_gguf` for what cannot be read as a model at all; `Error::Io`. What is
/// damaged but can be read is no error but a finding.
pub fn verify(request: &VerifyRequest, monitor: &Monitor) -> Result<Verification> {
    let path = &request.path;
    if path.is_dir() {
        return verify_folder::verify(request, monitor);
    }
    let model = read_gguf(path)?;
    let text = |key: &str| model.metadata.str(key).map(std::borrow::Cow::into_owned);
    let no_checksums = || Error::NoChecksums { path: path.clone() };
    let of_header = text(HEADER_CHECKSUM_KEY).ok_or_else(no_checksums)?;
    let of_tensors = text(TENSORS_CHECKSUM_KEY).ok_or_else(no_checksums)?;
    let mut verification = Verification {
        path: path.clone(),
        size_bytes: model.size_bytes,
        n_tensors: model.tensors.len(),
        version: text(VERSION_KEY).unwrap_or_default(),
        recipe: text(RECIPE_KEY).unwrap_or_default(),
        source_blake3: text(SOURCE_CHECKSUM_KEY).unwrap_or_default(),
        source_name: None,
        compared: Vec::new(),
        findings: Vec::new(),
    };
    let header = read_header(&model)?;
    let header_sum = header_checksum(&header).ok_or_else(no_checksums)?;
    let sums = tensor_sums(&model, "verifying", monitor)?;
    let header_is_intact = header_sum.to_string() == of_header;
    let tensors_are_intact = Checksum::of_parts(&sums).to_string() == of_tensors;
    let manifest = Manifest::read(&manifest_path(path))?;
    let findings = &mut verification.findings;
    if !header_is_intact {
        findings.push("its metadata is not what was written".into());
    }
    let end = model.tensors.iter().map(|tensor| tensor.offset + tensor.size_bytes).max().unwrap_or(header.len() as u64);
    if model.size_bytes != end.next_multiple_of(model.alignment.max(1)) {
        findings.push(format!("it has {} bytes, its tensors end at {end}", model.size_bytes));
    }
    let damaged = manifest.as_ref().map(|manifest| damaged_tensors(manifest, &model, &sums));
    match &damaged {
        Some(damaged) if !tensors_are_intact && !damaged.is_empty() => findings.push(damaged_text(damaged, sums.len())),
        _ if !tensors_are_intact => findings.push("its tensors are not what was written".into()),
        _ => {}
    }
    if let (Some(manifest), Some(damaged)) = (manifest, damaged) {
        let is_of_file = manifest.header.blake3 == header_sum && damaged.is_empty();
        if header_is_intact && tensors_are_intact && !is_of_file {
            findings.push("the manifest beside it belongs to another file".into());
        } else {
            verification.source_name = Some(manifest.source.name);
        }
        verification.compared.push("manifest");
    }
    if let Some(source) = &request.source {
        let name = path_text::shown(source);
        if source_sum(source, &verification.recipe, monitor)?.to_string() != verification.source_blake3 {
            verification.findings.push(format!("it was not made from {name}"));
        }
        verification.compared.push("source");
    }
    if let Some(imatrix) = &request.imatrix {
        if text(IMATRIX_CHECKSUM_KEY) != Some(Checksum::of_file(imatrix)?.to_string()) {
            verification.findings.push(format!("it was not made with {}", path_text::shown(imatrix)));
        }
        verification.compared.push("imatrix");
    }
    Ok(verification)
}

/// All bytes before the first tensor.
fn read_header(model: &Model) -> Result<Vec<u8>> {
    let end = model.tensors.iter().map(|tensor| tensor.offset).min().unwrap_or(model.size_bytes);
    let too_large = || Error::Internal { message: format!("a header of {end} bytes does not fit into memory") };
    // The reader has had all of it in memory already.
    let mut header = vec![0; usize::try_from(end).map_err(|_| too_large())?];
    let file = std::fs::File::open(&model.path).map_err(Error::io("open", &model.path))?;
    crate::format::read_exact_at(&file, &mut header, 0).map_err(Error::io("read", &model.path))?;
    Ok(header)
}

/// Checksum of all tensors of a model together, as a file that was made from it carries it. Reads every byte.
///
/// # Errors
/// Those of `TensorReader`; `Error::Cancelled`.
pub fn tensors_checksum(model: &Model, monitor: &Monitor) -> Result<Checksum> {
    Ok(Checksum::of_parts(&tensor_sums(model, "reading", monitor)?))
}

/// The checksum of each tensor of a model, as a conversion makes them.
pub(super) fn tensor_sums(model: &Model, verb: &str, monitor: &Monitor) -> Result<Vec<Checksum>> {
    let reader = TensorReader::open(model)?;
    let jobs: Vec<(usize, Chunk)> =
        model.tensors.iter().enumerate().flat_map(|(idx, tensor)| chunks(tensor).map(move |chunk| (idx, chunk))).collect();
    let mut of_tensors: Vec<Vec<Checksum>> = vec![Vec::new(); model.tensors.len()];
    let stage = format!("{verb} {}", path_text::shown(&model.path));
    let mut progress = Progress { stage, done: 0, total: model.tensor_bytes(), unit: ProgressUnit::Bytes };
    for batch in jobs.chunks(CHUNKS_AT_ONCE) {
        monitor.report(progress.clone())?;
        let hash = |bytes: &mut Vec<u8>, &(idx, chunk): &(usize, Chunk)| {
            let broken = || Error::Internal { message: format!("no tensor {idx}") };
            let tensor = model.tensors.get(idx).ok_or_else(broken)?;
            let (start, n_bytes) = extent(tensor.dtype, chunk)?;
            bytes.resize(n_bytes, 0);
            reader.read(tensor, start, bytes)?;
            Ok((n_bytes as u64, Checksum::of(bytes)))
        };
        let hashed: Vec<_> = batch.par_iter().map_init(Vec::new, hash).collect::<Result<_>>()?;
        for ((idx, _), (n_bytes, sum)) in batch.iter().zip(hashed) {
            progress.done += n_bytes;
            if let Some(of_tensor) = of_tensors.get_mut(*idx) {
                of_tensor.push(sum);
            }
        }
    }
    monitor.report(progress)?;
    reader.check_unchanged()?;
    Ok(of_tensors.iter().map(Checksum::of_parts).collect())
}

/// The checksum of a source's tensors without the layers that the recipe leaves out.
fn source_sum(path: &Path, recipe: &str, monitor: &Monitor) -> Result<Checksum> {
    let model = open_model(path)?;
    let mut words = recipe.split(' ').skip_while(|&word| word != "--prune-layers");
    let mut overrides = Overrides::default();
    if let Some(layers) = words.nth(1) {
        overrides.pruned_layers = layers_from_text(layers)?;
    }
    let rest = without_layers(&model, &overrides)?;
    let sums = tensor_sums(rest.as_ref().map_or(&model, |rest| &rest.model), "reading", monitor)?;
    Ok(Checksum::of_parts(&sums))
}

/// Names of the tensors that are not as the manifest says.
fn damaged_tensors<'a>(manifest: &Manifest, model: &'a Model, sums: &[Checksum]) -> Vec<&'a str> {
    let found = model.tensors.iter().zip(sums).enumerate();
    let is_damaged = |idx: usize, name: &str, sum: &Checksum| {
        manifest.tensors.get(idx).is_none_or(|entry| entry.name != name || entry.blake3 != *sum)
    };
    found
        .filter(|(idx, (tensor, sum))| is_damaged(*idx, &tensor.name, sum))
        .map(|(_, (tensor, _))| tensor.name.as_str())
        .collect()
}

pub(super) fn damaged_text(damaged: &[&str], n_tensors: usize) -> String {
    let named = damaged.iter().take(MAX_NAMED).copied().collect::<Vec<_>>().join(", ");
    let more = if damaged.len() > MAX_NAMED { ", …" } else { "" };
    let are = if damaged.len() == 1 { "is" } else { "are" };
    format!("{} of {n_tensors} tensors {are} not what was written ({named}{more})", damaged.len())
}
