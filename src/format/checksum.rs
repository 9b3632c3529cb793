//! Checksums of tensors and files, and the values of a header that hold them.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::open::open_regular;
use crate::error::{Error, Result};
use crate::model::{HEADER_CHECKSUM_KEY, ValueType};

/// A BLAKE3 hash, fast enough to hash all that a conversion reads and writes, even at levels that run at the speed of memory.
///
/// A tensor's checksum is the hash of its chunks' checksums, a model's the hash of its tensors' checksums in file order, so
/// chunks can be hashed side by side and in any order. Chunks are the ones that `convert` reads: whole rows, 262,144 weights at
/// most; longer rows are cut. The default, all zeros, stands for a checksum that is not known yet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Checksum([u8; 32]);

impl Checksum {
    /// The hash of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The hash of the hashes of all parts, one after the other.
    #[must_use]
    pub fn of_parts<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(&part.0);
        }
        Self(*hasher.finalize().as_bytes())
    }

    /// The hash of a whole file, as `b3sum` prints it.
    ///
    /// # Errors
    /// `Error::Io` and `Error::NotAFile` for what cannot be read.
    pub fn of_file(path: &Path) -> Result<Self> {
        let (file, _) = open_regular(path)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(file).map_err(Error::io("read", path))?;
        Ok(Self(*hasher.finalize().as_bytes()))
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Checksum {
    type Err = ();

    /// Reads 64 hexadecimal digits; anything else is an error.
    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        blake3::Hash::from_hex(text).map(|hash| Self(*hash.as_bytes())).map_err(|_| ())
    }
}

impl Serialize for Checksum {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Checksum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|()| D::Error::custom("a checksum has 64 hexadecimal digits"))
    }
}

/// Where a header has the value of a key that holds a checksum; `None` without such a key.
fn place(header: &[u8], key: &str) -> Option<Range<usize>> {
    // Length and name of the key, the value's type, its length: together they occur nowhere else.
    let mut before = (key.len() as u64).to_le_bytes().to_vec();
    before.extend_from_slice(key.as_bytes());
    before.extend_from_slice(&(ValueType::Str as u32).to_le_bytes());
    before.extend_from_slice(&64_u64.to_le_bytes());
    // The keys are near the end of the metadata, behind a vocabulary.
    let found = header.windows(before.len()).rposition(|window| window == before)?;
    let start = found + before.len();
    (start + 64 <= header.len()).then_some(start..start + 64)
}

/// Puts a checksum where the header has room for it.
///
/// # Errors
/// `Error::Internal` for a header without that key.
pub fn set_checksum(header: &mut [u8], key: &str, checksum: Checksum) -> Result<()> {
    let value = place(header, key).and_then(|place| header.get_mut(place));
    let value = value.ok_or_else(|| Error::Internal { message: format!("the header has no place for {key}") })?;
    value.copy_from_slice(checksum.to_string().as_bytes());
    Ok(())
}

/// The checksum of a header in which its own 64 digits count as `0`; `None` for a header without a place for it.
#[must_use]
pub fn header_checksum(header: &[u8]) -> Option<Checksum> {
    let place = place(header, HEADER_CHECKSUM_KEY)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(header.get(..place.start)?).update(&[b'0'; 64]).update(header.get(place.end..)?);
    Some(Checksum(*hasher.finalize().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Layout;
    use crate::model::{SOURCE_CHECKSUM_KEY, TENSORS_CHECKSUM_KEY, provenance_metadata};

    #[test]
    fn a_checksum_reads_back_from_its_text() {
        let checksum = Checksum::of(b"abc");
        // BLAKE3 of "abc", as b3sum prints it.
        assert_eq!(checksum.to_string(), "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85");
        assert_eq!(checksum.to_string().parse(), Ok(checksum));
        for text in ["", "6437", "x437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"] {
            assert_eq!(text.parse::<Checksum>(), Err(()), "{text}");
        }
    }

    #[test]
    fn parts_count_in_their_order() {
        let (a, b) = (Checksum::of(b"a"), Checksum::of(b"b"));
        assert_ne!(Checksum::of_parts([&a, &b]), Checksum::of_parts([&b, &a]));
        assert_ne!(Checksum::of_parts([&a]), a);
    }

    #[test]
    fn a_header_vouches_for_all_its_other_bytes() {
        let layout = Layout::plan(&provenance_metadata("Q8_0", false, None), &[], 32).unwrap();
        let mut header = layout.header;
        set_checksum(&mut header, SOURCE_CHECKSUM_KEY, Checksum::of(b"source")).unwrap();
        let before = header_checksum(&header).unwrap();
        set_checksum(&mut header, HEADER_CHECKSUM_KEY, before).unwrap();
        assert_eq!(header_checksum(&header), Some(before));
        set_checksum(&mut header, TENSORS_CHECKSUM_KEY, Checksum::of(b"tensors")).unwrap();
        assert_ne!(header_checksum(&header), Some(before));
        assert!(set_checksum(&mut header, "planish.imatrix.blake3", before).is_err());
        assert_eq!(header_checksum(b"GGUF"), None);
    }
}
