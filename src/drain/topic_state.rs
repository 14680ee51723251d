//! The known state of a topic, and whether its records may be sent.
//!
//! The records of a topic that the brokers reject (unknown, not authorised) are parked. Its metadata is fetched
//! repeatedly. If a broker still rejects the topic one grace time after the first rejection, its records become dead
//! letters. Even then its metadata is still fetched. Unavailable brokers give no information about a topic, so they
//! restart the grace time.
//!
//! A topic is *unsettled* while the partition of a key may differ from that of records in flight. Either its number
//! of partitions changed, or it may have been deleted and created again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::IntCounter;

use crate::backoff::Backoff;
use crate::drain::topic_constraints::TopicConstraints;
use crate::drain::topic_fault::TopicFault;
use crate::kafka::{INVALID, TopicMetadata};
use crate::units::Timestamp;
use crate::wal::Lsn;

/// Minimum interval between metadata requests that a new record of a dead-lettered topic causes.
const RECHECK_INTERVAL: Duration = Duration::from_millis(250);

/// What to do with a record of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// Send the record to one of `partitions` partitions. If `alone`, it must be the only one of its topic in flight.
    Send { partitions: i32, alone: bool },
    /// Park the record and let others pass.
    Park,
    /// No broker is available, so no record can pass.
    Wait,
    /// The grace time is over: make the record a dead letter, with this reason.
    DeadLetter(&'static str),
}

#[derive(Debug, PartialEq, Eq)]
enum Availability {
    Unknown { away: bool },
    Ready,
    Refused,
    Trial(Option<Lsn>),
}

/// The state of one topic.
#[derive(Debug)]
pub(super) struct TopicState {
    pub(super) name: Arc<str>,
    /// Whether records in flight may belong to other partitions than the same records would now.
    awaits_in_flight: bool,
    /// What the topic is known to reject.
    pub(super) constraints: TopicConstraints,
    /// Counts its confirmed records.
    pub(super) sent: IntCounter,
    availability: Availability,
    partitions: i32,
    refresh_at: Instant,
    /// When its metadata was last received, by both clocks.
    metadata_at: (Instant, Timestamp),
    backoff: Backoff,
    /// Interval between metadata requests while it is healthy.
    refresh: Duration,
    fault: Option<TopicFault>,
}

impl TopicState {
    pub(super) fn new(
        name: &str,
        backoff: Backoff,
        refresh: Duration,
        sent: IntCounter,
        now: Instant,
    ) -> Self {
        Self {
            name: name.into(),
            sent,
            awaits_in_flight: false,
            constraints: TopicConstraints::default(),
            availability: Availability::Unknown { away: false },
            partitions: 0,
            refresh_at: now,
            metadata_at: (now, Timestamp::default()),
            backoff,
            refresh,
            fault: None,
        }
    }

    /// The route of its next record, which was accepted `at`. A record without a key is not sent if a compacted topic
    /// will reject it.
    pub(super) fn route_record(&self, at: Timestamp, has_key: bool) -> Route {
        let is_answered_since = at < self.metadata_at.1;
        match self.route() {
            Route::DeadLetter(_) if !is_answered_since => Route::Park,
            Route::Send { .. } if self.constraints.refuses(has_key) && is_answered_since => {
                Route::DeadLetter(INVALID)
            }
            Route::Send { .. } if self.constraints.refuses(has_key) => Route::Park,
            route => route,
        }
    }

    /// Whether the topic, or all its records without a key, began to be dead-lettered before this record was
    /// accepted. Since then an operator may have fixed the cause and requeued the record.
    pub(super) fn was_refused_by(&self, at: Timestamp, has_key: bool, now: Instant) -> bool {
        let condemned = matches!(self.route(), Route::DeadLetter(_)) || self.constraints.refuses(has_key);
        condemned && at >= self.metadata_at.1 && now >= self.metadata_at.0 + RECHECK_INTERVAL
    }

