//! Key-values of a model file, lossless: order, value types and bytes are kept.

use std::borrow::Cow;

/// A GGUF string: bytes that should be UTF-8 but are kept as they are.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Text(pub Vec<u8>);

impl Text {
    /// The text, with U+FFFD for bytes that are not UTF-8.
    #[must_use]
    pub fn lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.lossy())
    }
}

/// One of the 13 value types of GGUF, with its id in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
#[repr(u32)]
pub enum ValueType {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    Str = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

impl ValueType {
    /// The type with this id; `None` above 12.
    #[must_use]
    pub fn from_id(id: u32) -> Option<Self> {
        use ValueType::{Array, Bool, F32, F64, I8, I16, I32, I64, Str, U8, U16, U32, U64};
        [U8, I8, U16, I16, U32, I32, F32, Bool, Str, Array, U64, I64, F64].into_iter().find(|kind| *kind as u32 == id)
    }
}

/// A value with its type.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    Str(Text),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// A typed array. Numbers lie flat; strings and nested arrays are owned values.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    Bool(Vec<bool>),
    Str(Vec<Text>),
    Array(Vec<Array>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F64(Vec<f64>),
}

impl Array {
    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::U8(v) => v.len(),
            Self::I8(v) => v.len(),
            Self::U16(v) => v.len(),
            Self::I16(v) => v.len(),
            Self::U32(v) => v.len(),
            Self::I32(v) => v.len(),
            Self::F32(v) => v.len(),
            Self::Bool(v) => v.len(),
            Self::Str(v) => v.len(),
            Self::Array(v) => v.len(),
            Self::U64(v) => v.len(),
            Self::I64(v) => v.len(),
            Self::F64(v) => v.len(),
        }
    }

    /// True without elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The type of the elements.
    #[must_use]
    pub fn element_type(&self) -> ValueType {
        match self {
            Self::U8(_) => ValueType::U8,
            Self::I8(_) => ValueType::I8,
            Self::U16(_) => ValueType::U16,
            Self::I16(_) => ValueType::I16,
            Self::U32(_) => ValueType::U32,
            Self::I32(_) => ValueType::I32,
            Self::F32(_) => ValueType::F32,
            Self::Bool(_) => ValueType::Bool,
            Self::Str(_) => ValueType::Str,
            Self::Array(_) => ValueType::Array,
            Self::U64(_) => ValueType::U64,
            Self::I64(_) => ValueType::I64,
            Self::F64(_) => ValueType::F64,
        }
    }

    /// Element `idx` as a value; `None` past the end.
    #[must_use]
    pub fn at(&self, idx: usize) -> Option<Value> {
        Some(match self {
            Self::U8(v) => Value::U8(*v.get(idx)?),
            Self::I8(v) => Value::I8(*v.get(idx)?),
            Self::U16(v) => Value::U16(*v.get(idx)?),
            Self::I16(v) => Value::I16(*v.get(idx)?),
            Self::U32(v) => Value::U32(*v.get(idx)?),
            Self::I32(v) => Value::I32(*v.get(idx)?),
            Self::F32(v) => Value::F32(*v.get(idx)?),
            Self::Bool(v) => Value::Bool(*v.get(idx)?),
            Self::Str(v) => Value::Str(v.get(idx)?.clone()),
            Self::Array(v) => Value::Array(v.get(idx)?.clone()),
            Self::U64(v) => Value::U64(*v.get(idx)?),
            Self::I64(v) => Value::I64(*v.get(idx)?),
            Self::F64(v) => Value::F64(*v.get(idx)?),
        })
    }

    /// The elements as unsigned integers; `None` when the array holds anything else or a negative number.
    #[must_use]
    pub fn to_u64s(&self) -> Option<Vec<u64>> {
        (0..self.len()).map(|idx| self.at(idx)?.as_u64()).collect()
    }
}

