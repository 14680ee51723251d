//! Additional headers of a record, such as the attributes of an event.

/// Additional Kafka headers of one record, in order. Layout of each header: length of the name (2 bytes,
/// little-endian), name, length of the value (4 bytes), value. Name and value are UTF-8.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Headers<'a>(&'a [u8]);

impl<'a> Headers<'a> {
    /// No additional header.
    pub const NONE: Self = Self(&[]);

    /// Parses the layout; `None` if the bytes are not valid headers.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = bytes;
        while !rest.is_empty() {
            (_, _, rest) = split(rest)?;
        }
        Some(Self(bytes))
    }

    /// Encodes the layout. Limits on requests ensure that a name has at most 65,535 bytes and a value less than 4 GiB.
    /// A longer name or value is truncated.
    pub fn encode<'h>(headers: impl IntoIterator<Item = (&'h str, &'h str)>) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, value) in headers {
            let name = &name[..name.floor_char_boundary(usize::from(u16::MAX))];
            let value = &value[..value.floor_char_boundary(u32::MAX as usize)];
            bytes.extend_from_slice(&(name.len() as u16).to_le_bytes());
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
            bytes.extend_from_slice(value.as_bytes());
        }
        bytes
    }

    /// The encoded headers.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Whether there are no additional headers.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// Names and values in order.
    pub fn iter(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (name, value, after) = split(rest)?;
            rest = after;
            Some((name, value))
        })
    }
}

impl std::fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// The first header, and the bytes after it.
fn split(bytes: &[u8]) -> Option<(&str, &str, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let (name, rest) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    Some((str::from_utf8(name).ok()?, str::from_utf8(value).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_read_back_and_truncated_ones_differ() {
        let long = "x".repeat(70_000);
        let pairs = [("a", ""), ("", "b"), ("ce_größe", &long)];
        let bytes = Headers::encode(pairs);
        let read = Headers::parse(&bytes).unwrap();
        assert!(read.iter().eq(pairs));
        for end in 0..bytes.len() {
            assert_ne!(Headers::parse(&bytes[..end]), Some(read));
        }
        assert_eq!(Headers::parse(&[1, 0, 0xff, 0, 0, 0, 0]), None, "invalid UTF-8 in the name");
        assert!(Headers::parse(&[]).unwrap().is_empty());
    }
}
