//! The setting `cloudevents` of a kind.

use serde::{Deserialize, Serialize};

/// Whether the commands of a kind are CloudEvents, and their content mode in Kafka.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CloudEvents {
    /// The commands are not CloudEvents.
    #[default]
    Off,
    /// The value is the data, the attributes are headers.
    Binary,
    /// The value is the event as one JSON document.
    Structured,
}
