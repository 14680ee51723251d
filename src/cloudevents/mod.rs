//! CloudEvents 1.0: reads events in the three content modes of HTTP, and renders them in the two content modes of
//! Kafka.
//!
//! ```text
//! error       errors in events
//! attribute   rules for names and values of attributes
//! event       an event with attributes and data, and its builder
//! binary      attributes in `ce-` headers
//! json        the JSON event format and its batches
//! kafka       the Kafka protocol binding, binary and structured
//! ```
//!
//! Attributes are stored in their canonical string form. Unknown attributes are extensions and are retained.

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