impl Value {
    /// The type in the file.
    #[must_use]
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::U8(_) => ValueType::U8,
            Self::I8(_) => ValueType::I8,
            Self::U16(_) => ValueType::U16,
            Self::I16(_) => ValueType::I16,
            Self::U32(_) => ValueType::U32,
            Self::I32(_) => ValueType::I32,
            Self::F32(_) => ValueType::F32,
            Self::Bool(_) => ValueType::Bool,
            Self::Str(_) => ValueType::Str,
            Self::Array(_) => ValueType::Array,
            Self::U64(_) => ValueType::U64,
            Self::I64(_) => ValueType::I64,
            Self::F64(_) => ValueType::F64,
        }
    }

    /// Any integer that is not negative; `None` for the rest.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::U8(v) => Some(v.into()),
            Self::U16(v) => Some(v.into()),
            Self::U32(v) => Some(v.into()),
            Self::U64(v) => Some(v),
            Self::I8(v) => v.try_into().ok(),
            Self::I16(v) => v.try_into().ok(),
            Self::I32(v) => v.try_into().ok(),
            Self::I64(v) => v.try_into().ok(),
            _ => None,
        }
    }

    /// Any number as a float; `None` for the rest.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "hyperparameters are small")]
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Self::F32(v) => Some(v.into()),
            Self::F64(v) => Some(v),
            Self::I64(v) => Some(v as f64),
            _ => self.as_u64().map(|v| v as f64),
        }
    }

    /// The value for a person, on one line and at most about `max_chars` long; arrays show their first elements and length.
    #[must_use]
    pub fn preview(&self, max_chars: usize) -> String {
        let text = match self {
            Self::U8(v) => v.to_string(),
            Self::I8(v) => v.to_string(),
            Self::U16(v) => v.to_string(),
            Self::I16(v) => v.to_string(),
            Self::U32(v) => v.to_string(),
            Self::I32(v) => v.to_string(),
            Self::F32(v) => v.to_string(),
            Self::Bool(v) => v.to_string(),
            Self::U64(v) => v.to_string(),
            Self::I64(v) => v.to_string(),
            Self::F64(v) => v.to_string(),
            Self::Str(v) => v.lossy().chars().take(max_chars + 1).map(|c| if c.is_control() { ' ' } else { c }).collect(),
            Self::Array(array) => {
                let mut text = String::from("[");
                for idx in 0..array.len() {
                    if text.len() >= max_chars.saturating_sub(12) {
                        text.push('…');
                        break;
                    }
                    if idx > 0 {
                        text.push_str(", ");
                    }
                    text.push_str(&array.at(idx).map(|value| value.preview(24)).unwrap_or_default());
                }
                return format!("{text}] ({} values)", crate::units::count_text(array.len() as u64));
            }
        };
        if text.chars().count() > max_chars { text.chars().take(max_chars).chain(['…']).collect() } else { text }
    }
}

/// Key-values in file order. Keys are unique: the reader refuses duplicates.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Metadata(pub Vec<(String, Value)>);

impl Metadata {
    /// The value of `key`; `None` if it is missing.
    #[must_use]
    pub fn find(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, value)| value)
    }

    /// The string at `key`; `None` if it is missing or of another type.
    #[must_use]
    pub fn str(&self, key: &str) -> Option<Cow<'_, str>> {
        match self.find(key)? {
            Value::Str(text) => Some(text.lossy()),
            _ => None,
        }
    }

    /// The integer of any width at `key`; `None` if it is missing, negative or of another type.
    #[must_use]
    pub fn u64(&self, key: &str) -> Option<u64> {
        self.find(key)?.as_u64()
    }

    /// The number of any type at `key`; `None` if it is missing or not a number.
    #[must_use]
    pub fn f64(&self, key: &str) -> Option<f64> {
        self.find(key)?.as_f64()
    }

    /// Replaces the value of `key` in place, or appends it.
    pub fn set(&mut self, key: &str, value: Value) {
        match self.0.iter_mut().find(|(k, _)| k == key) {
            Some(entry) => entry.1 = value,
            None => self.0.push((key.to_string(), value)),
        }
    }

    /// Removes `key` if it is there.
    pub fn remove(&mut self, key: &str) {
        self.0.retain(|(k, _)| k != key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_keeps_the_order() {
        let mut metadata = Metadata::default();
        metadata.set("a", Value::U8(1));
        metadata.set("b", Value::Bool(true));
        metadata.set("a", Value::I64(-1));
        assert_eq!(metadata.0.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((metadata.u64("a"), metadata.f64("a")), (None, Some(-1.0)));
    }

    #[test]
    fn previews_are_short_and_on_one_line() {
        let check = |value: Value, expected: &str| assert_eq!(value.preview(20), expected);
        check(Value::F32(0.5), "0.5");
        check(Value::Str("a\nb".into()), "a b");
        check(Value::Str("abcdefghijklmnopqrstuvwxyz".into()), "abcdefghijklmnopqrst…");
        check(Value::Array(Array::U8(vec![1, 2])), "[1, 2] (2 values)");
        check(Value::Array(Array::I32((0..5000).collect())), "[0, 1, 2…] (5,000 values)");
    }
}
