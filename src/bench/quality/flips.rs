//! The places where the candidate would have said something other than the reference.

use serde::{Deserialize, Serialize};

use super::ScoredChunk;
use crate::units::nan_from_null;

/// How many places are kept: the most harmful ones.
pub(super) const MAX_FLIPS: usize = 200;
/// How much text before the place is kept, in characters.
const MAX_CONTEXT_CHARS: usize = 160;

/// A change that takes less probability than this is a tie that fell the other way: it comes after all others.
const NEAR_TIE: f32 = 0.01;

/// A place where the likeliest token changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Flip {
    /// The chunk's number in the text.
    pub chunk_idx: u32,
    /// Position of the token in its chunk.
    pub position: u32,
    /// Kind of the text.
    pub kind: String,
    /// What the change touches.
    pub class: FlipClass,
    /// The text before it, at most 160 characters.
    pub before: String,
    /// The token that the text has.
    pub truth: TokenChoice,
    /// What the reference puts first.
    pub reference: TokenChoice,
    /// What the candidate puts first.
    pub candidate: TokenChoice,
    /// KL divergence at this place, in nats.
    #[serde(deserialize_with = "nan_from_null")]
    pub kld: f32,
    /// Probability that the candidate takes away from the reference's choice: 0 to 1.
    #[serde(deserialize_with = "nan_from_null")]
    pub probability_lost: f32,
}

/// A token with its probability by both models.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenChoice {
    /// The token's text.
    pub text: String,
    /// Probability by the reference; `None` when it is not among its likeliest.
    pub p_reference: Option<f32>,
    /// Probability by the candidate.
    pub p_candidate: f32,
}

/// What a changed token touches; the first are the more harmful.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlipClass {
    /// A digit in one of the two: a wrong number.
    Number,
    /// Brackets, quotes, operators or tabs: code or JSON that may no longer parse.
    Structure,
    /// Words.
    Word,
    /// Only white space, upper and lower case or punctuation differ.
    Form,
}

impl FlipClass {
    /// All classes, the most harmful first.
    pub const ALL: [Self; 4] = [Self::Number, Self::Structure, Self::Word, Self::Form];

    /// The name on screen.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Number => "Number",
            Self::Structure => "Structure",
            Self::Word => "Word",
            Self::Form => "Form",
        }
    }

    /// The class of a change from `one` to `other`.
    #[must_use]
    pub fn of(one: &str, other: &str) -> Self {
        let has = |is_wanted: fn(char) -> bool| one.contains(is_wanted) || other.contains(is_wanted);
        let bare = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect::<String>();
        if has(|c| c.is_ascii_digit()) {
            Self::Number
        } else if has(|c| "{}[]()<>=\"`\\/|;:#&*+_$@%^~\t".contains(c)) {
            Self::Structure
        } else if bare(one) == bare(other) {
            Self::Form
        } else {
            Self::Word
        }
    }
}

/// The places where the likeliest token changed, by class and then by the probability lost, at most 200; and how many there are.
///
/// Near ties come last, whatever their class.
#[must_use]
pub fn flips(chunks: &[ScoredChunk]) -> (Vec<Flip>, u64) {
    let mut places: Vec<(FlipClass, f32, usize, usize)> = Vec::new();
    for (chunk_place, chunk) in chunks.iter().enumerate() {
        for (token_place, token) in chunk.tokens.iter().enumerate() {
            if token.top_reference != token.top_candidate {
                let class = FlipClass::of(chunk.piece(token.top_reference), chunk.piece(token.top_candidate));
                places.push((class, token.p_top_reference - token.p_top_reference_by_candidate, chunk_place, token_place));
            }
        }
    }
    let n = places.len() as u64;
    places.sort_by(|one, other| {
        let is_tie = |lost: f32| lost < NEAR_TIE;
        let by_harm = is_tie(one.1).cmp(&is_tie(other.1)).then(one.0.cmp(&other.0)).then(other.1.total_cmp(&one.1));
        by_harm.then((one.2, one.3).cmp(&(other.2, other.3)))
    });
    places.truncate(MAX_FLIPS);
    let found = places.into_iter().filter_map(|(class, probability_lost, chunk_place, token_place)| {
        let chunk = chunks.get(chunk_place)?;
        let token = chunk.tokens.get(token_place)?;
        let position = chunk.first_scored + u32::try_from(token_place).ok()?;
        #[allow(clippy::cast_possible_truncation, reason = "shown with three digits")]
        let narrow = |value: f64| value as f32;
        Some(Flip {
            chunk_idx: chunk.chunk_idx,
            position,
            kind: chunk.kind.clone(),
            class,
            before: before(&chunk.pieces, position as usize),
            truth: TokenChoice {
                text: chunk.pieces.get(position as usize).cloned().unwrap_or_default(),
                p_reference: Some(narrow(token.logp_reference.exp())),
                p_candidate: narrow(token.logp_candidate.exp()),
            },
            reference: TokenChoice {
                text: chunk.piece(token.top_reference).to_string(),
                p_reference: Some(token.p_top_reference),
                p_candidate: token.p_top_reference_by_candidate,
            },
            candidate: TokenChoice {
                text: chunk.piece(token.top_candidate).to_string(),
                p_reference: token.p_top_candidate_by_reference,
                p_candidate: token.p_top_candidate,
            },
            kld: narrow(token.kld),
            probability_lost,
        })
    });
    (found.collect(), n)
}

