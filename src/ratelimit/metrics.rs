//! What the limiters count.

use prometheus::{Error, IntCounter, IntCounterVec, IntGauge};

use crate::metrics::Registry;

/// Metrics of the limiters.
pub struct Metrics {
    /// Requests refused because there were too many, by limiter: `login`, `write`, `account`, `address`.
    pub rejected: IntCounterVec,
    /// 1 while daemons do not count together, and each for itself.
    pub fallback: IntGauge,
    /// A client was forgotten because there were too many.
    pub clients_hit: IntCounter,
    /// As many questions to the store are under way as may be.
    pub questions_hit: IntCounter,
}

impl Metrics {
    /// Registers them.
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
