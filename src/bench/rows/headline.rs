//! The result of a comparison in one line: which file to take, what it gains and what it loses.

use serde::Serialize;

use super::compare::speed_ratio;
use crate::advise::{Decision, Goal, Interval, Verdict, WishResult, same_words_text};
use crate::bench::{ComparisonRow, Run, closest_judged, measured_choice};
use crate::model::{Framework, Level, Model, PrecisionClass};

/// The answer of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Headline {
    /// Index of the row that it is about.
    pub row_idx: usize,
    /// True for the best file that passes the gates on quality; false for the one that comes closest.
    pub has_won: bool,
    /// What it gains and loses: `Q4_K_M: 3.1x smaller, 1.8x faster, 9 of 10 next words the same`.
    pub title: String,
    /// Why this one, as a sentence without its full stop.
    pub reason: String,
    /// What a calibrated or budgeted file has won over the plain level of its size; empty where none was measured, or nothing tells them apart.
    pub gain: String,
    /// What to do where none has won; empty for a winner.
    pub advice: String,
    /// Wishes that the file does not grant, in words.
    pub refused_wishes: Vec<String>,
}

/// The headline of these rows; `None` while no file has a verdict. `planned` is what the plan recommended before measuring.
#[must_use]
pub fn headline(model: &Model, rows: &[ComparisonRow], planned: Option<Level>, goal: &Goal) -> Option<Headline> {
    let choice = measured_choice(rows, planned, goal)?;
    let winner = choice.path.as_ref().and_then(|path| rows.iter().position(|row| row.path == *path));
    let closest = || closest_judged(rows).and_then(|(closest, _)| rows.iter().position(|row| row.path == closest.path));
    let row_idx = winner.or_else(closest)?;
    let row = rows.get(row_idx)?;
    let has_won = winner.is_some();
    let refused = row.wishes.iter().filter(|wish| wish.decision == Decision::Fail);
    Some(Headline {
        row_idx,
        has_won,
        title: title(model, row, source_run(model, rows)),
        gain: gain_text(rows),
        advice: if has_won { String::new() } else { advice(rows, row, row.verdict.as_ref()?) },
        refused_wishes: refused.map(WishResult::text).collect(),
        reason: choice.text,
    })
}

/// The run of the source, which speeds are held against.
fn source_run<'a>(model: &Model, rows: &'a [ComparisonRow]) -> Option<&'a Run> {
    rows.iter().find(|row| row.path == model.path)?.run.as_ref()
}

fn title(model: &Model, row: &ComparisonRow, source: Option<&Run>) -> String {
    #[allow(clippy::cast_precision_loss, reason = "a ratio")]
    let size = model.size_bytes as f64 / row.size_bytes.max(1) as f64;
    let mut parts = vec![factor_text(Interval::exact(size), "smaller", "larger", "as large as the source")];
    parts.extend(row.telling_run().zip(source).map(|(run, source)| speed_text(speed_ratio(run, source))));
    parts.extend(row.quality.as_ref().map(|run| same_words_text(run.summary.same_top.value)));
    format!("{}: {}", row.name, parts.join(", "))
}

/// How far the sizes of two files may be apart, as a part, that are said to be of the same size.
const SAME_SIZE: f64 = 0.02;

/// Files that are further apart are not held against each other.
const NEAR_SIZE: f64 = 0.25;

/// What a file has won or lost that is no plain level, over the plain level that is nearest in size: `Q4_K_M budget loses 54 % less than Q4_K_M,
/// which is as large`. Of several such files, the one nearest to a plain level.
#[allow(clippy::cast_precision_loss, reason = "a ratio")]
fn gain_text(rows: &[ComparisonRow]) -> String {
    let loss = |row: &ComparisonRow| row.quality.as_ref().map(|run| run.summary.mean_kld);
    let is_plain = |row: &ComparisonRow| row.level.is_some_and(|level| level.name() == row.name);
    let of_llama_cpp = || rows.iter().filter(|row| row.level.is_some() && row.is_for(Framework::LlamaCpp) && loss(row).is_some());
    let larger = |row: &ComparisonRow, plain: &ComparisonRow| row.size_bytes as f64 / plain.size_bytes.max(1) as f64 - 1.0;
    let pairs = of_llama_cpp()
        .filter(|row| !is_plain(row))
        .flat_map(|row| of_llama_cpp().filter(|plain| is_plain(plain)).map(move |plain| (row, plain, larger(row, plain))));
    let near = pairs.filter(|(_, _, larger)| larger.abs() <= NEAR_SIZE);
    let Some((row, plain, larger)) = near.min_by(|one, other| one.2.abs().total_cmp(&other.2.abs())) else {
        return String::new();
    };
    let Some((own, other)) = loss(row).zip(loss(plain)) else { return String::new() };
    let (part, word) = if own.high < other.low {
        (1.0 - own.value / other.value, "less")
    } else if own.low > other.high {
        (own.value / other.value - 1.0, "more")
    } else {
        return String::new();
    };
    let size = match larger {
        larger if larger.abs() <= SAME_SIZE => "which is as large".to_string(),
        larger if larger > 0.0 => format!("and is {:.0} % larger", 100.0 * larger),
        larger => format!("and is {:.0} % smaller", -100.0 * larger),
    };
    let comma = if larger.abs() <= SAME_SIZE { "," } else { "" };
    format!("{} loses {:.0} % {word} than {}{comma} {size}", row.name, 100.0 * part, plain.name)
}

