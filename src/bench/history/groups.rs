//! Runs by model and day: the speed and the loss of a level stand in one row.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::{Kind, Row};
use crate::convert::model_name_of;
use crate::units::local_day_text;

/// What was measured of one model on one day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The model, without the level: `SmolLM2-135M-Instruct`.
    pub model: String,
    /// The file to open for it: what the others were compared with; where none was compared, the largest.
    pub source: PathBuf,
    /// `21 August 2026`.
    pub day: String,
    /// Its files, the largest first.
    pub levels: Vec<LevelRuns>,
}

/// What was measured of one file on one day, on one machine and with one runtime; a loss on another text is a row of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LevelRuns {
    /// Index of the latest speed run; `None` where there is none.
    pub speed: Option<usize>,
    /// Index of the latest quality run; `None` where there is none.
    pub quality: Option<usize>,
    /// Numbers of all runs that this row stands for; those whose values it shows come first.
    pub ids: Vec<i64>,
}

impl LevelRuns {
    /// The run that says which file it is: the speed run, else the quality run.
    #[must_use]
    pub fn main<'a>(&self, rows: &'a [Row]) -> Option<&'a Row> {
        self.speed(rows).or_else(|| self.quality(rows))
    }

    /// The latest speed run.
    #[must_use]
    pub fn speed<'a>(&self, rows: &'a [Row]) -> Option<&'a Row> {
        rows.get(self.speed?)
    }

    /// The latest quality run.
    #[must_use]
    pub fn quality<'a>(&self, rows: &'a [Row]) -> Option<&'a Row> {
        rows.get(self.quality?)
    }

    /// Numbers of the runs whose values it shows: a column of [`super::History::compare_joined`].
    #[must_use]
    pub fn shown_ids(&self) -> Vec<i64> {
        let n_shown = usize::from(self.speed.is_some()) + usize::from(self.quality.is_some());
        self.ids.iter().take(n_shown).copied().collect()
    }
}

/// What must be the same for two runs to stand in one row.
struct Key<'a> {
    name: &'a str,
    size_bytes: u64,
    sha256: Option<&'a str>,
    machine: &'a str,
    runtime: &'a str,
}

/// The runs at `indices` of `rows`, grouped by model and day, the latest group first; `rows` must have the latest run first.
#[must_use]
pub fn groups(rows: &[Row], indices: &[usize]) -> Vec<Group> {
    let sources = sources(rows);
    // In the order of their latest run.
    let mut order: Vec<(String, String)> = Vec::new();
    let mut members: BTreeMap<(String, String), Vec<usize>> = BTreeMap::new();
    for &idx in indices {
        let Some(row) = rows.get(idx) else { continue };
        let key = (model_name_of(&row.model_name).to_string(), local_day_text(row.recorded_unix_secs));
        if !members.contains_key(&key) {
            order.push(key.clone());
        }
        members.entry(key).or_default().push(idx);
    }
    let group = |key: (String, String)| {
        let levels = levels(rows, members.get(&key)?);
        let source = sources.get(&key.0).map(|source| source.path.clone()).unwrap_or_default();
        Some(Group { model: key.0, source, day: key.1, levels })
    };
    order.into_iter().filter_map(group).collect()
}

/// For each model the file that the others were compared with, else its largest.
fn sources(rows: &[Row]) -> BTreeMap<String, &Row> {
    let references: BTreeSet<&str> = rows.iter().filter_map(|row| row.reference_sha256.as_deref()).collect();
    let rank = |row: &Row| (row.model_sha256.as_deref().is_some_and(|sha256| references.contains(sha256)), row.size_bytes);
    let mut sources: BTreeMap<String, &Row> = BTreeMap::new();
    for row in rows {
        let known = sources.entry(model_name_of(&row.model_name).to_string()).or_insert(row);
        // The latest of equals stays: its path is the likeliest to be right still.
        if rank(row) > rank(known) {
            *known = row;
        }
    }
    sources
}

