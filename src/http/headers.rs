//! Parsers of the request headers that forebay uses.

use std::time::Duration;

use bytes::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{HeaderMap, header};

use super::problem;
use super::problem::Problem;
use crate::kinds::MAX_KEY_BYTES;

pub(super) const PREFER: HeaderName = HeaderName::from_static("prefer");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Addresses of the clients for which proxies sent the request.
pub(super) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const MAX_IDEMPOTENCY_KEY: usize = 255;
/// Maximum bytes of an `X-Request-Id` that is repeated in responses and logs.
const MAX_REQUEST_ID: usize = 128;
/// Maximum wait that a client can request. A longer wait is reduced to it.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// Refuses transfer codings other than `chunked`. hyper has already refused bodies whose last coding is a different
/// one, because their end cannot be found.
pub(super) fn transfer_coding(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(value) = single(headers, &header::TRANSFER_ENCODING)? else { return Ok(()) };
    if value.as_bytes().eq_ignore_ascii_case(CHUNKED.as_bytes()) {
        return Ok(());
    }
    let malformed = |coding: &str| coding.is_empty() || coding.eq_ignore_ascii_case(CHUNKED);
    let mut before_last = value.to_str().unwrap_or_default().split(',').map(str::trim).rev().skip(1);
    Err(match before_last.any(malformed) {
        // RFC 9112, section 6.1: a sender must not apply it more than once.
        true => Problem::new(&problem::MALFORMED_REQUEST, "Use `chunked` only once in Transfer-Encoding."),
        false => Problem::new(
            &problem::UNSUPPORTED_TRANSFER_CODING,
            "Send Content-Length, or `Transfer-Encoding: chunked` without other codings.",
        ),
    })
}

const CHUNKED: &str = "chunked";

/// The supported preferences of `Prefer` (RFC 7240). Malformed preferences are ignored, as the RFC requires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Prefer {
    /// `wait=N`, at most 60 seconds.
    pub wait: Option<Duration>,
    /// `respond-async`.
    pub respond_async: bool,
}

impl Prefer {
    pub fn of(headers: &HeaderMap) -> Self {
        let mut prefer = Self::default();
        let values = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
        for preference in values.flat_map(|value| value.split(',')) {
            // Parameters of a preference follow a semicolon. The supported preferences have none.
            let preference = preference.split(';').next().unwrap_or_default();
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            let (name, value) = (name.trim(), value.trim().trim_matches('"'));
            if name.eq_ignore_ascii_case("respond-async") {
                prefer.respond_async = true;
            } else if name.eq_ignore_ascii_case("wait") && prefer.wait.is_none() && is_number(value) {
                // A number that does not fit into a `u64` is longer than any allowed wait.
                let seconds = value.parse().unwrap_or(u64::MAX);
                prefer.wait = Some(Duration::from_secs(seconds).min(MAX_WAIT));
            }
        }
        prefer
    }

    /// The value of `Preference-Applied`. `None` if no preference was applied.
    pub fn applied(self) -> Option<HeaderValue> {
        let wait = self.wait.map(|wait| format!("wait={}", wait.as_secs()));
        let text = match (self.respond_async, wait) {
            (false, None) => return None,
            (true, None) => return Some(HeaderValue::from_static("respond-async")),
            (false, Some(wait)) => wait,
            (true, Some(wait)) => format!("respond-async, {wait}"),
        };
        HeaderValue::try_from(text).ok()
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The client's `Idempotency-Key`: 1 to 255 printable ASCII characters. The IETF draft requires a quoted string
/// (`"abc"`). Most clients send it without quotes (`abc`). Both forms mean the same key, `abc`.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = single(headers, &IDEMPOTENCY_KEY)? else { return Ok(None) };
    let refusal = |detail| Problem::new(&problem::BAD_HEADER, detail).field("Idempotency-Key");
    let text = value.to_str().map_err(|_| refusal("The key must be printable ASCII."))?;
    let key = if text.starts_with('"') {
        unquoted(text).ok_or_else(|| refusal("A key that begins with a quote must end with one, with a backslash before each quote and backslash inside."))?
    } else {
        text.to_owned()
    };
    let printable = key.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    if !printable || !(1..=MAX_IDEMPOTENCY_KEY).contains(&key.len()) {
        return Err(refusal("The key must be 1 to 255 printable ASCII characters."));
    }
    Ok(Some(key))
}

/// The content of an RFC 9651 string. `\"` and `\\` are the only escapes.
fn unquoted(text: &str) -> Option<String> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    let mut key = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        key.push(match character {
            '\\' => characters.next().filter(|escaped| matches!(escaped, '"' | '\\'))?,
            '"' => return None,
            plain => plain,
        });
    }
    Some(key)
}

/// The W3C `traceparent`. `None` if it is missing or invalid.
pub(super) fn traceparent(headers: &HeaderMap) -> Option<&str> {
    single(headers, &TRACEPARENT).ok()??.to_str().ok().filter(|value| is_traceparent(value))
}

