//! What an unfinished output already has, written down beside it, so that a run that was killed can be continued.
//!
//! `NAME.part.journal` has one line of JSON with what the output is made from, and one for each tensor that is complete and on the
//! disk. A line is only believed whole, and a tensor only when its bytes have the checksum of its line.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::part_file::{open_unemptied, refuse_special_file};
use super::paths::journal_path;
use crate::error::{Error, Result};
use crate::format::Checksum;

/// Longer lines are not ours.
const MAX_LINE_BYTES: u64 = 4096;

/// What an output is made from. Only a run with the same may continue it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ingredients {
    /// The version of Planish: another one may choose other scales.
    pub(super) planish: String,
    /// Sizes and times of the source's files.
    pub(super) source: Checksum,
    /// The importance matrix's file.
    pub(super) imatrix: Option<Checksum>,
    /// The output's header with zeros for its checksums: names, types, shapes and metadata.
    pub(super) header: Checksum,
}

impl Ingredients {
    /// What differs, for a person; `None` when nothing does.
    fn difference(&self, now: &Self) -> Option<&'static str> {
        match () {
            () if self.planish != now.planish => Some("it was begun by another version of Planish"),
            () if self.source != now.source => Some("the source has changed"),
            () if self.imatrix != now.imatrix => Some("the importance matrix is a different one"),
            () if self.header != now.header => Some("the recipe is a different one"),
            () => None,
        }
    }
}

/// A tensor that is complete and on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Its number in the output.
    pub(super) tensor: usize,
    /// Its checksum in the source.
    pub(super) source: Checksum,
    /// Its checksum in the output.
    pub(super) output: Checksum,
}

/// A journal that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) records: Vec<Record>,
    /// Bytes of its whole lines.
    n_bytes: u64,
}

/// Reads the journal of an output; `None` when there is none that can be read.
///
/// # Errors
/// `Error::CannotResume` when the output was begun from something else.
pub(super) fn find(output: &Path, now: &Ingredients, n_tensors: usize) -> Result<Option<Found>> {
    let path = journal_path(output);
    if refuse_special_file(&path).is_err() {
        return Ok(None);
    }
    let Ok(file) = File::open(&path) else { return Ok(None) };
    let mut reader = BufReader::new(file);
    let mut n_bytes = 0;
    let Some(begun) = line::<Ingredients>(&mut reader, &mut n_bytes) else { return Ok(None) };
    if let Some(difference) = begun.difference(now) {
        return Err(Error::CannotResume { why: difference.into(), path: output.to_path_buf() });
    }
    let mut records: Vec<Record> = Vec::new();
    let mut is_known = vec![false; n_tensors];
    let mut n_whole = n_bytes;
    while let Some(record) = line::<Record>(&mut reader, &mut n_bytes) {
        match is_known.get_mut(record.tensor) {
            Some(is_known) if !*is_known => *is_known = true,
            _ => break,
        }
        records.push(record);
        n_whole = n_bytes;
    }
    Ok(Some(Found { records, n_bytes: n_whole }))
}

/// The next whole line; `None` at the end, and for what a crash left of one.
fn line<T: for<'a> Deserialize<'a>>(reader: &mut impl BufRead, n_bytes: &mut u64) -> Option<T> {
    let mut line = Vec::new();
    let n = reader.take(MAX_LINE_BYTES).read_until(b'\n', &mut line).ok()?;
    let text = line.strip_suffix(b"\n")?;
    *n_bytes += n as u64;
    serde_json::from_slice(text).ok()
}

/// Removes the journal of an output, if there is one.
pub(super) fn remove(output: &Path) -> Result<()> {
    let path = journal_path(output);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", &path)(error)),
        _ => Ok(()),
    }
}

/// A journal that is written: its file is made with the first record.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    ingredients: Ingredients,
    /// Bytes of an earlier run's lines that are kept.
    kept_bytes: u64,
    file: Option<File>,
}

