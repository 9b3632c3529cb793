//! Two answers beside each other: what both say, in the same order, even beyond the place where they first part.

use std::ops::Range;

use crate::bench::{Answer, AnswerEnd};

/// The most cells of the table of the longest common subsequence: 8 MiB, a few milliseconds.
const MAX_CELLS: usize = 4 << 20;

/// A stretch of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Its bytes in the text.
    pub range: Range<usize>,
    /// True when the other answer says it too, in the same order, or was cut off before it.
    pub is_same: bool,
}

/// Both answers in pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Realigned {
    /// The first answer's pieces, in order; together they are its text.
    pub one: Vec<Piece>,
    /// The second answer's, likewise.
    pub other: Vec<Piece>,
}

impl Realigned {
    /// The part of all bytes that both say, 0 to 1; 1 for two empty answers.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a part of one")]
    pub fn same_part(&self) -> f64 {
        let sum = |wanted: fn(&Piece) -> bool| -> usize {
            self.one.iter().chain(&self.other).filter(|piece| wanted(piece)).map(|piece| piece.range.len()).sum()
        };
        let all = sum(|_| true);
        if all == 0 { 1.0 } else { sum(|piece| piece.is_same) as f64 / all as f64 }
    }
}

/// Cuts both answers into what they share and what they do not, by the longest common subsequence of their tokens; of words
/// where the vocabularies differ or the answers are long, of sentences where they are very long.
///
/// The rest of an answer that goes on where the other was cut off, or is still being written, is no difference.
#[must_use]
pub fn realigned(one: &Answer, other: &Answer) -> Realigned {
    let is_same_vocabulary = one.vocabulary_sha256 == other.vocabulary_sha256;
    let cuts: [fn(&Answer) -> Vec<&str>; 3] = [tokens, words, sentences];
    for cut in cuts.into_iter().skip(usize::from(!is_same_vocabulary)) {
        let (a, b) = (cut(one), cut(other));
        if let Some((same_a, same_b)) = common(&a, &b) {
            let mut found = Realigned { one: pieces(&a, &same_a), other: pieces(&b, &same_b) };
            forgive_rest(&mut found.one, &found.other, other);
            forgive_rest(&mut found.other, &found.one, one);
            return found;
        }
    }
    // Too long for anyone to read: all of it counts as different.
    let whole = |answer: &Answer| vec![Piece { range: 0..answer.text.len(), is_same: false }];
    Realigned { one: whole(one), other: whole(other) }
}

/// Marks the rest of an answer as the same where the other stopped before its end.
fn forgive_rest(pieces: &mut [Piece], of_other: &[Piece], other: &Answer) {
    let other_is_through = of_other.last().is_none_or(|piece| piece.is_same);
    if let Some(last) = pieces.last_mut().filter(|_| other_is_through && other.end != Some(AnswerEnd::ByItself)) {
        last.is_same = true;
    }
}

/// The tokens as they stand in the text, and what is left after them.
fn tokens(answer: &Answer) -> Vec<&str> {
    let mut found = Vec::new();
    let mut start = 0;
    for token in &answer.tokens {
        let end = start + token.text.len();
        found.extend(answer.text.get(start..end).filter(|text| !text.is_empty()));
        start = end;
    }
    found.extend(answer.text.get(start..).filter(|rest| !rest.is_empty()));
    found
}

/// Words with the white space before them.
fn words(answer: &Answer) -> Vec<&str> {
    cut_before(&answer.text, |before, now| now.is_whitespace() && !before.is_whitespace())
}

/// Sentences and lines.
fn sentences(answer: &Answer) -> Vec<&str> {
    cut_before(&answer.text, |before, now| (".!?".contains(before) && now.is_whitespace()) || before == '\n')
}

/// Cuts a text before each letter for which `is_start(letter before, letter)` is true.
fn cut_before(text: &str, is_start: impl Fn(char, char) -> bool) -> Vec<&str> {
    let mut found = Vec::new();
    let (mut start, mut before) = (0, None);
    for (at, letter) in text.char_indices() {
        if before.is_some_and(|before| is_start(before, letter)) {
            found.extend(text.get(start..at));
            start = at;
        }
        before = Some(letter);
    }
    found.extend(text.get(start..).filter(|rest| !rest.is_empty()));
    found
}

/// For each unit of both, whether it belongs to the longest common subsequence; `None` where that would take too long.
fn common(a: &[&str], b: &[&str]) -> Option<(Vec<bool>, Vec<bool>)> {
    let n_before = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let (rest_a, rest_b) = (a.get(n_before..)?, b.get(n_before..)?);
    let n_behind = rest_a.iter().rev().zip(rest_b.iter().rev()).take_while(|(a, b)| a == b).count();
    let (inner_a, inner_b) = (rest_a.get(..rest_a.len() - n_behind)?, rest_b.get(..rest_b.len() - n_behind)?);
    let width = inner_b.len() + 1;
    if (inner_a.len() + 1).checked_mul(width)? > MAX_CELLS {
        return None;
    }
    // The length of the longest common subsequence of what is left from each pair of places on.
    let mut lens = vec![0_u16; (inner_a.len() + 1) * width];
    for (i, one) in inner_a.iter().enumerate().rev() {
        for (j, other) in inner_b.iter().enumerate().rev() {
            let at = i * width + j;
            lens[at] = if one == other { lens[at + width + 1].saturating_add(1) } else { lens[at + width].max(lens[at + 1]) };
        }
    }
    let (mut same_a, mut same_b) = (vec![true; a.len()], vec![true; b.len()]);
    let (mut i, mut j) = (0, 0);
    while i < inner_a.len() || j < inner_b.len() {
        let at = i * width + j;
        if i < inner_a.len() && j < inner_b.len() && inner_a[i] == inner_b[j] {
            (i, j) = (i + 1, j + 1);
        } else if j >= inner_b.len() || (i < inner_a.len() && lens[at + width] >= lens[at + 1]) {
            same_a[n_before + i] = false;
            i += 1;
        } else {
            same_b[n_before + j] = false;
            j += 1;
        }
    }
    Some((same_a, same_b))
}