/// The text before a position, shortened at the front.
fn before(pieces: &[String], position: usize) -> String {
    let text: String = pieces.iter().take(position).map(String::as_str).collect();
    let n_chars = text.chars().count();
    text.chars().skip(n_chars.saturating_sub(MAX_CONTEXT_CHARS)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::quality::TokenScore;

    #[test]
    fn numbers_and_structure_weigh_more_than_words() {
        let check = |one, other, expected| assert_eq!(FlipClass::of(one, other), expected, "{one:?} {other:?}");
        check(" 17", " 71", FlipClass::Number);
        check(" the", " 3", FlipClass::Number);
        check(" {", " the", FlipClass::Structure);
        check("\"", ",", FlipClass::Structure);
        check(" cat", " dog", FlipClass::Word);
        check(" The", " the", FlipClass::Form);
        check("\n", " ", FlipClass::Form);
        check(",", ".", FlipClass::Form);
        assert!(FlipClass::ALL.is_sorted());
    }

    fn token(top_reference: i32, top_candidate: i32, lost: f32) -> TokenScore {
        TokenScore {
            id: 0,
            kld: 0.5,
            logp_reference: 0.5_f64.ln(),
            logp_candidate: 0.25_f64.ln(),
            top_reference,
            top_candidate,
            p_top_reference: 0.9,
            p_top_candidate: 0.5,
            p_top_reference_by_candidate: 0.9 - lost,
            p_top_candidate_by_reference: None,
        }
    }

    #[test]
    fn the_worst_comes_first_with_its_context() {
        let chunk = ScoredChunk {
            chunk_idx: 4,
            part_idx: 0,
            kind: "prose".into(),
            first_scored: 2,
            pieces: ["A", " b", " c", " d", " e"].map(String::from).to_vec(),
            tops: [(1, " cat".to_string()), (2, " dog".to_string()), (3, " 7".to_string())].into(),
            tokens: vec![token(1, 2, 0.1), token(1, 1, 0.0), token(1, 3, 0.05)],
        };
        let (found, n) = flips(std::slice::from_ref(&chunk));
        assert_eq!(n, 2);
        assert_eq!(found[0].class, FlipClass::Number);
        assert_eq!((found[0].position, found[0].before.as_str()), (4, "A b c d"));
        assert_eq!(
            (found[1].truth.text.as_str(), found[1].reference.text.as_str(), found[1].candidate.text.as_str()),
            (" c", " cat", " dog")
        );
        assert!((found[1].truth.p_reference.unwrap() - 0.5).abs() < 1e-6);
        let worse = ScoredChunk { tokens: vec![token(1, 2, 0.4)], ..chunk.clone() };
        let tie = ScoredChunk { tokens: vec![token(1, 3, 0.001)], ..chunk.clone() };
        let (found, _) = flips(&[tie, chunk, worse]);
        assert_eq!(found.last().map(|flip| flip.class), Some(FlipClass::Number), "a tie is no harm");
        assert!(found[1].probability_lost > found[2].probability_lost, "within a class by what was lost");
    }
}
