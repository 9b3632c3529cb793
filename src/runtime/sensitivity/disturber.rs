//! What happens at a product of a weight: the first time over a text, the error that its rounding makes is noted; in every round, it is added.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use half::bf16;
use rayon::prelude::*;

use super::sign;
use crate::format::{TensorReader, read_exact_at};
use crate::model::{Model, Tensor};
use crate::path_text;
use crate::quant::dequantize_rows;
use crate::quant::matmul::{Matrix, MatrixMut};
use crate::runtime::importance::{Activations, Strided};

/// Weights that are rounded and multiplied at a time: some megabytes.
const WEIGHTS_AT_ONCE: usize = 1 << 20;

/// How a weight is used.
#[derive(Debug, Clone, Copy)]
pub enum Use<'a> {
    /// All of its rows are multiplied by vectors.
    Product(Activations<'a>),
    /// Each vector is multiplied by the matrices of the experts that its token chose.
    Experts(Activations<'a>, Strided<'a>),
    /// The rows of the text's tokens are looked up.
    Lookup,
}

/// Adds the errors of rounded weights to a model's intermediate results while it runs.
#[derive(Debug)]
pub struct Disturber {
    /// Each as it is, and as it is rounded.
    tensors: Vec<(Tensor, Tensor)>,
    idx_by_name: HashMap<String, usize>,
    reader: TensorReader,
    rounded: TensorReader,
    /// What was noted, one after the other.
    notes: File,
    notes_len: u64,
    entries: Vec<Entry>,
    /// The text.
    tokens: Vec<u32>,
    /// `None` while errors are noted.
    round: Option<Round>,
    problem: Option<String>,
}

#[derive(Debug, Clone)]
struct Round {
    idx: usize,
    /// One for each tensor.
    scales: Vec<f32>,
    /// The entry that comes next.
    next: usize,
}

/// The errors that one weight's rounding makes in one result `[n_vectors, n_outputs]`.
#[derive(Debug, Clone)]
struct Entry {
    tensor_idx: usize,
    n_outputs: usize,
    /// Where each block begins in the notes, its first output and how many it has. `[n_vectors, block's outputs]` each
    blocks: Vec<(u64, usize, usize)>,
    n_vectors: usize,
}

impl Disturber {
    /// One for these tensors of a model and of a file with its rounded weights, which keeps its notes in a file of `folder`.
    ///
    /// # Errors
    /// Why a model or the file cannot be opened; a tensor that one of them lacks.
    pub fn new(model: &Model, rounded: &Model, names: &[String], folder: &Path) -> Result<Self, String> {
        let find = |model: &Model, name: &str| model.tensors.iter().find(|tensor| tensor.name == name).cloned();
        let both = |name: &String| {
            let found = find(model, name).zip(find(rounded, name)).filter(|(own, rounded)| own.shape == rounded.shape);
            found.ok_or_else(|| format!("{name}: it is not in both files"))
        };
        let tensors: Vec<(Tensor, Tensor)> = names.iter().map(both).collect::<Result<_, _>>()?;
        let path = folder.join("notes");
        let notes = File::options().read(true).write(true).create(true).truncate(true).open(&path);
        let notes = notes.map_err(|error| format!("a file for notes cannot be made at {}: {error}", path_text::shown(&path)))?;
        let open = |model: &Model| TensorReader::open(model).map_err(|error| error.to_string());
        Ok(Self {
            idx_by_name: tensors.iter().enumerate().map(|(idx, (tensor, _))| (tensor.name.clone(), idx)).collect(),
            reader: open(model)?,
            rounded: open(rounded)?,
            tensors,
            notes,
            notes_len: 0,
            entries: Vec::new(),
            tokens: Vec::new(),
            round: None,
            problem: None,
        })
    }

    /// Forgets all notes: the next text has these tokens.
    pub fn start_text(&mut self, tokens: Vec<u32>) {
        (self.round, self.notes_len, self.tokens) = (None, 0, tokens);
        self.entries.clear();
    }

    /// From now on errors are added, each times its tensor's scale, with the signs of this round.
    pub fn start_round(&mut self, idx: usize, scales: Vec<f32>) {
        self.round = Some(Round { idx, scales, next: 0 });
    }

    /// True while errors are added, so that results are wanted; else what weights are multiplied by.
    #[must_use]
    pub fn is_adding(&self) -> bool {
        self.round.is_some()
    }

    /// True for a tensor whose errors are noted and added; false for all once something has gone wrong.
    #[must_use]
    pub fn wants(&self, name: &str) -> bool {
        self.problem.is_none() && self.idx_by_name.contains_key(name)
    }

    /// What went wrong, with the tensor's name.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Notes what went wrong; only the first is kept.
    pub fn fail(&mut self, problem: String) {
        self.problem.get_or_insert(problem);
    }

