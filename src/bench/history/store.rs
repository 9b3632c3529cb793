//! Reading and writing runs.

use rusqlite::{OptionalExtension as _, TransactionBehavior, params_from_iter};

use super::row::{COLUMNS, DETAILS};
use super::{Entry, Filter, History, Kind, Measurement, NewRun, Row, verdicts};
use crate::error::{Error, Result};

/// All runs, each with its verdict if it has one.
const RUNS: &str = "runs LEFT JOIN verdicts ON run_id = id";

/// What a row is read from, beside `id`.
fn columns() -> String {
    format!("{}, decision, gates, {DETAILS}", COLUMNS.join(", "))
}

impl History {
    /// Keeps runs, all or none, and returns their numbers; when it returns they are on the disk.
    ///
    /// # Errors
    /// `Error::History` when the database refuses, for example on a full disk.
    pub fn record(&mut self, runs: &[NewRun]) -> Result<Vec<i64>> {
        let places = (1..=COLUMNS.len() + 1).map(|idx| format!("?{idx}")).collect::<Vec<_>>().join(", ");
        let sql = format!("INSERT INTO runs ({}, run) VALUES ({places})", COLUMNS.join(", "));
        let failed = self.error("write");
        let change = self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
        let mut ids = Vec::new();
        for new in runs {
            let mut values = Row::of(new).values();
            values.push(Box::new(to_json(&new.measurement)?));
            change.execute(&sql, params_from_iter(values)).map_err(&failed)?;
            let id = change.last_insert_rowid();
            if let Measurement::Quality(run) = &new.measurement {
                verdicts::keep(&change, id, run.verdict.decision, &run.gates()).map_err(&failed)?;
            }
            ids.push(id);
        }
        change.commit().map_err(&failed)?;
        Ok(ids)
    }

    /// The wanted runs without their details, the latest first.
    ///
    /// # Errors
    /// `Error::History`.
    pub fn list(&self, filter: &Filter) -> Result<Vec<Row>> {
        let failed = self.error("read");
        let sql = format!("SELECT id, {} FROM {RUNS} ORDER BY recorded_unix_secs DESC, id DESC", columns());
        let mut query = self.connection.prepare(&sql).map_err(&failed)?;
        let rows = query.query_map([], Row::from_sql).map_err(&failed)?;
        // Filtered here and not in SQL: one meaning of the filter for database and window, in every alphabet.
        let wanted = rows.filter(|row| row.as_ref().map_or(true, |row| filter.matches(row)));
        wanted.take(filter.limit.unwrap_or(usize::MAX)).collect::<rusqlite::Result<_>>().map_err(failed)
    }

    /// These runs with everything, in the order of `ids`.
    ///
    /// # Errors
    /// `Error::UnknownRun` for a number that the history does not have; `Error::History`, also for details that another version of Planish
    /// has written and this one cannot read.
    pub fn get(&self, ids: &[i64]) -> Result<Vec<Entry>> {
        let entry = |(row, text): (Row, String)| {
            let measurement = self.measurement(&row, &text)?;
            Ok(Entry { row, measurement })
        };
        self.raw(ids)?.into_iter().map(entry).collect()
    }

    /// Removes these runs and returns how many there were; numbers that are already gone are no error.
    ///
    /// # Errors
    /// `Error::History`; then nothing is removed.
    pub fn delete(&mut self, ids: &[i64]) -> Result<usize> {
        let failed = self.error("write");
        let change = self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
        let mut n_deleted = 0;
        for id in ids {
            n_deleted += change.execute("DELETE FROM runs WHERE id = ?1", [id]).map_err(&failed)?;
            change.execute("DELETE FROM verdicts WHERE run_id = ?1", [id]).map_err(&failed)?;
        }
        change.commit().map_err(&failed)?;
        // The log still holds what was deleted. A reader may be using it; then the next program that ends empties it.
        let emptied = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
        if !matches!(emptied, Ok(0)) {
            tracing::info!("the log of the history is not emptied yet: {emptied:?}");
        }
        Ok(n_deleted)
    }

    /// What SQLite finds damaged in the whole file; empty when all is well.
    ///
    /// # Errors
    /// `Error::History`; `Error::NotAHistory` when it cannot even be read.
    pub fn check(&self) -> Result<Vec<String>> {
        let failed = self.error("read");
        let mut query = self.connection.prepare("PRAGMA integrity_check").map_err(&failed)?;
        let lines = query.query_map([], |row| row.get::<_, String>(0)).map_err(&failed)?;
        let lines: Vec<String> = lines.collect::<rusqlite::Result<_>>().map_err(failed)?;
        Ok(lines.into_iter().filter(|line| line != "ok").collect())
    }

    /// Rows with the text of their details, in the order of `ids`, each once.
    pub(super) fn raw(&self, ids: &[i64]) -> Result<Vec<(Row, String)>> {
        let failed = self.error("read");
        let sql = format!("SELECT id, run, {} FROM {RUNS} WHERE id = ?1", columns());
        let mut query = self.connection.prepare(&sql).map_err(&failed)?;
        let mut found = Vec::new();
        for (idx, &id) in ids.iter().enumerate() {
            if ids.iter().take(idx).any(|&earlier| earlier == id) {
                continue;
            }
            let one = query.query_row([id], |row| Ok((Row::from_sql(row)?, row.get("run")?))).optional().map_err(&failed)?;
            found.push(one.ok_or(Error::UnknownRun { id })?);
        }
        Ok(found)
    }

    /// Reads a run's details from their text.
    pub(super) fn measurement(&self, row: &Row, text: &str) -> Result<Measurement> {
        let read = match row.kind {
            Kind::Speed => serde_json::from_str(text).map(Measurement::Speed),
            Kind::Quality => serde_json::from_str(text).map(|run| Measurement::Quality(std::sync::Arc::new(run))),
        };
        read.map_err(|error| Error::History {
            action: "read",
            reason: format!("run {} was written by another version of Planish: {error}", row.id),
            path: self.path.clone(),
        })
    }
}

fn to_json(measurement: &Measurement) -> Result<String> {
    let text = match measurement {
        Measurement::Speed(run) => serde_json::to_string(run),
        Measurement::Quality(run) => serde_json::to_string(run),
    };
    text.map_err(|error| Error::Internal { message: format!("a run as JSON: {error}") })
}
