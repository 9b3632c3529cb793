//! What stands on the wire: checks an ONNX file byte by byte before anything is decoded.
//!
//! prost decodes what passes, and only that. It allocates as it goes, and a message of two bytes may take 300 in memory; so
//! what decoding will take is added up here first. It drops fields that it does not know, so they are noted here.
//!
//! Source of the encoding: <https://protobuf.dev/programming-guides/encoding/>.

use std::ops::Range;
use std::path::Path;

use super::schema::{Field, Kind, Message, N_NUMBERS};
use crate::error::{Error, Result};

/// The format's name in messages.
pub(super) const FORMAT: &str = "ONNX";
/// Messages may be nested this deep: prost decodes no deeper.
const MAX_DEPTH: usize = 100;
/// Longest text. Names are shorter than a hundred bytes; what an author adds may be a vocabulary.
const MAX_TEXT_BYTES: u64 = 16 << 20;
/// Longest number on the wire.
const MAX_VARINT_BYTES: usize = 10;
/// What decoding any file may take.
const BASE_BYTES: u64 = 64 << 20;
/// What the structure of the largest files may take.
const MAX_STRUCTURE_BYTES: u64 = 512 << 20;
/// What an allocation of its own costs beside its bytes.
const ALLOCATION_BYTES: u64 = 16;
/// Fewest elements that a list has room for.
const MIN_CAPACITY: u64 = 4;
/// Most kinds of unknown fields that are told apart.
const MAX_UNKNOWN: usize = 16;
/// Most unknown fields that are stepped over.
const MAX_STEPS: u64 = 1_000_000;

/// A field that onnx.proto does not define.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownField {
    /// The message that has it: `NodeProto`.
    pub message: &'static str,
    /// Its number.
    pub number: u32,
}

/// Checks that `bytes` are a `ModelProto` that prost decodes in bounded memory; returns the kinds of unknown fields.
///
/// Decoding takes at most 64 MiB and the size of the file for the structure, and that much again for lists of numbers.
///
/// # Errors
/// `Error::Truncated` for a file that ends too early, `Error::DamagedFile` for what contradicts the encoding or onnx.proto,
/// and for what would take too much memory.
pub(super) fn check(bytes: &[u8], path: &Path) -> Result<Vec<UnknownField>> {
    let own = bytes.len() as u64;
    let most_structure = BASE_BYTES.saturating_add(own).min(MAX_STRUCTURE_BYTES);
    let most_numbers = BASE_BYTES.saturating_add(own.saturating_mul(2));
    let mut walk = Walk { bytes, path, unknown: Vec::new(), n_unknown: 0, structure: most_structure, numbers: most_numbers };
    walk.message(Message::Model, 0..bytes.len(), 0)?;
    Ok(walk.unknown)
}

/// How a value is written, with the numbers of the encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WireType {
    Varint,
    Fixed64,
    Delimited,
    Fixed32,
}

struct Walk<'a> {
    bytes: &'a [u8],
    path: &'a Path,
    unknown: Vec<UnknownField>,
    n_unknown: u64,
    /// Bytes that the decoded structure may still take.
    structure: u64,
    /// Bytes that decoded lists of numbers may still take.
    numbers: u64,
}

