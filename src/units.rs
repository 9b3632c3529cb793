//! Numbers to text and back: the place where quantities are formatted.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer};

use crate::error::{Error, Result};

const KIB: f64 = 1024.0;
const MIB: f64 = KIB * 1024.0;
const GIB: f64 = MIB * 1024.0;
const TIB: f64 = GIB * 1024.0;

/// Bits divided by weights; 0 for no weights.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "shown with three digits")]
pub fn bits_per_weight(n_bytes: u64, n_weights: u64) -> f64 {
    if n_weights == 0 { 0.0 } else { n_bytes as f64 * 8.0 / n_weights as f64 }
}

/// A size with three significant digits and a binary unit: `1.87 GiB`, `512 B`.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
pub fn bytes_text(size_bytes: u64) -> String {
    let size = size_bytes as f64;
    let (value, unit) = match size {
        s if s >= TIB => (s / TIB, "TiB"),
        s if s >= GIB => (s / GIB, "GiB"),
        s if s >= MIB => (s / MIB, "MiB"),
        s if s >= KIB => (s / KIB, "KiB"),
        _ => return format!("{size_bytes} B"),
    };
    format!("{} {unit}", significant_text(value))
}

/// Every byte, in groups of three: `144,811,072 B`.
#[must_use]
pub fn exact_bytes_text(size_bytes: u64) -> String {
    format!("{} B", count_text(size_bytes))
}

/// How much larger or smaller a size became: `+1.87 MiB`, `−512 B`, `±0 B`.
#[must_use]
pub fn bytes_change_text(from_bytes: u64, to_bytes: u64) -> String {
    format!("{}{}", change_sign(from_bytes, to_bytes), bytes_text(from_bytes.abs_diff(to_bytes)))
}

/// The same with every byte: `+1,960,000 B`.
#[must_use]
pub fn exact_bytes_change_text(from_bytes: u64, to_bytes: u64) -> String {
    format!("{}{}", change_sign(from_bytes, to_bytes), exact_bytes_text(from_bytes.abs_diff(to_bytes)))
}

fn change_sign(from: u64, to: u64) -> &'static str {
    match to.cmp(&from) {
        std::cmp::Ordering::Greater => "+",
        std::cmp::Ordering::Less => "−",
        std::cmp::Ordering::Equal => "±",
    }
}

