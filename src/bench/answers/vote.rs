//! Which of two answers a person likes better, without knowing whose they are.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::bench::Answer;
use crate::units::percent_text;

/// A person's judgement on one prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Vote {
    /// The first file's answer is better.
    First,
    /// The second file's answer is better.
    Second,
    /// Neither is better.
    Same,
}

/// The number of votes for each side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// For the first file.
    pub n_first: u32,
    /// For the second file.
    pub n_second: u32,
    /// For neither.
    pub n_same: u32,
}

impl Tally {
    /// Counts votes.
    #[must_use]
    pub fn of(votes: impl Iterator<Item = Vote>) -> Self {
        votes.fold(Self::default(), |mut tally, vote| {
            match vote {
                Vote::First => tally.n_first += 1,
                Vote::Second => tally.n_second += 1,
                Vote::Same => tally.n_same += 1,
            }
            tally
        })
    }

    /// Probability that chance alone gives a lead at least as large, either way, by the two-sided sign test; ties are left out.
    #[must_use]
    pub fn chance(&self) -> f64 {
        let n = self.n_first + self.n_second;
        let lead = self.n_first.max(self.n_second);
        // Binomial coefficients by their quotients: exact enough for any number of votes that a person gives.
        let mut term = 0.5_f64.powi(i32::try_from(n).unwrap_or(i32::MAX));
        let mut tail = 0.0;
        for k in 0..=n {
            if k >= lead {
                tail += term;
            }
            term *= f64::from(n - k) / f64::from(k + 1);
        }
        (2.0 * tail).min(1.0)
    }

    /// The votes in words: `Source 1, Q2_K 3, the same 1: chance alone gives such a lead in 62.5 % of cases`.
    #[must_use]
    pub fn text(&self, first: &str, second: &str) -> String {
        let counts = format!("{first} {}, {second} {}, the same {}", self.n_first, self.n_second, self.n_same);
        if self.n_first == self.n_second {
            return counts;
        }
        format!("{counts}: chance alone gives such a lead in {} of cases", percent_text(self.chance()))
    }
}

/// True when the second file's answer stands on the left: by chance for a person, but always the same for the same two answers.
///
/// The chance comes from the times that the tokens took, which nobody knows beforehand.
#[must_use]
pub fn is_swapped(first: &Answer, second: &Answer) -> bool {
    let mut hasher = DefaultHasher::new();
    first.prompt.hash(&mut hasher);
    for answer in [first, second] {
        answer.path.hash(&mut hasher);
        for token in &answer.tokens {
            token.elapsed_secs.to_bits().hash(&mut hasher);
        }
    }
    hasher.finish() % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::answers::test_answers::answer;

    #[test]
    fn a_lead_is_held_against_chance() {
        let check = |n_first, n_second, expected: f64| {
            for (n_first, n_second) in [(n_first, n_second), (n_second, n_first)] {
                let tally = Tally { n_first, n_second, n_same: 7 };
                assert!((tally.chance() - expected).abs() < 1e-9, "{tally:?}: {}", tally.chance());
            }
        };
        check(0, 0, 1.0);
        check(1, 0, 1.0);
        check(3, 1, 0.625);
        check(5, 0, 0.0625);
        check(9, 1, 22.0 / 1024.0);
        check(4, 4, 1.0);
    }

    #[test]
    fn votes_are_counted_and_told() {
        let votes = [Vote::Second, Vote::First, Vote::Second, Vote::Same, Vote::Second];
        let tally = Tally::of(votes.into_iter());
        assert_eq!(tally, Tally { n_first: 1, n_second: 3, n_same: 1 });
        let text = tally.text("Source", "Q2_K");
        assert_eq!(text, "Source 1, Q2_K 3, the same 1: chance alone gives such a lead in 62.5 % of cases");
        assert_eq!(Tally { n_first: 2, n_second: 2, n_same: 0 }.text("A", "B"), "A 2, B 2, the same 0");
    }

    #[test]
    fn sides_are_shuffled_by_the_times_of_the_tokens() {
        let with_time = |secs: f64| {
            let mut answer = answer(&["a", " b"]);
            answer.tokens[0].elapsed_secs = secs;
            answer
        };
        let other = answer(&["a", " c"]);
        let sides: Vec<bool> = (0..64).map(|idx| is_swapped(&with_time(0.01 + f64::from(idx) * 1e-4), &other)).collect();
        let n_swapped = sides.iter().filter(|is_swapped| **is_swapped).count();
        assert!((12..=52).contains(&n_swapped), "{n_swapped} of 64");
        assert_eq!(is_swapped(&with_time(0.01), &other), is_swapped(&with_time(0.01), &other));
    }
}
