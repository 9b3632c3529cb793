//! Answers of files to prompts, and how they differ.

pub(crate) mod answer;
pub(crate) mod divergence;
pub(crate) mod realign;
#[cfg(test)]
pub(crate) mod test_answers;
pub(crate) mod vote;