/// A count in groups of three: `49,152`.
#[must_use]
pub fn count_text(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (idx, digit) in digits.chars().enumerate() {
        if idx > 0 && (digits.len() - idx).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of things: `1 level`, `3 levels`, `12,000 levels`.
#[must_use]
pub fn count_of(n: impl TryInto<u64>, word: &str) -> String {
    let n = n.try_into().unwrap_or(u64::MAX);
    if n == 1 { format!("1 {word}") } else { format!("{} {word}s", count_text(n)) }
}

/// The place in an order: `1st`, `2nd`, `3rd`, `4th`, `11th`.
#[must_use]
pub fn ordinal_text(n: u64) -> String {
    let is_teen = (11..=13).contains(&(n % 100));
    let ending = match n % 10 {
        1 if !is_teen => "st",
        2 if !is_teen => "nd",
        3 if !is_teen => "rd",
        _ => "th",
    };
    format!("{}{ending}", count_text(n))
}

/// A number of parameters as the field writes it: `135 M`, `6.74 B`.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
pub fn parameters_text(n_parameters: u64) -> String {
    let n = n_parameters as f64;
    match n {
        n if n >= 1e12 => format!("{} T", significant_text(n / 1e12)),
        n if n >= 1e9 => format!("{} B", significant_text(n / 1e9)),
        n if n >= 1e6 => format!("{} M", significant_text(n / 1e6)),
        n if n >= 1e3 => format!("{} K", significant_text(n / 1e3)),
        _ => n_parameters.to_string(),
    }
}

/// A rate of bytes, in decimal units as memory and disks are sold: `21.4 GB/s`.
#[must_use]
pub fn bytes_per_sec_text(rate: f64) -> String {
    if rate >= 1e9 { with_unit(rate / 1e9, "GB/s") } else { with_unit(rate / 1e6, "MB/s") }
}

/// Tokens per second: `41.8 tok/s`.
#[must_use]
pub fn tokens_per_sec_text(rate: f64) -> String {
    with_unit(rate, "tok/s")
}

/// A power: `15.2 W`.
#[must_use]
pub fn watts_text(watts: f64) -> String {
    with_unit(watts, "W")
}

/// A time for a person: `840 ms`, `3.2 s`, `12 s`, `3 min 20 s`, `2 h 5 min`; `unknown` if it is not finite.
#[must_use]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rounded, positive, below 2^64")]
pub fn duration_text(secs: f64) -> String {
    if !secs.is_finite() {
        return "unknown".into();
    }
    let secs = secs.max(0.0);
    if secs < 0.001 {
        return format!("{} µs", significant_text(secs * 1e6));
    }
    if secs < 1.0 {
        return format!("{} ms", significant_text(secs * 1e3));
    }
    if secs < 10.0 {
        return format!("{secs:.1} s");
    }
    let whole = secs.round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// A fraction of 1 as a percentage: `62.0 %`, `0.420 %`.
#[must_use]
pub fn percent_text(part: f64) -> String {
    with_unit(part * 100.0, "%")
}

/// A number with its unit; one that is not finite is `unknown`, without a unit.
fn with_unit(value: f64, unit: &str) -> String {
    let text = significant_text(value);
    if value.is_finite() { format!("{text} {unit}") } else { text }
}

/// A KL divergence in nats, without the unit: at most three significant digits; below 0.001 with an exponent, because four
/// decimals would show nothing.
#[must_use]
pub fn nats_text(nats: f64) -> String {
    if nats != 0.0 && nats.abs() < 0.001 { format!("{nats:.1e}") } else { significant_text(nats) }
}

/// Three significant digits, but at most four decimals and no exponent: `0.0123`, `1.87`, `41.8`, `512`, `1,234`; `unknown` if
/// it is not finite.
#[must_use]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and rounded")]
pub fn significant_text(value: f64) -> String {
    let size = value.abs();
    let sign = if value < 0.0 { "−" } else { "" };
    match size {
        s if !s.is_finite() => "unknown".into(),
        0.0 => "0".into(),
        s if s >= 999.5 => format!("{sign}{}", count_text(s.round() as u64)),
        s if s >= 99.95 => format!("{sign}{s:.0}"),
        s if s >= 9.995 => format!("{sign}{s:.1}"),
        s if s >= 0.9995 => format!("{sign}{s:.2}"),
        s if s >= 0.09995 => format!("{sign}{s:.3}"),
        s => format!("{sign}{s:.4}"),
    }
}

/// A ratio near 1 with four decimals: `1.0627`.
#[must_use]
pub fn ratio_text(ratio: f64) -> String {
    format!("{ratio:.4}")
}

/// Three significant digits of a number that may be tiny: `0.0123`, `1.23e-5`.
#[must_use]
pub fn small_text(value: f64) -> String {
    if value.abs() < 0.001 && value != 0.0 && value.is_finite() { format!("{value:.2e}") } else { significant_text(value) }
}

/// A fraction of 1, perhaps a tiny one, as a percentage: `7.41 %`, `1.41e-4 %`.
#[must_use]
pub fn small_percent_text(part: f64) -> String {
    format!("{} %", small_text(part * 100.0))
}

/// A cosine near 1, with the digits in which good ones differ: `0.999982`.
#[must_use]
pub fn cosine_text(cosine: f64) -> String {
    format!("{cosine:.6}")
}

/// A value with its `±`, which has the decimals of the value: `168 ± 8`, `16.8 ± 0.4`.
#[must_use]
pub fn plus_minus_text(value: f64, half_width: f64) -> String {
    let value_text = significant_text(value);
    if !value.is_finite() {
        return value_text;
    }
    let half_text = rounded_like(&value_text, half_width, &significant_text(half_width));
    format!("{value_text} ± {half_text}")
}

/// `number` with as many decimals as `value_text`; `exact` where only zeros would be left, so that a small number does not look
/// like none, and for a number that is not finite.
#[must_use]
pub fn rounded_like(value_text: &str, number: f64, exact: &str) -> String {
    let n_decimals = value_text.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    let rounded = format!("{number:.n_decimals$}");
    let is_lost = number > 0.0 && !rounded.contains(|digit: char| ('1'..='9').contains(&digit));
    if is_lost || !number.is_finite() { exact.to_string() } else { rounded }
}

/// A change with its sign: `+12.5`, `−0.0031`, `0`.
#[must_use]
pub fn signed_text(change: f64) -> String {
    let sign = if change > 0.0 && change.is_finite() { "+" } else { "" };
    format!("{sign}{}", significant_text(change))
}

/// A moment as date and time of day on this machine: `2026-08-21 14:05`; `unknown` beyond the year 9999.
#[must_use]
pub fn local_time_text(unix_secs: i64) -> String {
    time_text(unix_secs, TimeZone::system())
}

/// The day of a moment on this machine: `21 August 2026`; `unknown` beyond the year 9999.
#[must_use]
pub fn local_day_text(unix_secs: i64) -> String {
    local_text(unix_secs, TimeZone::system(), "%-d %B %Y")
}

/// The time of day of a moment on this machine: `14:05`.
#[must_use]
pub fn local_clock_text(unix_secs: i64) -> String {
    local_text(unix_secs, TimeZone::system(), "%H:%M")
}

/// Reads a day as the moment at which it begins on this machine, in seconds since 1970: `2026-08-21`.
///
/// # Errors
/// `Error::BadRequest` for anything else.
pub fn local_date_from_text(text: &str) -> Result<i64> {
    date_from_text(text, &TimeZone::system())
}

fn date_from_text(text: &str, zone: &TimeZone) -> Result<i64> {
    let bad = |_: jiff::Error| Error::BadRequest { message: format!("cannot read {text:?} as a day such as 2026-08-21") };
    let day: Date = text.trim().parse().map_err(bad)?;
    Ok(day.to_zoned_datetime(zone.clone()).map_err(bad)?.timestamp().as_second())
}

/// A moment in UTC by ISO 8601: `2026-08-21T14:05:00Z`; empty beyond the year 9999.
#[must_use]
pub fn utc_time_text(unix_secs: i64) -> String {
    Timestamp::from_second(unix_secs).map_or_else(|_| String::new(), |moment| moment.to_string())
}

fn time_text(unix_secs: i64, zone: TimeZone) -> String {
    local_text(unix_secs, zone, "%Y-%m-%d %H:%M")
}

fn local_text(unix_secs: i64, zone: TimeZone, format: &str) -> String {
    match Timestamp::from_second(unix_secs) {
        Ok(moment) => moment.to_zoned_datetime(zone).strftime(format).to_string(),
        Err(_) => "unknown".into(),
    }
}

/// Reads a number from JSON, which has no NaN and no infinity: `null` becomes NaN. For `#[serde(deserialize_with)]`.
///
/// # Errors
/// Those of the deserializer.
pub fn nan_from_null<'de, D: Deserializer<'de>, F: Deserialize<'de> + From<f32>>(
    deserializer: D,
) -> std::result::Result<F, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_else(|| F::from(f32::NAN)))
}

