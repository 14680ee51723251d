//! Attributes in headers: the binary content mode of the HTTP protocol binding, section 3.1.

use std::borrow::Cow;

use percent_encoding::percent_decode;

use super::event::EventBuilder;

/// How the headers of attributes begin, in lower case.
pub const PREFIX: &str = "ce-";

/// The attributes in headers, whose names are in lower case. `content_type`: what `Content-Type` says of the data.
pub fn from_headers<'h>(
    headers: impl IntoIterator<Item = (&'h str, &'h [u8])>,
    content_type: Option<&str>,
) -> EventBuilder {
    let mut draft = EventBuilder::default();
    for (name, value) in headers {
        let Some(name) = name.strip_prefix(PREFIX) else { continue };
        if name == "datacontenttype" {
            draft.add_error(name, "Content-Type says it, and no other header");
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

/// A header's value without its quotes and percent signs, in this order, once each.
fn decoded(value: &[u8]) -> Result<String, &'static str> {
    let plain = match value.strip_prefix(b"\"") {
        Some(quoted) => Cow::Owned(unquoted(quoted).ok_or("its quotes are not closed")?),
        None => Cow::Borrowed(value),
    };
    if !is_percent_encoded(&plain) {
        return Err("a percent sign in it must be written %25");
    }
    let bytes: Vec<u8> = percent_decode(&plain).collect();
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8")
}

/// What stands in front of the closing quote, which must be the last byte.
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
