//! The whole way from a request to finished files.

use std::time::Instant;

use rayon::prelude::*;

use super::checkpoints::{AtEnd, write_down};
use super::chunk::{Sums, Work, chunks, extent, works};
use super::journal::{Ingredients, Journal, Record};
use super::manifest::{HeaderEntry, Ingredient, Manifest, TensorEntry, name_of};
use super::part_file::{PartFile, sync_dir};
use super::preflight::{PlannedOutput, WorkPlan, layout, preflight};
use super::{Conversion, ConvertRequest, Overwrite, Resume, journal, manifest_path, pipeline, without_layers};
use crate::advise::recipe::Planner;
use crate::error::{Error, Result};
use crate::format::{Checksum, Placed, TensorReader, TensorSpec, header_checksum, set_checksum};
use crate::model::{HEADER_CHECKSUM_KEY, IMATRIX_CHECKSUM_KEY, Model, SOURCE_CHECKSUM_KEY, TENSORS_CHECKSUM_KEY};
use crate::monitor::{Monitor, Progress, ProgressUnit};
use crate::path_text;

/// Converts a model to all requested levels in one pass over it.
///
/// Outputs get their names together, after all of them are complete and on the disk, and only if the source did not change
/// meanwhile. Before that they are called `NAME.part`, and whatever ends the work early removes them, unless the request says that they
/// stay. After a kill the next run goes on where it was, or replaces them. Same source, same bytes, whatever the number of threads and
/// however often it was interrupted.
///
/// Progress is counted in bytes of the source.
///
/// # Errors
/// Those of `preflight` before any work; `Error::OutputLocked` when another run writes one of the outputs; `Error::CannotResume`;
/// `Error::NonFinite` for a damaged weight; `Error::SourceChanged`; `Error::Io`, with the kind `StorageFull` when others filled the disk
/// meanwhile.
pub fn convert(model: &Model, request: &ConvertRequest, monitor: &Monitor) -> Result<Vec<Conversion>> {
    let started = Instant::now();
    let plan = preflight(model, request)?;
    if plan.outputs.is_empty() {
        return Ok(Vec::new());
    }
    let (whole, rest) = (model, without_layers(model, &request.overrides)?);
    let model = rest.as_ref().map_or(whole, |rest| &rest.model);
    let source = TensorReader::open(model)?;
    std::fs::create_dir_all(&request.out_dir).map_err(Error::io("create", &request.out_dir))?;

    let planner = Planner::changed(model, plan.imatrix.as_ref(), whole, &request.overrides)?;
    let imatrix = plan.imatrix.as_ref().map(|imatrix| Ingredient::of_file(&imatrix.path)).transpose()?;
    let (mut parts, mut journals, mut begun) = (Vec::new(), Vec::new(), Vec::new());
    let mut manifests = Vec::with_capacity(plan.outputs.len());
    for output in &plan.outputs {
        monitor.check()?;
        let (part, journal, output) = begin(&planner, output, &source, imatrix.as_ref(), request, monitor)?;
        // It has its size and takes its space now: the checksums are all that changes.
        let manifest = PartFile::create(&manifest_path(part.path()))?;
        manifest.write_at(&output.manifest.to_json()?, 0)?;
        manifests.push(manifest);
        parts.push(part);
        journals.push(journal);
        begun.push(output);
    }
    let mut carry_on = || -> Result<Option<String>> {
        let checkpoints = carry_out(&plan, model, &source, &parts, &mut journals, &mut begun, request.keep_unfinished, monitor)?;
        let total = model.tensor_bytes();
        for ((part, manifest), begun) in parts.iter().zip(&manifests).zip(&mut begun) {
            seal(part, begun)?;
            manifest.write_at(&begun.manifest.to_json()?, 0)?;
            let stage = format!("syncing {}", path_text::shown(part.path()));
            let progress = Progress { stage, done: total, total, unit: ProgressUnit::Bytes };
            part.sync(&progress, monitor)?;
            manifest.sync(&progress, monitor)?;
        }
        source.check_unchanged()?;
        // The last moment at which nothing has happened yet.
        monitor.check()?;
        Ok(checkpoints)
    };
    let checkpoints = carry_on().inspect_err(|_| {
        let stays = monitor.leaves_unfinished(keeps(request));
        for part in &parts {
            part.keep(stays);
        }
    })?;
    for (part, output) in parts.into_iter().zip(&plan.outputs) {
        part.publish(output.overwrite)?;
    }
    for (part, output) in manifests.into_iter().zip(&plan.outputs) {
        // `preflight` has seen that nothing else has the name.
        part.publish(Overwrite::Allowed)?;
        journal::remove(&output.path)?;
    }
    sync_dir(&request.out_dir)?;

    let elapsed_secs = started.elapsed().as_secs_f64();
    let conversion = |output: PlannedOutput| Conversion {
        level: output.level,
        path: output.path,
        source: model.path.clone(),
        size_bytes: output.size_bytes,
        bits_per_weight: output.bits_per_weight,
        elapsed_secs,
        warnings: output.warnings.into_iter().chain(checkpoints.clone()).collect(),
        check: None,
        changes: if request.overrides.change(output.level) { request.overrides.to_string() } else { String::new() },
    };
    Ok(plan.outputs.into_iter().map(conversion).collect())
}

