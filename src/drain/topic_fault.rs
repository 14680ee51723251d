//! Why the brokers refuse a topic, since when, and whether the grace time is over.

use std::time::{Duration, Instant};

/// A refusal that lasts.
#[derive(Debug, Default)]
pub(super) struct TopicFault {
    /// The latest refusal's.
    pub(super) reason: &'static str,
    /// The grace time is over: records of the topic are dead letters.
    pub(super) is_grace_over: bool,
    /// A record was refused, not only a question: only a record that arrives proves the opposite.
    pub(super) is_from_record: bool,
    /// The first refusal. None after the brokers were unavailable.
    since: Option<Instant>,
}

impl TopicFault {
    /// A broker refused the topic. Returns what is left of the grace time; a grace time of zero never ends.
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

    /// No broker answers, which says nothing about the topic: the grace time begins anew with the next refusal.
    pub(super) fn restart_grace(&mut self) {
        self.since = None;
        self.is_grace_over = false;
    }
}
