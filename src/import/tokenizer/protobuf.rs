//! Fields of a protobuf message, checked against the bytes that are left; nothing is copied.
//!
//! Source: <https://protobuf.dev/programming-guides/encoding/>.

/// A field's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field<'a> {
    /// A variable-length number.
    Number(u64),
    /// Eight bytes, little-endian.
    Fixed64([u8; 8]),
    /// Text, bytes or a message.
    Bytes(&'a [u8]),
    /// Four bytes, little-endian.
    Fixed32([u8; 4]),
}

/// The fields of a message, in their order.
#[derive(Debug)]
pub(super) struct Message<'a> {
    bytes: &'a [u8],
    size_bytes: usize,
}

impl<'a> Message<'a> {
    /// The message in these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, size_bytes: bytes.len() }
    }

    /// The next field with its number; `None` at the end.
    ///
    /// # Errors
    /// Where and how the message is damaged.
    pub fn next_field(&mut self) -> Result<Option<(u64, Field<'a>)>, String> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let tag = self.number()?;
        let field = match tag & 7 {
            0 => Field::Number(self.number()?),
            1 => Field::Fixed64(self.fixed()?),
            2 => {
                let n_bytes = self.number()?;
                let n_bytes = usize::try_from(n_bytes).map_err(|_| self.ends_early(n_bytes))?;
                Field::Bytes(self.take(n_bytes)?)
            }
            5 => Field::Fixed32(self.fixed()?),
            kind => return Err(format!("a field of the unknown kind {kind} at byte {}", self.at())),
        };
        match tag >> 3 {
            0 => Err(format!("a field without a number at byte {}", self.at())),
            number => Ok(Some((number, field))),
        }
    }

    fn at(&self) -> usize {
        self.size_bytes - self.bytes.len()
    }

    fn ends_early(&self, needed: u64) -> String {
        format!("a field needs {needed} bytes at byte {}, only {} are left", self.at(), self.bytes.len())
    }

    fn take(&mut self, n_bytes: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.bytes.split_at_checked(n_bytes).ok_or_else(|| self.ends_early(n_bytes as u64))?;
        self.bytes = rest;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut fixed = [0; N];
        fixed.copy_from_slice(self.take(N)?);
        Ok(fixed)
    }

    fn number(&mut self) -> Result<u64, String> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?.first().copied().unwrap_or_default();
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(format!("a number of more than 64 bits at byte {}", self.at()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(bytes: &[u8]) -> Result<Vec<(u64, Field<'_>)>, String> {
        let mut message = Message::new(bytes);
        let mut fields = Vec::new();
        while let Some(field) = message.next_field()? {
            fields.push(field);
        }
        Ok(fields)
    }

    #[test]
    fn every_kind_of_field_is_read() {
        assert_eq!(fields(&[]), Ok(vec![]));
        assert_eq!(fields(&[0x08, 0x96, 0x01]), Ok(vec![(1, Field::Number(150))]));
        assert_eq!(fields(&[0x12, 0x02, b'h', b'i']), Ok(vec![(2, Field::Bytes(b"hi"))]));
        assert_eq!(fields(&[0x1d, 0, 0, 0x80, 0x3f]), Ok(vec![(3, Field::Fixed32([0, 0, 0x80, 0x3f]))]));
        assert_eq!(fields(&[0x21, 1, 2, 3, 4, 5, 6, 7, 8]), Ok(vec![(4, Field::Fixed64([1, 2, 3, 4, 5, 6, 7, 8]))]));
        let largest = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(fields(&largest), Ok(vec![(1, Field::Number(u64::MAX))]));
    }

    #[test]
    fn damage_is_told_with_its_place() {
        let check = |bytes: &[u8], expected: &str| {
            let error = fields(bytes).unwrap_err();
            assert!(error.contains(expected), "{bytes:?}: {error}");
        };
        check(&[0x08], "needs 1 bytes at byte 1, only 0 are left");
        check(&[0x08, 0x80], "only 0 are left");
        check(&[0x12, 0x03, b'h', b'i'], "needs 3 bytes at byte 2, only 2 are left");
        check(&[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], "only 0 are left");
        check(&[0x1d, 0, 0], "needs 4 bytes");
        check(&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], "more than 64 bits");
        check(&[0x0b], "unknown kind 3");
        check(&[0x00, 0x00], "without a number");
    }
}
