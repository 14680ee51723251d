//! What both listeners count.

use prometheus::{Error, HistogramVec, IntCounter, IntCounterVec, IntGauge};

use crate::metrics::{Registry, buckets};

/// Why a TLS handshake failed: not in time, not what the daemon speaks, or the client hung up.
pub(super) const TLS_TIMEOUT: &str = "timeout";
pub(super) const TLS_REFUSED: &str = "refused";
pub(super) const TLS_LOST: &str = "lost";

/// Metrics of the listeners.
pub struct Metrics {
    /// Requests by method, route and status.
    pub requests: IntCounterVec,
    /// Their duration, by method and route.
    pub duration: HistogramVec,
    /// The same of those whose client asked for a wait.
    pub waited: HistogramVec,
    /// Requests being answered.
    pub in_flight: IntGauge,
    /// TLS handshakes that failed, by reason.
    pub tls_handshakes_failed: IntCounterVec,
    /// A connection was refused because there were too many.
    pub connections_hit: IntCounter,
    /// A connection could not be accepted: the process lacks something.
    pub accept_hit: IntCounter,
    /// A body is too large.
    pub body_hit: IntCounter,
    /// All bodies together are too large.
    pub bodies_hit: IntCounter,
    /// A record is too large for Kafka.
    pub record_hit: IntCounter,
}

impl Metrics {
    /// Registers them.
    pub fn register(registry: &Registry) -> Result<Self, Error> {
        Ok(Self {
            requests: registry.counters_by(
                "http_requests_total",
                "Requests answered, by method, route and status. Worry when more than 0.1 % of them are 5xx.",
                &["method", "route", "status"],
            )?,
            duration: registry.histograms(
                "http_request_duration_seconds",
                "Time to answer, by method and route, in seconds; without requests whose clients asked for a wait. \
                 Worry when the 95th percentile of reads is above 0.2, or of writes above 0.5.",
                buckets::REQUEST_SECONDS,
                &["method", "route"],
            )?,
            waited: registry.histograms(
                "http_waited_request_duration_seconds",
                "Time to answer requests with Prefer: wait, by method and route, in seconds. Worry when it nears the \
                 waits that clients ask for: delivery or the consumer is slow.",
                buckets::REQUEST_SECONDS,
                &["method", "route"],
            )?,
            in_flight: registry.gauge(
                "http_in_flight",
                "Requests in progress. Worry when it grows while the rate of requests does not.",
            )?,
            tls_handshakes_failed: registry.counters(
                "forebay_tls_handshakes_failed_total",
                "Failed TLS handshakes, by reason: timeout, refused (not TLS as the daemon speaks it), lost \
                 (the client hung up). Worry at a jump.",
                "reason",
                &[TLS_TIMEOUT, TLS_REFUSED, TLS_LOST],
            )?,
            connections_hit: registry.bound_hit("connections"),
            accept_hit: registry.bound_hit("accept"),
            body_hit: registry.bound_hit("body"),
            bodies_hit: registry.bound_hit("bodies"),
            record_hit: registry.bound_hit("record"),
        })
    }
}