/// The same for a list of numbers.
///
/// # Errors
/// Those of the deserializer.
pub fn nans_from_nulls<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Vec<f64>, D::Error> {
    Ok(Vec::<Option<f64>>::deserialize(deserializer)?.into_iter().map(|value| value.unwrap_or(f64::NAN)).collect())
}

/// Reads `800M`, `6G`, `5.5 GiB`, `123456`: a plain number is bytes, K, M, G and T are binary.
///
/// # Errors
/// `Error::BadSize` for anything else, and for sizes that are negative, not finite or above `u64::MAX`.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "range checked")]
pub fn bytes_from_text(text: &str) -> Result<u64> {
    let bad = || Error::BadSize { text: text.to_string() };
    let trimmed = text.trim();
    let split = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(split);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        // Bytes are read as an integer: a float has no room for the largest.
        "" | "b" => return number.parse().map_err(|_| bad()),
        "k" | "kb" | "kib" => KIB,
        "m" | "mb" | "mib" => MIB,
        "g" | "gb" | "gib" => GIB,
        "t" | "tb" | "tib" => TIB,
        _ => return Err(bad()),
    };
    let size = number.parse::<f64>().map_err(|_| bad())? * factor;
    if size.is_finite() && size < u64::MAX as f64 { Ok(size as u64) } else { Err(bad()) }
}

