//! Warnings of several runs as few lines: what concerns all of them once, what concerns one with its name.

/// Merges warnings, given as `(name of the run, its warnings)`. First those that all runs share, then `NAME: warning`.
///
/// A single run's warnings come without its name; no runs give no lines.
#[must_use]
pub fn merged_warnings(runs: &[(&str, &[String])]) -> Vec<String> {
    let is_shared = |warning: &String| runs.iter().all(|(_, warnings)| warnings.contains(warning));
    let mut lines: Vec<String> = Vec::new();
    if let Some((_, first)) = runs.first() {
        lines.extend(first.iter().filter(|warning| is_shared(warning)).cloned());
    }
    for (name, warnings) in runs {
        lines.extend(warnings.iter().filter(|warning| !is_shared(warning)).map(|warning| format!("{name}: {warning}")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_share_is_said_once_and_the_rest_is_named() {
        let of = |warnings: &[&str]| warnings.iter().map(ToString::to_string).collect::<Vec<_>>();
        let (a, b) = (of(&["busy", "decode varied"]), of(&["busy"]));
        assert_eq!(merged_warnings(&[("Q8_0", &a), ("Q2_K", &b)]), ["busy", "Q8_0: decode varied"]);
        assert_eq!(merged_warnings(&[("Q8_0", &a)]), ["busy", "decode varied"]);
        assert!(merged_warnings(&[]).is_empty());
    }
}
