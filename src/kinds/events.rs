//! `cloudevents` of a kind.

use serde::{Deserialize, Serialize};

/// Whether the commands of a kind are CloudEvents, and how Kafka gets them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CloudEvents {
    /// They are bodies.
    #[default]
    Off,
    /// The data as value, the attributes as headers.
    Binary,
    /// The event as one JSON document.
    Structured,
}
