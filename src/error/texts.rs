//! Messages that need more than a pattern.

pub(super) fn several_text(names: &[String]) -> String {
    const MAX_NAMES: usize = 8;
    let first: Vec<String> = names.iter().take(MAX_NAMES).map(|name| name.escape_debug().to_string()).collect();
    match names.len().saturating_sub(MAX_NAMES) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

pub(super) fn beyond_text(token: &str, number: u64, n_tokens: u64) -> String {
    let token: String = token.escape_debug().take(40).collect();
    format!(
        "the tokenizer's token {token} has the number {number}, the model has only {n_tokens} tokens (0 to {})",
        n_tokens.saturating_sub(1)
    )
}

pub(super) fn unmatched_text(pattern: &str, fixed: Option<&str>) -> String {
    match fixed {
        Some(tensor) => format!("{pattern} matches only tensors that every level leaves as they are, such as {tensor}"),
        None => format!("no tensor of the model matches {pattern}"),
    }
}