    /// The tensors that occurred, by their index in the names that it was made with.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.iter().map(|(tensor, _)| tensor.name.as_str())
    }

    /// True for each of [`Disturber::names`] whose errors the text's run noted.
    #[must_use]
    pub fn used(&self) -> Vec<bool> {
        let mut used = vec![false; self.tensors.len()];
        self.entries.iter().for_each(|entry| used[entry.tensor_idx] |= !entry.blocks.is_empty());
        used
    }

    /// Notes the errors that the rounding of this weight makes.
    pub fn note(&mut self, name: &str, usage: Use) {
        let Some(&idx) = self.idx_by_name.get(name).filter(|_| self.problem.is_none()) else { return };
        let noted = match usage {
            Use::Product(activations) => self.note_product(idx, &activations),
            Use::Experts(activations, experts) => self.note_experts(idx, &activations, &experts),
            Use::Lookup => self.note_lookup(idx),
        };
        if let Err(problem) = noted {
            self.fail(format!("{name}: {problem}"));
        }
    }

    /// Adds the errors to a result, all of whose numbers follow each other.
    pub fn add(&mut self, name: &str, numbers: &mut [f32]) {
        let Some(round) = self.round.as_mut().filter(|_| self.problem.is_none()) else { return };
        let entry = self.entries.get(round.next);
        round.next += 1;
        let is_same =
            |entry: &&Entry| self.tensors[entry.tensor_idx].0.name == name && entry.n_vectors * entry.n_outputs == numbers.len();
        let Some(entry) = entry.filter(is_same) else {
            return self.fail(format!("{name}: the same text led to other products"));
        };
        let factor = round.scales.get(entry.tensor_idx).copied().unwrap_or(0.0) * sign(entry.tensor_idx, round.idx);
        for &(start, first, n) in &entry.blocks {
            let mut bytes = vec![0; entry.n_vectors * n * 2];
            if let Err(error) = read_exact_at(&self.notes, &mut bytes, start) {
                return self.fail(format!("notes cannot be read: {error}"));
            }
            let errors = bytes.as_chunks::<2>().0;
            let rows = numbers.par_chunks_exact_mut(entry.n_outputs).zip(errors.par_chunks_exact(n));
            rows.for_each(|(row, errors)| {
                for (number, error) in row[first..first + n].iter_mut().zip(errors) {
                    *number += factor * bf16::from_le_bytes(*error).to_f32();
                }
            });
        }
    }

    fn note_product(&mut self, idx: usize, activations: &Activations) -> Result<(), String> {
        let n_columns = activations.numbers.shape[0];
        let rows = activations.all_rows()?;
        let (n_vectors, n_outputs) = (rows.len() / n_columns.max(1), n_rows(&self.tensors[idx].0));
        let at_once = (WEIGHTS_AT_ONCE / n_columns.max(1)).max(1);
        let mut blocks = Vec::new();
        // Matrices of heads, each of which is multiplied by vectors of its own, are left as they are.
        let n_noted = if self.tensors[idx].0.shape.get(2).is_some_and(|&n| n > 1) { 0 } else { n_outputs };
        for first in (0..n_noted).step_by(at_once) {
            let n = at_once.min(n_outputs - first);
            let errors = self.errors(idx, first, n, n_columns)?;
            blocks.push((self.write(&outputs_of(&rows, &errors, n_columns))?, first, n));
        }
        self.entries.push(Entry { tensor_idx: idx, n_outputs, blocks, n_vectors });
        Ok(())
    }

    fn note_experts(&mut self, idx: usize, activations: &Activations, experts: &Strided) -> Result<(), String> {
        let [n_columns, n_rows_of_token, n_tokens, _] = activations.numbers.shape;
        let n_choices = experts.shape[0];
        let n_outputs = n_rows(&self.tensors[idx].0);
        // Vectors by expert, in the order of the result: token by token, choice by choice.
        let mut vectors: HashMap<usize, Vec<usize>> = HashMap::new();
        for token_idx in 0..n_tokens {
            for choice_idx in 0..n_choices {
                let expert = experts.at([choice_idx, token_idx, 0, 0]).ok_or("its experts end early")?;
                let expert = usize::try_from(i32::from_le_bytes(*expert)).map_err(|_| "an expert below 0")?;
                vectors.entry(expert).or_default().push(token_idx * n_choices + choice_idx);
            }
        }
        let mut all = vec![0.0; n_tokens * n_choices * n_outputs];
        let mut row = Vec::new();
        for (expert, vectors) in vectors {
            let mut rows = Vec::with_capacity(vectors.len() * n_columns);
            for vector in &vectors {
                let (token_idx, choice_idx) = (vector / n_choices, vector % n_choices);
                let row_idx = choice_idx % n_rows_of_token.max(1);
                activations.read_row([row_idx, token_idx, 0], &mut row).ok_or("its activations end early")?;
                rows.extend_from_slice(&row);
            }
            let errors = self.errors(idx, expert * n_outputs, n_outputs, n_columns)?;
            let outputs = outputs_of(&rows, &errors, n_columns);
            for (vector, outputs) in vectors.iter().zip(outputs.chunks_exact(n_outputs)) {
                all[vector * n_outputs..][..n_outputs].copy_from_slice(outputs);
            }
        }
        let start = self.write(&all)?;
        let n_vectors = n_tokens * n_choices;
        self.entries.push(Entry { tensor_idx: idx, n_outputs, blocks: vec![(start, 0, n_outputs)], n_vectors });
        Ok(())
    }

    fn note_lookup(&mut self, idx: usize) -> Result<(), String> {
        let n_columns = usize::try_from(self.tensors[idx].0.row_len()).map_err(|error| error.to_string())?;
        let mut all = Vec::with_capacity(self.tokens.len() * n_columns);
        for &token in &self.tokens {
            all.extend(self.errors(idx, token as usize, 1, n_columns)?);
        }
        let start = self.write(&all)?;
        let n_vectors = self.tokens.len();
        self.entries.push(Entry { tensor_idx: idx, n_outputs: n_columns, blocks: vec![(start, 0, n_columns)], n_vectors });
        Ok(())
    }

    /// What rounding changes in rows of a tensor. `[n_rows, n_columns]`
    fn errors(&self, idx: usize, first_row: usize, n_rows: usize, n_columns: usize) -> Result<Vec<f32>, String> {
        let (own, rounded) = &self.tensors[idx];
        if own.row_len() != n_columns as u64 {
            return Err(format!("it is multiplied by {n_columns} numbers and has {} columns", own.row_len()));
        }
        let weights = read_rows(&self.reader, own, first_row, n_rows)?;
        let mut errors = read_rows(&self.rounded, rounded, first_row, n_rows)?;
        errors.iter_mut().zip(&weights).for_each(|(error, weight)| *error -= weight);
        Ok(errors)
    }

    fn write(&mut self, numbers: &[f32]) -> Result<u64, String> {
        let bytes: Vec<u8> = numbers.iter().flat_map(|&number| bf16::from_f32(number).to_le_bytes()).collect();
        let start = self.notes_len;
        let written = self.notes.seek(SeekFrom::Start(start)).and_then(|_| self.notes.write_all(&bytes));
        written.map_err(|error| format!("notes cannot be written: {error}"))?;
        self.notes_len += bytes.len() as u64;
        Ok(start)
    }
}

