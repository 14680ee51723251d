//! Records by topic. Ingest counts those that it accepts, and the drain those that are settled; the difference waits.
//!
//! A start reads no backlog. Of records that were accepted before it, the log knows how many of each kind are in segments
//! that nothing was delivered of. The topics of the others are not known until they are delivered: they are one series of
//! their own.

use std::collections::BTreeMap;

use prometheus::core::Collector;
use prometheus::{Error, IntCounterVec, IntGaugeVec, Opts};

use super::registered::registered;
use super::values::by_label;

/// The topic under which records are shown whose topic is not known. No topic of Kafka can have this name.
const BEFORE_START: &str = "(before start)";

/// Records by topic. Clones share them.
#[derive(Clone)]
pub struct TopicMetrics {
    accepted: IntCounterVec,
    backlog: IntGaugeVec,
    /// Records that were accepted since the start and wait, by topic. It is not shown itself.
    waiting: IntGaugeVec,
}

/// The records of one topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicCounts {
    /// Accepted since the start.
    pub accepted: u64,
    /// Accepted and not confirmed.
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

    /// A log is opened, and these topics may come: they are shown from the start.
    pub fn preregister<'a>(&self, topics: impl IntoIterator<Item = &'a str>) {
        drop(self.backlog.with_label_values(&[BEFORE_START]));
        for topic in topics {
            drop((self.accepted.with_label_values(&[topic]), self.backlog.with_label_values(&[topic])));
        }
    }

    /// So many records of a topic are on stable storage.
    pub fn accepted(&self, topic: &str, records: u64) {
        self.accepted.with_label_values(&[topic]).inc_by(records);
        self.waiting.with_label_values(&[topic]).add(signed(records));
    }

    /// So many records of a topic that were accepted since the start are confirmed or dead.
    pub fn settled(&self, topic: &str, records: u64) {
        self.waiting.with_label_values(&[topic]).sub(signed(records));
    }

    /// Sets the gauges. Called before each scrape. `all`: records that wait; `older`: those that were accepted before the
    /// start, as far as their topics are known; none once all of these are delivered or dead.
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

    /// What is shown of each topic: as accepted now, and waiting as last observed.
    pub fn counted(&self) -> BTreeMap<String, TopicCounts> {
        let mut topics: BTreeMap<String, TopicCounts> = BTreeMap::new();
        for (topic, records) in by_label(&self.accepted) {
            topics.entry(topic).or_default().accepted = records as u64;
        }
        for (topic, records) in by_label(&self.backlog) {
            // The series for records of unknown topics is there for the sum; a person needs it only when there are some.
            if records > 0.0 || topic != BEFORE_START {
                topics.entry(topic).or_default().backlog = records as u64;
            }
        }
        topics
    }

    /// Topics that were shown once are shown for good. Those that have records are left alone: a scrape beside this one
    /// must not find 0.
    fn clear_others(&self, waiting: &BTreeMap<String, i64>) {
        for family in self.backlog.collect() {
            let labels = family.get_metric().iter().filter_map(|metric| metric.get_label().first());
            for label in labels.filter(|label| !waiting.contains_key(label.value())) {
                self.backlog.with_label_values(&[label.value()]).set(0);
            }
        }
    }
}

/// Gauges are signed; no quantity of ours comes near the limit.
fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Registry;

    #[test]
    fn what_waits_is_shown_by_topic_and_the_rest_is_older() {
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
        // All of them are delivered. The log has a record a moment before it is counted here.
        topics.observe(4, None);
        assert_eq!((of("orders"), of("users"), of("old"), of(BEFORE_START)), (1, 2, 0, 0));
        assert!(!topics.counted().contains_key(BEFORE_START));
    }
}
