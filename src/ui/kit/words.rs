//! Predictions in sentences.

/// A predicted time, no more exact than it is: `40 s`, `4 min`, `2 h`.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rounded, and never below zero")]
pub fn about_duration_text(secs: f64) -> String {
    let rounded = |value: f64| value.round().max(1.0) as u64;
    match secs {
        // To ten seconds, but a short time is not rounded to none.
        secs if secs < 5.0 => format!("{} s", rounded(secs)),
        secs if secs < 55.0 => format!("{} s", rounded(secs / 10.0) * 10),
        secs if secs < 100.0 * 60.0 => format!("{} min", rounded(secs / 60.0)),
        secs => format!("{} h", rounded(secs / 3600.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_predicted_time_is_rounded() {
        let check = |secs: f64, expected: &str| assert_eq!(about_duration_text(secs), expected, "{secs}");
        check(0.1, "1 s");
        check(4.2, "4 s");
        check(6.0, "10 s");
        check(34.0, "30 s");
        check(57.0, "1 min");
        check(250.0, "4 min");
        check(5400.0, "90 min");
        check(7200.0, "2 h");
    }
}
