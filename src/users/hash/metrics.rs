//! Metrics of the pool that hashes passwords.

use prometheus::{Error, IntCounter, IntGauge};

use crate::metrics::Registry;

/// Metrics of the pool.
#[derive(Clone)]
pub struct Metrics {
    /// Passwords that wait to be hashed.
    pub waiting: IntGauge,
    /// A password was rejected because the queue was too long for its deadline.
    pub queue_hit: IntCounter,
}

impl Metrics {
    /// Registers the metrics.
    pub fn register(registry: &Registry) -> Result<Self, Error> {
        Ok(Self {
            waiting: registry.gauge(
                "forebay_hash_waiting",
                "Passwords that wait to be hashed. Worry when it does not return to 0: the processors are \
                 too slow for password_cost.",
            )?,
            queue_hit: registry.bound_hit("hash_queue"),
        })
    }
}
