//! Is a folder what was written, and was it made from what it says?

use std::collections::BTreeSet;
use std::path::Path;

use rayon::prelude::*;

use super::chunk::chunks_of;
use super::folder::{files_of, manifest_path};
use super::manifest::{FileEntry, Manifest, TensorEntry};
use super::verify::{Verification, VerifyRequest, damaged_text, tensor_sums};
use crate::error::{Error, Result};
use crate::format::{Checksum, Opened, open_regular, read_any, read_exact_at};
use crate::import::{mlx_model, onnx_model};
use crate::model::{Framework, Level};
use crate::monitor::{Monitor, Progress, ProgressUnit};
use crate::path_text;

/// Tensors between two reports.
const TENSORS_AT_ONCE: usize = 16;
/// The most bytes before the weights that are read of a file: more than any tokenizer or header has.
const MAX_HEAD_BYTES: u64 = 512 << 20;

/// Compares every byte of a folder made by Planish with the checksums of its manifest.
///
/// # Errors
/// `Error::NoChecksums` for other folders; `Error::Io`, `Error::Cancelled`. What is damaged or missing is no error but a finding.
pub(super) fn verify(request: &VerifyRequest, monitor: &Monitor) -> Result<Verification> {
    let folder = request.path.as_path();
    let no_checksums = || Error::NoChecksums { path: folder.to_path_buf() };
    let manifest = Manifest::read(&manifest_path(folder))?.ok_or_else(no_checksums)?;
    files_of(folder, &manifest).ok_or_else(no_checksums)?;
    let mut findings: Vec<String> = manifest.files.iter().filter_map(|file| fault_of(folder, file)).collect();
    findings.extend(others(folder, &manifest)?);
    let mut sums = Vec::with_capacity(manifest.tensors.len());
    let total = manifest.tensors.iter().fold(0, |sum: u64, tensor| sum.saturating_add(tensor.size_bytes));
    let mut progress =
        Progress { stage: format!("verifying {}", path_text::shown(folder)), done: 0, total, unit: ProgressUnit::Bytes };
    for batch in manifest.tensors.chunks(TENSORS_AT_ONCE) {
        monitor.report(progress.clone())?;
        let hashed: Vec<Option<Checksum>> =
            batch.par_iter().map(|tensor| sum_of(folder, tensor, monitor)).collect::<Result<_>>()?;
        progress.done += batch.iter().map(|tensor| tensor.size_bytes).sum::<u64>();
        sums.extend(hashed);
    }
    monitor.report(progress)?;
    let found = manifest.tensors.iter().zip(&sums);
    let damaged: Vec<&str> =
        found.filter(|(tensor, sum)| Some(tensor.blake3) != **sum).map(|(tensor, _)| tensor.name.as_str()).collect();
    if !damaged.is_empty() {
        findings.push(damaged_text(&damaged, sums.len()));
    } else if Checksum::of_parts(sums.iter().flatten()) != manifest.tensors_blake3 {
        findings.push("its manifest is not what was written".into());
    }
    let framework = manifest.recipe.split(' ').next().and_then(|name| name.parse().ok()).map(Level::framework);
    let mut verification = Verification {
        path: folder.to_path_buf(),
        size_bytes: manifest.size_bytes,
        n_tensors: manifest.tensors.len(),
        version: manifest.planish,
        recipe: manifest.recipe,
        source_blake3: manifest.source.blake3.to_string(),
        source_name: Some(manifest.source.name),
        compared: vec!["manifest"],
        findings,
    };
    if let Some(source) = &request.source {
        let name = path_text::shown(source);
        if source_sum(source, framework.unwrap_or(Framework::Mlx), monitor)? != Some(manifest.source.blake3) {
            verification.findings.push(format!("it was not made from {name}"));
        }
        verification.compared.push("source");
    }
    if let Some(imatrix) = &request.imatrix {
        if manifest.imatrix.map(|own| own.blake3) != Some(Checksum::of_file(imatrix)?) {
            verification.findings.push(format!("it was not made with {}", path_text::shown(imatrix)));
        }
        verification.compared.push("imatrix");
    }
    Ok(verification)
}

