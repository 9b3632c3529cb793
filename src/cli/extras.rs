//! Columns of the tables that only some measurements fill, and the lines that say why.

use crate::bench::{Run, Stat};
use crate::units;

/// What stands in a cell without a number.
const NOTHING: &str = "–";

/// Which of these columns a table has: those that any of its runs fills.
pub(super) struct ExtraColumns {
    has_energy: bool,
    has_sustained: bool,
}

impl ExtraColumns {
    /// The columns for these runs.
    pub(super) fn of<'a>(runs: impl Iterator<Item = &'a Run>) -> Self {
        let mut columns = Self { has_energy: false, has_sustained: false };
        for run in runs {
            columns.has_energy |= run.energy.is_measured();
            columns.has_sustained |= run.sustained.is_some();
        }
        columns
    }

    /// `titles` and those of the extra columns.
    pub(super) fn header(&self, titles: &[&'static str]) -> Vec<&'static str> {
        let mut header = titles.to_vec();
        if self.has_energy {
            header.extend(["prefill J/tok", "decode J/tok"]);
        }
        if self.has_sustained {
            header.extend(["burst tok/s", "sustained tok/s"]);
        }
        header
    }

    /// One cell for each extra column.
    pub(super) fn cells(&self, run: &Run) -> Vec<String> {
        let mut cells = Vec::new();
        if self.has_energy {
            let text = |stat: &Option<Stat>| stat.as_ref().map_or_else(|| NOTHING.into(), stat_text);
            cells.extend([text(&run.energy.prefill_joules_per_token), text(&run.energy.decode_joules_per_token)]);
        }
        if self.has_sustained {
            match &run.sustained {
                Some(found) => cells.extend([
                    units::significant_text(found.burst_tokens_per_sec),
                    format!("{} ({})", units::significant_text(found.sustained_tokens_per_sec), units::percent_text(found.ratio)),
                ]),
                None => cells.extend([NOTHING.into(), NOTHING.into()]),
            }
        }
        cells
    }
}

/// A line that says what the energy was measured on, or why it could not be; empty if the runs say neither.
pub(super) fn energy_note<'a>(mut runs: impl Iterator<Item = &'a Run> + Clone) -> String {
    if let Some(energy) = runs.clone().map(|run| &run.energy).find(|energy| energy.is_measured()) {
        let source = energy.source.as_deref().unwrap_or("unknown");
        let idle = energy.idle_watts.map_or_else(|| NOTHING.into(), units::watts_text);
        return format!("\nenergy of the {source}, less {idle} of the idle machine");
    }
    let reason = runs.find_map(|run| run.energy.reason.as_deref());
    reason.map(|reason| format!("\nenergy: not measurable here, because {reason}")).unwrap_or_default()
}

pub(super) fn stat_text(stat: &Stat) -> String {
    format!("{} ± {}", units::significant_text(stat.median()), units::significant_text(stat.spread()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Energy, Provenance, Sustained};

    fn run(energy: Energy) -> Run {
        let provenance = Provenance {
            runtime: "llama.cpp".into(),
            backend: "CPU".into(),
            n_threads: 1,
            n_prompt_tokens: 1,
            n_gen_tokens: 1,
            conditions: crate::hardware::Conditions::default(),
            warnings: Vec::new(),
        };
        let stat = |value| Stat { values: vec![value] };
        Run {
            path: "m.gguf".into(),
            size_bytes: 1,
            prefill_tokens_per_sec: stat(1.0),
            decode_tokens_per_sec: stat(1.0),
            load_secs: stat(1.0),
            peak_memory_bytes: 1,
            provenance,
            energy,
            sustained: None,
            workload: None,
        }
    }

    #[test]
    fn a_column_appears_when_any_run_fills_it() {
        let measured = run(Energy {
            decode_joules_per_token: Some(Stat { values: vec![0.4, 0.5, 0.44] }),
            idle_watts: Some(3.5),
            source: Some("processor package (RAPL)".into()),
            ..Energy::default()
        });
        let missing = run(Energy { reason: Some("there is no meter".into()), ..Energy::default() });
        let check = |runs: &[&Run], titles: &[&str], cells: &[&str], note: &str| {
            let columns = ExtraColumns::of(runs.iter().copied());
            assert_eq!(columns.header(&["model"]), titles);
            assert_eq!(columns.cells(runs[0]), cells);
            assert_eq!(energy_note(runs.iter().copied()), note);
        };
        let titles = ["model", "prefill J/tok", "decode J/tok"];
        let note = "\nenergy of the processor package (RAPL), less 3.50 W of the idle machine";
        check(&[&measured, &missing], &titles, &["–", "0.440 ± 0.0500"], note);
        check(&[&missing, &measured], &titles, &["–", "–"], note);
        check(&[&missing], &["model"], &[], "\nenergy: not measurable here, because there is no meter");
        check(&[&run(Energy::default())], &["model"], &[], "");
        let sustained = Sustained::from_speeds(vec![40.0, 38.0, 36.0]);
        let long = Run { sustained, ..run(Energy::default()) };
        check(&[&long], &["model", "burst tok/s", "sustained tok/s"], &["40.0", "36.0 (90.0 %)"], "");
    }
}
