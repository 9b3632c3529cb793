//! What an ONNX file says about its weights, from the messages that are needed alone: nothing is copied, and memory does not grow with the file.
//!
//! Source of the field numbers: onnx.proto of onnx 1.23.2.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{LEVEL_KEY, RECIPE_KEY};

/// What is wrong with a file.
type Result<T> = std::result::Result<T, String>;

/// Operators that compute with quantized weights other than `MatMulNBits`.
const QUANTIZED: [&str; 8] = [
    "MatMulBnb4",
    "MatMulInteger",
    "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul",
    "QLinearMatMul",
    "QMoE",
    "DequantizeLinear",
    "GatherBlockQuantized",
];
/// Names of the types of weights that count, by their numbers.
const TYPES: [(u64, &str); 4] = [(1, "F32"), (10, "F16"), (16, "BF16"), (11, "F64")];
/// The most files with weights.
const MAX_DATA_FILES: usize = 4096;

/// What an ONNX file says about its weights.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct OnnxSummary {
    /// The level that Planish made it at, by its name.
    pub level: Option<String>,
    /// The recipe that Planish noted.
    recipe: Option<String>,
    /// How many products there are with each number of bits and length of blocks.
    n_bits: BTreeMap<(u64, u64), usize>,
    /// How many there are of each operator of `QUANTIZED`.
    quantized: BTreeMap<&'static str, usize>,
    /// Weights of each float type.
    floats: BTreeMap<&'static str, u64>,
    /// Names of the files that hold weights, as they stand in the file.
    pub data_files: BTreeSet<String>,
}

