//! What the user service counts.

use prometheus::{Error, HistogramVec, IntCounter};

use crate::metrics::{CacheMetrics, Registry};

/// Metrics of the user service.
pub struct Metrics {
    /// The cache of profiles in this process's memory.
    pub local_cache: CacheMetrics,
    /// The cache of profiles that daemons share.
    pub shared_cache: CacheMetrics,
    /// Durations of steps.
    pub step_seconds: HistogramVec,
    /// A request was refused because too many are checked at a time.
    pub checks_hit: IntCounter,
    /// As many reservations wait to be removed as may.
    pub markers_hit: IntCounter,
    /// As many names of changed users wait to be published as may.
    pub notices_hit: IntCounter,
}

impl Metrics {
    /// Registers them.
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
