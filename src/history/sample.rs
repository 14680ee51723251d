//! Counters and gauges of the daemon at one moment, and the rates between two moments.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Counters, which grow from the start of the process, and gauges.
#[derive(Clone, Debug)]
pub struct MetricsSample {
    /// Time of the sample.
    pub at: Instant,
    /// Counter: records appended to the log.
    pub accepted: u64,
    /// Counter: records confirmed by Kafka.
    pub delivered: u64,
    /// Counter: flushes of the log.
    pub flushes: u64,
    /// Counter: total duration of the flushes in seconds.
    pub flush_seconds: f64,
    /// Gauge: records accepted and not confirmed.
    pub backlog: u64,
    /// Gauge: size of these records in bytes.
    pub backlog_bytes: u64,
    /// Gauge: age of the oldest of these records. Zero if there are none.
    pub oldest_age: Duration,
    /// Gauge: stored dead letters.
    pub dead: u64,
    /// Gauge: current problems.
    pub problems: usize,
    /// Samples by topic.
    pub topics: BTreeMap<String, TopicSample>,
}

/// Counters and gauges of one topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicSample {
    /// Counter: records accepted.
    pub accepted: u64,
    /// Counter: records confirmed by Kafka.
    pub delivered: u64,
    /// Gauge: records accepted and not confirmed.
    pub backlog: u64,
}

/// Rates between two samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Rates {
    /// Records accepted per second.
    pub accepted: f64,
    /// Records delivered per second.
    pub delivered: f64,
    /// `None` if the log was not flushed.
    pub flushes: Option<Flushes>,
    /// Rates by topic.
    pub topics: BTreeMap<String, TopicRates>,
}

/// Flushes between two samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flushes {
    /// Mean duration of a flush in seconds.
    pub seconds: f64,
    /// Mean number of records per flush.
    pub records: f64,
}

/// Rates of one topic, in records per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TopicRates {
    /// Accepted.
    pub accepted: f64,
    /// Confirmed by Kafka.
    pub delivered: f64,
}

impl MetricsSample {
    /// Rates since an earlier sample. `None` if no time has passed.
    pub fn rates_since(&self, earlier: &Self) -> Option<Rates> {
        let seconds = self.at.saturating_duration_since(earlier.at).as_secs_f64();
        if seconds <= 0.0 {
            return None;
        }
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        let topics = self.topics.iter().map(|(topic, now)| {
            let before = earlier.topics.get(topic).copied().unwrap_or_default();
            let rates = TopicRates {
                accepted: rate(now.accepted, before.accepted),
                delivered: rate(now.delivered, before.delivered),
            };
            (topic.clone(), rates)
        });
        Some(Rates {
            accepted: rate(self.accepted, earlier.accepted),
            delivered: rate(self.delivered, earlier.delivered),
            flushes: self.flushes_since(earlier),
            topics: topics.collect(),
        })
    }

    fn flushes_since(&self, earlier: &Self) -> Option<Flushes> {
        let count = self.flushes.checked_sub(earlier.flushes).filter(|count| *count > 0)? as f64;
        Some(Flushes {
            seconds: (self.flush_seconds - earlier.flush_seconds).max(0.0) / count,
            records: self.accepted.saturating_sub(earlier.accepted) as f64 / count,
        })
    }
}
