//! The daemon's figures at one moment, and the rates between two moments.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Counters, which grow from the start of the process, and gauges.
#[derive(Clone, Debug)]
pub struct MetricsSample {
    /// When.
    pub at: Instant,
    /// Counter: records appended to the log.
    pub accepted: u64,
    /// Counter: records that Kafka confirmed.
    pub delivered: u64,
    /// Counter: flushes of the log.
    pub flushes: u64,
    /// Counter: time spent in them, in seconds.
    pub flush_seconds: f64,
    /// Records accepted and not confirmed.
    pub backlog: u64,
    /// Their bytes.
    pub backlog_bytes: u64,
    /// Age of the oldest of them; zero where there is none.
    pub oldest_age: Duration,
    /// Dead letters in the store.
    pub dead: u64,
    /// Problems that last.
    pub problems: usize,
    /// By topic.
    pub topics: BTreeMap<String, TopicSample>,
}

/// One topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicSample {
    /// Counter: records accepted.
    pub accepted: u64,
    /// Counter: records that Kafka confirmed.
    pub delivered: u64,
    /// Records accepted and not confirmed.
    pub backlog: u64,
}

/// What happened between two readings.
#[derive(Clone, Debug, PartialEq)]
pub struct Rates {
    /// Records a second.
    pub accepted: f64,
    /// Records a second.
    pub delivered: f64,
    /// None where the log was not flushed.
    pub flushes: Option<Flushes>,
    /// By topic.
    pub topics: BTreeMap<String, TopicRates>,
}

/// The flushes between two readings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flushes {
    /// Mean duration, in seconds.
    pub seconds: f64,
    /// Mean number of records that shared one.
    pub records: f64,
}

/// Records of one topic, a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TopicRates {
    /// Accepted.
    pub accepted: f64,
    /// Confirmed by Kafka.
    pub delivered: f64,
}

impl MetricsSample {
    /// The rates since an earlier reading. None where no time has passed.
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
