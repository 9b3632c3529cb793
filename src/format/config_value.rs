//! Values of `config.json` as people and scripts write them: `"500000.0"` and `4.0` are numbers too, `"true"` is a yes.

use serde_json::Value;

/// Largest whole number that is read: it fits everywhere, and no dimension is larger.
pub const MAX_WHOLE: u64 = 1 << 28;
/// Longest value that a message shows.
const MAX_SHOWN_CHARS: usize = 40;
/// Whole numbers up to here (2^53) are exact as floats.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// A whole number of at least 0: `4`, `4.0`, `"4"`. `None` for null.
///
/// # Errors
/// What the value is instead: `"many", not a whole number`.
pub fn whole_of(value: &Value) -> Result<Option<u64>, String> {
    let Some(number) = number_of(value).map_err(|_| odd(value, "not a whole number"))? else { return Ok(None) };
    // A large whole number is not looked at as a float, which might round it.
    let exact = value.as_u64().or_else(|| value.as_str()?.trim().parse().ok());
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
    let whole = exact.or_else(|| (number.fract() == 0.0 && (0.0..=MAX_EXACT).contains(&number)).then_some(number as u64));
    match whole {
        Some(whole) if whole <= MAX_WHOLE => Ok(Some(whole)),
        _ if number < 0.0 => Err(odd(value, "below 0")),
        _ if number.fract() == 0.0 => Err(odd(value, "impossibly large")),
        _ => Err(odd(value, "not a whole number")),
    }
}

/// A finite number: `0.5`, `"1e-05"`. `None` for null.
///
/// # Errors
/// What the value is instead.
pub fn number_of(value: &Value) -> Result<Option<f64>, String> {
    let number = match value {
        Value::Null => return Ok(None),
        Value::Number(number) => number.as_f64(),
        // Rust also reads names such as `inf`, which are not finite and fail below.
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number: &f64| number.is_finite()).map(Some).ok_or_else(|| odd(value, "not a number"))
}

/// A yes or no: `true`, `"False"`, `1`. `None` for null.
///
/// # Errors
/// What the value is instead.
pub fn flag_of(value: &Value) -> Result<Option<bool>, String> {
    match value {
        Value::Null => return Ok(None),
        Value::Bool(flag) => return Ok(Some(*flag)),
        Value::Number(number) if number.as_f64() == Some(0.0) => return Ok(Some(false)),
        Value::Number(number) if number.as_f64() == Some(1.0) => return Ok(Some(true)),
        Value::String(text) if text.trim().eq_ignore_ascii_case("true") => return Ok(Some(true)),
        Value::String(text) if text.trim().eq_ignore_ascii_case("false") => return Ok(Some(false)),
        _ => {}
    }
    Err(odd(value, "neither true nor false"))
}

/// The value, without control characters, and what is wrong with it.
pub fn odd(value: &Value, what: &str) -> String {
    let shown: String = value.to_string().chars().filter(|c| !c.is_control()).take(MAX_SHOWN_CHARS).collect();
    format!("{shown}, {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn numbers_are_read_in_every_spelling_or_refused_by_name() {
        let whole = |text: &str, expected: Result<Option<u64>, &str>| {
            assert_eq!(whole_of(&json(text)), expected.map_err(String::from), "{text}");
        };
        whole("4", Ok(Some(4)));
        whole("4.0", Ok(Some(4)));
        whole(r#""4""#, Ok(Some(4)));
        whole(r#"" 4.0 ""#, Ok(Some(4)));
        whole("4e2", Ok(Some(400)));
        whole("null", Ok(None));
        whole("4.5", Err("4.5, not a whole number"));
        whole("-1", Err("-1, below 0"));
        whole(r#""-1""#, Err(r#""-1", below 0"#));
        whole("true", Err("true, not a whole number"));
        whole(r#""many""#, Err(r#""many", not a whole number"#));
        whole(r#""NaN""#, Err(r#""NaN", not a whole number"#));
        whole("[4]", Err("[4], not a whole number"));
        whole("18446744073709551615", Err("18446744073709551615, impossibly large"));
        whole("1e30", Err("1e+30, impossibly large"));
        let number = |text: &str, expected: Result<Option<f64>, &str>| {
            assert_eq!(number_of(&json(text)), expected.map_err(String::from), "{text}");
        };
        number(r#""500000.0""#, Ok(Some(500_000.0)));
        number(r#""1e-05""#, Ok(Some(1e-5)));
        number("7", Ok(Some(7.0)));
        number("null", Ok(None));
        number(r#""Infinity""#, Err(r#""Infinity", not a number"#));
        number(r#""-Infinity""#, Err(r#""-Infinity", not a number"#));
        number("false", Err("false, not a number"));
        number(r#""""#, Err(r#""", not a number"#));
        number("{}", Err("{}, not a number"));
    }

    #[test]
    fn flags_are_read_in_every_spelling_or_refused_by_name() {
        let check = |text: &str, expected: Result<Option<bool>, &str>| {
            assert_eq!(flag_of(&json(text)), expected.map_err(String::from), "{text}");
        };
        check("true", Ok(Some(true)));
        check(r#""False""#, Ok(Some(false)));
        check("1", Ok(Some(true)));
        check("0.0", Ok(Some(false)));
        check("null", Ok(None));
        check("2", Err("2, neither true nor false"));
        check(r#""yes""#, Err(r#""yes", neither true nor false"#));
    }
}
