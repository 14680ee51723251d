//! Reads `Content-Type` and `Content-Encoding` of a request.

use std::borrow::Cow;

use hyper::{HeaderMap, header};

use super::headers::single;
use super::problem;
use super::problem::Problem;

/// Whether a body has one command or a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// One JSON object.
    Single,
    /// One JSON object per line.
    Batch,
}

/// The media type of a body.
#[derive(Debug)]
pub(super) struct MediaType<'h> {
    /// The text of the client, with parameters.
    pub text: &'h str,
    /// Type and subtype, in lower case.
    pub essence: Cow<'h, str>,
    /// Whether text in the body is UTF-8. `true` if the media type has no `charset`.
    pub is_utf8: bool,
}

impl<'h> MediaType<'h> {
    /// Reads `Content-Type`. Returns `None` if it is missing. Refuses a body with a content encoding.
    pub fn of(headers: &'h HeaderMap) -> Result<Option<Self>, Problem> {
        if let Some(encoding) = single(headers, &header::CONTENT_ENCODING)?
            && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
        {
            let refusal = "Send the body without a content encoding.";
            return Err(Problem::new(&problem::UNSUPPORTED_MEDIA_TYPE, refusal).field("Content-Encoding"));
        }
        let Some(value) = single(headers, &header::CONTENT_TYPE)? else { return Ok(None) };
        let parsed = value.to_str().ok().and_then(Self::parse);
        parsed.map(Some).ok_or_else(|| unsupported("Content-Type is not a media type."))
    }

    /// Parses `type/subtype` with optional parameters.
    pub fn parse(text: &'h str) -> Option<Self> {
        let text = text.trim();
        // Fast path for the most frequent media type.
        if text == "application/json" {
            return Some(Self { text, essence: Cow::Borrowed(text), is_utf8: true });
        }
        let (essence, rest) = text.split_once(';').unwrap_or((text, ""));
        let essence = essence.trim_end();
        let (kind, subtype) = essence.split_once('/')?;
        if !is_token(kind) || !is_token(subtype) {
            return None;
        }
        let utf8 = |(name, value): &(&str, String)| {
            !name.eq_ignore_ascii_case("charset")
                || UTF_8.iter().any(|label| value.eq_ignore_ascii_case(label))
        };
        let is_utf8 = parameters(rest)?.iter().all(utf8);
        let essence = match essence.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Cow::Owned(essence.to_ascii_lowercase()),
            false => Cow::Borrowed(essence),
        };
        Some(Self { text, essence, is_utf8 })
    }
}

impl Format {
    /// The format of a JSON body. A missing media type and curl's default type mean one JSON object.
    pub fn of(media_type: Option<&MediaType<'_>>) -> Result<Self, Problem> {
        let Some(media_type) = media_type else { return Ok(Self::Single) };
        let format = match &*media_type.essence {
            "application/json" | "application/x-www-form-urlencoded" => Some(Self::Single),
            "application/x-ndjson" => Some(Self::Batch),
            _ => None,
        };
        format.filter(|_| media_type.is_utf8).ok_or_else(|| {
            unsupported("Send application/json, or application/x-ndjson for a batch, in UTF-8.")
        })
    }
}

/// A 415 because of `Content-Type`.
pub(super) fn unsupported(detail: impl Into<Cow<'static, str>>) -> Problem {
    Problem::new(&problem::UNSUPPORTED_MEDIA_TYPE, detail).field("Content-Type")
}

/// Names of the only supported encoding: the IANA name, and a label of the WHATWG Encoding Standard.
const UTF_8: [&str; 2] = ["utf-8", "utf8"];

/// Parses the parameters of a media type (RFC 9110, section 5.6.6). Each is `name=value` after a semicolon. The value
/// is a token or a quoted string. `None`: malformed.
fn parameters(mut rest: &str) -> Option<Vec<(&str, String)>> {
    let mut found = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ';']);
        if rest.is_empty() {
            return Some(found);
        }
        let (name, after) = rest.split_once('=')?;
        let name = name.trim_end();
        let (value, after) = parameter_value(after.trim_start())?;
        rest = after.trim_start();
        if !is_token(name) || !(rest.is_empty() || rest.starts_with(';')) {
            return None;
        }
        found.push((name, value));
    }
}

/// Splits `text` into the value at its beginning and the rest.
fn parameter_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ' ', '\t']).unwrap_or(text.len());
        return is_token(&text[..end]).then(|| (text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            plain => value.push(plain),
        }
    }
    None
}

/// Whether the text is a token of RFC 9110, section 5.6.2.
fn is_token(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(text: &str) -> Option<Format> {
        MediaType::parse(text).and_then(|media_type| Format::of(Some(&media_type)).ok())
    }

    #[test]
    fn media_types_determine_the_format() {
        for single in [
            "application/json",
            "Application/JSON; charset=UTF-8",
            "application/json;charset=\"utf-8\";",
            "application/json; charset=utf8",
            "application/json; charset=\"UTF8\"",
            "application/json; charset=\"ut\\f-8\"",
            "application/json; profile=\"https://example.org/a;b=c\"",
            "application/json ; profile=\"say \\\"x\\\"; y\" ; charset = utf-8",
            "application/x-www-form-urlencoded",
        ] {
            assert_eq!(format(single), Some(Format::Single), "{single}");
        }
        for batch in ["application/x-ndjson", "application/x-ndjson; charset=\"utf8\"; a=\"b;c\""] {
            assert_eq!(format(batch), Some(Format::Batch), "{batch}");
        }
        assert_eq!(Format::of(None).ok(), Some(Format::Single));
        for other in [
            "text/plain",
            "application/json; charset=latin1",
            "application/json; a=\"b;c\"; charset=\"latin1\"",
            "application/json; charset=\"utf-8",
            "application/json; charset=\"utf-8\"x",
            "application/json; charset=",
            "application/json; charset=utf-8 x",
            "application/json; a b=c",
            "application/json; =utf-8",
            "application/jsonx",
            "",
            "application/json; x",
            "application/json; x; charset=utf-8",
        ] {
            assert_eq!(format(other), None, "{other}");
        }
    }

    #[test]
    fn media_types_keep_their_text_and_ignore_case() {
        let read = MediaType::parse(" Application/X-Protobuf; messageType=\"a.B\" ").unwrap();
        assert_eq!(
            (read.text, &*read.essence),
            (r#"Application/X-Protobuf; messageType="a.B""#, "application/x-protobuf")
        );
        assert!(read.is_utf8, "no charset means UTF-8");
        for other in ["", "avro", "a/", "/b", "a b/c", "a/b; x", "a/b; charset=\"x"] {
            assert!(MediaType::parse(other).is_none(), "{other}");
        }
    }

    #[test]
    fn content_encodings_except_identity_are_refused() {
        let with = |encoding: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_ENCODING, encoding.parse().unwrap());
            MediaType::of(&headers).is_ok()
        };
        assert!(!with("gzip") && with("identity"));
    }
}
