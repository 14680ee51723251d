//! Errors in events. Their texts never contain values.

use crate::bounded_errors::{BoundedErrors, MAX_ERRORS_PER_BODY, truncated};
use crate::kinds::Rejection;

/// Maximum bytes of an attribute's name in an error. It is enough to recognise the attribute.
const MAX_NAME_BYTES: usize = 100;

/// An attribute that violates the specification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributeError {
    /// The attribute's name, shortened. `data` or `data_base64` for errors in the data.
    pub attribute: String,
    /// The violated rule.
    pub detail: &'static str,
}

/// Why a document or request is not a valid event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventError {
    /// The document cannot be read.
    Unreadable(Rejection),
    /// The document can be read but is not a valid event. It has at least one error.
    Invalid(BoundedErrors<AttributeError, MAX_ERRORS_PER_BODY>),
    /// The batch has more than [`super::MAX_EVENTS`] events.
    TooMany,
}

impl AttributeError {
    /// An error in this attribute.
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
