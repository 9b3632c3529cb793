//! Which candidate comes before which, and whether the first of them is worth a conversion.

use std::cmp::Ordering;

use super::candidates::{Scored, is_acceptable, preference};
use super::{Fit, Goal, Priority};
use crate::model::Model;

/// What to do, once the candidates are ranked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// Convert to the first candidate.
    First,
    /// Keep the source as it is: quantizing it again would cost more than it gives, or no level is clearly smaller.
    Source,
    /// Nothing fits and helps.
    Nothing,
}

impl Choice {
    pub(super) fn of(model: &Model, goal: &Goal, source_fit: Fit, first: Option<&Scored>) -> Self {
        let source_fits = model.has_weights() && !matches!(source_fit, Fit::TooLarge { .. });
        let would_lose_twice = source_fits && model.is_quantized();
        match first {
            Some(_) if would_lose_twice && goal.priority == Priority::Quality => Self::Source,
            Some(first) if would_lose_twice && !is_acceptable(first, goal) => Self::Source,
            Some(_) => Self::First,
            None if source_fits => Self::Source,
            None => Self::Nothing,
        }
    }
}

/// 0: can be done here and helps; 1: would help but something is missing, if only a number for its loss; 2: too large; 3: not
/// clearly smaller than the source.
pub(super) fn group(scored: &Scored) -> u8 {
    let candidate = &scored.candidate;
    match candidate.fit {
        _ if !scored.gains => 3,
        Fit::TooLarge { .. } => 2,
        _ => u8::from(candidate.missing.is_some() || !scored.is_eligible),
    }
}

pub(super) fn compare(a: &Scored, b: &Scored, goal: &Goal) -> Ordering {
    let (a_tier, a_value) = preference(a, goal);
    let (b_tier, b_value) = preference(b, goal);
    a_tier.cmp(&b_tier).then(a_value.total_cmp(&b_value)).then(a.candidate.size_bytes.cmp(&b.candidate.size_bytes))
}
