//! What the gates on quality said of each run, beside the runs, so that a run can be judged again and keeps its numbers.

use rusqlite::{Connection, MAIN_DB, TransactionBehavior, params};

use super::{Entry, History, Measurement};
use crate::advise::{Decision, Gates, Verdict};
use crate::bench::quality::QualityRun;
use crate::error::Result;

/// Keeps the verdict on a run, in place of an earlier one.
pub(super) fn keep(connection: &Connection, run_id: i64, decision: Decision, gates: &Gates) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO verdicts (run_id, decision, gates) VALUES (?1, ?2, ?3)";
    let gates = serde_json::to_string(gates).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    connection.execute(sql, params![run_id, decision.label(), gates]).map(drop)
}

impl History {
    /// Judges the quality runs that have no verdict here by the default gates, from what was measured: runs of versions that
    /// judged by other gates.
    ///
    /// A run whose details cannot be read stays without a verdict. A file that can only be read stays as it is.
    pub(super) fn judge_unjudged(&mut self) -> Result<()> {
        let failed = self.error("update");
        if self.connection.is_readonly(MAIN_DB).map_err(&failed)? {
            return Ok(());
        }
        let gates = Gates::default();
        let verdicts: Vec<(i64, Decision)> = {
            let sql = "SELECT id, run FROM runs WHERE kind = 'quality' AND id NOT IN (SELECT run_id FROM verdicts)";
            let mut query = self.connection.prepare(sql).map_err(&failed)?;
            let found = query.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))).map_err(&failed)?;
            // One after the other: the details of a run are long.
            let judged = found.map(|found| {
                let (id, text) = found?;
                let run = serde_json::from_str::<QualityRun>(&text).ok();
                Ok(run.map(|run| (id, run.judged(&gates).decision)))
            });
            judged.filter_map(rusqlite::Result::transpose).collect::<rusqlite::Result<_>>().map_err(&failed)?
        };
        if verdicts.is_empty() {
            return Ok(());
        }
        let change = self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
        for (id, decision) in verdicts {
            keep(&change, id, decision, &gates).map_err(&failed)?;
        }
        change.commit().map_err(&failed)
    }
}

impl Entry {
    /// The verdict by the gates of the row, gate by gate, or the stored one where the row has no gates; `None` for a run that
    /// measured no loss.
    #[must_use]
    pub fn verdict(&self) -> Option<Verdict> {
        match (&self.measurement, &self.row.gates) {
            (Measurement::Quality(run), Some(gates)) => Some(run.judged(gates)),
            (Measurement::Quality(run), None) => Some(run.verdict.clone()),
            (Measurement::Speed(_), _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::advise::{Decision, Gates, Interval, judge};
    use crate::bench::history::test_runs::{quality, speed};
    use crate::bench::history::{Filter, History, Measurement, NewRun, schema};

    /// A run that an earlier version called a failure, for a gate that decides nothing today.
    fn failed_on_perplexity() -> NewRun {
        let mut run = quality("Q8_0", &[0.003, 0.004, 0.005]);
        if let Measurement::Quality(quality) = &mut run.measurement {
            let gates = Gates { max_ppl_ratio: Some(1.05), max_mean_kld: None, ..Gates::default() };
            let run = std::sync::Arc::make_mut(quality);
            run.verdict = judge(&gates, |_| Some(Interval::exact(1.1)));
            assert_eq!(run.verdict.decision, Decision::Fail);
        }
        run
    }

    #[test]
    fn runs_of_earlier_versions_are_judged_again_and_keep_their_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.sqlite3");
        let before = {
            let mut history = History::open(&path).unwrap();
            history.record(&[failed_on_perplexity(), speed("Q8_0", &[40.0])]).unwrap();
            // As the version before left it.
            history.connection.execute_batch("DROP TABLE verdicts; DROP TABLE conversions; PRAGMA user_version = 2").unwrap();
            drop(history);
            let old = schema::open(&path, &schema::MIGRATIONS[..2]).unwrap();
            let text: String = old.query_row("SELECT run FROM runs WHERE id = 1", [], |row| row.get(0)).unwrap();
            text
        };
        let history = History::open(&path).unwrap();
        let rows = history.list(&Filter::default()).unwrap();
        let of = |id: i64| rows.iter().find(|row| row.id == id).unwrap();
        assert_eq!((of(1).verdict, of(1).gates.clone()), (Some(Decision::Pass), Some(Gates::default())));
        assert_eq!((of(2).verdict, of(2).gates.clone()), (None, None));
        let (_, after) = history.raw(&[1]).unwrap().remove(0);
        assert_eq!(before, after, "what was measured stays as it was");
        assert_eq!(history.get(&[1]).unwrap()[0].verdict().map(|verdict| verdict.decision), Some(Decision::Pass));
    }

    #[test]
    fn a_run_is_kept_with_the_gates_that_it_was_judged_by_and_both_are_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let mut history = History::open(&dir.path().join("history.sqlite3")).unwrap();
        history.record(&[failed_on_perplexity()]).unwrap();
        let history_row = history.list(&Filter::default()).unwrap().remove(0);
        let gates = history_row.gates.clone().unwrap();
        assert_eq!((history_row.verdict, gates.max_ppl_ratio, gates.max_mean_kld), (Some(Decision::Fail), Some(1.05), None));
        history.delete(&[1]).unwrap();
        let n: i64 = history.connection.query_row("SELECT count(*) FROM verdicts", [], |row| row.get(0)).unwrap();
        assert_eq!(n, 0);
    }
}
