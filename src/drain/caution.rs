//! What a topic is known to refuse, and how carefully its records go.
//!
//! A topic is on *probation* after a record of it was refused: its records go one at a time, so that the next refusal
//! costs no other topic anything. It ends when enough records in a row arrived. What the topic is known to refuse
//! (large records, records without a key) goes alone for longer.

use crate::kafka::TOO_LARGE;

/// Records that must arrive in a row after the first refusal: more than a second refusal is likely to take.
const PROBATION: u64 = 256;
/// Each one that costs a producer doubles their number, up to this: then at most one in so many costs the others anything.
const LONGEST_PROBATION: u64 = 65_536;
/// Smaller batches are not worth their requests; a record larger than this still goes alone.
const LEAST_CAP: u64 = 1024;

/// Of one topic.
#[derive(Debug)]
pub(super) struct Caution {
    /// The largest batch it takes, as far as is known, in bytes.
    pub(super) cap: u64,
    /// Whether it refused records because they have no key: it is worth asking whether it is compacted.
    pub(super) refuses_keyless: bool,
    /// Whether brokers say that it is compacted, and so will refuse each of them.
    pub(super) is_compacted: bool,
    /// Records that must arrive before its records go together again.
    probation: u64,
    /// How many the last refusal of a batch asked for.
    longest: u64,
}

impl Default for Caution {
    fn default() -> Self {
        Self { cap: u64::MAX, refuses_keyless: false, is_compacted: false, probation: 0, longest: 0 }
    }
}

impl Caution {
    /// Whether it is certain to refuse a record with a key, or without one.
    pub(super) fn refuses(&self, has_key: bool) -> bool {
        self.is_compacted && !has_key
    }

    /// Whether a record goes in a request of its own: it may be refused, and others with it.
    pub(super) fn goes_singly(&self, bytes: u64, has_key: bool) -> bool {
        self.probation > 0 || self.expects_refusal(bytes, has_key)
    }

    /// Whether the topic has refused a record like this one.
    pub(super) fn expects_refusal(&self, bytes: u64, has_key: bool) -> bool {
        bytes >= self.cap || (self.refuses_keyless && !has_key)
    }

    /// Whether its records must wait for each other more than those of others.
    pub(super) fn is_slow(&self) -> bool {
        self.probation > 0 || self.refuses_keyless || self.cap != u64::MAX
    }

    /// A producer was lost because of the topic: a batch was refused, or the whole topic.
    pub(super) fn put_on_probation(&mut self) {
        if self.probation == 0 {
            self.longest = (self.longest * 2).clamp(PROBATION, LONGEST_PROBATION);
        }
        self.probation = self.longest;
    }

    /// A record was refused that was alone in its request. Says whether brokers know why and are to be asked.
    pub(super) fn record_refused(&mut self, reason: &'static str, bytes: u64, has_key: bool) -> bool {
        if !self.expects_refusal(bytes, has_key) {
            self.probation = self.longest.max(PROBATION);
        }
        if reason == TOO_LARGE {
            self.shrink(bytes);
            return false;
        }
        let is_news = !has_key && !self.refuses_keyless;
        self.refuses_keyless |= !has_key;
        is_news
    }

    /// One of its records arrived.
    pub(super) fn record_arrived(&mut self, has_key: bool) {
        self.probation = self.probation.saturating_sub(1);
        self.refuses_keyless &= has_key;
        self.is_compacted &= has_key;
    }

    /// The whole batch was too large: smaller ones from now on.
    pub(super) fn shrink(&mut self, cap: u64) {
        self.cap = self.cap.min(cap.max(LEAST_CAP));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each refusal cost every topic of the worker its producer: twenty in a second, a minute's delay.
    #[test]
    fn after_a_refusal_records_go_singly_until_enough_of_them_arrived() {
        let mut topic = Caution::default();
        assert!(!topic.goes_singly(1, true) && !topic.is_slow());
        for refusals in [1, 2, 3] {
            topic.put_on_probation();
            topic.put_on_probation();
            topic.record_refused("record: invalid", 100, true);
            for _ in 0..PROBATION << (refusals - 1) {
                assert!(topic.goes_singly(1, true));
                topic.record_arrived(true);
            }
            assert!(!topic.goes_singly(1, true), "after {refusals}");
        }
        topic.record_refused("record: invalid", 100, true);
        assert!(topic.goes_singly(1, true), "refused alone or not");
    }

    #[test]
    fn what_a_topic_refused_before_goes_alone_and_starts_no_probation() {
        let mut topic = Caution::default();
        topic.record_refused(TOO_LARGE, 5000, true);
        topic.record_refused("record: invalid", 100, false);
        (0..PROBATION).for_each(|_| topic.record_arrived(true));
        topic.record_refused(TOO_LARGE, 6000, true);
        topic.record_refused("record: invalid", 100, false);
        assert!(topic.goes_singly(5000, true) && topic.goes_singly(1, false));
        assert!(!topic.goes_singly(4999, true));
        topic.record_arrived(false);
        assert!(!topic.goes_singly(1, false), "it takes records without a key again");
    }
}
