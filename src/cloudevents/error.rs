//! What is wrong with an event, in words that never repeat a value.

use crate::bounded_errors::{BoundedErrors, MAX_ERRORS_PER_BODY, truncated};
use crate::kinds::Rejection;

/// An attribute's name in an error is for recognising it, not for repeating it.
const MAX_NAME_BYTES: usize = 100;

/// One attribute that is not as the specification demands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributeError {
    /// The attribute's name, shortened; `data` or `data_base64` where the data is at fault.
    pub attribute: String,
    /// What is wrong with it.
    pub detail: &'static str,
}

/// Why something is not an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventError {
    /// It cannot be read.
    Unreadable(Rejection),
    /// It can be read, and is not an event; at least one fault.
    Invalid(BoundedErrors<AttributeError, MAX_ERRORS_PER_BODY>),
    /// A batch of more than [`super::MAX_EVENTS`].
    TooMany,
}

impl AttributeError {
    /// A fault of this attribute.
    pub fn new(attribute: &str, detail: &'static str) -> Self {
        Self { attribute: truncated(attribute, MAX_NAME_BYTES), detail }
    }
}

impl From<Rejection> for EventError {
    fn from(rejection: Rejection) -> Self {
        Self::Unreadable(rejection)
    }
}

impl From<serde_json::Error> for EventError {
    fn from(error: serde_json::Error) -> Self {
        Self::Unreadable(error.into())
    }
}
