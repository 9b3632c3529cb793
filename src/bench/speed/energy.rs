//! Energy of a run: what the meter counted during a phase, less what the idle machine would have used, for each token.

use serde::{Deserialize, Serialize};

use crate::bench::Stat;
use crate::hardware::{EnergyMeter, EnergyReading, NotMeasurable};

/// Energy of a run, or why it is not known.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Energy {
    /// Joules for each prompt token, above those of the idle machine; one value per round.
    pub prefill_joules_per_token: Option<Stat>,
    /// Joules for each generated token, likewise.
    pub decode_joules_per_token: Option<Stat>,
    /// Power of the idle machine in watts, which is subtracted: the lowest of the samples before the rounds.
    pub idle_watts: Option<f64>,
    /// What was measured: `processor package (RAPL)`; `None` without a meter.
    pub source: Option<String>,
    /// Why one or both are missing; completes `not measurable here, because …`.
    pub reason: Option<String>,
}

impl Energy {
    /// True when there is something to show beside the reason.
    #[must_use]
    pub fn is_measured(&self) -> bool {
        self.prefill_joules_per_token.is_some() || self.decode_joules_per_token.is_some()
    }
}

/// What the meter counted between two moments.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    pub secs: f64,
    pub joules: f64,
}

impl Span {
    /// From the first reading to the second; `None` when one is missing.
    pub fn between(start: Option<EnergyReading>, end: Option<EnergyReading>) -> Option<Self> {
        let (start, end) = start.zip(end)?;
        Some(Self { secs: end.secs - start.secs, joules: end.joules - start.joules })
    }
}

/// The phases of one round.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RoundEnergy {
    pub prefill: Option<Span>,
    pub decode: Option<Span>,
}

/// The meter of this machine, if there is one, and the samples of the idle machine.
pub struct EnergyProbe {
    meter: Result<EnergyMeter, NotMeasurable>,
    /// The lowest sample so far, in watts. Higher ones are due to other programs, heat, or a battery whose firmware still
    /// reports the power of the last round.
    idle_watts: Option<f64>,
}

/// What the rounds of all models have in common.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EnergyFacts {
    pub idle_watts: Option<f64>,
    pub source: Option<String>,
    /// Why there is no meter, or no longer.
    pub reason: Option<String>,
    pub shortest_secs: f64,
}

impl EnergyProbe {
    pub fn find() -> Self {
        Self { meter: EnergyMeter::find(), idle_watts: None }
    }

    pub fn read(&mut self) -> Option<EnergyReading> {
        self.meter.as_mut().ok()?.read()
    }

    pub fn tick(&mut self) {
        if let Ok(meter) = &mut self.meter {
            meter.tick();
        }
    }

    /// Takes in a span in which Planish itself ran nothing.
    pub fn note_idle(&mut self, span: Option<Span>) {
        if let Some(Span { secs, joules }) = span.filter(|span| span.secs > 0.0) {
            self.idle_watts = Some(self.idle_watts.map_or(joules / secs, |known| known.min(joules / secs)));
        }
    }

    pub fn facts(&self) -> EnergyFacts {
        match &self.meter {
            Err(missing) => EnergyFacts { reason: Some(missing.reason.clone()), ..EnergyFacts::default() },
            Ok(meter) => EnergyFacts {
                idle_watts: self.idle_watts,
                source: Some(meter.source_text()),
                reason: meter.lost().map(|lost| lost.reason.clone()),
                shortest_secs: meter.shortest_secs(),
            },
        }
    }
}

/// The energy of a run from its rounds.
pub fn energy(facts: &EnergyFacts, rounds: &[RoundEnergy], n_prompt_tokens: u32, n_gen_tokens: u32) -> Energy {
    let phase = |name: &str, span: fn(&RoundEnergy) -> Option<Span>, n_tokens: u32| {
        let spans: Vec<Option<Span>> = rounds.iter().map(span).collect();
        joules_per_token(facts, name, &spans, n_tokens)
    };
    let prefill = phase("reading the prompt", |round| round.prefill, n_prompt_tokens);
    let decode = phase("generating", |round| round.decode, n_gen_tokens);
    let mut reasons: Vec<String> = [&prefill, &decode].into_iter().filter_map(|phase| phase.as_ref().err().cloned()).collect();
    reasons.dedup();
    Energy {
        prefill_joules_per_token: prefill.ok(),
        decode_joules_per_token: decode.ok(),
        idle_watts: facts.idle_watts,
        source: facts.source.clone(),
        reason: (!reasons.is_empty()).then(|| reasons.join("; ")),
    }
}

