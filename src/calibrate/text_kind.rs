//! Whether two texts are of the same kind, by the characters that they consist of.
//!
//! A language shows in how often it uses each letter, a script in its letters, code and data in their brackets, digits and line ends. The
//! distance of two texts is the part of the characters of one that would have to be others for both to have the same frequencies.

use std::collections::BTreeMap;

use super::text::Corpus;
use crate::units::count_text;

/// Texts that are further apart are of different kinds.
///
/// Of the kinds that both bundled texts have, no two files of one kind are further apart than 0.07, nor any two of the English ones (prose,
/// chat, facts) than 0.09; any other two are further apart than 0.16. From the whole evaluation text, which is a mixture, the English kinds are
/// up to 0.11 away, code 0.15, and data, formulas and other languages 0.15 to 0.9.
const MAX_DISTANCE: f64 = 0.13;

/// How often each class of characters occurs; the sum is 1, or 0 for no text.
type Frequencies = BTreeMap<char, f64>;

/// The sentence about a calibration text of the user that is of another kind than the text that levels are compared on; `None` where it is of
/// the same.
///
/// `percent` of the tokens come from it. The others come from the bundled text, which has all kinds and brings both closer together.
#[must_use]
pub fn kind_warning(own: &Corpus, percent: u32, evaluation: &Corpus) -> Option<String> {
    let distance = distance(&frequencies_of(own), &frequencies_of(evaluation));
    (distance * f64::from(percent) / 100.0 > MAX_DISTANCE).then(|| {
        format!(
            "the levels are calibrated on {} and compared on {}, and these are texts of different kinds: {:.0} % of their characters differ, \
             within a kind up to {:.0} % do; the loss on texts like the first one may be another",
            own.name,
            evaluation.name,
            distance * 100.0,
            MAX_DISTANCE * 100.0
        )
    })
}

/// The sentence about a text that has more tokens than characters, because most of its letters are taken apart into bytes; `None` for any
/// other text.
///
/// A vocabulary has no pieces for a script that it was not made from, and a model that reads bytes has hardly learned the language: what is
/// collected on such a text says little about the model's usual work. With SmolLM2, Chinese has 0.6 characters a token, Russian 1.3, English 4.
#[must_use]
pub fn vocabulary_warning(text: &Corpus, n_tokens: u64) -> Option<String> {
    let n_chars: u64 = text.parts.parts.iter().map(|part| part.text.chars().count() as u64).sum();
    (n_tokens > n_chars).then(|| {
        format!(
            "the model makes {} tokens of the {} characters of {}, so it has hardly learned this language; a text in one that it knows \
             would say more",
            count_text(n_tokens),
            count_text(n_chars),
            text.name
        )
    })
}

/// Half of the sum of all differences: 0 for texts with the same frequencies, 1 for texts without a character in common.
fn distance(one: &Frequencies, other: &Frequencies) -> f64 {
    let of = |frequencies: &Frequencies, class: &char| frequencies.get(class).copied().unwrap_or(0.0);
    let more: f64 = one.iter().map(|(class, here)| (here - of(other, class)).abs()).sum();
    let rest: f64 = other.iter().filter(|(class, _)| !one.contains_key(class)).map(|(_, there)| there).sum();
    0.5 * (more + rest)
}

fn frequencies_of(text: &Corpus) -> Frequencies {
    frequencies(text.parts.parts.iter().map(|part| part.text.as_str()))
}

fn frequencies<'a>(texts: impl Iterator<Item = &'a str>) -> Frequencies {
    let mut counts = Frequencies::new();
    let mut n = 0.0;
    for char in texts.flat_map(str::chars) {
        *counts.entry(class(char)).or_default() += 1.0;
        n += 1.0;
    }
    for count in counts.values_mut() {
        *count /= n;
    }
    counts
}

