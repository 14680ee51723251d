//! Metrics of the rate limiters.

use prometheus::{Error, IntCounter, IntCounterVec, IntGauge};

use crate::metrics::Registry;

/// Metrics of the rate limiters, as registered.
pub struct Metrics {
    /// Refused requests, by limiter: `login`, `write`, `account`, `address`.
    pub rejected: IntCounterVec,
    /// 1 while each daemon counts alone, because the shared store is unavailable.
    pub fallback: IntGauge,
    /// Clients forgotten because the maximum number was reached.
    pub clients_hit: IntCounter,
    /// Requests to the store that were skipped because the maximum number was waiting.
    pub questions_hit: IntCounter,
}

impl Metrics {
    /// Registers the metrics.
    pub fn register(registry: &Registry) -> Result<Self, Error> {
        Ok(Self {
            rejected: registry.counters(
                "forebay_ratelimit_rejected_total",
                "Requests refused by a rate limit, by limiter: login, write, account, address. Worry at a \
                 jump.",
                "limiter",
                &["login", "write", "account", "address"],
            )?,
            fallback: registry.gauge(
                "forebay_ratelimit_fallback",
                "1 while each daemon counts rate limits alone. Worry when it stays 1 where Redis is \
                 configured.",
            )?,
            clients_hit: registry.bound_hit("ratelimit_clients"),
            questions_hit: registry.bound_hit("ratelimit_questions"),
        })
    }
}
