//! Levels as arguments: shells complete their names, and an unknown name is answered with the nearest ones.

use std::ffi::OsStr;

use clap::builder::{PossibleValue, StyledStr, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, Error};

use crate::model::Level;
use crate::path_text;

/// Least Jaro-Winkler similarity of a name that is suggested; equal names have 1.
const NEAR: f64 = 0.85;
/// The most names that are suggested.
const MAX_SUGGESTIONS: usize = 3;

/// Reads the name of a level, in upper or lower case.
#[derive(Debug, Clone, Copy)]
pub(super) struct LevelParser;

impl TypedValueParser for LevelParser {
    type Value = Level;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<Level, Error> {
        let name = path_text::searchable(value);
        name.parse().map_err(|_| {
            let mut error = Error::new(ErrorKind::InvalidValue).with_cmd(command);
            if let Some(arg) = arg {
                error.insert(ContextKind::InvalidArg, ContextValue::String(arg.to_string()));
            }
            let near = near_names(&name);
            error.insert(ContextKind::InvalidValue, ContextValue::String(name.into_owned()));
            if near.is_empty() {
                let all = Level::all().map(|level| level.name().to_string()).collect();
                error.insert(ContextKind::ValidValue, ContextValue::Strings(all));
            } else {
                let text = StyledStr::from(format!("did you mean {}?", near.join(", ")));
                error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![text]));
            }
            error
        })
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(Level::all().map(|level| PossibleValue::new(level.name()))))
    }
}

/// Names of levels that are written much like this one, the nearest first.
fn near_names(name: &str) -> Vec<&'static str> {
    let bare = |name: &str| name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_uppercase();
    let wanted = bare(name);
    let mut near: Vec<(f64, &str)> = Level::all()
        .map(|level| (strsim::jaro_winkler(&wanted, &bare(level.name())), level.name()))
        .filter(|(similarity, _)| *similarity >= NEAR)
        .collect();
    near.sort_by(|one, other| other.0.total_cmp(&one.0));
    near.into_iter().take(MAX_SUGGESTIONS).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_level_is_answered_with_those_that_are_near() {
        let check = |name: &str, first: Option<&str>| assert_eq!(near_names(name).first().copied(), first, "{name}");
        check("Q4KM", Some("Q4_K_M"));
        check("q4-k-m", Some("Q4_K_M"));
        check("Q8", Some("Q8_0"));
        check("IQ4XS", Some("IQ4_XS"));
        check("f-16", Some("F16"));
        check("mlx-4bit", Some("mlx:4-bit-g32"));
        check("int4", None);
        check("", None);
        assert!(near_names("Q4_K").len() <= MAX_SUGGESTIONS);
    }
}