impl OnnxSummary {
    /// Reads a whole file.
    ///
    /// # Errors
    /// What is damaged.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let mut summary = Self::default();
        let mut has_graph = false;
        for field in Fields(bytes) {
            match field? {
                (7, Value::Bytes(graph)) => {
                    has_graph = true;
                    summary.read_graph(graph)?;
                }
                (14, Value::Bytes(entry)) => {
                    let (key, value) = entry_of(entry)?;
                    match key {
                        LEVEL_KEY => summary.level = Some(value.into()),
                        RECIPE_KEY => summary.recipe = Some(value.into()),
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        if has_graph { Ok(summary) } else { Err("it has no graph".into()) }
    }

    /// The recipe for a person: the one that Planish noted, else what the operators and types tell.
    pub fn recipe_text(&self) -> String {
        if let Some(recipe) = &self.recipe {
            return crate::path_text::one_line(recipe).into_owned();
        }
        let most = self.n_bits.iter().max_by_key(|(_, n)| **n);
        if let Some(((bits, block), n)) = most {
            let others = match self.n_bits.values().sum::<usize>() - n {
                0 => String::new(),
                1 => ", 1 matrix differs".into(),
                n => format!(", {n} matrices differ"),
            };
            return format!("MatMulNBits, {bits} bits, blocks of {block}{others}");
        }
        if !self.quantized.is_empty() {
            return self.quantized.keys().copied().collect::<Vec<_>>().join(", ");
        }
        self.floats.iter().max_by_key(|(_, n)| **n).map_or_else(String::new, |(name, _)| (*name).to_string())
    }

    fn read_graph(&mut self, graph: &[u8]) -> Result<()> {
        for field in Fields(graph) {
            match field? {
                (1, Value::Bytes(node)) => self.read_node(node)?,
                (5, Value::Bytes(tensor)) => self.read_weights(tensor)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn read_node(&mut self, node: &[u8]) -> Result<()> {
        let (mut kind, mut bits, mut block) = ("", 0, 0);
        for field in Fields(node) {
            match field? {
                (4, Value::Bytes(name)) => kind = text(name)?,
                (5, Value::Bytes(attribute)) => match number_of_attribute(attribute)? {
                    ("bits", number) => bits = number,
                    ("block_size", number) => block = number,
                    _ => {}
                },
                _ => {}
            }
        }
        if kind == "MatMulNBits" {
            *self.n_bits.entry((bits, block)).or_default() += 1;
        } else if let Some(kind) = QUANTIZED.into_iter().find(|known| *known == kind) {
            *self.quantized.entry(kind).or_default() += 1;
        }
        Ok(())
    }

    fn read_weights(&mut self, tensor: &[u8]) -> Result<()> {
        let (mut n_weights, mut dtype, mut data_file) = (1_u64, 0, None);
        for field in Fields(tensor) {
            match field? {
                (1, Value::Number(dim)) => n_weights = n_weights.saturating_mul(dim),
                // All dimensions in one field.
                (1, Value::Bytes(mut dims)) => {
                    while !dims.is_empty() {
                        n_weights = n_weights.saturating_mul(varint(&mut dims)?);
                    }
                }
                (2, Value::Number(number)) => dtype = number,
                (13, Value::Bytes(entry)) => {
                    if let ("location", name) = entry_of(entry)? {
                        data_file = Some(name);
                    }
                }
                _ => {}
            }
        }
        if let Some((_, name)) = TYPES.into_iter().find(|(number, _)| *number == dtype) {
            let sum = self.floats.entry(name).or_default();
            *sum = sum.saturating_add(n_weights);
        }
        if let Some(name) = data_file.filter(|name| !self.data_files.contains(*name)) {
            if self.data_files.len() >= MAX_DATA_FILES {
                return Err(format!("its weights lie in more than {MAX_DATA_FILES} files"));
            }
            self.data_files.insert(name.into());
        }
        Ok(())
    }
}

/// Key and value of an entry.
fn entry_of(entry: &[u8]) -> Result<(&str, &str)> {
    let (mut key, mut value) = ("", "");
    for field in Fields(entry) {
        match field? {
            (1, Value::Bytes(bytes)) => key = text(bytes)?,
            (2, Value::Bytes(bytes)) => value = text(bytes)?,
            _ => {}
        }
    }
    Ok((key, value))
}

/// Name and whole number of an attribute; 0 for one of another kind.
fn number_of_attribute(attribute: &[u8]) -> Result<(&str, u64)> {
    let (mut name, mut number) = ("", 0);
    for field in Fields(attribute) {
        match field? {
            (1, Value::Bytes(bytes)) => name = text(bytes)?,
            (3, Value::Number(found)) => number = found,
            _ => {}
        }
    }
    Ok((name, number))
}

fn text(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| "a text in it is not UTF-8".into())
}

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value<'a> {
    Number(u64),
    /// A text, a message, or several numbers.
    Bytes(&'a [u8]),
    /// A float: none is needed.
    Other,
}

/// The fields of a message in turn, each with its number; ends after the first that is damaged.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = field(&mut self.0);
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// Takes a field off the front of a message.
///
/// Source: "Encoding" in the documentation of protocol buffers.
fn field<'a>(bytes: &mut &'a [u8]) -> Result<(u64, Value<'a>)> {
    let key = varint(bytes)?;
    let value = match key & 7 {
        0 => Value::Number(varint(bytes)?),
        1 => skip(bytes, 8)?,
        2 => {
            let n_bytes = varint(bytes)?;
            Value::Bytes(take(bytes, n_bytes)?)
        }
        5 => skip(bytes, 4)?,
        other => return Err(format!("a field of kind {other}, which ONNX does not have")),
    };
    Ok((key >> 3, value))
}

fn skip<'a>(bytes: &mut &'a [u8], n_bytes: u64) -> Result<Value<'a>> {
    take(bytes, n_bytes).map(|_| Value::Other)
}

fn take<'a>(bytes: &mut &'a [u8], n_bytes: u64) -> Result<&'a [u8]> {
    let split = usize::try_from(n_bytes).ok().and_then(|n| bytes.split_at_checked(n));
    let (taken, rest) = split.ok_or_else(|| format!("a field of {n_bytes} bytes, only {} are left", bytes.len()))?;
    *bytes = rest;
    Ok(taken)
}