/// A character that stands for its class: letters of ASCII and signs for themselves, digits and the letters of another script for each other.
fn class(char: char) -> char {
    match char {
        'A'..='Z' => char.to_ascii_lowercase(),
        '0'..='9' => '0',
        '\r' => '\n',
        _ if char.is_ascii() => char,
        'À'..='ʯ' => 'é',
        '\u{370}'..='\u{3ff}' => 'α',
        '\u{400}'..='\u{52f}' => 'я',
        '\u{590}'..='\u{5ff}' => 'א',
        '\u{600}'..='\u{6ff}' => 'ب',
        '\u{900}'..='\u{97f}' => 'क',
        '\u{e00}'..='\u{e7f}' => 'ก',
        '\u{3040}'..='\u{30ff}' => 'あ',
        '\u{3400}'..='\u{9fff}' => '中',
        '\u{ac00}'..='\u{d7af}' => '한',
        _ => '·',
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::text::{TextSource, calibration_corpus, corpus};
    use crate::runtime;

    /// A bundled text with the parts of one kind alone.
    fn only(text: &Corpus, kind: &str) -> Corpus {
        let parts: Vec<runtime::Part> = text.parts.parts.iter().filter(|part| part.kind == kind).cloned().collect();
        assert_eq!(parts.len(), 1, "{kind}");
        Corpus { name: format!("{kind}.txt"), parts: runtime::Corpus { parts }, sha256: String::new() }
    }

    #[test]
    fn the_bundled_kinds_argue_for_the_threshold() {
        let (calibration, evaluation) =
            (calibration_corpus(&TextSource::Bundled).unwrap(), corpus(&TextSource::Bundled).unwrap());
        let kinds = ["prose", "chat", "facts", "code", "tools", "german", "spanish"];
        let is_english = |kind: &str| ["prose", "chat", "facts"].contains(&kind);
        for one in kinds {
            for other in kinds {
                let distance = distance(&frequencies_of(&only(&calibration, one)), &frequencies_of(&only(&evaluation, other)));
                let (low, high) = match () {
                    () if one == other => (0.0, 0.07),
                    () if is_english(one) && is_english(other) => (0.0, 0.09),
                    () => (0.16, 1.0),
                };
                assert!((low..high).contains(&distance), "{one}, {other}: {distance:.3}");
            }
        }
    }

    #[test]
    fn a_text_of_another_kind_is_named_and_one_of_the_same_is_not() {
        let (calibration, evaluation) =
            (calibration_corpus(&TextSource::Bundled).unwrap(), corpus(&TextSource::Bundled).unwrap());
        for kind in ["prose", "chat", "facts", "templates", "reports", "manuals"] {
            assert_eq!(kind_warning(&only(&calibration, kind), 100, &evaluation), None, "{kind}");
        }
        for kind in ["code", "tools", "german", "french", "russian", "chinese"] {
            let warning = kind_warning(&only(&calibration, kind), 100, &evaluation).unwrap_or_default();
            assert!(warning.contains(&format!("on {kind}.txt and compared on bundled evaluation text")), "{warning}");
        }
        let russian = only(&calibration, "russian");
        assert_eq!(kind_warning(&russian, 5, &evaluation), None, "nearly all of it is the bundled text");
        assert!(kind_warning(&russian, 50, &evaluation).is_some());
        assert_eq!(kind_warning(&russian, 100, &russian), None);
    }

    #[test]
    fn frequencies_know_no_case_and_no_number() {
        let check = |one: &str, other: &str, expected: f64| {
            let found = distance(&frequencies([one].into_iter()), &frequencies([other].into_iter()));
            assert!((found - expected).abs() < 1e-9, "{one:?} {other:?}: {found}");
        };
        check("Ab 12", "aB 90", 0.0);
        check("ab", "cd", 1.0);
        check("ab", "ac", 0.5);
        check("да", "не", 0.0);
        check("", "", 0.0);
    }

    #[test]
    fn a_text_in_single_bytes_is_named() {
        let corpus = corpus(&TextSource::Pasted("老街拐角有一家修伞铺".into())).unwrap();
        assert_eq!(vocabulary_warning(&corpus, 10), None);
        let warning = vocabulary_warning(&corpus, 17).unwrap_or_default();
        assert!(warning.contains("17 tokens of the 10 characters of pasted text"), "{warning}");
    }
}
