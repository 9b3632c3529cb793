//! The whole way from a request to finished files.

use std::time::Instant;

use rayon::prelude::*;

use super::checkpoints::{AtEnd, write_down};
use super::chunk::{Extent, Sums, Work, chunks, works};
use super::ground::Ground;
use super::journal::{Ingredients, Journal, Record};
use super::manifest::{FileEntry, HeaderEntry, Ingredient, Manifest, TensorEntry, name_of};
use super::part_file::sync_dir;
use super::part_output::PartOutput;
use super::preflight::{PlannedOutput, plan_work};
use super::{Conversion, ConvertRequest, Resume, journal, pipeline};
use crate::advise::Outputs;
use crate::error::{Error, Result};
use crate::format::{Checksum, PlannedFile, Spot, TensorReader, Way, header_checksum, set_checksum};
use crate::model::{Framework, HEADER_CHECKSUM_KEY, IMATRIX_CHECKSUM_KEY, Model, SOURCE_CHECKSUM_KEY, TENSORS_CHECKSUM_KEY};
use crate::monitor::{Monitor, Progress, ProgressUnit};
use crate::path_text;

/// Converts a model to all requested levels, those of a framework in one pass over it.
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
    let (plan, ground) = plan_work(model, request)?;
    if plan.outputs.is_empty() {
        return Ok(Vec::new());
    }
    if plan.outputs.iter().any(|output| request.overrides.calibrate(output.level)) && request.imatrix.is_none() {
        return Err(Error::Internal { message: "calibrated levels were asked for without second moments".into() });
    }
    std::fs::create_dir_all(&request.out_dir).map_err(Error::io("create", &request.out_dir))?;
    let mut passes = Vec::new();
    for framework in Framework::ALL {
        let outputs: Vec<&PlannedOutput> = plan.outputs.iter().filter(|output| output.level.framework() == framework).collect();
        if !outputs.is_empty() {
            passes.push(Pass::begin(&ground, framework, outputs, request, monitor)?);
        }
    }
    let mut carry_on = || -> Result<()> {
        passes.iter_mut().try_for_each(|pass| pass.carry_on(plan.n_threads, request, monitor))?;
        passes.iter().try_for_each(|pass| pass.source.check_unchanged())?;
        // The last moment at which nothing has happened yet.
        monitor.check()
    };
    carry_on().inspect_err(|_| {
        let stays = monitor.leaves_unfinished(keeps(request));
        passes.iter().flat_map(|pass| &pass.parts).for_each(|part| part.keep(stays));
    })?;
    let mut made = Vec::with_capacity(plan.outputs.len());
    for pass in passes {
        made.extend(pass.publish(request)?);
    }
    sync_dir(&request.out_dir)?;
    let elapsed_secs = started.elapsed().as_secs_f64();
    for conversion in &mut made {
        conversion.elapsed_secs = elapsed_secs;
    }
    made.sort_by_key(|conversion| plan.outputs.iter().position(|output| output.level == conversion.level));
    Ok(made)
}

/// True if the request keeps unfinished outputs when the work ends early.
fn keeps(request: &ConvertRequest) -> bool {
    request.keep_unfinished || request.resume == Resume::Required
}

/// The outputs of one framework on their way: what is read once for all of them.
struct Pass<'a> {
    framework: Framework,
    ground: &'a Ground<'a>,
    outputs: Outputs<'a>,
    source: TensorReader,
    planned: Vec<&'a PlannedOutput>,
    parts: Vec<PartOutput>,
    journals: Vec<Journal>,
    begun: Vec<Begun>,
    /// Why it could not have been resumed.
    warning: Option<String>,
}

/// An output on its way.
struct Begun {
    /// One for each tensor of the source.
    ways: Vec<Way>,
    /// One for each tensor of the source: `None` until it is complete.
    records: Vec<Option<Record>>,
    /// Without checksums until all tensors are complete.
    manifest: Manifest,
}

impl<'a> Pass<'a> {
    fn begin(
        ground: &'a Ground<'a>,
        framework: Framework,
        planned: Vec<&'a PlannedOutput>,
        request: &ConvertRequest,
        monitor: &Monitor,
    ) -> Result<Self> {
        let outputs = ground.outputs(framework)?;
        let source = TensorReader::open(outputs.source())?;
        let imatrix = ground.imatrix_of(framework).map(|imatrix| Ingredient::of_file(&imatrix.path)).transpose()?;
        let (mut parts, mut journals, mut begun) = (Vec::new(), Vec::new(), Vec::new());
        for output in &planned {
            monitor.check()?;
            let (part, journal, output) = begin(&outputs, output, &source, imatrix.as_ref(), request, monitor)?;
            part.write_manifest(&output.manifest.to_json()?)?;
            parts.push(part);
            journals.push(journal);
            begun.push(output);
        }
        Ok(Self { framework, ground, outputs, source, planned, parts, journals, begun, warning: None })
    }