/// Whether this is a valid W3C `traceparent`.
pub(super) fn is_traceparent(value: &str) -> bool {
    parts_are_valid(value).is_some()
}

fn parts_are_valid(value: &str) -> Option<()> {
    let lower_hex = |part: &str| part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let known = value.len() == 55;
    // A later version may append fields.
    let later = value.len() > 55 && value.as_bytes()[55] == b'-' && !value.starts_with("00");
    let mut fields = value.split('-');
    let (version, trace, span, flags) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let shaped = (version.len(), trace.len(), span.len(), flags.len()) == (2, 32, 16, 2);
    let hex = [version, trace, span, flags].into_iter().all(lower_hex);
    let all_zero = |part: &str| part.bytes().all(|byte| byte == b'0');
    let meaningful = version != "ff" && !all_zero(trace) && !all_zero(span);
    ((known || later) && shaped && hex && meaningful).then_some(())
}

/// The key of a command, from the header that its kind names. HTTP allows no control characters in headers.
pub(super) fn record_key(headers: &HeaderMap, name: &str) -> Result<Bytes, Problem> {
    let refusal = |detail: String| Problem::new(&problem::BAD_HEADER, detail).field(name.to_owned());
    let header = HeaderName::try_from(name).map_err(|_| refusal("No header has this name.".to_owned()))?;
    let Some(value) = single(headers, &header)? else {
        return Err(refusal("This header is missing. It contains the command's key.".to_owned()));
    };
    if value.is_empty() || value.len() > MAX_KEY_BYTES {
        return Err(refusal(format!("The command's key must have 1 to {MAX_KEY_BYTES} bytes.")));
    }
    if str::from_utf8(value.as_bytes()).is_err() {
        return Err(refusal("The command's key must be UTF-8.".to_owned()));
    }
    Ok(Bytes::copy_from_slice(value.as_bytes()))
}

/// The client's `X-Request-Id`, if it is short and printable.
pub(super) fn request_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let value = headers.get(REQUEST_ID)?;
    let sane =
        (1..=MAX_REQUEST_ID).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic);
    sane.then(|| value.clone())
}

/// The value of a header that a request may contain only once.
pub(super) fn single<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'h HeaderValue>, Problem> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        let refusal = Problem::new(&problem::BAD_HEADER, "Send this header only once.");
        return Err(refusal.field(name.as_str().to_owned()));
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        map
    }

    #[test]
    fn preferences_are_clamped_and_malformed_ones_ignored() {
        let wait = |value: &str| Prefer::of(&map(&[("prefer", value)])).wait.map(|wait| wait.as_secs());
        assert_eq!(wait("wait=5"), Some(5));
        assert_eq!(wait("respond-async, Wait = \"7\"; x=y"), Some(7));
        assert_eq!(wait("wait=61"), Some(60));
        assert_eq!(wait("wait=99999999999999999999999"), Some(60));
        assert_eq!(wait("wait=1, wait=2"), Some(1));
        for malformed in ["wait", "wait=", "wait=-1", "wait=1.5", "wait=x", "waiting=5", ",,;="] {
            assert_eq!(wait(malformed), None, "{malformed}");
        }
        let both = Prefer::of(&map(&[("prefer", "respond-async"), ("prefer", "wait=3")]));
        assert_eq!(both.applied().unwrap(), "respond-async, wait=3");
    }

    #[test]
    fn idempotency_key_is_the_same_with_and_without_quotes() {
        let key = |value: &str| idempotency_key(&map(&[("idempotency-key", value)])).ok().flatten();
        assert_eq!(key("abc").as_deref(), Some("abc"));
        assert_eq!(key("\"abc\"").as_deref(), Some("abc"));
        assert_eq!(key(r#""a\"b\\c""#).as_deref(), Some(r#"a"b\c"#));
        assert_eq!(key(&"k".repeat(255)).map(|key| key.len()), Some(255));
        for refused in ["", "\"\"", "\"abc", "\"a\"b\"", r#""a\b""#, &"k".repeat(256), "schlüssel"] {
            assert_eq!(key(refused), None, "{refused}");
        }
        assert!(idempotency_key(&map(&[("idempotency-key", "a"), ("idempotency-key", "a")])).is_err());
    }

    #[test]
    fn only_a_valid_traceparent_is_accepted() {
        let valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let taken = |value: &str| traceparent(&map(&[("traceparent", value)])).is_some();
        assert!(taken(valid));
        assert!(taken("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more"));
        for ignored in [
            "",
            &valid.to_uppercase(),
            &valid[..54],
            &format!("{valid}-more"),
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
        ] {
            assert!(!taken(ignored), "{ignored}");
        }
        assert!(traceparent(&map(&[("traceparent", valid), ("traceparent", valid)])).is_none());
    }

    #[test]
    fn a_request_id_is_accepted_only_if_short_and_printable() {
        let taken = |value: &str| request_id(&map(&[("x-request-id", value)])).is_some();
        assert!(taken("req-1") && taken(&"x".repeat(128)));
        assert!(!taken("") && !taken(&"x".repeat(129)) && !taken("a b") && !taken("é"));
    }
}
