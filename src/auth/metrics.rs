//! Metrics of the authenticator.

use prometheus::Error;

use crate::metrics::{CacheMetrics, Registry};

/// Metrics of the authenticator.
pub struct Metrics {
    /// Hits and misses of the cache of verified tokens.
    pub tokens: CacheMetrics,
}

impl Metrics {
    /// Registers the metrics.
    pub fn register(registry: &Registry) -> Result<Self, Error> {
        Ok(Self { tokens: registry.cache("tokens") })
    }
}