    /// Writes all outputs and waits until the disk has them.
    fn carry_on(&mut self, n_threads: usize, request: &ConvertRequest, monitor: &Monitor) -> Result<()> {
        self.warning = self.carry_out(n_threads, keeps(request), monitor)?;
        let total = self.outputs.source().tensor_bytes();
        for (part, begun) in self.parts.iter().zip(&mut self.begun) {
            seal(part, begun)?;
            part.write_manifest(&begun.manifest.to_json()?)?;
            let stage = format!("syncing {}", path_text::shown(part.path()));
            part.sync(&Progress { stage, done: total, total, unit: ProgressUnit::Bytes }, monitor)?;
        }
        Ok(())
    }

    /// Does what is left to do, and notes what is complete; returns a warning where that could not be written down.
    fn carry_out(&mut self, n_threads: usize, keep_unfinished: bool, monitor: &Monitor) -> Result<Option<String>> {
        let model = self.outputs.source();
        let (parts, journals, source) = (self.parts.as_slice(), &mut self.journals, &self.source);
        let mut records: Vec<Vec<Option<Record>>> =
            self.begun.iter_mut().map(|output| std::mem::take(&mut output.records)).collect();
        let left = self.begun.iter().zip(&records);
        let ways: Vec<Vec<_>> = left
            .map(|(output, records)| {
                output.ways.iter().zip(records).map(|(way, record)| record.is_none().then_some(way)).collect()
            })
            .collect();
        let works = works(model, &ways, self.ground.imatrix_of(self.framework), self.ground.is_calibrated());
        let at_end = || if monitor.leaves_unfinished(keep_unfinished) { AtEnd::Keep } else { AtEnd::Forget };
        // Room for all records: the thread that collects finished chunks must not wait for the disk.
        let n_records = ways.iter().map(Vec::len).sum();
        let (sender, receiver) = crossbeam_channel::bounded(n_records);
        let outcome = std::thread::scope(|scope| {
            let checkpoints = std::thread::Builder::new()
                .name("convert-checkpoints".into())
                .spawn_scoped(scope, || write_down(&receiver, parts, journals, &at_end))
                .map_err(|error| Error::Internal { message: format!("cannot start a thread: {error}") })?;
            let mut completed = |work: &Work, sums: Sums| {
                for (encoding, &output) in work.encodings.iter().zip(&sums.encodings) {
                    let record = Record { tensor: work.tensor_idx, source: sums.source, output };
                    for &(output_idx, _) in &encoding.places {
                        let slot = records.get_mut(output_idx).and_then(|records| records.get_mut(work.tensor_idx));
                        if let Some(slot) = slot {
                            *slot = Some(record);
                            // After an error in the checkpoint thread nobody receives it.
                            let _ = sender.send((output_idx, record));
                        }
                    }
                }
            };
            let carried_out = pipeline::run(&works, source, parts, n_threads, &mut completed, monitor);
            drop(sender);
            let written_down =
                checkpoints.join().map_err(|_| Error::Internal { message: "the checkpoint thread died".into() })?;
            carried_out.map(|()| written_down.err().map(|error| format!("could not have been resumed: {error}")))
        });
        for (output, records) in self.begun.iter_mut().zip(records) {
            output.records = records;
        }
        outcome
    }

    /// Gives all outputs their names.
    fn publish(self, request: &ConvertRequest) -> Result<Vec<Conversion>> {
        let mut made = Vec::with_capacity(self.planned.len());
        for (part, output) in self.parts.into_iter().zip(self.planned) {
            let left = part.publish(output.overwrite)?;
            journal::remove(&output.path)?;
            made.push(Conversion {
                level: output.level,
                path: output.path.clone(),
                source: self.outputs.source().path.clone(),
                size_bytes: output.size_bytes,
                bits_per_weight: output.bits_per_weight,
                elapsed_secs: 0.0,
                warnings: output.warnings.iter().cloned().chain(self.warning.clone()).chain(left).collect(),
                check: None,
                changes: request.overrides.text_of(output.level),
            });
        }
        Ok(made)
    }
}