/// Joins units in a row that are all the same in both, or all different, into one piece.
fn pieces(units: &[&str], same: &[bool]) -> Vec<Piece> {
    let mut found: Vec<Piece> = Vec::new();
    let mut start = 0;
    for (unit, &is_same) in units.iter().zip(same) {
        let range = start..start + unit.len();
        start = range.end;
        match found.last_mut().filter(|piece| piece.is_same == is_same) {
            Some(piece) => piece.range.end = range.end,
            None => found.push(Piece { range, is_same }),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::answers::test_answers::answer;

    /// The text with what differs between brackets.
    fn marked(answer: &Answer, pieces: &[Piece]) -> String {
        let shown = |piece: &Piece| {
            let text = &answer.text[piece.range.clone()];
            if piece.is_same { text.to_string() } else { format!("[{text}]") }
        };
        pieces.iter().map(shown).collect()
    }

    fn check(one: &Answer, other: &Answer, expected: [&str; 2]) {
        let found = realigned(one, other);
        assert_eq!([marked(one, &found.one), marked(other, &found.other)], expected);
        let back = realigned(other, one);
        let text = |pieces: &[Piece]| pieces.iter().filter(|piece| piece.is_same).map(|piece| piece.range.len()).sum::<usize>();
        assert_eq!(text(&back.other), text(&found.one), "as much is the same the other way round");
    }

    #[test]
    fn what_is_said_again_later_is_no_difference() {
        check(&answer(&["a", " b", " c", " d"]), &answer(&["a", " x", " c", " d"]), ["a[ b] c d", "a[ x] c d"]);
        check(&answer(&["a", " c", " d"]), &answer(&["a", " b", " c", " d"]), ["a c d", "a[ b] c d"]);
        check(&answer(&["a", " b", " c", " e", " f"]), &answer(&["z", " b", " c", " f"]), ["[a] b c[ e] f", "[z] b c f"]);
        check(&answer(&["é", "x"]), &answer(&["è", "x"]), ["[é]x", "[è]x"]);
        check(&answer(&[]), &answer(&["a"]), ["", "[a]"]);
        check(&answer(&["a"]), &answer(&["a"]), ["a", "a"]);
    }

    #[test]
    fn other_vocabularies_are_aligned_by_words() {
        let other = Answer { vocabulary_sha256: "b".into(), ..answer(&["the bl", "ue sky is", " wide"]) };
        check(&answer(&["the", " grey", " sky", " is", " wide"]), &other, ["the[ grey] sky is wide", "the[ blue] sky is wide"]);
    }

    #[test]
    fn where_one_was_cut_off_the_rest_of_the_other_is_no_difference() {
        let cut = Answer { end: Some(AnswerEnd::AtLimit), ..answer(&["a", " b"]) };
        check(&cut, &answer(&["a", " b", " c"]), ["a b", "a b c"]);
        let running = Answer { end: None, ..answer(&["a", " x"]) };
        check(&running, &answer(&["a", " b", " c"]), ["a[ x]", "a[ b c]"]);
        check(&answer(&["a", " b"]), &answer(&["a", " b", " c"]), ["a b", "a b[ c]"]);
    }

    #[test]
    fn long_answers_are_aligned_in_larger_units() {
        let text = |changed: &str| -> Vec<String> {
            (0..3000).flat_map(|idx| [if idx == 1500 { format!(" {changed}.") } else { format!(" w{idx}.") }]).collect()
        };
        let (one, other) = (text("sun"), text("moon"));
        let of = |pieces: &[String]| answer(&pieces.iter().map(String::as_str).collect::<Vec<_>>());
        // The same beginning and end cost nothing.
        let (one, mut other) = (of(&one), of(&other));
        assert!((realigned(&one, &other).same_part() - 1.0).abs() < 0.01);
        // Everything shifted by a word at both ends: too much for tokens and words, not for the program.
        other.text = format!("x {} y", other.text);
        other.vocabulary_sha256 = "b".into();
        let found = realigned(&one, &other);
        let covered = |pieces: &[Piece]| pieces.iter().map(|piece| piece.range.len()).sum::<usize>();
        assert_eq!((covered(&found.one), covered(&found.other)), (one.text.len(), other.text.len()));
    }

    #[test]
    fn the_same_part_is_told() {
        let part = |one: &[&str], other: &[&str]| realigned(&answer(one), &answer(other)).same_part();
        assert!((part(&["ab", "cd"], &["ab", "xy"]) - 0.5).abs() < 1e-12);
        assert!((part(&[], &[]) - 1.0).abs() < 1e-12);
    }
}
