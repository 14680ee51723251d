//! Where the key of a command stands.

use super::pointer::Pointer;

/// The longest key that may enter.
pub const MAX_KEY_BYTES: usize = 1024;

/// Headers that mean something to HTTP or to the daemon, or that hold secrets, beside those that begin with one of
/// [`RESERVED_HEADER_PREFIXES`].
const RESERVED_HEADERS: [&str; 17] = [
    "accept",
    "authorization",
    "connection",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "host",
    "idempotency-key",
    "keep-alive",
    "origin",
    "prefer",
    "te",
    "traceparent",
    "transfer-encoding",
    "upgrade",
    "x-request-id",
];
const RESERVED_HEADER_PREFIXES: [&str; 5] = ["ce-", "content-", "proxy-", "sec-", "x-forwarded-"];

/// Where the key stands.
pub(super) enum Key {
    /// Records have no key.
    None,
    /// In the body, or in an event's data.
    Pointer(Pointer),
    /// In a request header of this name, in lower case.
    Header(String),
}

/// Whether a header of this name (in lower case) may hold keys.
pub(super) fn is_key_header(lower: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=100).contains(&lower.len())
        && lower.bytes().all(allowed)
        && !RESERVED_HEADERS.contains(&lower)
        && !RESERVED_HEADER_PREFIXES.iter().any(|prefix| lower.starts_with(prefix))
}