/// All rounds or none: a mean of those that happened to work would be of other conditions than the speeds beside it.
fn joules_per_token(facts: &EnergyFacts, phase: &str, spans: &[Option<Span>], n_tokens: u32) -> Result<Stat, String> {
    let lost = || facts.reason.clone().unwrap_or_else(|| "the meter gave no answer".into());
    let Some(spans) = spans.iter().copied().collect::<Option<Vec<Span>>>().filter(|spans| !spans.is_empty()) else {
        return Err(lost());
    };
    let Some(idle_watts) = facts.idle_watts else { return Err(lost()) };
    if spans.iter().any(|span| span.secs < facts.shortest_secs) {
        return Err(format!("{phase} took too short a time for this meter"));
    }
    if spans.iter().any(|span| span.joules <= 0.0) {
        // Some virtual machines show a counter that nobody feeds.
        return Err("the energy counter stands still".into());
    }
    let values: Vec<f64> = spans.iter().map(|span| (span.joules - idle_watts * span.secs) / f64::from(n_tokens.max(1))).collect();
    if values.iter().any(|value| *value <= 0.0) {
        return Err(format!("{phase} used no more than the idle machine varies by"));
    }
    Ok(Stat { values })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> EnergyFacts {
        EnergyFacts { idle_watts: Some(5.0), source: Some("meter".into()), reason: None, shortest_secs: 0.5 }
    }

    #[allow(clippy::unnecessary_wraps, reason = "readings are optional")]
    fn span(secs: f64, joules: f64) -> Option<Span> {
        Some(Span { secs, joules })
    }

    #[test]
    fn the_idle_machine_is_subtracted_from_each_round() {
        // 5 W for 2 s and 4 s are not the model's.
        let rounds = [
            RoundEnergy { prefill: span(2.0, 60.0), decode: span(4.0, 100.0) },
            RoundEnergy { prefill: span(2.0, 110.0), decode: span(4.0, 120.0) },
        ];
        let found = energy(&facts(), &rounds, 100, 40);
        assert_eq!(found.prefill_joules_per_token, Some(Stat { values: vec![0.5, 1.0] }));
        assert_eq!(found.decode_joules_per_token, Some(Stat { values: vec![2.0, 2.5] }));
        assert!(found.is_measured() && found.reason.is_none() && found.idle_watts == Some(5.0), "{found:?}");
    }

    #[test]
    fn a_phase_without_a_trustworthy_number_has_a_reason() {
        let check = |facts: &EnergyFacts, decode: Option<Span>, expected: &str| {
            let rounds = [
                RoundEnergy { prefill: span(2.0, 60.0), decode: span(2.0, 60.0) },
                RoundEnergy { prefill: span(2.0, 60.0), decode },
            ];
            let found = energy(facts, &rounds, 10, 10);
            assert_eq!((found.decode_joules_per_token, found.reason.as_deref()), (None, Some(expected)));
        };
        check(&facts(), None, "the meter gave no answer");
        check(&facts(), span(0.4, 60.0), "generating took too short a time for this meter");
        check(&facts(), span(2.0, 0.0), "the energy counter stands still");
        check(&facts(), span(2.0, 9.0), "generating used no more than the idle machine varies by");
        let lost = EnergyFacts { reason: Some("the battery stopped discharging".into()), ..facts() };
        check(&lost, None, "the battery stopped discharging");
    }

    #[test]
    fn without_a_meter_the_reason_is_told_once() {
        let facts = EnergyFacts { reason: Some("there is none".into()), ..EnergyFacts::default() };
        let found = energy(&facts, &[RoundEnergy::default(); 3], 10, 10);
        assert_eq!(found, Energy { reason: Some("there is none".into()), ..Energy::default() });
        assert!(!found.is_measured());
    }

    #[test]
    fn the_quietest_sample_is_the_idle_machine() {
        let mut probe = EnergyProbe { meter: Err(NotMeasurable { reason: String::new() }), idle_watts: None };
        for idle in [span(0.5, 4.0), None, span(0.25, 1.0), span(0.0, 9.0), span(0.5, 3.0)] {
            probe.note_idle(idle);
        }
        assert_eq!(probe.idle_watts, Some(4.0));
    }

    #[test]
    fn a_span_needs_both_ends() {
        let at = |secs, joules| Some(EnergyReading { secs, joules });
        assert_eq!(Span::between(at(1.0, 5.0), at(3.0, 9.0)), span(2.0, 4.0));
        assert_eq!((Span::between(None, at(1.0, 1.0)), Span::between(at(1.0, 1.0), None)), (None, None));
    }
}
