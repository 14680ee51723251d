//! Parameters of the list of users: page size and cursor.
//!
//! A cursor contains the last name of the previous page, with a digest under the secret shared by all daemons with the
//! same database. Cursors from other sources are rejected, and any daemon can read another's.

use data_encoding::BASE64URL_NOPAD;

use crate::command::KeyedDigest;

/// Maximum number of users per page, and the default.
pub const MAX_PAGE: u32 = 1000;
const DIGEST: usize = 16;
const DOMAIN: &[u8] = b"forebay users cursor 1";

/// The page size. A missing or larger limit becomes 1000; `None` if the text is not a positive number.
pub fn limit(text: Option<&str>) -> Option<u32> {
    let Some(text) = text else { return Some(MAX_PAGE) };
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // A number with too many digits is above the maximum.
    let limit = text.parse::<u32>().unwrap_or(u32::MAX).min(MAX_PAGE);
    (limit > 0).then_some(limit)
}

/// The cursor of the page that begins after this name.
pub fn cursor(secret: &[u8; 32], last: &str) -> String {
    let mut bytes = digest(secret, last).to_vec();
    bytes.extend_from_slice(last.as_bytes());
    BASE64URL_NOPAD.encode(&bytes)
}

/// The name in a cursor; `None` if a daemon did not issue the cursor.
pub fn decode_cursor(secret: &[u8; 32], cursor: &str) -> Option<String> {
    let bytes = BASE64URL_NOPAD.decode(cursor.as_bytes()).ok()?;
    let (found, name) = bytes.split_at_checked(DIGEST)?;
    let name = str::from_utf8(name).ok()?;
    (found == digest(secret, name)).then(|| name.to_owned())
}

fn digest(secret: &[u8; 32], name: &str) -> [u8; DIGEST] {
    KeyedDigest::new(secret).of(&[DOMAIN, name.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_positive_and_at_most_a_thousand() {
        assert_eq!(limit(None), Some(1000));
        assert_eq!(limit(Some("7")), Some(7));
        for large in ["1000", "1001", "1000000000", "99999999999999999999"] {
            assert_eq!(limit(Some(large)), Some(1000));
        }
        for bad in ["", "0", "-1", "x", "1e3", "+1", "１"] {
            assert_eq!(limit(Some(bad)), None, "{bad}");
        }
    }

    #[test]
    fn only_issued_cursors_are_accepted() {
        let secret = [7; 32];
        let cursor = cursor(&secret, "ada");
        assert_eq!(decode_cursor(&secret, &cursor).as_deref(), Some("ada"));
        assert_eq!(decode_cursor(&[8; 32], &cursor), None);
        for forged in ["", "x", "YWRh", &BASE64URL_NOPAD.encode(b"0123456789abcdefada"), &cursor[1..]] {
            assert_eq!(decode_cursor(&secret, forged), None, "{forged}");
        }
    }
}