    /// The route of its records.
    pub(super) fn route(&self) -> Route {
        let send = |alone| Route::Send { partitions: self.partitions, alone };
        match self.availability {
            Availability::Ready => send(false),
            Availability::Trial(None) => send(true),
            Availability::Unknown { away: true } => Route::Wait,
            Availability::Unknown { away: false } | Availability::Trial(Some(_)) => Route::Park,
            Availability::Refused => match &self.fault {
                Some(fault) if fault.is_grace_over => Route::DeadLetter(fault.reason),
                _ => Route::Park,
            },
        }
    }

    /// Whether its metadata is due now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now >= self.refresh_at && !matches!(self.availability, Availability::Trial(_))
    }

    /// Processes the result of a metadata request.
    pub(super) fn on_metadata(&mut self, answer: TopicMetadata, now: Instant, grace: Duration) {
        self.metadata_at = (now, Timestamp::now());
        match answer {
            TopicMetadata::Partitions(partitions) => {
                self.awaits_in_flight |= self.partitions != partitions && self.partitions != 0;
                self.partitions = partitions;
                self.refresh_at = now + self.refresh;
                let proved = !self.fault.as_ref().is_some_and(|fault| fault.is_from_record);
                self.availability = if proved { Availability::Ready } else { Availability::Trial(None) };
                self.fault.take_if(|_| proved);
                if proved {
                    self.backoff.reset();
                }
            }
            TopicMetadata::Refused(reason) => self.on_refused(reason, false, now, grace),
            TopicMetadata::Pending if self.availability == Availability::Ready => {
                self.refresh_at = now + self.backoff.delay()
            }
            TopicMetadata::Pending => {
                self.availability = Availability::Unknown { away: false };
                self.refresh_at = now + self.backoff.delay();
            }
            TopicMetadata::Unavailable => {
                if let Some(fault) = &mut self.fault {
                    fault.restart_grace();
                } else if self.availability != Availability::Ready {
                    self.availability = Availability::Unknown { away: true };
                }
                self.refresh_at = now + self.backoff.delay();
            }
        }
    }

    /// A broker rejected the topic. `by_send` is whether it rejected a record, not only a metadata request.
    pub(super) fn on_refused(&mut self, reason: &'static str, by_send: bool, now: Instant, grace: Duration) {
        let fault = self.fault.get_or_insert_default();
        let left = fault.on_refused(reason, by_send, now, grace);
        self.availability = Availability::Refused;
        self.awaits_in_flight = true;
        let delay = self.backoff.delay();
        // The decisive request is sent when the grace time ends, not a whole delay later.
        self.refresh_at = now + if left.is_zero() { delay } else { delay.min(left) };
    }

    /// The client's metadata of the topic is out of date.
    pub(super) fn invalidate_metadata(&mut self, now: Instant) {
        self.awaits_in_flight = true;
        if matches!(self.availability, Availability::Ready | Availability::Trial(_)) {
            self.availability = Availability::Unknown { away: false };
            self.refresh_at = now + self.backoff.delay();
        }
    }

    /// Begins a trial: this one record was sent after a fault, to see whether the topic accepts records again.
    pub(super) fn begin_trial(&mut self, lsn: Lsn) {
        self.availability = Availability::Trial(Some(lsn));
    }

    /// If this record is the trial, it was lost in flight and proves nothing.
    pub(super) fn abandon_trial(&mut self, lsn: Lsn) {
        if self.availability == Availability::Trial(Some(lsn)) {
            self.availability = Availability::Trial(None);
        }
    }

    /// A record was confirmed, so the topic is healthy. Returns whether that was in doubt.
    pub(super) fn on_confirmed(&mut self) -> bool {
        if self.fault.is_none() || self.partitions == 0 {
            return false;
        }
        self.fault = None;
        self.availability = Availability::Ready;
        self.backoff.reset();
        true
    }

    /// Why the brokers reject it, if they do.
    pub(super) fn refusal(&self) -> Option<&'static str> {
        self.fault.as_ref().map(|fault| fault.reason)
    }

    /// Whether no record of it may be sent before all records in flight have returned.
    pub(super) fn must_await_in_flight(&self) -> bool {
        self.awaits_in_flight
    }

    /// No record of it is in flight.
    pub(super) fn on_in_flight_empty(&mut self) {
        self.awaits_in_flight = false;
    }

    /// A record was rejected that was alone in its request.
    pub(super) fn on_record_refused(&mut self, reason: &'static str, bytes: u64, has_key: bool) {
        if self.constraints.on_record_refused(reason, bytes, has_key) {
            // The brokers' metadata shows the cause.
            self.refresh_at = self.metadata_at.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(60);
    const UNKNOWN: TopicMetadata = TopicMetadata::Refused("topic: unknown");

    fn topic(now: Instant) -> TopicState {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));
        TopicState::new("t", backoff, GRACE * 3, IntCounter::new("sent", "sent").unwrap(), now)
    }

    /// Regression: a record was requeued minutes after the decision, and after the topic was created. It was
    /// dead-lettered because of stale metadata.
    #[test]
    fn a_later_record_triggers_a_recheck_of_a_rejected_topic() {
        let start = Instant::now();
        let mut topic = topic(start);
        topic.on_metadata(UNKNOWN, start, Duration::from_millis(1));
        topic.on_metadata(UNKNOWN, start + GRACE, Duration::from_millis(1));
        let (before, after) = (Timestamp(1), Timestamp(u64::MAX));
        assert_eq!(topic.route_record(before, true), Route::DeadLetter("topic: unknown"));
        assert_eq!(topic.route_record(after, true), Route::Park);
        let later = start + GRACE + RECHECK_INTERVAL;
        assert!(topic.was_refused_by(after, true, later) && !topic.was_refused_by(before, true, later));
        assert!(!topic.was_refused_by(after, true, start + GRACE), "not for each record");
    }

    #[test]
    fn a_rejected_topic_parks_records_until_the_grace_time_ends() {
        let start = Instant::now();
        let mut topic = topic(start);
        topic.on_metadata(UNKNOWN, start, GRACE);
        assert_eq!(topic.route(), Route::Park);
        let mut now = start;
        while now < start + GRACE {
            assert_eq!(topic.route(), Route::Park);
            now = topic.refresh_at;
            assert!(now <= start + GRACE, "the decisive request comes in time");
            topic.on_metadata(UNKNOWN, now, GRACE);
        }
        assert_eq!(topic.route(), Route::DeadLetter("topic: unknown"));
        topic.on_metadata(TopicMetadata::Partitions(3), now, GRACE);
        assert_eq!(topic.route(), Route::Send { partitions: 3, alone: false });
    }

    #[test]
    fn unavailable_brokers_restart_the_grace_time() {
        let start = Instant::now();
        let mut topic = topic(start);
        topic.on_metadata(UNKNOWN, start, GRACE);
        topic.on_metadata(TopicMetadata::Unavailable, start + GRACE * 2, GRACE);
        assert_eq!(topic.route(), Route::Park);
        topic.on_metadata(UNKNOWN, start + GRACE * 3, GRACE);
        assert_eq!(topic.route(), Route::Park);
        topic.on_metadata(UNKNOWN, start + GRACE * 4, GRACE);
        assert_eq!(topic.route(), Route::DeadLetter("topic: unknown"));
    }

    #[test]
    fn a_grace_time_of_zero_never_ends() {
        let start = Instant::now();
        let mut topic = topic(start);
        topic.on_metadata(UNKNOWN, start, Duration::ZERO);
        topic.on_metadata(UNKNOWN, start + GRACE * 1000, Duration::ZERO);
        assert_eq!(topic.route(), Route::Park);
    }

    #[test]
    fn after_a_rejection_only_a_confirmed_record_restores_the_topic() {
        let start = Instant::now();
        let mut topic = topic(start);
        topic.on_metadata(TopicMetadata::Partitions(2), start, GRACE);
        topic.on_refused("topic: not authorised", true, start, GRACE);
        topic.on_metadata(TopicMetadata::Partitions(2), start, GRACE);
        assert_eq!(topic.route(), Route::Send { partitions: 2, alone: true });
        topic.begin_trial(Lsn(7));
        assert_eq!(topic.route(), Route::Park, "one at a time");
        topic.on_refused("topic: not authorised", true, start + GRACE, GRACE);
        assert_eq!(topic.route(), Route::DeadLetter("topic: not authorised"));
        topic.on_metadata(TopicMetadata::Partitions(2), start + GRACE, GRACE);
        topic.begin_trial(Lsn(8));
        assert!(topic.on_confirmed());
        assert_eq!(topic.route(), Route::Send { partitions: 2, alone: false });
    }

    /// A trial costs a transaction and its producer. When trials were repeated after a constant 100 ms, they left no
    /// time for the other topics of an exactly-once worker.
    #[test]
    fn trials_of_a_rejecting_topic_become_less_frequent() {
        let start = Instant::now();
        let mut topic = topic(start);
        let delays: Vec<Duration> = (0..6)
            .map(|_| {
                topic.on_refused("topic: not authorised", true, start, Duration::ZERO);
                let delay = topic.refresh_at - start;
                topic.on_metadata(TopicMetadata::Partitions(2), start, Duration::ZERO);
                delay
            })
            .collect();
        assert!(delays[5] > delays[0] * 8, "{delays:?}");
    }

    #[test]
    fn without_brokers_only_records_of_known_topics_are_sent() {
        let start = Instant::now();
        let mut topic = topic(start);
        topic.on_metadata(TopicMetadata::Unavailable, start, GRACE);
        assert_eq!(topic.route(), Route::Wait);
        topic.on_metadata(TopicMetadata::Partitions(1), start, GRACE);
        topic.on_metadata(TopicMetadata::Unavailable, start, GRACE);
        assert_eq!(topic.route(), Route::Send { partitions: 1, alone: false });
    }

    #[test]
    fn a_topic_being_created_parks_records_without_a_deadline() {
        let start = Instant::now();
        let mut topic = topic(start);
        topic.on_metadata(TopicMetadata::Pending, start, GRACE);
        topic.on_metadata(TopicMetadata::Pending, start + GRACE * 2, GRACE);
        assert_eq!(topic.route(), Route::Park);
    }

    #[test]
    fn a_topic_stays_unsettled_until_no_record_is_in_flight() {
        let start = Instant::now();
        let mut topic = topic(start);
        topic.on_metadata(TopicMetadata::Partitions(2), start, GRACE);
        topic.on_metadata(TopicMetadata::Partitions(2), start, GRACE);
        assert!(!topic.must_await_in_flight());
        topic.on_metadata(TopicMetadata::Partitions(3), start, GRACE);
        assert!(topic.must_await_in_flight());
        topic.on_in_flight_empty();
        topic.invalidate_metadata(start);
        topic.on_metadata(TopicMetadata::Partitions(3), start, GRACE);
        assert!(topic.must_await_in_flight(), "it may be another topic with the same name");
    }

    /// Each rejection aborted a transaction: ten thousand of them took minutes.
    #[test]
    fn keyless_records_are_not_sent_to_a_compacted_topic() {
        let start = Instant::now();
        let mut topic = topic(start);
        topic.on_metadata(TopicMetadata::Partitions(2), start, GRACE);
        assert!(!topic.is_due(start + GRACE));
        topic.on_record_refused(INVALID, 100, false);
        assert!(topic.is_due(start), "the cause is queried");
        topic.on_metadata(TopicMetadata::Partitions(2), start, GRACE);
        topic.constraints.is_compacted = true;
        let (before, after) = (Timestamp(1), Timestamp(u64::MAX));
        assert_eq!(topic.route_record(before, false), Route::DeadLetter(INVALID));
        assert_eq!(topic.route_record(after, false), Route::Park, "it may be another topic by now");
        assert!(topic.was_refused_by(after, false, start + RECHECK_INTERVAL));
        assert!(!topic.was_refused_by(after, true, start + RECHECK_INTERVAL), "records with a key continue");
        assert_eq!(topic.route_record(after, true), Route::Send { partitions: 2, alone: false });
        topic.constraints.is_compacted = false;
        assert_eq!(topic.route_record(before, false), Route::Send { partitions: 2, alone: false });
    }
}
