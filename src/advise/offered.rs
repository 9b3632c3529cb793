//! Which levels are worth offering for a model, and under what name: a small model's file is not what a level's name promises.

use super::candidates::Scored;
use super::loss::is_published;
use super::{Candidate, LossWord, LossWords};
use crate::model::{DType, PrecisionClass};
use crate::units::significant_text;

/// From this many bits per weight on, a file belongs to the class above ultra-low: `Q3_K_S` has 3.44 bits in its blocks, `Q2_K`
/// of a large model has 3.2.
const LOW_FROM_BITS: f64 = 3.5;
/// Likewise above low: `Q5_0` and `Q5_K` have 5.5 bits; `Q4_1`, the largest with 4-bit weights, has 5 and a head of 6.6.
const MEDIUM_FROM_BITS: f64 = 5.45;
/// Likewise above medium: `Q8_0` has 8.5.
const FULL_FROM_BITS: f64 = 9.0;

/// The class that this many bits per weight belong to, whatever the level is called.
#[must_use]
pub fn class_of_bits(bits_per_weight: f64) -> PrecisionClass {
    match bits_per_weight {
        bits if bits < LOW_FROM_BITS => PrecisionClass::UltraLow,
        bits if bits < MEDIUM_FROM_BITS => PrecisionClass::Low,
        bits if bits < FULL_FROM_BITS => PrecisionClass::Medium,
        _ => PrecisionClass::Full,
    }
}

impl Candidate {
    /// True unless the file would be another level's, tensor by tensor.
    #[must_use]
    pub fn is_offered(&self) -> bool {
        self.copy_of.is_none()
    }

    /// The class to list it in: that of its real bits where they are more than its level's class has; `None` without a level.
    #[must_use]
    pub fn class(&self) -> Option<PrecisionClass> {
        // Classes are ordered from the most to the least precise.
        self.level.map(|level| level.class().min(class_of_bits(self.bits_per_weight)))
    }

    /// The word for the loss: of the measurement where there is one, else of what is expected.
    #[must_use]
    pub fn loss_word(&self) -> LossWord {
        let measured = self.measured_loss.and_then(|loss| LossWords::of(loss.mean_kld, loss.same_top));
        measured.map_or(self.expected_loss, |words| words.word)
    }

    /// The loss in words: `measured: slight (0.0457 nats)`, or the word for what is expected alone.
    #[must_use]
    pub fn loss_text(&self) -> String {
        self.measured_loss.map_or_else(|| self.expected_loss.label().into(), |loss| loss.text())
    }

    /// The same inside a sentence: `loss measured: slight (0.0457 nats)`, `expected loss: slight`.
    #[must_use]
    pub fn loss_phrase(&self) -> String {
        let kind = if self.measured_loss.is_some() { "loss" } else { "expected loss:" };
        format!("{kind} {}", self.loss_text())
    }

    /// How much the expected loss is in numbers: `perplexity +2.8 %`; `as the source` where nothing is lost.
    #[must_use]
    pub fn expected_loss_note(&self) -> String {
        match self.expected_loss_percent {
            percent if percent <= 0.0 => "as the source".into(),
            percent if percent < 0.1 => format!("perplexity +{percent:.2} %"),
            percent => format!("perplexity +{percent:.1} %"),
        }
    }

    /// True when shapes force so many larger types that the file has more bits than its level's class.
    #[must_use]
    pub fn leaves_class(&self) -> bool {
        self.level.is_some_and(|level| Some(level.class()) != self.class())
    }

    /// The level's name, with the real bits where it promises fewer: `Q4_K_M (6.2 bits)`.
    #[must_use]
    pub fn shown_name(&self) -> String {
        if self.leaves_class() {
            format!("{} ({} bits)", self.level_name, significant_text(self.bits_per_weight))
        } else {
            self.level_name.clone()
        }
    }
}

/// Marks levels whose file would be the same as another's.
///
/// Among levels with equal recipes, one stands for all: first choice is a level whose main type is the file's, then one that
/// needs nothing besides the model, then one whose loss is published, then the most precise name.
pub(super) fn mark_copies(scored: &mut [Scored]) {
    let rank = |scored: &Scored| {
        let level = scored.candidate.level?;
        let preset = level.preset()?;
        let is_main = Some(preset.base_dtype()) == main_dtype(&scored.dtypes);
        Some((!is_main, preset.prerequisite().is_some(), !is_published(preset), level))
    };
    let ranks: Vec<_> = scored.iter().map(rank).collect();
    for idx in 0..scored.len() {
        let alike = scored.iter().zip(&ranks).filter(|(other, _)| other.dtypes == scored[idx].dtypes);
        let Some((first, own)) = alike.filter_map(|(_, rank)| *rank).min().zip(ranks[idx]) else { continue };
        if first == own {
            continue;
        }
        let original = first.3;
        let copy = &mut scored[idx];
        copy.is_eligible = false;
        copy.candidate.copy_of = Some(original);
        let note = format!("the same file as {original}: no tensor of this model gets another type");
        copy.candidate.note = Some(match copy.candidate.note.take() {
            Some(notes) => format!("{note}; {notes}"),
            None => note,
        });
    }
}