/// The most that the upper end of a ratio of speeds may be, as a multiple of its lower end, if the ratio is to mean something:
/// rounds of both files that vary by ±10 %, beyond which a run gets a warning, give `(1.1 / 0.9)²`. On a busy machine a round
/// can be three times as slow as the next.
const MAX_SPEED_WIDTH: f64 = 1.5;

fn speed_text(ratio: Interval) -> String {
    if ratio.high > MAX_SPEED_WIDTH * ratio.low {
        return "speed unclear".into();
    }
    factor_text(ratio, "faster", "slower", "about as fast")
}

/// `1.8x faster`, `1.2x slower`; `same` where the error does not tell it from 1, or where it would be shown as 1.0.
fn factor_text(ratio: Interval, more: &str, less: &str, same: &str) -> String {
    let (factor, word) = if ratio.value >= 1.0 { (ratio.value, more) } else { (1.0 / ratio.value, less) };
    let is_clear = ratio.value.is_finite() && !ratio.holds(1.0) && factor >= 1.05;
    match factor {
        _ if !is_clear => same.into(),
        factor if factor >= 9.95 => format!("{factor:.0}x {word}"),
        factor => format!("{factor:.1}x {word}"),
    }
}

/// What to do where no file passes: more tokens where one is undecided, a larger level where all fail.
fn advice(rows: &[ComparisonRow], closest: &ComparisonRow, verdict: &Verdict) -> String {
    if verdict.decision == Decision::Inconclusive {
        return format!("{} is undecided: score more tokens (“Score all”, --full) or take the next larger level", closest.name);
    }
    let measured: Vec<Level> = rows.iter().filter(|row| row.verdict.is_some()).filter_map(|row| row.level).collect();
    // Levels are in the order of their precision: those before the best that was measured lose less.
    let larger = Level::of(Framework::LlamaCpp)
        .filter(|level| level.class() != PrecisionClass::Full && *level != Level::MXFP4_MOE)
        .rfind(|level| measured.iter().all(|known| level < known));
    match larger {
        Some(level) => format!("Convert and measure a larger level, for example {level}, or set other gates"),
        None => "No level loses less than these: look at the text that you measure on, or set other gates".into(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::advise::{Limits, Priority, Wishes};
    use crate::bench::history::{Measurement, test_runs};
    use crate::bench::quality::{QualityOutcome, QualityRun};
    use crate::bench::{Measured, Outcome, comparison_rows};
    use crate::convert::Conversion;
    use crate::hardware::Machine;
    use crate::ui::test_support::sample_model;

    /// `(level, bytes, decode speed, mean KLD)`; the source has 1000 bytes and 10 tokens per second.
    fn headline_of(levels: &[(Level, u64, f64, f64)], limits: &Limits) -> Headline {
        headline_for(levels, limits, Priority::Balanced)
    }

    fn headline_for(levels: &[(Level, u64, f64, f64)], limits: &Limits, priority: Priority) -> Headline {
        let mut model = sample_model();
        (model.path, model.size_bytes) = ("/models/m.gguf".into(), 1000);
        let n_of = |level: Level, known: &[Conversion]| known.iter().filter(|made| made.level == level).count();
        let path_of = |level: Level, n: usize| std::path::PathBuf::from(format!("/models/m{n}-{level}.gguf"));
        let speed_of = |path: std::path::PathBuf, decode: f64| {
            let Measurement::Speed(run) = test_runs::speed("x", &[decode, decode * 1.01]).measurement else { panic!() };
            Outcome { path: path.clone(), result: Ok(Run { path, ..*run }) }
        };
        let mut speed = vec![speed_of(model.path.clone(), 10.0)];
        let mut conversions = Vec::new();
        let mut quality = Vec::new();
        for &(level, size_bytes, decode, kld) in levels {
            // A second file of a level is one within a budget.
            let n = n_of(level, &conversions);
            let path = path_of(level, n);
            speed.push(speed_of(path.clone(), decode));
            conversions.push(Conversion {
                level,
                path: path.clone(),
                source: model.path.clone(),
                size_bytes,
                bits_per_weight: 4.5,
                elapsed_secs: 1.0,
                warnings: Vec::new(),
                check: None,
                changes: if n > 0 { "--budget 1%".into() } else { String::new() },
            });
            let Measurement::Quality(run) = test_runs::quality(level.name(), &[kld, kld]).measurement else { panic!() };
            quality.push(QualityOutcome { path: path.clone(), result: Ok(Arc::new(QualityRun { path, ..(*run).clone() })) });
        }
        let measured = Measured { speed: &speed, quality: &quality, limits, lessons: &[], origins: &[] };
        let rows = comparison_rows(&model, &Machine::default(), &Goal::default(), &conversions, measured);
        headline(&model, &rows, Some(Level::Q4_K_M), &Goal { priority, ..Goal::default() }).unwrap()
    }

    const LEVELS: [(Level, u64, f64, f64); 3] =
        [(Level::Q8_0, 530, 15.0, 0.001), (Level::Q4_K_M, 322, 18.0, 0.03), (Level::Q2_K, 200, 20.0, 0.5)];

    #[test]
    fn the_smallest_file_that_passes_wins_in_words() {
        let found = headline_of(&LEVELS, &Limits::default());
        assert_eq!(found.title, "Q4_K_M: 3.1x smaller, 1.8x faster, 9 of 10 next words the same");
        assert!(found.has_won && found.advice.is_empty() && found.refused_wishes.is_empty());
        assert!(
            found.reason.contains("smallest level here that passes the gates on quality, as the plan recommended"),
            "{}",
            found.reason
        );
    }

    #[test]
    fn what_a_file_of_the_same_size_has_won_is_told() {
        let check = |sizes: [u64; 2], losses: [f64; 2], expected: &str| {
            let levels = [(Level::Q4_K_M, sizes[0], 18.0, losses[0]), (Level::Q4_K_M, sizes[1], 18.0, losses[1])];
            assert_eq!(headline_of(&levels, &Limits::default()).gain, expected);
        };
        check([322, 320], [0.8, 0.2], "Q4_K_M budget loses 75 % less than Q4_K_M, which is as large");
        check([300, 330], [0.8, 0.2], "Q4_K_M budget loses 75 % less than Q4_K_M and is 10 % larger");
        check([322, 290], [0.5, 0.8], "Q4_K_M budget loses 60 % more than Q4_K_M and is 10 % smaller");
        // Too small to be held against it; intervals of 0.125 that overlap.
        check([322, 100], [0.8, 0.2], "");
        check([322, 320], [0.8, 0.7], "");
        assert_eq!(headline_of(&LEVELS, &Limits::default()).gain, "");
    }

    #[test]
    fn a_wish_chooses_among_those_that_pass_and_is_named_where_none_grants_it() {
        let wish = |min_speed_ratio| Limits { wishes: Wishes { min_speed_ratio, ..Wishes::default() }, ..Limits::default() };
        assert!(headline_of(&LEVELS, &wish(Some(1.7))).refused_wishes.is_empty());
        let found = headline_of(&LEVELS, &wish(Some(3.0)));
        assert!(found.has_won, "a wish is no gate");
        assert_eq!(found.refused_wishes, ["too slow for your wish: 1.80 of 3.00 ×"]);
        // The larger one is slower here, but the small one is too slow: the wish decides.
        let levels = [(Level::Q8_0, 530, 25.0, 0.001), (Level::Q4_K_M, 322, 18.0, 0.03)];
        assert!(headline_of(&levels, &wish(Some(2.0))).title.starts_with("Q8_0: "));
    }

    #[test]
    fn among_those_that_pass_the_goal_decides() {
        let check = |priority, expected: &str| {
            let levels = [LEVELS[0], LEVELS[1], (Level::Q4_0, 330, 19.0, 0.05), LEVELS[2]];
            let found = headline_for(&levels, &Limits::default(), priority);
            let sentence =
                format!("{}; {}", found.title.split(':').next().unwrap(), found.reason.split("; Q4_K_M").next().unwrap());
            assert_eq!(sentence, expected);
        };
        check(Priority::Quality, "Q8_0; Q8_0 loses least of the levels here that pass the gates on quality");
        check(Priority::Speed, "Q4_0; Q4_0 is the fastest level here that passes the gates on quality");
        let smallest = "Q4_K_M; Q4_K_M is the smallest level here that passes the gates on quality, as the plan recommended before measuring";
        check(Priority::Balanced, smallest);
        check(Priority::Size, smallest);
    }

    #[test]
    fn where_none_passes_the_closest_is_named_with_what_to_do() {
        let found = headline_of(&[(Level::Q3_K_M, 260, 18.0, 0.3), (Level::Q2_K, 200, 20.0, 0.5)], &Limits::default());
        assert!(!found.has_won && found.title.starts_with("Q3_K_M: "), "{}", found.title);
        assert!(found.advice.contains("a larger level, for example Q3_K_L"), "{}", found.advice);
    }

    #[test]
    fn factors_are_told_as_far_as_they_are_known() {
        let check = |value: f64, half: f64, expected: &str| {
            let ratio = Interval { value, low: value - half, high: value + half };
            assert_eq!(speed_text(ratio), expected);
        };
        check(1.84, 0.1, "1.8x faster");
        check(0.5, 0.09, "2.0x slower");
        check(1.1, 0.2, "about as fast");
        check(1.3, 0.4, "speed unclear");
        check(0.5, 0.2, "speed unclear");
        check(1.01, 0.0, "about as fast");
        check(12.4, 0.1, "12x faster");
        check(f64::NAN, 0.0, "about as fast");
    }
}
