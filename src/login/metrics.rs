//! Metrics of the login service.

use prometheus::{Error, HistogramVec, IntCounter, IntCounterVec, IntGauge};

use crate::metrics::{CacheMetrics, Registry};

/// Metrics of the login service.
pub struct Metrics {
    /// Logins by result: `ok`, `wrong`, `busy`, `limited`, `failed`; and `reused` refresh tokens.
    pub results: IntCounterVec,
    /// Login times that wait to be written.
    pub last_logins_waiting: IntGauge,
    /// The cache of verified passwords.
    pub credentials: CacheMetrics,
    /// Durations of steps.
    pub step_seconds: HistogramVec,
    /// A login was rejected because too many are in progress.
    pub logins_hit: IntCounter,
    /// A login time was written at once, because the queue is full.
    pub last_logins_hit: IntCounter,
    /// Login times that were dropped.
    pub last_logins_lost: IntCounter,
}

impl Metrics {
    /// Registers the metrics.
    pub fn register(registry: &Registry) -> Result<Self, Error> {
        Ok(Self {
            results: registry.counters(
                "forebay_login_total",
                "Logins, by result: ok, wrong, busy, limited, failed; reused refresh tokens. Worry when any \
                 but ok jumps; reused may be stolen.",
                "result",
                &["ok", "wrong", "busy", "limited", "failed", "reused"],
            )?,
            last_logins_waiting: registry.gauge(
                "forebay_last_logins_waiting",
                "Login times that wait to be written to the database. Worry near update_buffer.",
            )?,
            credentials: registry.cache("credentials"),
            step_seconds: registry.step_seconds(),
            logins_hit: registry.bound_hit("logins"),
            last_logins_hit: registry.bound_hit("last_logins"),
            last_logins_lost: registry.bound_hit("last_logins_lost"),
        })
    }
}
