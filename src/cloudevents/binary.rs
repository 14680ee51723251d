//! Reads attributes from headers (HTTP protocol binding, section 3.1: binary content mode).

use std::borrow::Cow;

use percent_encoding::percent_decode;

use super::event::EventBuilder;

/// Prefix of headers with attributes, in lower case.
pub const PREFIX: &str = "ce-";

/// Reads the attributes in the headers. Names of headers must be in lower case. `content_type` is the value of
/// `Content-Type`, which describes the data.
pub fn from_headers<'h>(
    headers: impl IntoIterator<Item = (&'h str, &'h [u8])>,
    content_type: Option<&str>,
) -> EventBuilder {
    let mut draft = EventBuilder::default();
    for (name, value) in headers {
        let Some(name) = name.strip_prefix(PREFIX) else { continue };
        if name == "datacontenttype" {
            draft.add_error(name, "must be sent as Content-Type, not as a ce- header");
            continue;
        }
        match decoded(value) {
            Ok(value) => draft.add(name, value),
            Err(detail) => draft.add_error(name, detail),
        }
    }
    if let Some(content_type) = content_type {
        draft.add("datacontenttype", content_type.to_owned());
    }
    draft
}

/// Decodes the value of a header: removes quotes, then decodes percent signs. Each is done once.
fn decoded(value: &[u8]) -> Result<String, &'static str> {
    let plain = match value.strip_prefix(b"\"") {
        Some(quoted) => Cow::Owned(unquoted(quoted).ok_or("has no closing quote")?),
        None => Cow::Borrowed(value),
    };
    if !is_percent_encoded(&plain) {
        return Err("must have every percent sign written as %25");
    }
    let bytes: Vec<u8> = percent_decode(&plain).collect();
    String::from_utf8(bytes).map_err(|_| "must be UTF-8")
}

/// The text before the closing quote, without escapes. `None` if the quote is missing or is not the last byte.
fn unquoted(quoted: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(quoted.len());
    let mut bytes = quoted.iter();
    loop {
        match bytes.next()? {
            b'"' => return bytes.next().is_none().then_some(plain),
            b'\\' => plain.push(*bytes.next()?),
            other => plain.push(*other),
        }
    }
}

/// Whether two hexadecimal digits follow each percent sign.
fn is_percent_encoded(text: &[u8]) -> bool {
    let mut signs = text.iter().enumerate().filter(|(_, byte)| **byte == b'%').map(|(at, _)| at);
    signs.all(|at| text.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)))
}
