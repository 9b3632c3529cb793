//! Where two answers to the same prompt part.

use serde::Serialize;

use crate::bench::{Answer, AnswerEnd};
use crate::units::count_text;

/// The first place at which two answers are not the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Divergence {
    /// Number of tokens before it, which are the same in both; so it is also the index of the first token that differs. `None`
    /// for models with different vocabularies, whose tokens cannot be compared.
    pub token_idx: Option<usize>,
    /// Its place in bytes. Everything before it is the same, so it holds for both texts; it is never inside a character.
    pub byte_idx: usize,
    /// The same, in characters.
    pub char_idx: usize,
}

impl Divergence {
    /// An answer's text before it and from it on.
    #[must_use]
    pub fn split<'a>(&self, answer: &'a Answer) -> (&'a str, &'a str) {
        answer.text.split_at_checked(self.byte_idx).unwrap_or((&answer.text, ""))
    }
}

/// Where two answers part; `None` while nothing differs.
///
/// Models with the same vocabulary are compared token by token, others character by character. An answer that the limit has cut off, or
/// that is still going on, does not differ from a longer one that starts with it: only one that has ended by itself does.
#[must_use]
pub fn first_divergence(one: &Answer, other: &Answer) -> Option<Divergence> {
    let is_open = |answer: &Answer| answer.end != Some(AnswerEnd::ByItself);
    let common = common(one, other);
    let is_over = |answer: &Answer| match common.token_idx {
        Some(n_same) => n_same >= answer.tokens.len(),
        None => common.byte_idx >= answer.text.len(),
    };
    match (is_over(one), is_over(other)) {
        (true, true) => None,
        (true, false) if is_open(one) => None,
        (false, true) if is_open(other) => None,
        _ => Some(common),
    }
}

/// Whether two answers are the same and how far, for a person: `Same for 12 tokens, then they differ`.
#[must_use]
pub fn agreement_text(one: &Answer, other: &Answer) -> String {
    let Some(found) = first_divergence(one, other) else {
        let is_running = one.end.is_none() || other.end.is_none();
        let common = common(one, other);
        return match (is_running, one.text == other.text) {
            (true, _) => format!("The same so far, for {}", length_text(&common)),
            (false, true) => format!("The same, all {}", length_text(&common)),
            (false, false) => format!("The same as far as both go, for {}", length_text(&common)),
        };
    };
    let then = match (found.split(one).1, found.split(other).1) {
        ("", _) => "the first ends",
        (_, "") => "the second ends",
        _ => "they differ",
    };
    if found.char_idx == 0 && found.token_idx.unwrap_or(0) == 0 {
        return "Different from the first token on".into();
    }
    format!("Same for {}, then {then}", length_text(&found))
}

fn length_text(place: &Divergence) -> String {
    let (n, word) = match place.token_idx {
        Some(n_tokens) => (n_tokens, "token"),
        None => (place.char_idx, "character"),
    };
    format!("{} {word}{}", count_text(n as u64), if n == 1 { "" } else { "s" })
}

