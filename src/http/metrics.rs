//! Metrics of both listeners.

use prometheus::{Error, HistogramVec, IntCounter, IntCounterVec, IntGauge};

use crate::metrics::{Registry, buckets};

/// Reasons for a failed TLS handshake: time-out, invalid or unsupported TLS, or the client disconnected.
pub(super) const TLS_TIMEOUT: &str = "timeout";
pub(super) const TLS_REFUSED: &str = "refused";
pub(super) const TLS_LOST: &str = "lost";

/// Metrics of the listeners.
pub struct Metrics {
    /// Requests by method, route and status.
    pub requests: IntCounterVec,
    /// Duration of requests without a wait, by method and route.
    pub duration: HistogramVec,
    /// Duration of requests with a wait, by method and route.
    pub waited: HistogramVec,
    /// Requests in progress.
    pub in_flight: IntGauge,
    /// Failed TLS handshakes, by reason.
    pub tls_handshakes_failed: IntCounterVec,
    /// Connections refused because of the connection limit.
    pub connections_hit: IntCounter,
    /// Connections that could not be accepted because the process lacks resources.
    pub accept_hit: IntCounter,
    /// Bodies refused because of their size.
    pub body_hit: IntCounter,
    /// Bodies refused because all bodies together exceed the memory budget.
    pub bodies_hit: IntCounter,
    /// Records refused because they are too large for Kafka.
    pub record_hit: IntCounter,
}

impl Metrics {
    /// Registers the metrics.
    pub fn register(registry: &Registry) -> Result<Self, Error> {
        Ok(Self {
            requests: registry.counters_by(
                "http_requests_total",
                "Completed requests, by method, route and status. Worry when more than 0.1 % of them are 5xx.",
                &["method", "route", "status"],
            )?,
            duration: registry.histograms(
                "http_request_duration_seconds",
                "Response time by method and route, in seconds; without requests with Prefer: wait. \
                 Worry when the 95th percentile of reads is above 0.2, or of writes above 0.5.",
                buckets::REQUEST_SECONDS,
                &["method", "route"],
            )?,
            waited: registry.histograms(
                "http_waited_request_duration_seconds",
                "Response time of requests with Prefer: wait, by method and route, in seconds. Worry when it nears the \
                 requested waits: delivery or the consumer is slow.",
                buckets::REQUEST_SECONDS,
                &["method", "route"],
            )?,
            in_flight: registry.gauge(
                "http_in_flight",
                "Requests in progress. Worry when it grows while the rate of requests does not.",
            )?,
            tls_handshakes_failed: registry.counters(
                "forebay_tls_handshakes_failed_total",
                "Failed TLS handshakes, by reason: timeout, refused (invalid or unsupported TLS), lost \
                 (the client disconnected). Worry at a jump.",
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
