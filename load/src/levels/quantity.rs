//! The quantities that a level can limit.

use crate::report::RequestSummary;

/// A quantity with a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitedQuantity {
    /// A percentile of the latency, in milliseconds.
    Latency(&'static str),
    /// Requests without an expected response, as a fraction of all.
    ErrorRate,
    /// Expected responses per second.
    AchievedRate,
    /// Number of expected responses.
    Requests,
}

impl LimitedQuantity {
    /// The keys of a file, in the order of the documentation.
    pub const KEYS: [(&'static str, Self); 10] = [
        ("p50", Self::Latency("p50")),
        ("p90", Self::Latency("p90")),
        ("p95", Self::Latency("p95")),
        ("p99", Self::Latency("p99")),
        ("p999", Self::Latency("p999")),
        ("max", Self::Latency("max")),
        ("mean", Self::Latency("mean")),
        ("error_rate", Self::ErrorRate),
        ("achieved_rate", Self::AchievedRate),
        ("requests", Self::Requests),
    ];

    /// Whether the limit is a minimum.
    pub fn is_minimum(self) -> bool {
        matches!(self, Self::AchievedRate | Self::Requests)
    }

    /// Unit in texts.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Latency(_) => " ms",
            Self::AchievedRate => "/s",
            Self::ErrorRate | Self::Requests => "",
        }
    }

    /// The measured value. `None` without a measurement.
    pub fn measured(self, stats: &RequestSummary) -> Option<f64> {
        match self {
            Self::Latency(name) => stats.latency_ms.as_ref().map(|latency| latency.named(name)),
            Self::ErrorRate => (stats.due > 0).then_some(stats.error_rate),
            Self::AchievedRate => Some(stats.achieved_rate),
            Self::Requests => Some(stats.good as f64),
        }
    }
}
