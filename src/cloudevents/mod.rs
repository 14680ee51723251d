//! CloudEvents 1.0: read from HTTP in its three content modes, and written for Kafka in the two that it has.
//!
//! ```text
//! fault       what is wrong with an event
//! attribute   rules for names and values
//! event       an event: attributes and data; a draft of one collects every fault
//! binary      attributes in `ce-` headers
//! json        the JSON event format, and its batches
//! kafka       the Kafka protocol binding, binary and structured
//! ```
//!
//! Attributes are kept in their canonical string form. Attributes that are not known are extensions, and are kept.

mod attribute;
mod binary;
mod error;
mod event;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod json;
mod kafka;
#[cfg(test)]
mod tests;

pub use binary::{PREFIX, from_headers};
pub use error::{AttributeError, EventError};
pub use event::{Event, EventBuilder, IdempotencyDigest, KEY_LEN};
pub use json::{MAX_EVENTS, batch, from_json};
pub use kafka::{RenderedEvent, STRUCTURED, binary, structured};
