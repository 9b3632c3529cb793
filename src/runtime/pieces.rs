//! From the texts of a vocabulary to the bytes that they stand for.

use super::session::Marks;
use crate::import::tokenizer::{Splitter, TokenKind};

/// The bytes of a token of a checkpoint's tokenizer; none for one that it does not have.
pub(super) fn piece(splitter: &Splitter, token: u32, marks: Marks) -> Vec<u8> {
    let Some((text, kind)) = splitter.tokens().get(token as usize) else { return Vec::new() };
    match kind {
        TokenKind::Mark if marks == Marks::Text => Vec::new(),
        TokenKind::Mark | TokenKind::Added => text.0.clone(),
        TokenKind::Piece if splitter.is_byte_level() => bytes_of(&text.lossy()),
        TokenKind::Piece => spaced(&text.lossy()),
    }
}

/// The bytes that a text of a byte-level vocabulary stands for.
///
/// A byte that can be printed is written as itself, the others as the characters from U+0100 on, in their order. Source:
/// `bytes_to_unicode` in GPT-2's encoder.py.
pub(super) fn bytes_of(text: &str) -> Vec<u8> {
    let is_itself = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let others: Vec<u8> = (0..=u8::MAX).filter(|&byte| !is_itself(byte)).collect();
    let mut bytes = Vec::with_capacity(text.len());
    for character in text.chars() {
        let code = u32::from(character);
        let byte = match u8::try_from(code) {
            Ok(byte) => Some(byte),
            Err(_) => code.checked_sub(0x100).and_then(|idx| others.get(idx as usize).copied()),
        };
        match byte {
            Some(byte) => bytes.push(byte),
            // No byte-level vocabulary has this character: it stays as it is.
            None => bytes.extend(character.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    bytes
}

/// The bytes of a text of a SentencePiece vocabulary: `▁` is a space, `<0x0A>` a byte.
pub(super) fn spaced(text: &str) -> Vec<u8> {
    let byte = text.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>')).and_then(|hex| u8::from_str_radix(hex, 16).ok());
    match byte {
        Some(byte) => vec![byte],
        None => text.replace('\u{2581}', " ").into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_vocabularies_are_bytes() {
        assert_eq!(bytes_of("Ġhello"), b" hello");
        assert_eq!(bytes_of("ĊĊ"), b"\n\n");
        assert_eq!(bytes_of("Ã©"), "é".as_bytes());
        assert_eq!(bytes_of("Ń"), [0xAD], "the last of those that cannot be printed");
        assert_eq!(bytes_of("漢"), "漢".as_bytes());
        assert_eq!(spaced("▁the"), b" the");
        assert_eq!(spaced("<0x0A>"), b"\n");
        assert_eq!(spaced("<0xZZ>"), b"<0xZZ>");
    }
}