/// The end of what two answers have in common from their start.
fn common(one: &Answer, other: &Answer) -> Divergence {
    let is_same_vocabulary = one.vocabulary_sha256 == other.vocabulary_sha256;
    let (token_idx, byte_idx) = if is_same_vocabulary {
        let pairs = one.tokens.iter().zip(&other.tokens);
        let same = pairs.take_while(|(a, b)| a.id == b.id && a.text == b.text);
        let (n_same, n_bytes) = same.fold((0, 0), |(n, n_bytes), (token, _)| (n + 1, n_bytes + token.text.len()));
        (Some(n_same), n_bytes)
    } else {
        let pairs = one.text.chars().zip(other.text.chars());
        (None, pairs.take_while(|(a, b)| a == b).map(|(c, _)| c.len_utf8()).sum())
    };
    let char_idx = one.text.get(..byte_idx).map_or(0, |text| text.chars().count());
    Divergence { token_idx, byte_idx, char_idx }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::answers::test_answers::answer;

    fn with_end(pieces: &[&str], end: Option<AnswerEnd>) -> Answer {
        Answer { end, ..answer(pieces) }
    }

    #[test]
    fn answers_part_at_the_first_token_that_differs() {
        let check = |one: &[&str], other: &[&str], expected: Option<(usize, usize, usize)>, text: &str| {
            let (one, other) = (answer(one), answer(other));
            let place = |found: Divergence| (found.token_idx.unwrap(), found.byte_idx, found.char_idx);
            assert_eq!(first_divergence(&one, &other).map(place), expected, "{one:?} {other:?}");
            assert_eq!(first_divergence(&other, &one).map(place), expected, "the other way round");
            assert_eq!(agreement_text(&one, &other), text);
        };
        check(&[], &[], None, "The same, all 0 tokens");
        check(&["a"], &["a"], None, "The same, all 1 token");
        check(&["a", " b"], &["a", " b"], None, "The same, all 2 tokens");
        check(&["a"], &["b"], Some((0, 0, 0)), "Different from the first token on");
        check(&["a", "b", "c"], &["a", "x", "c"], Some((1, 1, 1)), "Same for 1 token, then they differ");
        check(&["a", "b"], &["a", "b", "c"], Some((2, 2, 2)), "Same for 2 tokens, then the first ends");
        check(&["a", "b", "c"], &["a", "b"], Some((2, 2, 2)), "Same for 2 tokens, then the second ends");
        // The place is the token's start, even if its first characters are those of the other.
        check(&["é", " Paris"], &["é", " Pau"], Some((1, 2, 1)), "Same for 1 token, then they differ");
        check(&["\u{1F980}\u{1F980}", "x"], &["\u{1F980}\u{1F980}", "y"], Some((1, 8, 2)), "Same for 1 token, then they differ");
        // A character that is spread over two tokens, of which the second differs.
        check(&["a", "", "é"], &["a", "", "è"], Some((2, 1, 1)), "Same for 2 tokens, then they differ");
    }

    #[test]
    fn the_same_text_in_other_tokens_differs() {
        let found = first_divergence(&answer(&["ab", "c"]), &answer(&["a", "bc"])).unwrap();
        assert_eq!((found.token_idx, found.byte_idx), (Some(0), 0));
    }

    #[test]
    fn an_answer_that_was_cut_off_does_not_differ_from_a_longer_one() {
        let long = answer(&["a", "b", "c"]);
        let check = |end, expected: &str| {
            let short = with_end(&["a", "b"], end);
            assert_eq!(agreement_text(&short, &long), expected);
            assert_eq!(first_divergence(&short, &long).is_some(), end == Some(AnswerEnd::ByItself));
        };
        check(None, "The same so far, for 2 tokens");
        check(Some(AnswerEnd::AtLimit), "The same as far as both go, for 2 tokens");
        check(Some(AnswerEnd::ByItself), "Same for 2 tokens, then the first ends");
        // What already differs stays different.
        let found = first_divergence(&with_end(&["a", "x"], None), &long);
        assert_eq!(found.and_then(|found| found.token_idx), Some(1));
    }

    #[test]
    fn models_with_other_vocabularies_are_compared_by_characters() {
        let check = |one: &[&str], other: &[&str], expected: Option<(usize, usize)>, text: &str| {
            let (one, other) = (answer(one), Answer { vocabulary_sha256: "b".into(), ..answer(other) });
            let found = first_divergence(&one, &other);
            assert_eq!(found.map(|found| (found.byte_idx, found.char_idx)), expected);
            assert!(found.is_none_or(|found| found.token_idx.is_none()));
            assert_eq!(agreement_text(&one, &other), text);
        };
        check(&["ab", "c"], &["a", "bc"], None, "The same, all 3 characters");
        check(&["né", "e"], &["n", "éa"], Some((3, 2)), "Same for 2 characters, then they differ");
        check(&["ab"], &["a", "b", "c"], Some((2, 2)), "Same for 2 characters, then the first ends");
        check(&["é"], &["è"], Some((0, 0)), "Different from the first token on");
    }

    #[test]
    fn a_text_is_split_at_the_place() {
        let (one, other) = (answer(&["né", "e", "!"]), answer(&["né", "a"]));
        let found = first_divergence(&one, &other).unwrap();
        assert_eq!((found.split(&one), found.split(&other)), (("né", "e!"), ("né", "a")));
        let ended = answer(&["né"]);
        let found = first_divergence(&ended, &one).unwrap();
        assert_eq!((found.split(&ended), found.split(&one)), (("né", ""), ("né", "e!")));
    }
}
