//! What both listeners count.

use prometheus::{Error, HistogramVec, IntCounter, IntCounterVec, IntGauge};

use crate::metrics::{Registry, buckets};

/// Metrics of the listeners.
pub struct Metrics {
    /// Requests by method, route and status.
    pub requests: IntCounterVec,
    /// Their duration, by method and route.
    pub duration: HistogramVec,
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
            requests: registry.counters(
                "http_requests_total",
                "Requests answered",
                &["method", "route", "status"],
            )?,
            duration: registry.histograms(
                "http_request_duration_seconds",
                "Time to answer",
                buckets::REQUEST_SECONDS,
                &["method", "route"],
            )?,
            in_flight: registry.gauge("http_in_flight", "Requests being answered")?,
            tls_handshakes_failed: registry.counters(
                "forebay_tls_handshakes_failed_total",
                "TLS handshakes that failed, by reason",
                &["reason"],
            )?,
            connections_hit: registry.bound_hit("connections"),
            accept_hit: registry.bound_hit("accept"),
            body_hit: registry.bound_hit("body"),
            bodies_hit: registry.bound_hit("bodies"),
            record_hit: registry.bound_hit("record"),
        })
    }
}
