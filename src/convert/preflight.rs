//! Everything that can be refused before the first byte, and what the outputs will be.

use std::path::PathBuf;

use super::existing::placed;
use super::ground::Ground;
use super::manifest::may_be_written;
use super::paths::{FileId, manifest_path, output_path_by, part_path};
use super::{ConvertRequest, Overwrite, disk, folder};
use crate::advise::{Draft, Outputs};
use crate::error::{Error, Result};
use crate::model::{ArtifactKind, Framework, Level, Model};

/// More threads than any laptop has only cost memory.
const MAX_THREADS: usize = 256;

/// What a conversion will do, known to be possible.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkPlan {
    /// One for each level, in the order of the request, repeats and those that are skipped dropped.
    pub outputs: Vec<PlannedOutput>,
    /// Size of all outputs together, in bytes.
    pub needed_bytes: u64,
    /// Bytes free for this user where they go, leftovers that they replace included; `None` where the system does not tell.
    pub free_bytes: Option<u64>,
    /// Threads that decode, encode and write.
    pub n_threads: usize,
}

/// An output before it exists.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedOutput {
    /// The level.
    pub level: Level,
    /// Its final name.
    pub path: PathBuf,
    /// Its exact size in bytes.
    pub size_bytes: u64,
    /// Tensor data in bits divided by the number of weights.
    pub bits_per_weight: f64,
    /// What the user should know: `requantized from Q4_1`.
    pub warnings: Vec<String>,
    /// Whether an output that has this name already is replaced.
    pub overwrite: Overwrite,
}

/// Plans a conversion and makes all checks that need no work. Creates and changes nothing.
///
/// # Errors
/// Whatever would keep the conversion from ending well: no weights or levels, a type that cannot be decoded, an output that
/// exists or is the source, a folder that is not writable, too little space, an importance matrix that is unreadable or of
/// another model.
pub fn preflight(model: &Model, request: &ConvertRequest) -> Result<WorkPlan> {
    plan_work(model, request).map(|(plan, _)| plan)
}

/// [`preflight`], and what the outputs are made from.
pub(super) fn plan_work<'a>(model: &'a Model, request: &'a ConvertRequest) -> Result<(WorkPlan, Ground<'a>)> {
    let n_threads = n_threads(request)?;
    if let Some(kind) = model.other_kind() {
        return Err(Error::NotAModel { what: kind.name(), hint: kind.hint(), path: model.path.clone() });
    }
    if !model.obstacles.is_empty() {
        return Err(Error::NotLoadable { what: model.obstacles.join("; "), path: model.path.clone() });
    }
    let mut levels = Vec::new();
    for &level in &request.levels {
        if !levels.contains(&level) {
            levels.push(level);
        }
    }
    if levels.is_empty() {
        return Err(Error::BadRequest { message: "no level to convert to".into() });
    }
    let ground = Ground::read(model, request)?;
    let planned = planned_outputs(model, &levels, request, &ground)?;
    let outputs: Vec<PlannedOutput> = planned.into_iter().filter_map(|output| placed(output, request)).collect();
    let sources: Vec<_> = model.files.iter().chain([&model.path]).filter_map(|file| Some((file, FileId::of(file)?))).collect();
    for output in &outputs {
        check_names(output, &sources)?;
    }
    let folder = disk::existing_ancestor(&request.out_dir)?;
    for output in &outputs {
        disk::check_name(&folder, &output.path)?;
    }
    disk::check_writable(&folder)?;
    let needed_bytes = outputs.iter().map(|output| output.size_bytes).fold(0, u64::saturating_add);
    let reclaimed: u64 = outputs.iter().map(|output| disk::reclaimed_bytes(&part_path(&output.path))).sum();
    let free_bytes = disk::free_bytes(&folder).map(|free| free.saturating_add(reclaimed));
    match free_bytes {
        Some(free_bytes) if free_bytes < needed_bytes => Err(Error::NotEnoughSpace { needed_bytes, free_bytes, path: folder }),
        _ => Ok((WorkPlan { outputs, needed_bytes, free_bytes, n_threads }, ground)),
    }
}

/// The outputs of these levels, in their order.
fn planned_outputs(model: &Model, levels: &[Level], request: &ConvertRequest, ground: &Ground) -> Result<Vec<PlannedOutput>> {
    let mut of_frameworks: Vec<(Framework, Outputs)> = Vec::new();
    let mut planned = Vec::with_capacity(levels.len());
    for &level in levels {
        let framework = level.framework();
        if of_frameworks.iter().all(|(known, _)| *known != framework) {
            of_frameworks.push((framework, ground.outputs(framework)?));
        }
        let Some((_, outputs)) = of_frameworks.iter().find(|(known, _)| *known == framework) else { continue };
        let Draft { size_bytes, bits_per_weight, mut warnings } = outputs.draft(level)?;
        if framework == Framework::LlamaCpp {
            warnings.extend(ground.rest.iter().flat_map(|rest| rest.warnings.iter().cloned()));
        } else if request.imatrix.is_some() && ground.imatrix_of(framework).is_none() {
            warnings.push(format!("the importance matrix is not used: {} has none", framework.name()));
        }
        let path = output_path_by(model, level, &request.overrides, &request.out_dir);
        planned.push(PlannedOutput { level, path, size_bytes, bits_per_weight, warnings, overwrite: Overwrite::Never });
    }
    Ok(planned)
}

fn n_threads(request: &ConvertRequest) -> Result<usize> {
    match request.n_threads {
        Some(0) => Err(Error::BadRequest { message: "a conversion needs at least one thread".into() }),
        Some(n_threads) => Ok(n_threads.min(MAX_THREADS)),
        None => Ok(std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS)),
    }
}

/// Refuses outputs that exist or are a source, under whatever name.
fn check_names(output: &PlannedOutput, sources: &[(&PathBuf, FileId)]) -> Result<()> {
    let (path, overwrite) = (&output.path, output.overwrite);
    for name in [path, &part_path(path)] {
        let id = FileId::of(name);
        if let Some((source, _)) = sources.iter().find(|(_, source)| Some(source) == id.as_ref()) {
            return Err(Error::OutputIsSource { path: (*source).clone() });
        }
    }
    let found = std::fs::symlink_metadata(path);
    if output.level.framework().artifact() == ArtifactKind::Folder {
        return match found {
            Ok(_) if overwrite == Overwrite::Never => Err(Error::OutputExists { path: path.clone() }),
            Ok(metadata) if !metadata.is_dir() => Err(Error::NotAFolder { path: path.clone() }),
            Ok(_) if folder::own_files(path).is_none() => Err(Error::NotOurFolder { path: path.clone() }),
            _ => Ok(()),
        };
    }
    match found {
        Ok(metadata) if metadata.is_dir() => Err(Error::NotAFile { kind: "a folder", path: path.clone() }),
        Ok(_) if overwrite == Overwrite::Never => Err(Error::OutputExists { path: path.clone() }),
        _ => {
            let manifest = manifest_path(path);
            let is_replaced = !manifest.is_dir() && (overwrite == Overwrite::Allowed || may_be_written(&manifest));
            if is_replaced { Ok(()) } else { Err(Error::OutputExists { path: manifest }) }
        }
    }
}
