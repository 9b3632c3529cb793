//! Gates and wishes as options of the command line.

use clap::Args;

use crate::advise::{Gates, Limits, Wishes};
use crate::error::{Error, Result};
use crate::model::Model;

/// A limit, or none for `off`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Limit(Option<f64>);

/// Parses `0.95`, `95%` or `off`.
fn limit_from_text(text: &str) -> std::result::Result<Limit, String> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("off") {
        return Ok(Limit(None));
    }
    let (number, divisor) = text.strip_suffix('%').map_or((text, 1.0), |number| (number.trim(), 100.0));
    match number.parse::<f64>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(Limit(Some(value / divisor))),
        _ => Err("a number, a percentage or off".into()),
    }
}

/// Parses `0.5` or `off`.
fn seconds_from_text(text: &str) -> std::result::Result<Limit, String> {
    match limit_from_text(text) {
        Ok(limit) if !text.contains('%') => Ok(limit),
        _ => Err("a number of seconds or off".into()),
    }
}

/// The gates that decide the verdict.
#[derive(Debug, Args)]
#[command(next_help_heading = "Gates: the limits that decide the verdict on quality, each a number, a percentage or off")]
pub(super) struct GateArgs {
    /// Least next-token accuracy, as a share of the reference's; default 95%
    #[arg(long, value_name = "LIMIT", value_parser = limit_from_text)]
    min_accuracy: Option<Limit>,
    /// Largest mean KL divergence in nats; default 0.1
    #[arg(long, value_name = "LIMIT", value_parser = limit_from_text)]
    max_kld: Option<Limit>,
    /// Least share of places where both models put the same token first; default off
    #[arg(long, value_name = "LIMIT", value_parser = limit_from_text)]
    min_same_top: Option<Limit>,
    /// Largest perplexity, as a multiple of the reference's; default off; refused for models with recurrent layers
    #[arg(long, value_name = "LIMIT", value_parser = limit_from_text)]
    max_perplexity: Option<Limit>,
}

impl GateArgs {
    pub(super) fn to_gates(&self) -> Gates {
        let default = Gates::default();
        let limit = |given: Option<Limit>, default: Option<f64>| given.map_or(default, |limit| limit.0);
        Gates {
            min_accuracy_ratio: limit(self.min_accuracy, default.min_accuracy_ratio),
            max_mean_kld: limit(self.max_kld, default.max_mean_kld),
            min_same_top: limit(self.min_same_top, default.min_same_top),
            max_ppl_ratio: limit(self.max_perplexity, default.max_ppl_ratio),
        }
    }

    /// True when the user has named one.
    pub(super) fn is_given(&self) -> bool {
        [self.min_accuracy, self.max_perplexity, self.max_kld, self.min_same_top].iter().any(Option::is_some)
    }

    /// Refuses a gate that says nothing about this model.
    ///
    /// # Errors
    /// `Error::BadRequest`.
    pub(super) fn check(&self, model: &Model) -> Result<()> {
        if self.to_gates().max_ppl_ratio.is_none() || !model.has_recurrent_layers() {
            return Ok(());
        }
        let message = format!(
            "--max-perplexity says nothing about {}: with recurrent layers an F16 file can have a higher perplexity than a Q8_0 one; use --max-kld",
            model.hyperparameters.architecture
        );
        Err(Error::BadRequest { message })
    }
}

/// Wishes about memory, size and speed, judged beside the verdict.
#[derive(Debug, Args)]
#[command(next_help_heading = "Wishes: reported beside the verdict, each a number or a percentage; all off unless given")]
pub(super) struct WishArgs {
    /// Largest peak memory, as a share of the source's
    #[arg(long, value_name = "LIMIT", value_parser = limit_from_text)]
    max_memory: Option<Limit>,
    /// Largest file size, as a share of the source's
    #[arg(long, value_name = "LIMIT", value_parser = limit_from_text)]
    max_size: Option<Limit>,
    /// Least decode speed, as a multiple of the source's
    #[arg(long, value_name = "LIMIT", value_parser = limit_from_text)]
    min_speed: Option<Limit>,
    /// Longest time to read the measured prompt, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds_from_text)]
    max_first_token: Option<Limit>,
}

impl WishArgs {
    pub(super) fn to_wishes(&self) -> Wishes {
        let limit = |given: Option<Limit>| given.and_then(|limit| limit.0);
        Wishes {
            max_memory_ratio: limit(self.max_memory),
            max_size_ratio: limit(self.max_size),
            min_speed_ratio: limit(self.min_speed),
            max_first_token_secs: limit(self.max_first_token),
        }
    }
}

/// Gates and wishes.
#[derive(Debug, Args)]
pub(super) struct LimitArgs {
    #[command(flatten)]
    pub(super) gates: GateArgs,
    #[command(flatten)]
    pub(super) wishes: WishArgs,
}

impl LimitArgs {
    pub(super) fn to_limits(&self) -> Limits {
        Limits { gates: self.gates.to_gates(), wishes: self.wishes.to_wishes() }
    }

    /// True when the user has named one.
    pub(super) fn is_given(&self) -> bool {
        self.gates.is_given() || self.wishes.to_wishes() != Wishes::default()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::model::Value;
    use crate::ui::test_support::sample_model;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        limits: LimitArgs,
    }

    fn limits(args: &[&str]) -> LimitArgs {
        Line::try_parse_from(std::iter::once("x").chain(args.iter().copied())).unwrap().limits
    }

    #[test]
    fn limits_are_numbers_percentages_or_off() {
        let check = |text: &str, expected: Option<Option<f64>>| {
            assert_eq!(limit_from_text(text).ok().map(|limit| limit.0), expected, "{text:?}");
        };
        check("0.95", Some(Some(0.95)));
        check("95 %", Some(Some(0.95)));
        check("Off", Some(None));
        check("inf", None);
        check("", None);
        assert_eq!(seconds_from_text("0.5"), Ok(Limit(Some(0.5))));
        assert!(seconds_from_text("50%").is_err() && seconds_from_text("soon").is_err());
    }

    #[test]
    fn what_is_not_named_is_as_planish_begins() {
        let none = limits(&[]);
        assert!(!none.is_given());
        assert_eq!(none.to_limits(), Limits::default());
        let some = limits(&["--max-perplexity", "1.05", "--max-kld", "off", "--min-speed", "2", "--max-size", "50%"]);
        assert!(some.is_given() && some.gates.is_given());
        assert_eq!(some.to_limits().gates, Gates { max_ppl_ratio: Some(1.05), max_mean_kld: None, ..Gates::default() });
        let wishes = Wishes { min_speed_ratio: Some(2.0), max_size_ratio: Some(0.5), ..Wishes::default() };
        assert_eq!(some.to_limits().wishes, wishes);
        assert!(!limits(&["--min-speed", "off"]).is_given());
    }

    #[test]
    fn perplexity_is_refused_where_layers_are_recurrent() {
        let mut model = sample_model();
        let args = limits(&["--max-perplexity", "1.05"]);
        assert_eq!(args.gates.check(&model), Ok(()));
        model.hyperparameters.architecture = "rwkv7".into();
        model.metadata.set("rwkv7.wkv.head_size", Value::U32(64));
        let error = args.gates.check(&model).unwrap_err();
        assert!(error.to_string().contains("--max-kld"), "{error}");
        assert_eq!(limits(&[]).gates.check(&model), Ok(()));
    }
}
