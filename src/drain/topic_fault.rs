//! Why and since when the brokers reject a topic, and whether the grace time is over.

use std::time::{Duration, Instant};

/// A rejection that lasts.
#[derive(Debug, Default)]
pub(super) struct TopicFault {
    /// The reason of the latest rejection.
    pub(super) reason: &'static str,
    /// Whether the grace time is over. Then records of the topic become dead letters.
    pub(super) is_grace_over: bool,
    /// Whether a record was rejected, not only a metadata request. Then only a confirmed record proves that the topic
    /// is healthy.
    pub(super) is_from_record: bool,
    /// The time of the first rejection. `None` after the brokers were unavailable.
    since: Option<Instant>,
}

impl TopicFault {
    /// A broker rejected the topic. Returns the rest of the grace time. A grace time of zero never ends.
    pub(super) fn on_refused(
        &mut self,
        reason: &'static str,
        by_send: bool,
        now: Instant,
        grace: Duration,
    ) -> Duration {
        let since = *self.since.get_or_insert(now);
        let left = (since + grace).saturating_duration_since(now);
        self.reason = reason;
        self.is_from_record |= by_send;
        self.is_grace_over = !grace.is_zero() && left.is_zero();
        left
    }

    /// No broker is available, so the state of the topic is unknown. The grace time restarts with the next rejection.
    pub(super) fn restart_grace(&mut self) {
        self.since = None;
        self.is_grace_over = false;
    }
}