/// Takes the space, writes what does not depend on the weights and finds out what an earlier run has done already.
///
/// Only one level's header is in memory at a time: with a large vocabulary each takes several megabytes.
fn begin(
    outputs: &Outputs,
    output: &PlannedOutput,
    source: &TensorReader,
    imatrix: Option<&Ingredient>,
    request: &ConvertRequest,
    monitor: &Monitor,
) -> Result<(PartOutput, Journal, Begun)> {
    let model = outputs.source();
    let planned = outputs.planned(output.level)?;
    let (found, expected) = (planned.size_bytes(), output.size_bytes);
    if found != expected || planned.ways.len() != model.tensors.len() {
        let name = path_text::shown(&output.path);
        let message = format!("{name} has {found} bytes or other tensors than planned ({expected} bytes)");
        return Err(Error::Internal { message });
    }
    let ingredients = Ingredients {
        planish: env!("CARGO_PKG_VERSION").into(),
        source: source.stamps_checksum(),
        imatrix: imatrix.map(|imatrix| imatrix.blake3),
        header: heads_checksum(&planned.files),
    };
    let part = PartOutput::open(&output.path, &planned.files)?;
    part.keep(keeps(request));
    let find = || journal::find(&output.path, &ingredients, planned.ways.len());
    let mut found = match request.resume {
        Resume::Never => None,
        Resume::IfSame => find().unwrap_or_default(),
        Resume::Required => find()?,
    };
    if found.is_none() || !part.is_of_size(&planned.files)? {
        found = None;
        journal::remove(&output.path)?;
        part.empty()?;
    }
    part.begin(&planned.files)?;
    let is_folder = planned.is_folder();
    let entries = planned.ways.iter().map(|way| TensorEntry::new(way, is_folder.then_some(&planned.files)));
    let head_bytes = planned.files.iter().map(|file| file.head.len() as u64).sum();
    let manifest = Manifest {
        planish_manifest: 1,
        planish: env!("CARGO_PKG_VERSION").into(),
        file: name_of(&output.path),
        size_bytes: output.size_bytes,
        recipe: outputs.recipe_text(output.level),
        source: Ingredient { name: name_of(&model.path), blake3: Checksum::default() },
        imatrix: imatrix.cloned(),
        header: HeaderEntry { size_bytes: head_bytes, blake3: if is_folder { ingredients.header } else { Checksum::default() } },
        tensors_blake3: Checksum::default(),
        tensors: entries.collect::<Result<_>>()?,
        files: if is_folder { planned.files.iter().map(FileEntry::of).collect() } else { Vec::new() },
    };
    let mut begun = Begun { records: vec![None; planned.ways.len()], ways: planned.ways, manifest };
    if let Some(found) = &found {
        let stage = format!("checking what an earlier run left of {}", path_text::shown(&output.path));
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

/// Checksum of the first bytes of all files, which come before the weights; for a folder, of the files' names too.
fn heads_checksum(files: &[PlannedFile]) -> Checksum {
    match files {
        [file] if file.name.is_empty() => Checksum::of(&file.head),
        files => Checksum::of_parts(
            &files
                .iter()
                .map(|file| Checksum::of_parts(&[Checksum::of(file.name.as_bytes()), Checksum::of(&file.head)]))
                .collect::<Vec<_>>(),
        ),
    }
}

/// True if a tensor of an earlier run is in the output as its record says.
fn is_intact(part: &PartOutput, begun: &Begun, model: &Model, record: Record, monitor: &Monitor) -> Result<bool> {
    let of_tensor = model.tensors.get(record.tensor).zip(begun.ways.get(record.tensor));
    let Some((tensor, way)) = of_tensor else { return Ok(false) };
    let mut bytes = Vec::new();
    let mut sums = Vec::new();
    for chunk in chunks(tensor) {
        monitor.check()?;
        let extent = Extent::of(way.coding, tensor.row_len(), chunk)?;
        bytes.clear();
        for (component, (start, n_bytes)) in extent.starts.into_iter().zip(extent.sizes).enumerate() {
            let filled = bytes.len();
            bytes.resize(filled + n_bytes, 0);
            part.read_at(&mut bytes[filled..], way.spots[component].behind(start))?;
        }
        sums.push(Checksum::of(&bytes));
    }
    Ok(Checksum::of_parts(&sums) == record.output)
}

/// Puts the checksums into header and manifest.
fn seal(part: &PartOutput, begun: &mut Begun) -> Result<()> {
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
    if !manifest.files.is_empty() {
        // A folder carries its checksums in the manifest alone.
        return Ok(());
    }
    let start = Spot::default();
    let mut header = vec![0; usize::try_from(manifest.header.size_bytes).unwrap_or_default()];
    part.read_at(&mut header, start)?;
    set_checksum(&mut header, SOURCE_CHECKSUM_KEY, manifest.source.blake3)?;
    set_checksum(&mut header, TENSORS_CHECKSUM_KEY, manifest.tensors_blake3)?;
    if let Some(imatrix) = &manifest.imatrix {
        set_checksum(&mut header, IMATRIX_CHECKSUM_KEY, imatrix.blake3)?;
    }
    let no_key = || Error::Internal { message: format!("the header has no place for {HEADER_CHECKSUM_KEY}") };
    manifest.header.blake3 = header_checksum(&header).ok_or_else(no_key)?;
    set_checksum(&mut header, HEADER_CHECKSUM_KEY, manifest.header.blake3)?;
    part.write_at(&header, start)
}