/// Decoded rows of a tensor. `[n_rows, n_columns]`
fn read_rows(reader: &TensorReader, tensor: &Tensor, first_row: usize, n_rows: usize) -> Result<Vec<f32>, String> {
    let n_columns = usize::try_from(tensor.row_len()).map_err(|error| error.to_string())?;
    let row_bytes = tensor.dtype.row_bytes(tensor.row_len()).and_then(|n| usize::try_from(n).ok());
    let row_bytes = row_bytes.filter(|&n| n > 0).ok_or_else(|| format!("its rows are no whole blocks of {}", tensor.dtype))?;
    let mut coded = vec![0; n_rows * row_bytes];
    reader.read(tensor, (first_row * row_bytes) as u64, &mut coded).map_err(|error| error.to_string())?;
    let mut weights = vec![0.0; n_rows * n_columns];
    let rows = weights.par_chunks_exact_mut(n_columns.max(1)).zip(coded.par_chunks_exact(row_bytes));
    rows.try_for_each(|(weights, coded)| dequantize_rows(tensor.dtype, coded, weights)).map_err(|error| error.to_string())?;
    Ok(weights)
}

/// Rows of a matrix of the tensor.
fn n_rows(tensor: &Tensor) -> usize {
    usize::try_from(tensor.shape.get(1).copied().unwrap_or(1)).unwrap_or(usize::MAX)
}

/// What errors `[n_outputs, n_columns]` make of vectors `[n_vectors, n_columns]`. `[n_vectors, n_outputs]`
fn outputs_of(vectors: &[f32], errors: &[f32], n_columns: usize) -> Vec<f32> {
    let (n_vectors, n_outputs) = (vectors.len() / n_columns.max(1), errors.len() / n_columns.max(1));
    let mut outputs = vec![0.0; n_vectors * n_outputs];
    let (x, e) = (Matrix::new(vectors, n_vectors, n_columns), Matrix::new(errors, n_outputs, n_columns).transposed());
    MatrixMut::new(&mut outputs, n_vectors, n_outputs).set_product_in_parallel(1.0, x, e, 0.0);
    outputs
}