/// A whole number in groups of 7 bits, the lowest first.
fn varint(bytes: &mut &[u8]) -> Result<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or("it ends within a number")?;
        *bytes = rest;
        number |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err("a number of more than 64 bits".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(field: u64, value: u64) -> Vec<u8> {
        [encoded(field << 3), encoded(value)].concat()
    }

    fn message(field: u64, content: &[u8]) -> Vec<u8> {
        [encoded(field << 3 | 2), encoded(content.len() as u64), content.to_vec()].concat()
    }

    fn encoded(mut value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push(u8::try_from(value & 0x7F).unwrap() | 0x80);
            value >>= 7;
        }
        bytes.push(u8::try_from(value).unwrap());
        bytes
    }

    fn entry(key: &str, value: &str) -> Vec<u8> {
        [message(1, key.as_bytes()), message(2, value.as_bytes())].concat()
    }

    fn product(bits: u64, block: u64) -> Vec<u8> {
        let attribute = |name: &str, value| message(5, &[message(1, name.as_bytes()), number(3, value)].concat());
        message(1, &[message(4, b"MatMulNBits"), attribute("bits", bits), attribute("block_size", block)].concat())
    }

    fn weights(dtype: u64, n: u64, data_file: Option<&str>) -> Vec<u8> {
        let data_file = data_file.map_or(Vec::new(), |name| message(13, &entry("location", name)));
        message(5, &[message(1, &encoded(n)), number(2, dtype), data_file].concat())
    }

    fn recipe(graph: &[Vec<u8>]) -> String {
        OnnxSummary::read(&message(7, &graph.concat())).unwrap().recipe_text()
    }

    #[test]
    fn operators_and_types_tell_the_recipe() {
        assert_eq!(recipe(&[weights(1, 10, None), product(4, 32), product(4, 32)]), "MatMulNBits, 4 bits, blocks of 32");
        assert_eq!(
            recipe(&[product(4, 32), product(8, 32), product(4, 32)]),
            "MatMulNBits, 4 bits, blocks of 32, 1 matrix differs"
        );
        assert_eq!(recipe(&[weights(1, 10, None), weights(10, 99, None)]), "F16");
        assert_eq!(recipe(&[weights(16, 10, None), message(1, &message(4, b"Add"))]), "BF16");
        assert_eq!(recipe(&[message(1, &message(4, b"MatMulInteger"))]), "MatMulInteger");
        assert_eq!(recipe(&[]), "");
    }

    #[test]
    fn what_planish_noted_counts() {
        let properties = [message(14, &entry(LEVEL_KEY, "onnx:INT4")), message(14, &entry(RECIPE_KEY, "4 bits, head 8 bits"))];
        let bytes = [properties.concat(), message(7, &product(4, 32))].concat();
        let summary = OnnxSummary::read(&bytes).unwrap();
        assert_eq!((summary.level.as_deref(), summary.recipe_text().as_str()), (Some("onnx:INT4"), "4 bits, head 8 bits"));
    }

    #[test]
    fn files_with_weights_are_named_once() {
        let graph = [weights(1, 9, Some("a.data")), weights(1, 9, Some("b.data")), weights(1, 9, Some("a.data"))].concat();
        let summary = OnnxSummary::read(&message(7, &graph)).unwrap();
        assert_eq!(summary.data_files.into_iter().collect::<Vec<_>>(), ["a.data", "b.data"]);
    }

    #[test]
    fn a_file_that_is_cut_or_made_up_is_told() {
        let whole = message(7, &[weights(1, 300, Some("a.data")), product(4, 32)].concat());
        for n in 0..whole.len() {
            assert!(OnnxSummary::read(&whole[..n]).is_err(), "{n}");
        }
        assert!(OnnxSummary::read(&message(7, &message(5, &message(13, &message(1, b"\xFF"))))).is_err());
        assert!(OnnxSummary::read(&[0xFF; 64]).is_err());
        assert!(OnnxSummary::read(&[encoded(7 << 3 | 2), encoded(u64::MAX)].concat()).is_err());
        assert!(OnnxSummary::read(&[7 << 3 | 3]).is_err(), "a group");
        let many: Vec<u8> = (0..=MAX_DATA_FILES).flat_map(|n| weights(1, 1, Some(&n.to_string()))).collect();
        assert!(OnnxSummary::read(&message(7, &many)).is_err());
    }
}
