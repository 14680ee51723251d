//! What the authenticator counts.

use prometheus::Error;

use crate::metrics::{CacheMetrics, Registry};

/// Metrics of the authenticator.
pub struct Metrics {
    /// The cache of verified tokens.
    pub tokens: CacheMetrics,
}

impl Metrics {
    /// Registers them.
    pub fn register(registry: &Registry) -> Result<Self, Error> {
        Ok(Self { tokens: registry.cache("tokens") })
    }
}