impl Walk<'_> {
    fn damaged(&self, what: impl Into<String>) -> Error {
        Error::DamagedFile { format: FORMAT, what: what.into(), path: self.path.to_path_buf() }
    }

    /// Checks the fields of a message that fills `range`.
    fn message(&mut self, message: Message, range: Range<usize>, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(self.damaged(format!("messages are nested more than {MAX_DEPTH} deep")));
        }
        let mut counts = [0_u64; N_NUMBERS];
        let Range { start: mut at, end } = range;
        while at < end {
            let (number, wire_type) = self.key(message, &mut at, end)?;
            let Some(field) = message.field(number) else {
                self.note_unknown(message, number)?;
                self.step_over(message, wire_type, &mut at, end)?;
                continue;
            };
            let n = self.field(message, field, wire_type, &mut at, end, depth)?;
            if field.is_repeated {
                self.charge(field, n.saturating_mul(field.element_bytes()))?;
                if let Some(count) = counts.get_mut(number as usize) {
                    *count += n;
                }
            }
        }
        // A list doubles its room whenever it is full.
        for field in message.fields().iter().filter(|field| field.is_repeated) {
            let count = counts.get(field.number as usize).copied().unwrap_or(0);
            if count > 0 {
                let room = count.max(MIN_CAPACITY).checked_next_power_of_two().unwrap_or(u64::MAX) - count;
                self.charge(field, room.saturating_mul(field.element_bytes()).saturating_add(ALLOCATION_BYTES))?;
            }
        }
        Ok(())
    }

    /// Checks one field's value; returns how many elements it adds to a list.
    fn field(
        &mut self,
        message: Message,
        field: &Field,
        wire_type: WireType,
        at: &mut usize,
        end: usize,
        depth: usize,
    ) -> Result<u64> {
        let is_packed = field.is_repeated && wire_type == WireType::Delimited;
        match field.kind {
            Kind::Int(_) if wire_type == WireType::Varint => self.varint(message, field.name, at, end).map(|_| 1),
            Kind::Float if wire_type == WireType::Fixed32 => self.take(message, field.name, 4, at, end).map(|_| 1),
            Kind::Double if wire_type == WireType::Fixed64 => self.take(message, field.name, 8, at, end).map(|_| 1),
            Kind::Int(_) if is_packed => {
                let range = self.delimited(message, field.name, at, end)?;
                self.packed_varints(message, field, range)
            }
            Kind::Float | Kind::Double if is_packed => {
                let width = if field.kind == Kind::Float { 4 } else { 8 };
                let n_bytes = self.delimited(message, field.name, at, end)?.len();
                if n_bytes % width != 0 {
                    let (message, name) = (message.name(), field.name);
                    return Err(self.damaged(format!("{message}.{name} has {n_bytes} bytes for numbers of {width}")));
                }
                Ok((n_bytes / width) as u64)
            }
            Kind::Text if wire_type == WireType::Delimited => {
                let range = self.delimited(message, field.name, at, end)?;
                self.text(message, field, range).map(|()| 1)
            }
            Kind::Bytes if wire_type == WireType::Delimited => self.delimited(message, field.name, at, end).map(|_| 1),
            Kind::Message(inner) if wire_type == WireType::Delimited => {
                let range = self.delimited(message, field.name, at, end)?;
                if !field.is_repeated {
                    self.charge(field, field.element_bytes())?;
                }
                self.message(inner, range, depth + 1).map(|()| 1)
            }
            _ => {
                let what =
                    format!("{}.{} is written as another kind of value (wire type {wire_type:?})", message.name(), field.name);
                Err(self.damaged(what))
            }
        }
    }

    /// Reads a field's number and how its value is written.
    fn key(&self, message: Message, at: &mut usize, end: usize) -> Result<(u32, WireType)> {
        let position = *at;
        let key = self.varint(message, "the key of a field", at, end)?;
        let wire_type = match key & 7 {
            0 => Some(WireType::Varint),
            1 => Some(WireType::Fixed64),
            2 => Some(WireType::Delimited),
            5 => Some(WireType::Fixed32),
            _ => None,
        };
        match (u32::try_from(key).map(|key| key >> 3), wire_type) {
            (Ok(number), Some(wire_type)) if number > 0 => Ok((number, wire_type)),
            _ => Err(self.damaged(format!("byte {position}, in a {}, begins no field (key {key})", message.name()))),
        }
    }

    fn varint(&self, message: Message, what: &str, at: &mut usize, end: usize) -> Result<u64> {
        // Most are small: they take one byte.
        if let Some(&byte) = self.bytes.get(*at).filter(|byte| *at < end && **byte < 0x80) {
            *at += 1;
            return Ok(byte.into());
        }
        let mut value = 0_u64;
        for idx in 0..MAX_VARINT_BYTES {
            let [byte] = *self.take(message, what, 1, at, end)? else { break };
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if idx == MAX_VARINT_BYTES - 1 && bits > 1 {
                break;
            }
            value |= bits << (7 * idx);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.damaged(format!("{}, {what}: a number has more than 64 bits", message.name())))
    }

    /// The place of a value that states its length.
    fn delimited(&self, message: Message, what: &str, at: &mut usize, end: usize) -> Result<Range<usize>> {
        let len = self.varint(message, what, at, end)?;
        let start = *at;
        self.take(message, what, len, at, end)?;
        Ok(start..*at)
    }

    /// The next `n_bytes` of a message that ends at `end`.
    fn take(&self, message: Message, what: &str, n_bytes: u64, at: &mut usize, end: usize) -> Result<&[u8]> {
        let left = (end - *at) as u64;
        if n_bytes <= left {
            let start = *at;
            *at += usize::try_from(n_bytes).unwrap_or(0);
            return Ok(self.bytes.get(start..*at).unwrap_or_default());
        }
        let what = format!("{}.{what}", message.name());
        let left_in_file = (self.bytes.len() - *at) as u64;
        if n_bytes > left_in_file {
            return Err(Error::Truncated { what, needed: n_bytes, left: left_in_file, path: self.path.to_path_buf() });
        }
        Err(self.damaged(format!("{what} has {n_bytes} bytes, but the message around it ends after {left}")))
    }

    fn step_over(&self, message: Message, wire_type: WireType, at: &mut usize, end: usize) -> Result<()> {
        let what = "an unknown field";
        match wire_type {
            WireType::Varint => self.varint(message, what, at, end).map(drop),
            WireType::Fixed64 => self.take(message, what, 8, at, end).map(drop),
            WireType::Fixed32 => self.take(message, what, 4, at, end).map(drop),
            WireType::Delimited => self.delimited(message, what, at, end).map(drop),
        }
    }

    /// Counts the numbers of a list that is written as one value.
    fn packed_varints(&self, message: Message, field: &Field, range: Range<usize>) -> Result<u64> {
        let (mut n, mut at) = (0, range.start);
        let most = self.numbers / field.element_bytes();
        // More than that is refused anyway.
        while at < range.end && n <= most {
            self.varint(message, field.name, &mut at, range.end)?;
            n += 1;
        }
        Ok(n)
    }

    fn text(&mut self, message: Message, field: &Field, range: Range<usize>) -> Result<()> {
        let (start, len) = (range.start, range.len() as u64);
        if len > MAX_TEXT_BYTES {
            let what = format!("{}.{} is a text of {len} bytes, at most {MAX_TEXT_BYTES} are read", message.name(), field.name);
            return Err(self.damaged(what));
        }
        if std::str::from_utf8(self.bytes.get(range).unwrap_or_default()).is_err() {
            return Err(self.damaged(format!("{}.{} at byte {start} is not text in UTF-8", message.name(), field.name)));
        }
        self.charge(field, if len == 0 { 0 } else { len + ALLOCATION_BYTES })
    }

    /// Notes what decoding a field takes.
    fn charge(&mut self, field: &Field, n_bytes: u64) -> Result<()> {
        let is_number = matches!(field.kind, Kind::Int(_) | Kind::Float | Kind::Double);
        let left = if is_number { &mut self.numbers } else { &mut self.structure };
        match left.checked_sub(n_bytes) {
            Some(rest) => {
                *left = rest;
                Ok(())
            }
            None if is_number => Err(self.damaged(format!(
                "its lists of numbers ({}) would take many times the file's size in memory; save the tensors as raw data",
                field.name
            ))),
            None => Err(self
                .damaged(format!("its structure (the last was {}) would take many times the file's size in memory", field.name))),
        }
    }

    fn note_unknown(&mut self, message: Message, number: u32) -> Result<()> {
        self.n_unknown += 1;
        if self.n_unknown > MAX_STEPS {
            return Err(
                self.damaged(format!("more than {MAX_STEPS} of its fields are unknown, as field {number} of {}", message.name()))
            );
        }
        let field = UnknownField { message: message.name(), number };
        if self.unknown.len() < MAX_UNKNOWN && !self.unknown.contains(&field) {
            self.unknown.push(field);
        }
        Ok(())
    }
}
