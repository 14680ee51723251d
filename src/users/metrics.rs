//! Metrics of the user service.

use prometheus::{Error, HistogramVec, IntCounter};

use crate::metrics::{CacheMetrics, Registry};

/// Metrics of the user service.
pub struct Metrics {
    /// The profile cache in process memory.
    pub local_cache: CacheMetrics,
    /// The profile cache shared by the daemons.
    pub shared_cache: CacheMetrics,
    /// Durations of steps.
    pub step_seconds: HistogramVec,
    /// A request was rejected because too many are being checked.
    pub checks_hit: IntCounter,
    /// The queue of reservations to be removed is full.
    pub markers_hit: IntCounter,
    /// The queue of changed users to be published is full.
    pub notices_hit: IntCounter,
}

impl Metrics {
    /// Registers the metrics.
    pub fn register(registry: &Registry) -> Result<Self, Error> {
        Ok(Self {
            local_cache: registry.cache("users_local"),
            shared_cache: registry.cache("users_shared"),
            step_seconds: registry.step_seconds(),
            checks_hit: registry.bound_hit("user_checks"),
            markers_hit: registry.bound_hit("pending_markers"),
            notices_hit: registry.bound_hit("user_notices"),
        })
    }
}
