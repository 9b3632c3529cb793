//! JSON as Python reads and writes it: with `NaN`, `Infinity` and `-Infinity`, and numbers beyond the largest float.

use std::borrow::Cow;

use serde::de::DeserializeOwned;

use super::safetensors::{check_texts, json_error};

/// Names of floats that JSON does not have.
const NAMES: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];

/// Reads a JSON text. Floats that JSON does not have become texts with their names: a reader that needs the number refuses them
/// by name.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn from_python_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    check_texts(bytes)?;
    match serde_json::from_slice(bytes) {
        Ok(value) => Ok(value),
        Err(error) => match quoted(bytes) {
            Cow::Owned(bytes) => serde_json::from_slice(&bytes).map_err(|error| json_error(&error)),
            Cow::Borrowed(_) => Err(json_error(&error)),
        },
    }
}

/// The text with such floats in quotation marks.
fn quoted(bytes: &[u8]) -> Cow<'_, [u8]> {
    let mut quoted = Vec::new();
    let (mut copied, mut at) = (0, 0);
    let mut is_text = false;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        if is_text {
            match rest[0] {
                b'\\' => at += 1,
                b'"' => is_text = false,
                _ => {}
            }
            at += 1;
            continue;
        }
        let name = NAMES.iter().find(|name| rest.starts_with(name)).map(|&name| (name.len(), name));
        if let Some((len, name)) = name.or_else(|| overflow(rest)) {
            quoted.extend_from_slice(&bytes[copied..at]);
            quoted.extend_from_slice(&[b"\"", name, b"\""].concat());
            at += len;
            copied = at;
            continue;
        }
        is_text = rest[0] == b'"';
        // The rest of a number or a word.
        let is_word = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'+' | b'-');
        at += rest.iter().take_while(is_word).count().max(1);
    }
    if copied == 0 {
        return Cow::Borrowed(bytes);
    }
    quoted.extend_from_slice(bytes.get(copied..).unwrap_or_default());
    Cow::Owned(quoted)
}

/// The length of a number that no float holds, and the name of what Python makes of it.
fn overflow(rest: &[u8]) -> Option<(usize, &'static [u8])> {
    let len = rest.iter().take_while(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'+' | b'-' | b'e' | b'E')).count();
    let number: f64 = std::str::from_utf8(rest.get(..len)?).ok()?.parse().ok()?;
    number.is_infinite().then_some((len, if number < 0.0 { NAMES[0] } else { NAMES[1] }))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn floats_of_python_are_read_as_their_names() {
        let check = |text: &str, expected: &str| {
            let found: Value = from_python_json(text.as_bytes()).unwrap();
            assert_eq!(found, serde_json::from_str::<Value>(expected).unwrap(), "{text}");
        };
        check(r#"{"a":[0.0, Infinity],"b":-Infinity,"c":NaN}"#, r#"{"a":[0.0,"Infinity"],"b":"-Infinity","c":"NaN"}"#);
        check(r#"{"a":1e400,"b":-1E+999}"#, r#"{"a":"Infinity","b":"-Infinity"}"#);
        check(r#"{"NaN":"Infinity \" NaN","b":NaN}"#, r#"{"NaN":"Infinity \" NaN","b":"NaN"}"#);
        check("\u{feff}{\"a\":1}", r#"{"a":1}"#);
        check("NaN", r#""NaN""#);
        check(r#"{"a":1.5e3}"#, r#"{"a":1500.0}"#);
    }

    #[test]
    fn damage_stays_an_error() {
        for text in ["", "{", "{\"a\":NaN", "{\"a\":Nan}", "{\"a\":xInfinity}", "{\"a\":1.}", "\"\\", "{\"a\":NaNNaN}"] {
            assert!(from_python_json::<Value>(text.as_bytes()).is_err(), "{text}");
        }
    }
}