/// What is wrong with a file, apart from its weights.
fn fault_of(folder: &Path, entry: &FileEntry) -> Option<String> {
    let name = &entry.name;
    let Ok((file, size_bytes)) = open_regular(&folder.join(name)) else { return Some(format!("{name} is missing")) };
    if size_bytes != entry.size_bytes {
        return Some(format!("{name} has {size_bytes} bytes, not {}", entry.size_bytes));
    }
    // The manifest may say anything.
    let head_bytes = Some(entry.head_bytes).filter(|bytes| *bytes <= size_bytes.min(MAX_HEAD_BYTES));
    let head = head_bytes.and_then(|bytes| usize::try_from(bytes).ok()).map(|bytes| {
        let mut head = vec![0; bytes];
        read_exact_at(&file, &mut head, 0).map(|()| Checksum::of(&head))
    });
    let is_as_written = matches!(head, Some(Ok(sum)) if sum == entry.blake3);
    (!is_as_written).then(|| format!("{name} is not what was written"))
}

/// Files of weights that were not written with the folder: mlx-lm would load them too.
fn others(folder: &Path, manifest: &Manifest) -> Result<Vec<String>> {
    let known: BTreeSet<&str> = manifest.files.iter().map(|file| file.name.as_str()).collect();
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io("open", folder))? {
        let name = entry.map_err(Error::io("read", folder))?.file_name();
        let text = path_text::searchable(&name);
        if text.ends_with(".safetensors") && !known.contains(text.as_ref()) {
            found.push(format!("{} was not written with it", path_text::shown(Path::new(&name))));
        }
    }
    Ok(found)
}

/// The checksum of a tensor; `None` where its bytes cannot be read.
fn sum_of(folder: &Path, tensor: &TensorEntry, monitor: &Monitor) -> Result<Option<Checksum>> {
    let opened: Option<Vec<_>> = tensor
        .components
        .iter()
        .map(|component| open_regular(&folder.join(&component.file)).ok().map(|(file, _)| file))
        .collect();
    // A weight takes at least one bit: a manifest that says less would give chunks without end.
    let n_bits =
        tensor.components.iter().fold(0, |sum: u64, component| sum.saturating_add(component.size_bytes)).saturating_mul(8);
    let n_weights = tensor.shape.iter().try_fold(1, |n: u64, &dim| n.checked_mul(dim)).filter(|n| (1..=n_bits).contains(n));
    let (Some(files), Some(n_weights)) = (opened, n_weights) else { return Ok(None) };
    let row_len = tensor.shape.first().copied().unwrap_or(1);
    let mut sums = Vec::new();
    let mut bytes = Vec::new();
    for chunk in chunks_of(row_len, n_weights) {
        monitor.check()?;
        bytes.clear();
        for (file, component) in files.iter().zip(&tensor.components) {
            // All components grow evenly with the weights.
            let part =
                |n: u64| u64::try_from(u128::from(component.size_bytes) * u128::from(n) / u128::from(n_weights)).unwrap_or(0);
            let (start, n_bytes) = (part(chunk.first_weight), part(chunk.n_weights));
            let filled = bytes.len();
            // A chunk takes at most 4 bytes per weight; a manifest that says more is not believed.
            let Some(n_bytes) = usize::try_from(n_bytes).ok().filter(|_| n_bytes <= chunk.n_weights.saturating_mul(4)) else {
                return Ok(None);
            };
            bytes.resize(filled + n_bytes, 0);
            if read_exact_at(file, &mut bytes[filled..], component.offset.saturating_add(start)).is_err() {
                return Ok(None);
            }
        }
        sums.push(Checksum::of(&bytes));
    }
    Ok(Some(Checksum::of_parts(&sums)))
}

/// The checksum of a checkpoint's tensors as a framework has them, which its folders carry; `None` for a model that no folder is
/// made from. Reads all weights.
///
/// # Errors
/// Those of reading the checkpoint; `Error::Cancelled`.
pub fn source_sum(path: &Path, framework: Framework, monitor: &Monitor) -> Result<Option<Checksum>> {
    let Opened::Checkpoint(checkpoint) = read_any(path)? else { return Ok(None) };
    let model = match framework {
        Framework::Mlx => mlx_model(&checkpoint)?,
        Framework::OnnxRuntime => onnx_model(&checkpoint)?.1,
        Framework::LlamaCpp | Framework::OpenVino | Framework::Qnn => return Ok(None),
    };
    Ok(Some(Checksum::of_parts(&tensor_sums(&model, "reading", monitor)?)))
}
