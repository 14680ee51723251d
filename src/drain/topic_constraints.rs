//! What a topic is known to reject, and which of its records must be sent alone.
//!
//! A topic is on *probation* after it rejected a record. Its records are then sent one at a time, so that the next
//! rejection affects no other topic. Probation ends when enough records in a row were confirmed. Records of a kind
//! that the topic is known to reject (large records, records without a key) are sent alone for longer.

use crate::kafka::TOO_LARGE;

/// Records in a row that must be confirmed after the first rejection. This is more than a second rejection is
/// likely to need.
const FIRST_PROBATION_RECORDS: u64 = 256;
/// Each rejection that costs a producer doubles the number of records, up to this limit. Then at most one record in
/// this many affects other topics.
const MAX_PROBATION_RECORDS: u64 = 65_536;
/// Smaller batches are not worth their requests. A record larger than this is still sent alone.
const MIN_BATCH_BYTES: u64 = 1024;

/// The known constraints of one topic.
#[derive(Debug)]
pub(super) struct TopicConstraints {
    /// The largest batch that the topic is known to accept, in bytes.
    pub(super) max_batch_bytes: u64,
    /// Whether it rejected records because they have no key. Then its metadata may show that it is compacted.
    pub(super) refuses_keyless: bool,
    /// Whether the brokers report that it is compacted. Such a topic rejects every record without a key.
    pub(super) is_compacted: bool,
    /// Records that must be confirmed before records are batched again.
    probation_left: u64,
    /// The number of such records after the last rejection of a batch.
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
    /// Whether the topic certainly rejects a record with a key, or without one.
    pub(super) fn refuses(&self, has_key: bool) -> bool {
        self.is_compacted && !has_key
    }

    /// Whether a record is sent in its own request, because it may be rejected and others with it.
    pub(super) fn must_send_alone(&self, bytes: u64, has_key: bool) -> bool {
        self.probation_left > 0 || self.expects_refusal(bytes, has_key)
    }

    /// Whether the topic has rejected a record like this one.
    pub(super) fn expects_refusal(&self, bytes: u64, has_key: bool) -> bool {
        bytes >= self.max_batch_bytes || (self.refuses_keyless && !has_key)
    }

    /// Whether its records are sent more slowly than those of other topics.
    pub(super) fn is_slow(&self) -> bool {
        self.probation_left > 0 || self.refuses_keyless || self.max_batch_bytes != u64::MAX
    }

    /// A producer was lost because of the topic: a batch was rejected, or the whole topic.
    pub(super) fn start_probation(&mut self) {
        if self.probation_left == 0 {
            self.last_probation =
                (self.last_probation * 2).clamp(FIRST_PROBATION_RECORDS, MAX_PROBATION_RECORDS);
        }
        self.probation_left = self.last_probation;
    }

    /// A record was rejected that was alone in its request. Returns whether the topic's metadata may explain why.
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

    /// A record of the topic was confirmed.
    pub(super) fn on_record_confirmed(&mut self, has_key: bool) {
        self.probation_left = self.probation_left.saturating_sub(1);
        self.refuses_keyless &= has_key;
        self.is_compacted &= has_key;
    }

    /// The whole batch was too large. Reduces the batch limit.
    pub(super) fn reduce_batch_limit(&mut self, cap: u64) {
        self.max_batch_bytes = self.max_batch_bytes.min(cap.max(MIN_BATCH_BYTES));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Regression: each rejection cost every topic of the worker its producer. Twenty in a second caused a delay of
    /// one minute.
    #[test]
    fn after_a_rejection_records_are_sent_alone_until_probation_ends() {
        let mut topic = TopicConstraints::default();
        assert!(!topic.must_send_alone(1, true) && !topic.is_slow());
        for refusals in [1, 2, 3] {
            topic.start_probation();
            topic.start_probation();
            topic.on_record_refused("record: invalid", 100, true);
            for _ in 0..FIRST_PROBATION_RECORDS << (refusals - 1) {
                assert!(topic.must_send_alone(1, true));
                topic.on_record_confirmed(true);
            }
            assert!(!topic.must_send_alone(1, true), "after {refusals}");
        }
        topic.on_record_refused("record: invalid", 100, true);
        assert!(topic.must_send_alone(1, true), "whether rejected alone or not");
    }

    #[test]
    fn an_expected_rejection_starts_no_probation() {
        let mut topic = TopicConstraints::default();
        topic.on_record_refused(TOO_LARGE, 5000, true);
        topic.on_record_refused("record: invalid", 100, false);
        (0..FIRST_PROBATION_RECORDS).for_each(|_| topic.on_record_confirmed(true));
        topic.on_record_refused(TOO_LARGE, 6000, true);
        topic.on_record_refused("record: invalid", 100, false);
        assert!(topic.must_send_alone(5000, true) && topic.must_send_alone(1, false));
        assert!(!topic.must_send_alone(4999, true));
        topic.on_record_confirmed(false);
        assert!(!topic.must_send_alone(1, false), "it accepts records without a key again");
    }
}