/// The block type that most tensors have; `None` where all are floats.
fn main_dtype(dtypes: &[DType]) -> Option<DType> {
    let mut counts: Vec<(DType, usize)> = Vec::new();
    for &dtype in dtypes.iter().filter(|dtype| dtype.is_quantized()) {
        match counts.iter_mut().find(|count| count.0 == dtype) {
            Some(count) => count.1 += 1,
            None => counts.push((dtype, 1)),
        }
    }
    counts.into_iter().max_by_key(|count| count.1).map(|count| count.0)
}

#[cfg(test)]
mod tests {
    use super::super::test_models::{Decoder, LLAMA3_8B, SMOLLM2};
    use super::super::{Goal, Plan, advise};
    use super::*;
    use crate::hardware::Machine;
    use crate::model::Level;

    fn plan(decoder: Decoder) -> Plan {
        advise(&decoder.build(), &Machine::default(), &Goal::default())
    }

    fn candidate(plan: &Plan, level: Level) -> &Candidate {
        plan.candidates.iter().find(|candidate| candidate.level == Some(level)).unwrap()
    }

    #[test]
    fn a_level_that_is_another_ones_file_is_not_offered() {
        let dense = plan(LLAMA3_8B);
        let copy = candidate(&dense, Level::MXFP4_MOE);
        assert_eq!((copy.copy_of, copy.is_offered()), (Some(Level::Q8_0), false));
        assert_eq!(copy.size_bytes, candidate(&dense, Level::Q8_0).size_bytes);
        assert!(copy.note.as_deref().unwrap().starts_with("the same file as Q8_0"), "{:?}", copy.note);
        assert!(candidate(&dense, Level::Q8_0).is_offered());
        assert_eq!(dense.candidates.iter().filter(|candidate| !candidate.is_offered()).count(), 1, "nothing else is a copy");
        let mixture = plan(Decoder { n_experts: 8, ..LLAMA3_8B });
        assert!(candidate(&mixture, Level::MXFP4_MOE).is_offered());
        // Rows of 576 fall back: the level that stands for all has that type as its own.
        let small = plan(SMOLLM2);
        for copy in small.candidates.iter().filter(|candidate| !candidate.is_offered()) {
            let original = candidate(&small, copy.copy_of.unwrap());
            assert!(original.is_offered(), "{}", copy.level_name);
            assert_eq!(original.size_bytes, copy.size_bytes, "{}", copy.level_name);
        }
        let recommended = small.recommended_level().unwrap();
        assert!(candidate(&small, recommended).is_offered());
    }

    #[test]
    fn a_level_that_leaves_its_class_is_listed_by_its_real_bits() {
        let small = plan(SMOLLM2);
        let check = |level, class, name: &str| {
            let found = candidate(&small, level);
            assert_eq!((found.class(), found.shown_name().as_str()), (Some(class), name), "{}", found.bits_per_weight);
        };
        check(Level::Q8_0, PrecisionClass::Medium, "Q8_0");
        check(Level::Q4_K_M, PrecisionClass::Medium, "Q4_K_M (6.17 bits)");
        check(Level::F16, PrecisionClass::Full, "F16");
        for candidate in plan(LLAMA3_8B).candidates.iter().filter(|candidate| candidate.is_offered()) {
            assert!(!candidate.leaves_class(), "{} at {}", candidate.level_name, candidate.bits_per_weight);
        }
    }

    #[test]
    fn expected_losses_are_told_with_their_number() {
        let large = plan(LLAMA3_8B);
        let check = |level, phrase: &str, note: &str| {
            let found = candidate(&large, level);
            assert_eq!((found.loss_phrase().as_str(), found.expected_loss_note().as_str()), (phrase, note));
        };
        check(Level::Q4_K_M, "expected loss: slight", "perplexity +2.8 %");
        check(Level::Q8_0, "expected loss: no visible loss", "perplexity +0.04 %");
        check(Level::F16, "expected loss: no visible loss", "as the source");
    }

    #[test]
    fn bits_have_a_class() {
        let check = |bits, class| assert_eq!(class_of_bits(bits), class, "{bits}");
        check(1.6, PrecisionClass::UltraLow);
        check(3.2, PrecisionClass::UltraLow);
        check(3.5, PrecisionClass::Low);
        check(5.3, PrecisionClass::Low);
        check(5.5, PrecisionClass::Medium);
        check(8.5, PrecisionClass::Medium);
        check(16.0, PrecisionClass::Full);
    }
}
