//! Special tokens that a post-processor puts before and after a text.

use serde_json::{Map, Value as Json};

use super::files::text_of;
use super::json::TokenizerJson;

/// The special token of a template's piece; `None` for a sequence.
pub(super) fn special_of(piece: Option<&Json>) -> Option<&str> {
    text_of(piece?.get("SpecialToken")?.as_object()?, "id").filter(|token| !token.is_empty())
}

/// The sequence of a template's piece, `A` or `B`.
pub(super) fn sequence_of(piece: Option<&Json>) -> Option<&str> {
    text_of(piece?.get("Sequence")?.as_object()?, "id")
}

/// A template's pieces.
pub(super) fn pieces<'a>(processor: &'a Map<String, Json>, name: &str) -> &'a [Json] {
    processor.get(name).and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The token of a pair `["<s>", 0]`.
pub(super) fn paired_token<'a>(processor: &'a Map<String, Json>, key: &str) -> Option<&'a str> {
    processor.get(key)?.as_array()?.first()?.as_str()
}

impl TokenizerJson {
    /// The special tokens `(before, after)` a single text; both are empty if the post-processor adds none.
    pub fn frame(&self) -> (Vec<String>, Vec<String>) {
        let (mut before, mut behind) = (Vec::new(), Vec::new());
        for step in self.post_processor.steps("processors") {
            match text_of(step, "type").unwrap_or_default() {
                "TemplateProcessing" => {
                    let single = pieces(step, "single");
                    let Some(place) = single.iter().position(|piece| special_of(Some(piece)).is_none()) else { continue };
                    let (head, tail) = single.split_at(place);
                    before.extend(head.iter().filter_map(|piece| special_of(Some(piece))).map(String::from));
                    behind.extend(tail.iter().filter_map(|piece| special_of(Some(piece))).map(String::from));
                }
                "BertProcessing" | "RobertaProcessing" => {
                    before.extend(paired_token(step, "cls").map(String::from));
                    behind.extend(paired_token(step, "sep").map(String::from));
                }
                _ => {}
            }
        }
        (before, behind)
    }
}
