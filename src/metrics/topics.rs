//! Number of records by topic. Ingest counts accepted records, and the drain counts settled ones. The difference waits.
//!
//! The backlog is not read at start. For records accepted before the start, the log knows the number per kind only in
//! segments of which nothing was delivered. The topics of all other records are unknown until they are delivered, so
//! these records have a series of their own.

use std::collections::BTreeMap;

use prometheus::core::Collector;
use prometheus::{Error, IntCounterVec, IntGaugeVec, Opts};

use super::registered::registered;
use super::values::by_label;

/// Label value for records whose topic is unknown. Kafka does not allow this name for a topic.
const BEFORE_START: &str = "(before start)";

/// Number of records by topic. Clones share them.
#[derive(Clone)]
pub struct TopicMetrics {
    accepted: IntCounterVec,
    backlog: IntGaugeVec,
    /// Records accepted since the start and not yet settled, by topic. Not exposed.
    waiting: IntGaugeVec,
}

/// Number of records of one topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicCounts {
    /// Records accepted since the start.
    pub accepted: u64,
    /// Records accepted and not confirmed.
    pub backlog: u64,
}

impl TopicMetrics {
    pub(super) fn register(to: &prometheus::Registry) -> Result<Self, Error> {
        let accepted = Opts::new(
            "forebay_topic_accepted_total",
            "Records accepted since the start, by topic. Worry when its rate stays above that of \
             forebay_drain_sent_total.",
        );
        let backlog = Opts::new(
            "forebay_topic_backlog",
            "Records accepted and not confirmed, by topic; (before start): those accepted before the start \
             whose topic is not known yet. Worry when one topic grows for minutes.",
        );
        Ok(Self {
            accepted: registered(to, IntCounterVec::new(accepted, &["topic"]))?,
            backlog: registered(to, IntGaugeVec::new(backlog, &["topic"]))?,
            waiting: IntGaugeVec::new(Opts::new("waiting", "Not shown"), &["topic"])?,
        })
    }

    /// Creates the series of these topics when a log is opened, so that they exist from the start.
    pub fn preregister<'a>(&self, topics: impl IntoIterator<Item = &'a str>) {
        drop(self.backlog.with_label_values(&[BEFORE_START]));
        for topic in topics {
            drop((self.accepted.with_label_values(&[topic]), self.backlog.with_label_values(&[topic])));
        }
    }

    /// Counts records of a topic that are on stable storage.
    pub fn accepted(&self, topic: &str, records: u64) {
        self.accepted.with_label_values(&[topic]).inc_by(records);
        self.waiting.with_label_values(&[topic]).add(signed(records));
    }

    /// Counts records of a topic that were accepted since the start and are now confirmed or dead-lettered.
    pub fn settled(&self, topic: &str, records: u64) {
        self.waiting.with_label_values(&[topic]).sub(signed(records));
    }

    /// Sets the gauges. Called before each scrape. `all`: the number of waiting records. `older`: the number of records
    /// accepted before the start, by known topic; `None` once all of them are delivered or dead-lettered.
    pub fn observe(&self, all: u64, older: Option<BTreeMap<String, u64>>) {
        let is_any_older = older.is_some();
        let mut waiting: BTreeMap<String, i64> =
            older.into_iter().flatten().map(|(topic, records)| (topic, signed(records))).collect();
        for (topic, records) in by_label(&self.waiting) {
            // A record may be settled a moment before it is counted as accepted.
            *waiting.entry(topic).or_default() += (records as i64).max(0);
        }
        let known: i64 = waiting.values().sum();
        let rest = if is_any_older { (signed(all) - known).max(0) } else { 0 };
        waiting.insert(BEFORE_START.to_owned(), rest);
        for (topic, records) in &waiting {
            self.backlog.with_label_values(&[topic]).set(*records);
        }
        self.clear_others(&waiting);
    }

    /// Counts by topic: accepted records now, and waiting records as last observed.
    pub fn counted(&self) -> BTreeMap<String, TopicCounts> {
        let mut topics: BTreeMap<String, TopicCounts> = BTreeMap::new();
        for (topic, records) in by_label(&self.accepted) {
            topics.entry(topic).or_default().accepted = records as u64;
        }
        for (topic, records) in by_label(&self.backlog) {
            // The series for unknown topics exists for the sum. It is listed only when it has records.
            if records > 0.0 || topic != BEFORE_START {
                topics.entry(topic).or_default().backlog = records as u64;
            }
        }
        topics
    }

    /// Sets the other exposed topics to 0. A topic stays exposed for good. Topics with records are not touched, because
    /// a concurrent scrape must not read 0.
    fn clear_others(&self, waiting: &BTreeMap<String, i64>) {
        for family in self.backlog.collect() {
            let labels = family.get_metric().iter().filter_map(|metric| metric.get_label().first());
            for label in labels.filter(|label| !waiting.contains_key(label.value())) {
                self.backlog.with_label_values(&[label.value()]).set(0);
            }
        }
    }
}

/// Converts to the signed type of gauges. No value of this process comes near its limit.
fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Registry;

    #[test]
    fn waiting_records_are_counted_by_topic_the_rest_as_older() {
        let topics = Registry::new().unwrap().topics();
        let of = |topic: &str| topics.backlog.with_label_values(&[topic]).get();
        topics.accepted("orders", 5);
        topics.accepted("users", 2);
        topics.settled("orders", 4);
        let older = BTreeMap::from([("orders".to_owned(), 10), ("old".to_owned(), 3)]);
        topics.observe(20, Some(older));
        assert_eq!((of("orders"), of("users"), of("old"), of(BEFORE_START)), (11, 2, 3, 4));
        assert_eq!(topics.counted()["orders"], TopicCounts { accepted: 5, backlog: 11 });
        assert_eq!(topics.counted()[BEFORE_START].backlog, 4);
        // All of these are delivered. The log counts a record a moment before this module does.
        topics.observe(4, None);
        assert_eq!((of("orders"), of("users"), of("old"), of(BEFORE_START)), (1, 2, 0, 0));
        assert!(!topics.counted().contains_key(BEFORE_START));
    }
}
