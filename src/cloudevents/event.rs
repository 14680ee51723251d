//! An event, and a builder that collects all errors of an event.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::attribute::{REQUIRED, check_name, check_value};
use super::error::{AttributeError, EventError};
use crate::bounded_errors::{BoundedErrors, MAX_ERRORS_PER_BODY};
use crate::kinds::JSON;

/// Maximum number of attributes. It equals the maximum number of headers of a request.
const MAX_ATTRIBUTES: usize = 100;
/// Bytes of the digest in the key. Half of a SHA-256 digest is enough to distinguish events.
const KEY_BYTES: usize = 16;
const KEY_PREFIX: &str = "ce-";
/// Length in bytes of the key from [`IdempotencyDigest::finish`].
pub const KEY_LEN: usize = KEY_PREFIX.len() + 2 * KEY_BYTES;

/// A valid event. It has all required attributes, and their values are allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Names and values in the order of arrival. Each name occurs once.
    attributes: Vec<(String, String)>,
    data: Option<Bytes>,
}

impl Event {
    /// The value of an attribute in its canonical string form.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// All attributes, `datacontenttype` included.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The data. `None` means that the event has no data, which differs from empty data.
    pub fn data(&self) -> Option<&Bytes> {
        self.data.as_ref()
    }
}

/// Calculates the idempotency key of a request with events.
#[derive(Default)]
pub struct IdempotencyDigest {
    names: Sha256,
    contents: Sha256,
}

impl IdempotencyDigest {
    /// Adds the next event.
    pub fn add(&mut self, event: &Event) {
        add(&mut self.names, event.get("source").unwrap_or_default().as_bytes());
        add(&mut self.names, event.get("id").unwrap_or_default().as_bytes());
        let mut attributes: Vec<_> = event.attributes().collect();
        attributes.sort_unstable();
        self.contents.update((attributes.len() as u64).to_le_bytes());
        for (name, value) in attributes {
            add(&mut self.contents, name.as_bytes());
            add(&mut self.contents, value.as_bytes());
        }
        self.contents.update([u8::from(event.data.is_some())]);
        add(&mut self.contents, event.data.as_deref().unwrap_or_default());
    }

    /// Returns an idempotency key and a digest of the content. The key is derived from `source` and `id` of the events,
    /// which together identify an event (specification, section 3.1). The digest covers all attributes and data.
    pub fn finish(self) -> (String, Bytes) {
        let names = data_encoding::HEXLOWER.encode(&self.names.finalize()[..KEY_BYTES]);
        (format!("{KEY_PREFIX}{names}"), Bytes::copy_from_slice(&self.contents.finalize()))
    }
}

fn add(digest: &mut Sha256, part: &[u8]) {
    digest.update((part.len() as u64).to_le_bytes());
    digest.update(part);
}

/// Builds an event from its attributes and data.
#[derive(Default)]
pub struct EventBuilder {
    attributes: Vec<(String, String)>,
    errors: BoundedErrors<AttributeError, MAX_ERRORS_PER_BODY>,
}

impl EventBuilder {
    /// Adds an attribute in its canonical string form.
    pub fn add(&mut self, name: &str, value: String) {
        let checked = check_name(name).and_then(|()| check_value(name, &value));
        if let Err(detail) = checked {
            self.add_error(name, detail);
        } else if self.has(name) {
            self.add_error(name, "occurs twice");
        } else if self.attributes.len() >= MAX_ATTRIBUTES {
            self.add_error(name, "exceeds the limit of 100 attributes per event");
        } else {
            self.attributes.push((name.to_owned(), value));
        }
    }

    /// Adds an error in an attribute.
    pub fn add_error(&mut self, name: &str, detail: &'static str) {
        self.errors.push(AttributeError::new(name, detail));
    }

    /// The value of an added attribute.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Returns the event, or all its errors. `is_json`: the data is JSON. If `datacontenttype` is missing, it is then
    /// added, because other representations of the event need it.
    pub fn finish(mut self, data: Option<Bytes>, is_json: bool) -> Result<Event, EventError> {
        for name in REQUIRED {
            // An invalid attribute has already been reported. It is not missing.
            if !self.has(name) && !self.errors.iter().any(|error| error.attribute == name) {
                self.add_error(name, "is missing");
            }
        }
        if !self.errors.is_empty() {
            return Err(EventError::Invalid(self.errors));
        }
        if is_json && data.is_some() && !self.has("datacontenttype") {
            self.attributes.push(("datacontenttype".to_owned(), JSON.to_owned()));
        }
        Ok(Event { attributes: self.attributes, data })
    }
}
