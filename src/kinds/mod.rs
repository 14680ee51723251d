//! The accepted kinds of commands. A kind has a topic, the location of its key, and rules for its bodies.
//!
//! - A body is checked but never changed. Kafka gets the same bytes that the client sent.
//! - Without a schema, a JSON body is checked in one pass, without building a document.
//! - A body that is not JSON is not checked.

mod config;
mod content_types;
mod events;
mod example;
mod key;
mod kind;
mod nesting;
mod pattern;
mod pointer;
mod rejection;
mod schema;
mod strict;

use std::collections::HashMap;
use std::sync::Arc;

pub use config::{Config, defaults};
pub use content_types::{Content, EVENTS, JSON, UNKNOWN};
pub use events::CloudEvents;
pub use key::MAX_KEY_BYTES;
pub use kind::{Admitted, Kind, bounded_text, object};
pub use nesting::MAX_DEPTH;
pub use rejection::{Rejection, Violation};

use crate::config_error::ConfigError;

/// The configured kinds, by name.
pub struct Kinds {
    by_name: HashMap<Arc<str>, Arc<Kind>>,
}

impl Kinds {
    /// Checks the configured kinds and compiles their schemas. Returns all errors, not only the first.
    pub fn build(configs: &[Config]) -> Result<Self, Vec<ConfigError>> {
        let mut errors = Vec::new();
        let mut by_name = HashMap::new();
        for (index, config) in configs.iter().enumerate() {
            let kind = config.build(index, &mut errors);
            if by_name.contains_key(config.name.as_str()) {
                errors.push(config::config_error(index, "name", &config.name, "each name once"));
            } else if let Some(kind) = kind {
                by_name.insert(Arc::clone(&kind.name), Arc::new(kind));
            }
        }
        if errors.is_empty() { Ok(Self { by_name }) } else { Err(errors) }
    }

    /// The kind with this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Kind>> {
        self.by_name.get(name)
    }

    /// All kinds, in arbitrary order.
    pub fn iter(&self) -> impl Iterator<Item = &Kind> {
        self.by_name.values().map(|kind| &**kind)
    }
}

#[cfg(test)]
mod tests;
