//! What makes measured speeds doubtful, in one line.

use super::run::{BATTERY_WARNING, BUSY_WARNING, HOT_WARNING};
use crate::bench::{Run, merged_warnings};
use crate::units::percent_text;

/// The warnings of several runs, summed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubts {
    /// All in one line: `speeds varied by up to 130 %: the machine was busy`.
    pub line: String,
    /// Each of them; what concerns one run has its name in front.
    pub details: Vec<String>,
    /// True when it would help to measure again while no other program works.
    pub wants_quiet: bool,
}

/// Sums up the warnings of these runs, given with their names; `None` when there are none.
#[must_use]
pub fn doubts(runs: &[(&str, &Run)]) -> Option<Doubts> {
    let warnings: Vec<(&str, &[String])> = runs.iter().map(|(name, run)| (*name, run.provenance.warnings.as_slice())).collect();
    let details = merged_warnings(&warnings);
    let first = details.first()?;
    let has = |mark: &str| warnings.iter().any(|(_, lines)| lines.iter().any(|line| line.contains(mark)));
    let spreads = runs.iter().flat_map(|(_, run)| [&run.prefill_tokens_per_sec, &run.decode_tokens_per_sec]);
    let widest = spreads.map(crate::bench::Stat::relative_spread).filter(|part| part.is_finite()).fold(0.0, f64::max);
    let causes = [
        (has(BUSY_WARNING), "the machine was busy"),
        (has(BATTERY_WARNING), "it ran on battery"),
        (has(HOT_WARNING), "the processor was hot"),
    ];
    let causes: Vec<&str> = causes.into_iter().filter(|cause| cause.0).map(|cause| cause.1).collect();
    let line = if has(super::run::VARIED) {
        let varied = format!("speeds varied by up to {}", percent_text(widest));
        if causes.is_empty() { varied } else { format!("{varied}: {}", causes.join(", ")) }
    } else {
        // The speeds are steady: the first warning says enough.
        first.clone()
    };
    Some(Doubts { line, details, wants_quiet: has(BUSY_WARNING) || has(super::run::VARIED) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::history::{Measurement, test_runs};

    fn run(decode: &[f64], warnings: &[&str]) -> Run {
        let Measurement::Speed(run) = test_runs::speed("Q8_0", decode).measurement else { panic!() };
        let mut run = *run;
        run.provenance.warnings = warnings.iter().map(ToString::to_string).collect();
        run
    }

    #[test]
    fn many_warnings_are_one_line_with_their_cause() {
        let busy = "other programs used 41.0 % of the CPU";
        let varied = "decode speed varied by ±130 % between rounds";
        let check = |runs: &[Run], expected: Option<(&str, usize, bool)>| {
            let named: Vec<(&str, &Run)> = ["Q8_0", "Q2_K"].into_iter().zip(runs).collect();
            let found = doubts(&named);
            let told = found.as_ref().map(|found| (found.line.as_str(), found.details.len(), found.wants_quiet));
            assert_eq!(told, expected);
        };
        check(&[], None);
        check(&[run(&[40.0], &[])], None);
        let unsteady = run(&[10.0, 36.0, 10.0], &[busy, varied]);
        check(&[unsteady, run(&[40.0], &[busy])], Some(("speeds varied by up to 130 %: the machine was busy", 2, true)));
        check(&[run(&[10.0, 36.0, 10.0], &[varied])], Some(("speeds varied by up to 130 %", 1, true)));
        check(&[run(&[40.0], &[busy]), run(&[40.0], &[busy])], Some((busy, 1, true)));
        let battery = "measured on battery: the processor may run slower than on mains";
        check(&[run(&[40.0], &[battery])], Some((battery, 1, false)));
    }
}