/// Whether unfinished outputs stay, as it was asked for.
fn keeps(request: &ConvertRequest) -> bool {
    request.keep_unfinished || request.resume == Resume::Required
}

/// An output on its way.
struct Begun {
    specs: Vec<TensorSpec>,
    /// One for each of the specs.
    places: Vec<Placed>,
    /// One for each of the specs: `None` until it is complete.
    records: Vec<Option<Record>>,
    /// Without checksums until all tensors are complete.
    manifest: Manifest,
}

/// Takes the space, writes the header and finds out what an earlier run has done already.
///
/// Only one level's header is in memory at a time: with a large vocabulary each has several megabytes.
fn begin(
    planner: &Planner,
    output: &PlannedOutput,
    source: &TensorReader,
    imatrix: Option<&Ingredient>,
    request: &ConvertRequest,
    monitor: &Monitor,
) -> Result<(PartFile, Journal, Begun)> {
    let model = planner.model();
    let (specs, layout) = layout(planner, output)?;
    let is_planned = layout.file_size_bytes == output.size_bytes
        && specs.len() == model.tensors.len()
        && specs.iter().zip(&model.tensors).all(|(spec, tensor)| spec.name == tensor.name);
    if !is_planned {
        let (name, found, planned) = (path_text::shown(&output.path), layout.file_size_bytes, output.size_bytes);
        return Err(Error::Internal {
            message: format!("{name} has {found} bytes or other tensors than planned ({planned} bytes)"),
        });
    }
    let ingredients = Ingredients {
        planish: env!("CARGO_PKG_VERSION").into(),
        source: source.stamps_checksum(),
        imatrix: imatrix.map(|imatrix| imatrix.blake3),
        header: Checksum::of(&layout.header),
    };
    let part = PartFile::open(&output.path)?;
    part.keep(keeps(request));
    let find = || journal::find(&output.path, &ingredients, specs.len());
    let mut found = match request.resume {
        Resume::Never => None,
        Resume::IfSame => find().unwrap_or_default(),
        Resume::Required => find()?,
    };
    if found.is_none() || part.len()? != layout.file_size_bytes {
        found = None;
        journal::remove(&output.path)?;
        part.empty()?;
    }
    part.reserve(layout.file_size_bytes)?;
    part.write_at(&layout.header, 0)?;
    let entries = specs.iter().zip(&layout.tensors).map(|(spec, place)| TensorEntry::new(spec, *place));
    let manifest = Manifest {
        planish_manifest: 1,
        planish: env!("CARGO_PKG_VERSION").into(),
        file: name_of(&output.path),
        size_bytes: output.size_bytes,
        recipe: planner.recipe_text(output.level),
        source: Ingredient { name: name_of(&model.path), blake3: Checksum::default() },
        imatrix: imatrix.cloned(),
        header: HeaderEntry { size_bytes: layout.header.len() as u64, blake3: Checksum::default() },
        tensors_blake3: Checksum::default(),
        tensors: entries.collect(),
    };
    let mut begun = Begun { records: vec![None; specs.len()], specs, places: layout.tensors, manifest };
    if let Some(found) = &found {
        let stage = format!("checking what is there of {}", path_text::shown(&output.path));
        monitor.report(Progress { stage, done: 0, total: model.tensor_bytes(), unit: ProgressUnit::Bytes })?;
        let is_there = |record: &Record| is_intact(&part, &begun, model, *record, monitor);
        let there: Vec<bool> = found.records.par_iter().map(is_there).collect::<Result<_>>()?;
        for (record, _) in found.records.iter().zip(there).filter(|(_, is_there)| *is_there) {
            if let Some(slot) = begun.records.get_mut(record.tensor) {
                *slot = Some(*record);
            }
        }
    }
    let journal = Journal::new(&output.path, ingredients, found.as_ref());
    Ok((part, journal, begun))
}

