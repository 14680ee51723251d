//! An event, and a draft that collects what is wrong with one.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::attribute::{REQUIRED, check_name, check_value};
use super::error::{AttributeError, EventError};
use crate::bounded_errors::{BoundedErrors, MAX_ERRORS_PER_BODY};
use crate::kinds::JSON;

/// More than any event has; the most headers of a request.
const MAX_ATTRIBUTES: usize = 100;
/// Half of a digest tells events apart.
const KEY_BYTES: usize = 16;
const KEY_PREFIX: &str = "ce-";
/// The length of the key that [`IdempotencyDigest::finish`] makes.
pub const KEY_LEN: usize = KEY_PREFIX.len() + 2 * KEY_BYTES;

/// One event. It has what every event must have, and only values that attributes may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Each name once, in the order in which they came.
    attributes: Vec<(String, String)>,
    data: Option<Bytes>,
}

impl Event {
    /// An attribute's value in its canonical string form.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// All attributes, `datacontenttype` included.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Its data; none is not the same as empty data.
    pub fn data(&self) -> Option<&Bytes> {
        self.data.as_ref()
    }
}

/// What recognises a repetition of a request with events.
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

    /// An idempotency key made of `source` and `id` of the events, which together name an event (specification,
    /// section 3.1), and a digest of all that they are.
    pub fn finish(self) -> (String, Bytes) {
        let names = data_encoding::HEXLOWER.encode(&self.names.finalize()[..KEY_BYTES]);
        (format!("{KEY_PREFIX}{names}"), Bytes::copy_from_slice(&self.contents.finalize()))
    }
}

fn add(digest: &mut Sha256, part: &[u8]) {
    digest.update((part.len() as u64).to_le_bytes());
    digest.update(part);
}

/// An event that is being read.
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
            self.add_error(name, "it stands twice");
        } else if self.attributes.len() >= MAX_ATTRIBUTES {
            self.add_error(name, "an event may have at most 100 attributes");
        } else {
            self.attributes.push((name.to_owned(), value));
        }
    }

    /// Adds a fault.
    pub fn add_error(&mut self, name: &str, detail: &'static str) {
        self.errors.push(AttributeError::new(name, detail));
    }

    /// An attribute that was added.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The event, or everything that is wrong with it. `is_json`: its data is JSON, which an event in another form must
    /// say.
    pub fn finish(mut self, data: Option<Bytes>, is_json: bool) -> Result<Event, EventError> {
        for name in REQUIRED {
            // What was refused has been reported.
            if !self.has(name) && !self.errors.iter().any(|fault| fault.attribute == name) {
                self.add_error(name, "it is missing");
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