/// The rows of these runs: one for each file, machine and runtime.
fn levels(rows: &[Row], members: &[usize]) -> Vec<LevelRuns> {
    let mut files: Vec<(Key<'_>, Vec<usize>)> = Vec::new();
    for &idx in members {
        let Some(row) = rows.get(idx) else { continue };
        let key = Key::of(row);
        match files.iter_mut().find(|(known, _)| known.is_same(&key)) {
            Some((known, indices)) => {
                known.sha256 = known.sha256.or(key.sha256);
                indices.push(idx);
            }
            None => files.push((key, vec![idx])),
        }
    }
    let mut levels: Vec<LevelRuns> = files.iter().flat_map(|(_, indices)| rows_of_file(rows, indices)).collect();
    let size_bytes = |level: &LevelRuns| level.main(rows).map_or(0, |row| row.size_bytes);
    levels.sort_by_key(|level| std::cmp::Reverse(size_bytes(level)));
    levels
}

/// The latest speed with the latest loss; losses on other texts follow alone.
fn rows_of_file(rows: &[Row], indices: &[usize]) -> Vec<LevelRuns> {
    let row_of = |idx: usize| rows.get(idx);
    let speeds: Vec<usize> =
        indices.iter().copied().filter(|&idx| row_of(idx).is_some_and(|row| row.kind == Kind::Speed)).collect();
    let mut texts: Vec<(Option<&str>, Vec<usize>)> = Vec::new();
    for &idx in indices {
        let Some(row) = row_of(idx).filter(|row| row.kind == Kind::Quality) else { continue };
        let text = row.text_sha256.as_deref();
        match texts.iter_mut().find(|known| known.0 == text) {
            Some(known) => known.1.push(idx),
            None => texts.push((text, vec![idx])),
        }
    }
    let ids = |speeds: &[usize], losses: &[usize]| {
        let shown = speeds.iter().take(1).chain(losses.iter().take(1));
        let earlier = speeds.iter().skip(1).chain(losses.iter().skip(1));
        shown.chain(earlier).filter_map(|&idx| Some(rows.get(idx)?.id)).collect()
    };
    let row = |speeds: &[usize], losses: &[usize]| LevelRuns {
        speed: speeds.first().copied(),
        quality: losses.first().copied(),
        ids: ids(speeds, losses),
    };
    let mut texts = texts.into_iter();
    let first = texts.next().map(|(_, losses)| losses).unwrap_or_default();
    std::iter::once(row(&speeds, &first)).chain(texts.map(|(_, losses)| row(&[], &losses))).collect()
}

impl<'a> Key<'a> {
    fn of(row: &'a Row) -> Self {
        Self {
            name: &row.model_name,
            size_bytes: row.size_bytes,
            sha256: row.model_sha256.as_deref(),
            machine: &row.machine,
            runtime: &row.runtime,
        }
    }

    /// True for the same file, machine and runtime. A file that could not be hashed counts as the one of its name and size.
    fn is_same(&self, other: &Self) -> bool {
        let is_same_file = self.sha256.zip(other.sha256).is_none_or(|(one, other)| one == other);
        is_same_file
            && (self.name, self.size_bytes, self.machine, self.runtime)
                == (other.name, other.size_bytes, other.machine, other.runtime)
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_runs::{NOON, kept, quality, speed};
    use super::super::{Measurement, NewRun};
    use super::*;

    fn all(rows: &[Row]) -> Vec<Group> {
        groups(rows, &(0..rows.len()).collect::<Vec<_>>())
    }

    /// `(level, number of the speed run, number of the quality run)` of each row.
    fn told(rows: &[Row], group: &Group) -> Vec<(String, Option<i64>, Option<i64>)> {
        let id = |row: Option<&Row>| row.map(|row| row.id);
        let told = |level: &LevelRuns| {
            (level.main(rows).unwrap().short_name().to_string(), id(level.speed(rows)), id(level.quality(rows)))
        };
        group.levels.iter().map(told).collect()
    }

    fn at(days: i64, run: NewRun) -> NewRun {
        NewRun { recorded_unix_secs: NOON + 86_400 * days, ..run }
    }

    #[test]
    fn speed_and_loss_of_a_file_stand_in_one_row_of_their_day() {
        let runs = [
            speed("Q8_0", &[40.0]),
            quality("Q8_0", &[0.25]),
            speed("Q4_0", &[60.0]),
            at(2, speed("Q8_0", &[41.0])),
            at(2, speed("Q8_0", &[42.0])),
        ];
        let (rows, _) = kept(&runs, &[1]);
        let found = all(&rows);
        let days: Vec<(&str, &str)> = found.iter().map(|group| (group.model.as_str(), group.day.as_str())).collect();
        let (late, early) = (local_day_text(NOON + 2 * 86_400), local_day_text(NOON));
        assert_eq!(days, [("m", late.as_str()), ("m", early.as_str())]);
        assert_eq!(told(&rows, &found[0]), [("Q8_0".into(), Some(5), None)]);
        assert_eq!(found[0].levels[0].ids, [5, 4], "the earlier one of that day goes with it");
        assert_eq!(found[0].levels[0].shown_ids(), [5]);
        let mut levels = told(&rows, &found[1]);
        levels.sort();
        assert_eq!(levels, [("Q4_0".into(), Some(3), None), ("Q8_0".into(), Some(1), Some(2))]);
    }

    #[test]
    fn another_machine_runtime_file_or_text_is_another_row() {
        let elsewhere = NewRun { machine: "another one".into(), ..speed("Q8_0", &[1.0]) };
        let other_file = NewRun { model_sha256: Some("b2".repeat(32)), ..speed("Q8_0", &[2.0]) };
        let not_hashed = NewRun { model_sha256: None, ..speed("Q8_0", &[3.0]) };
        let mut other_text = quality("Q8_0", &[0.5]);
        if let Measurement::Quality(run) = &mut other_text.measurement {
            std::sync::Arc::make_mut(run).provenance.text_sha256 = "99".repeat(32);
        }
        let mut newer = speed("Q8_0", &[4.0]);
        if let Measurement::Speed(run) = &mut newer.measurement {
            run.provenance.runtime = "llama.cpp b9999".into();
        }
        let (rows, _) = kept(&[quality("Q8_0", &[0.25]), elsewhere, other_file, not_hashed, other_text, newer], &[1]);
        let found = all(&rows);
        let mut numbers: Vec<(Option<i64>, Option<i64>)> = told(&rows, &found[0]).iter().map(|row| (row.1, row.2)).collect();
        numbers.sort();
        let expected = [(None, Some(1)), (Some(2), None), (Some(3), None), (Some(4), Some(5)), (Some(6), None)];
        assert_eq!(numbers, expected);
    }

    #[test]
    fn the_file_to_open_is_what_the_others_were_compared_with() {
        let source = NewRun { model_sha256: Some("f0".repeat(32)), ..speed("F16", &[20.0]) };
        let mut large = speed("F32", &[9.0]);
        if let Measurement::Speed(run) = &mut large.measurement {
            run.size_bytes *= 9;
        }
        let (rows, _) = kept(&[source, quality("Q8_0", &[0.25]), large.clone()], &[1]);
        assert_eq!(all(&rows)[0].source, std::path::Path::new("/models/m-F16.gguf"));
        let (rows, _) = kept(&[speed("Q8_0", &[40.0]), large], &[1]);
        assert_eq!(all(&rows)[0].source, std::path::Path::new("/models/m-F32.gguf"), "nobody was compared: the largest");
    }
}