/// Asks whether a tensor of an earlier run is in the file as its record says.
fn is_intact(part: &PartFile, begun: &Begun, model: &Model, record: Record, monitor: &Monitor) -> Result<bool> {
    let of_tensor = model.tensors.get(record.tensor).zip(begun.specs.get(record.tensor)).zip(begun.places.get(record.tensor));
    let Some(((tensor, spec), place)) = of_tensor else { return Ok(false) };
    let mut bytes = Vec::new();
    let mut sums = Vec::new();
    for chunk in chunks(tensor) {
        monitor.check()?;
        let (start, n_bytes) = extent(spec.dtype, chunk)?;
        bytes.resize(n_bytes, 0);
        part.read_at(&mut bytes, place.offset + start)?;
        sums.push(Checksum::of(&bytes));
    }
    Ok(Checksum::of_parts(&sums) == record.output)
}

/// Does what is left to do, and notes what is complete; returns a warning where that could not be written down.
#[allow(clippy::too_many_arguments, reason = "the parts of one function that was too long")]
fn carry_out(
    plan: &WorkPlan,
    model: &Model,
    source: &TensorReader,
    parts: &[PartFile],
    journals: &mut [Journal],
    begun: &mut [Begun],
    keep_unfinished: bool,
    monitor: &Monitor,
) -> Result<Option<String>> {
    let places: Vec<Vec<_>> = begun
        .iter()
        .map(|output| {
            let places = output.specs.iter().zip(&output.places).zip(&output.records);
            places.map(|((spec, place), record)| record.is_none().then_some((spec.dtype, place.offset))).collect()
        })
        .collect();
    let works = works(model, &places, plan.imatrix.as_ref());
    let at_end = || if monitor.leaves_unfinished(keep_unfinished) { AtEnd::Keep } else { AtEnd::Forget };
    // Room for all records: the one who waits for the pieces must not wait for the disk.
    let n_records = begun.iter().map(|output| output.specs.len()).sum();
    let (sender, receiver) = crossbeam_channel::bounded(n_records);
    std::thread::scope(|scope| {
        let checkpoints = std::thread::Builder::new()
            .name("convert-checkpoints".into())
            .spawn_scoped(scope, || write_down(&receiver, parts, journals, &at_end))
            .map_err(|error| Error::Internal { message: format!("cannot start a thread: {error}") })?;
        let mut completed = |work: &Work, sums: Sums| {
            for (encoding, &output) in work.encodings.iter().zip(&sums.encodings) {
                let record = Record { tensor: work.tensor_idx, source: sums.source, output };
                for &(output_idx, _) in &encoding.places {
                    let slot = begun.get_mut(output_idx).and_then(|output| output.records.get_mut(work.tensor_idx));
                    if let Some(slot) = slot {
                        *slot = Some(record);
                        // Without checkpoints, after an error, nobody takes it.
                        let _ = sender.send((output_idx, record));
                    }
                }
            }
        };
        let carried_out = pipeline::run(&works, source, parts, plan.n_threads, &mut completed, monitor);
        drop(sender);
        let written_down =
            checkpoints.join().map_err(|_| Error::Internal { message: "the thread of the checkpoints died".into() })?;
        carried_out.map(|()| written_down.err().map(|error| format!("could not have been resumed: {error}")))
    })
}

/// Puts the checksums into header and manifest.
fn seal(part: &PartFile, begun: &mut Begun) -> Result<()> {
    let records: Vec<Record> = begun.records.iter().copied().flatten().collect();
    let manifest = &mut begun.manifest;
    if records.len() != manifest.tensors.len() {
        let (found, n_tensors) = (records.len(), manifest.tensors.len());
        return Err(Error::Internal { message: format!("only {found} of {n_tensors} tensors were written") });
    }
    manifest.source.blake3 = Checksum::of_parts(records.iter().map(|record| &record.source));
    manifest.tensors_blake3 = Checksum::of_parts(records.iter().map(|record| &record.output));
    for (entry, record) in manifest.tensors.iter_mut().zip(&records) {
        entry.blake3 = record.output;
    }
    let mut header = vec![0; usize::try_from(manifest.header.size_bytes).unwrap_or_default()];
    part.read_at(&mut header, 0)?;
    set_checksum(&mut header, SOURCE_CHECKSUM_KEY, manifest.source.blake3)?;
    set_checksum(&mut header, TENSORS_CHECKSUM_KEY, manifest.tensors_blake3)?;
    if let Some(imatrix) = &manifest.imatrix {
        set_checksum(&mut header, IMATRIX_CHECKSUM_KEY, imatrix.blake3)?;
    }
    let no_key = || Error::Internal { message: format!("the header has no place for {HEADER_CHECKSUM_KEY}") };
    manifest.header.blake3 = header_checksum(&header).ok_or_else(no_key)?;
    set_checksum(&mut header, HEADER_CHECKSUM_KEY, manifest.header.blake3)?;
    part.write_at(&header, 0)
}