/// A message as a sentence on the screen: with a capital letter, unless a name comes first.
#[must_use]
pub fn sentence(message: &str) -> String {
    let mut chars = message.chars();
    // `llama.cpp failed …`, `mlx:4-bit-g64 is …` and file names stay as they are.
    let first_word = message.split(' ').next().unwrap_or_default();
    let is_name = first_word.trim_end_matches(':').contains(['.', '/', ':']);
    match chars.next() {
        Some(first) if !is_name => first.to_uppercase().chain(chars).collect(),
        _ => message.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_said_otherwise_than_many() {
        assert_eq!([0, 1, 2].map(|n| count_of(n, "level")), ["0 levels", "1 level", "2 levels"]);
        assert_eq!(count_of(12_000_usize, "tensor"), "12,000 tensors");
        assert_eq!([1, 2, 3, 4, 11, 12, 13, 21, 112].map(ordinal_text).join(" "), "1st 2nd 3rd 4th 11th 12th 13th 21st 112th");
    }

    #[test]
    fn sizes_are_shown_with_three_digits() {
        let check = |size, expected: &str| assert_eq!(bytes_text(size), expected);
        check(0, "0 B");
        check(1023, "1023 B");
        check(1024, "1.00 KiB");
        check(98_362_432, "93.8 MiB");
        check(2_147_483_648, "2.00 GiB");
        check(u64::MAX, "16,777,216 TiB");
    }

    #[test]
    fn changes_of_a_size_have_a_sign() {
        let check = |from, to, expected: [&str; 2]| {
            assert_eq!([bytes_change_text(from, to), exact_bytes_change_text(from, to)], expected);
        };
        check(1000, 1000 + (3 << 20), ["+3.00 MiB", "+3,145,728 B"]);
        check(2000, 500, ["−1.46 KiB", "−1,500 B"]);
        check(7, 7, ["±0 B", "±0 B"]);
    }

    #[test]
    fn counts_are_grouped() {
        let check = |count, expected: &str| assert_eq!(count_text(count), expected);
        check(0, "0");
        check(999, "999");
        check(1000, "1,000");
        check(134_515_008, "134,515,008");
    }

    #[test]
    fn durations_are_for_people() {
        let check = |secs, expected: &str| assert_eq!(duration_text(secs), expected);
        check(0.0002, "200 µs");
        check(0.25, "250 ms");
        check(3.25, "3.2 s");
        check(59.0, "59 s");
        check(200.0, "3 min 20 s");
        check(7500.0, "2 h 5 min");
        check(f64::INFINITY, "unknown");
    }

    #[test]
    fn numbers_keep_three_significant_digits() {
        let check = |value, expected: &str| assert_eq!(significant_text(value), expected);
        check(0.0, "0");
        check(0.9999, "1.00");
        check(9.999, "10.0");
        check(99.99, "100");
        check(1234.5, "1,235");
        check(-2.5, "−2.50");
        check(0.01234, "0.0123");
        check(f64::NAN, "unknown");
    }

    #[test]
    fn small_numbers_are_not_rounded_to_nothing() {
        let check = |value, expected: &str| assert_eq!(small_text(value), expected);
        check(0.0, "0");
        check(0.0741, "0.0741");
        check(0.001, "0.0010");
        check(0.000_012_34, "1.23e-5");
        check(-0.000_9, "-9.00e-4");
        check(f64::INFINITY, "unknown");
        assert_eq!((small_percent_text(0.0741), small_percent_text(0.000_001_41)), ("7.41 %".into(), "1.41e-4 %".into()));
        assert_eq!(cosine_text(0.999_982_4), "0.999982");
    }

    #[test]
    fn an_uncertainty_has_the_decimals_of_its_value() {
        let check = |value, half, expected: &str| assert_eq!(plus_minus_text(value, half), expected);
        check(168.2, 8.31, "168 ± 8");
        check(16.84, 0.41, "16.8 ± 0.4");
        check(16.84, 0.0, "16.8 ± 0.0");
        check(168.2, 0.02, "168 ± 0.0200");
        check(0.0123, f64::INFINITY, "0.0123 ± unknown");
    }

    #[test]
    fn changes_have_a_sign() {
        let check = |change, expected: &str| assert_eq!(signed_text(change), expected);
        check(12.5, "+12.5");
        check(-0.0031, "−0.0031");
        check(0.0, "0");
        check(f64::INFINITY, "unknown");
    }

    #[test]
    fn moments_are_told_in_the_machines_time() {
        let check = |secs, offset_hours: i8, expected: &str| {
            assert_eq!(time_text(secs, TimeZone::fixed(jiff::tz::offset(offset_hours))), expected);
        };
        check(0, 0, "1970-01-01 00:00");
        check(1_787_321_100, 2, "2026-08-21 16:05");
        check(i64::MAX, 0, "unknown");
        assert_eq!((utc_time_text(1_787_321_100).as_str(), utc_time_text(i64::MIN).as_str()), ("2026-08-21T14:05:00Z", ""));
    }

    #[test]
    fn days_begin_at_midnight_on_this_machine() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let check = |text: &str, expected: Option<i64>| assert_eq!(date_from_text(text, &zone).ok(), expected, "{text}");
        check("2026-08-21", Some(1_787_263_200));
        check(" 1970-01-01 ", Some(-7200));
        check("yesterday", None);
        check("2026-13-01", None);
    }

    #[test]
    fn sizes_are_read_with_units() {
        let check = |text: &str, expected: Option<u64>| assert_eq!(bytes_from_text(text).ok(), expected, "{text}");
        check("123", Some(123));
        check("1k", Some(1024));
        check("5.5 GiB", Some(5_905_580_032));
        check(" 2G ", Some(2_147_483_648));
        check("", None);
        check("G", None);
        check("-1", None);
        check("1e400G", None);
        check("99999999999T", None);
        check("18446744073709551615", Some(u64::MAX));
    }

    #[test]
    fn messages_become_sentences_but_names_stay() {
        let check = |message: &str, expected: &str| assert_eq!(sentence(message), expected);
        check("cannot open x", "Cannot open x");
        check("llama.cpp failed on x", "llama.cpp failed on x");
        check("mlx:4-bit-g64: the smallest", "mlx:4-bit-g64: the smallest");
        check("predicted: 4 tok/s", "Predicted: 4 tok/s");
        check("", "");
    }
}
