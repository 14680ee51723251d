//! What a topic is known to refuse, and how carefully its records go.
//!
//! A topic is on *probation* after a record of it was refused: its records go one at a time, so that the next refusal
//! costs no other topic anything. It ends when enough records in a row arrived. What the topic is known to refuse
//! (large records, records without a key) goes alone for longer.

use crate::kafka::TOO_LARGE;

/// Records that must arrive in a row after the first refusal: more than a second refusal is likely to take.
const FIRST_PROBATION_RECORDS: u64 = 256;
/// Each one that costs a producer doubles their number, up to this: then at most one in so many costs the others anything.
const MAX_PROBATION_RECORDS: u64 = 65_536;
/// Smaller batches are not worth their requests; a record larger than this still goes alone.
const MIN_BATCH_BYTES: u64 = 1024;

/// Of one topic.
#[derive(Debug)]
pub(super) struct TopicConstraints {
    /// The largest batch it takes, as far as is known, in bytes.
    pub(super) max_batch_bytes: u64,
    /// Whether it refused records because they have no key: it is worth asking whether it is compacted.
    pub(super) refuses_keyless: bool,
    /// Whether brokers say that it is compacted, and so will refuse each of them.
    pub(super) is_compacted: bool,
    /// Records that must arrive before its records go together again.
    probation_left: u64,
    /// How many the last refusal of a batch asked for.
    last_probation: u64,
}

impl Default for TopicConstraints {
    fn default() -> Self {
        Self {
            max_batch_bytes: u64::MAX,
            refuses_keyless: false,
            is_compacted: false,
            probation_left: 0,
            last_probation: 0,
        }
    }
}

impl TopicConstraints {
    /// Whether it is certain to refuse a record with a key, or without one.
    pub(super) fn refuses(&self, has_key: bool) -> bool {
        self.is_compacted && !has_key
    }

    /// Whether a record goes in a request of its own: it may be refused, and others with it.
    pub(super) fn must_send_alone(&self, bytes: u64, has_key: bool) -> bool {
        self.probation_left > 0 || self.expects_refusal(bytes, has_key)
    }

    /// Whether the topic has refused a record like this one.
    pub(super) fn expects_refusal(&self, bytes: u64, has_key: bool) -> bool {
        bytes >= self.max_batch_bytes || (self.refuses_keyless && !has_key)
    }

    /// Whether its records must wait for each other more than those of others.
    pub(super) fn is_slow(&self) -> bool {
        self.probation_left > 0 || self.refuses_keyless || self.max_batch_bytes != u64::MAX
    }

    /// A producer was lost because of the topic: a batch was refused, or the whole topic.
    pub(super) fn start_probation(&mut self) {
        if self.probation_left == 0 {
            self.last_probation =
                (self.last_probation * 2).clamp(FIRST_PROBATION_RECORDS, MAX_PROBATION_RECORDS);
        }
        self.probation_left = self.last_probation;
    }

    /// A record was refused that was alone in its request. Says whether brokers know why and are to be asked.
    pub(super) fn on_record_refused(&mut self, reason: &'static str, bytes: u64, has_key: bool) -> bool {
        if !self.expects_refusal(bytes, has_key) {
            self.probation_left = self.last_probation.max(FIRST_PROBATION_RECORDS);
        }
        if reason == TOO_LARGE {
            self.reduce_batch_limit(bytes);
            return false;
        }
        let is_news = !has_key && !self.refuses_keyless;
        self.refuses_keyless |= !has_key;
        is_news
    }

    /// One of its records arrived.
    pub(super) fn on_record_acknowledged(&mut self, has_key: bool) {
        self.probation_left = self.probation_left.saturating_sub(1);
        self.refuses_keyless &= has_key;
        self.is_compacted &= has_key;
    }

    /// The whole batch was too large: smaller ones from now on.
    pub(super) fn reduce_batch_limit(&mut self, cap: u64) {
        self.max_batch_bytes = self.max_batch_bytes.min(cap.max(MIN_BATCH_BYTES));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each refusal cost every topic of the worker its producer: twenty in a second, a minute's delay.
    #[test]
    fn after_a_refusal_records_go_singly_until_enough_of_them_arrived() {
        let mut topic = TopicConstraints::default();
        assert!(!topic.must_send_alone(1, true) && !topic.is_slow());
        for refusals in [1, 2, 3] {
            topic.start_probation();
            topic.start_probation();
            topic.on_record_refused("record: invalid", 100, true);
            for _ in 0..FIRST_PROBATION_RECORDS << (refusals - 1) {
                assert!(topic.must_send_alone(1, true));
                topic.on_record_acknowledged(true);
            }
            assert!(!topic.must_send_alone(1, true), "after {refusals}");
        }
        topic.on_record_refused("record: invalid", 100, true);
        assert!(topic.must_send_alone(1, true), "refused alone or not");
    }

    #[test]
    fn what_a_topic_refused_before_goes_alone_and_starts_no_probation() {
        let mut topic = TopicConstraints::default();
        topic.on_record_refused(TOO_LARGE, 5000, true);
        topic.on_record_refused("record: invalid", 100, false);
        (0..FIRST_PROBATION_RECORDS).for_each(|_| topic.on_record_acknowledged(true));
        topic.on_record_refused(TOO_LARGE, 6000, true);
        topic.on_record_refused("record: invalid", 100, false);
        assert!(topic.must_send_alone(5000, true) && topic.must_send_alone(1, false));
        assert!(!topic.must_send_alone(4999, true));
        topic.on_record_acknowledged(false);
        assert!(!topic.must_send_alone(1, false), "it takes records without a key again");
    }
}
