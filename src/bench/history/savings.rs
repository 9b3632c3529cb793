//! Levels of several models beside each other: what each saves against its own source, and what that costs.

use serde::Serialize;

use super::{Kind, Row};
use crate::advise::Interval;
use crate::convert::model_name_of;

/// A gigabyte, as memory and disks are sold.
const GB: f64 = 1e9;

/// A level of a model with what it saves and loses against its own source.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Saving {
    /// The model, without the level.
    pub model: String,
    /// The level; the file's name where the level is not known.
    pub level: String,
    /// Size of the file in bytes.
    pub size_bytes: u64,
    /// Size of what the loss was measured against; `None` where the history does not have it.
    pub source_bytes: Option<u64>,
    /// Mean KL divergence from its own source, in nats.
    pub mean_kld: Option<Interval>,
    /// Decode speed in tokens per second: the median, and half the range of the rounds.
    pub decode: Option<(f64, f64)>,
    /// SHA-256 of the text of the loss.
    pub text_sha256: Option<String>,
}

impl Saving {
    /// Bytes that are saved against the source; `None` where nothing is.
    #[must_use]
    pub fn saved_bytes(&self) -> Option<u64> {
        self.source_bytes?.checked_sub(self.size_bytes).filter(|saved| *saved > 0)
    }

    /// Nats of loss for each gigabyte that is saved.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "shown with three digits")]
    pub fn loss_per_gb(&self) -> Option<f64> {
        Some(self.mean_kld?.value / (self.saved_bytes()? as f64 / GB))
    }
}

/// What each column saves and loses; a column holds the speed run, the quality run or both of one file. Empty unless the
/// columns are of two models or more.
///
/// `rows` is the whole history: it tells how large the sources are.
#[must_use]
pub fn savings(rows: &[Row], columns: &[Vec<i64>]) -> Vec<Saving> {
    let found: Vec<Saving> = columns.iter().filter_map(|ids| saving(rows, ids)).collect();
    let is_of_one = found.windows(2).all(|pair| pair.first().map(|one| &one.model) == pair.last().map(|other| &other.model));
    if is_of_one { Vec::new() } else { found }
}

fn saving(rows: &[Row], ids: &[i64]) -> Option<Saving> {
    let of = |kind: Kind| rows.iter().find(|row| row.kind == kind && ids.contains(&row.id));
    let (speed, quality) = (of(Kind::Speed), of(Kind::Quality));
    let main = speed.or(quality)?;
    let reference = quality.and_then(|row| row.reference_sha256.as_deref());
    let source = reference.and_then(|sha256| rows.iter().find(|row| row.model_sha256.as_deref() == Some(sha256)));
    Some(Saving {
        model: model_name_of(&main.model_name).to_string(),
        level: main.short_name().to_string(),
        size_bytes: main.size_bytes,
        source_bytes: source.map(|row| row.size_bytes),
        mean_kld: quality.and_then(|row| row.mean_kld),
        decode: speed.and_then(|row| Some((row.decode_tokens_per_sec?, row.decode_spread.unwrap_or(0.0)))),
        text_sha256: quality.and_then(|row| row.text_sha256.clone()),
    })
}

#[cfg(test)]
mod tests {
    use super::super::test_runs::{kept, quality, speed};
    use super::super::{Measurement, NewRun};
    use super::*;

    /// A run whose file is of another model and size.
    fn of_model(name: &str, size_bytes: u64, mut run: NewRun) -> NewRun {
        match &mut run.measurement {
            Measurement::Speed(run) => {
                run.path = format!("/models/{name}.gguf").into();
                run.size_bytes = size_bytes;
            }
            Measurement::Quality(run) => {
                let run = std::sync::Arc::make_mut(run);
                run.path = format!("/models/{name}.gguf").into();
                run.size_bytes = size_bytes;
            }
        }
        run
    }

    #[test]
    fn each_level_is_held_against_its_own_source() {
        let source = NewRun { model_sha256: Some("f0".repeat(32)), ..speed("F16", &[10.0]) };
        let runs = [
            of_model("small-F16", 4_000_000_000, source),
            of_model("small-Q4_0", 2_000_000_000, quality("Q4_0", &[0.5])),
            of_model("large-Q4_0", 3_000_000_000, speed("Q4_0", &[20.0])),
        ];
        let (rows, _) = kept(&runs, &[1]);
        let found = savings(&rows, &[vec![2], vec![3]]);
        let told: Vec<(&str, Option<u64>)> = found.iter().map(|one| (one.model.as_str(), one.saved_bytes())).collect();
        assert_eq!(told, [("small", Some(2_000_000_000)), ("large", None)], "nobody knows the source of the second");
        assert!((found[0].loss_per_gb().unwrap() - 0.25).abs() < 1e-12);
        assert_eq!((found[1].loss_per_gb(), found[1].decode), (None, Some((20.0, 0.0))));
        assert!(savings(&rows, &[vec![2]]).is_empty() && savings(&rows, &[vec![1, 2], vec![2]]).is_empty());
    }

    #[test]
    fn a_file_that_is_no_smaller_saves_nothing() {
        let source = NewRun { model_sha256: Some("f0".repeat(32)), ..speed("F16", &[10.0]) };
        let runs = [of_model("m-F16", 10, source), of_model("m-Q8_0", 10, quality("Q8_0", &[0.5]))];
        let (rows, _) = kept(&runs, &[1]);
        let found = saving(&rows, &[2]).unwrap();
        assert_eq!((found.source_bytes, found.saved_bytes(), found.loss_per_gb()), (Some(10), None, None));
    }
}