impl Journal {
    /// The journal of an output, continuing the one that was found.
    pub(super) fn new(output: &Path, ingredients: Ingredients, found: Option<&Found>) -> Self {
        Self { path: journal_path(output), ingredients, kept_bytes: found.map_or(0, |found| found.n_bytes), file: None }
    }

    /// Writes records of tensors that are on the disk, and waits until the disk has them too.
    pub(super) fn append(&mut self, records: &[Record]) -> Result<()> {
        let path = self.path.clone();
        self.try_append(records).map_err(Error::io("write", &path))
    }

    fn try_append(&mut self, records: &[Record]) -> io::Result<()> {
        let mut text = Vec::new();
        let file = if let Some(file) = &mut self.file {
            file
        } else {
            let mut file = open_unemptied(&self.path)?;
            file.set_len(self.kept_bytes)?;
            file.seek(SeekFrom::End(0))?;
            if self.kept_bytes == 0 {
                serde_json::to_writer(&mut text, &self.ingredients)?;
                text.push(b'\n');
            }
            self.file.insert(file)
        };
        for record in records {
            serde_json::to_writer(&mut text, record)?;
            text.push(b'\n');
        }
        file.write_all(&text)?;
        file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ingredients() -> Ingredients {
        let sum = Checksum::of;
        Ingredients { planish: "1".into(), source: sum(b"source"), imatrix: None, header: sum(b"header") }
    }

    fn record(tensor: usize) -> Record {
        Record { tensor, source: Checksum::of(b"in"), output: Checksum::of(b"out") }
    }

    #[test]
    fn what_was_written_is_found_and_continued() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("a.gguf");
        let found = || find(&output, &ingredients(), 5).unwrap();
        assert_eq!(found(), None);
        let mut journal = Journal::new(&output, ingredients(), None);
        journal.append(&[record(2), record(0)]).unwrap();
        journal.append(&[record(1)]).unwrap();
        assert_eq!(found().unwrap().records, [record(2), record(0), record(1)]);
        // A crash in the middle of a line.
        let path = journal_path(&output);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 5]).unwrap();
        assert_eq!(found().unwrap().records, [record(2), record(0)]);
        Journal::new(&output, ingredients(), found().as_ref()).append(&[record(4)]).unwrap();
        assert_eq!(found().unwrap().records, [record(2), record(0), record(4)]);
        remove(&output).unwrap();
        remove(&output).unwrap();
        assert_eq!(found(), None);
    }

    #[test]
    fn a_journal_of_something_else_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("a.gguf");
        Journal::new(&output, ingredients(), None).append(&[record(0)]).unwrap();
        let check = |now: Ingredients, why: &str| {
            assert_eq!(find(&output, &now, 5), Err(Error::CannotResume { why: why.into(), path: output.clone() }));
        };
        let other = Checksum::of(b"other");
        check(Ingredients { planish: "2".into(), ..ingredients() }, "it was begun by another version of Planish");
        check(Ingredients { source: other, ..ingredients() }, "the source has changed");
        check(Ingredients { imatrix: Some(other), ..ingredients() }, "the importance matrix is a different one");
        check(Ingredients { header: other, ..ingredients() }, "the recipe is a different one");
    }

    #[test]
    fn what_is_no_journal_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("a.gguf");
        let first = serde_json::to_string(&ingredients()).unwrap();
        let line = |tensor| serde_json::to_string(&record(tensor)).unwrap();
        let check = |text: &str, expected: Option<usize>| {
            std::fs::write(journal_path(&output), text).unwrap();
            let found = find(&output, &ingredients(), 2).unwrap();
            assert_eq!(found.map(|found| found.records.len()), expected, "{text}");
        };
        check("", None);
        check("nonsense\n", None);
        check(&first, None);
        check(&format!("{first}\n"), Some(0));
        check(&format!("{first}\n{}\n", line(1)), Some(1));
        check(&format!("{first}\n{}\n{}\n", line(1), line(1)), Some(1));
        check(&format!("{first}\n{}\n{}\n", line(2), line(0)), Some(0));
        check(&format!("{first}\n{}\n{}\n", line(0), "x".repeat(10_000)), Some(1));
    }
}
