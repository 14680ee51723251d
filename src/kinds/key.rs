//! The location of a command's key.

use super::pointer::Pointer;

/// Maximum bytes of a key.
pub const MAX_KEY_BYTES: usize = 1024;

/// Headers that cannot contain a key, because HTTP or the daemon uses them or because they contain secrets. Headers
/// with a prefix in [`RESERVED_HEADER_PREFIXES`] are reserved too.
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

/// The location of the key.
pub(super) enum Key {
    /// Records have no key.
    None,
    /// A pointer into the body or into an event's data.
    Pointer(Pointer),
    /// A request header. Its name is in lower case.
    Header(String),
}

/// Whether the header with this name (in lower case) may contain a key.
pub(super) fn is_key_header(lower: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=100).contains(&lower.len())
        && lower.bytes().all(allowed)
        && !RESERVED_HEADERS.contains(&lower)
        && !RESERVED_HEADER_PREFIXES.iter().any(|prefix| lower.starts_with(prefix))
}
