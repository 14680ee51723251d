//! When a transaction has waited too long, and when lanes that were held go on.

use std::time::{Duration, Instant};

use super::tx_sender::TxSender;
use crate::drain::dispatcher::Dispatcher;
use crate::drain::scope::Scope;
use crate::kafka::TopicMetadata;
use crate::wal::Lsn;

/// A partition that confirms nothing for this long, while brokers answer, is taken out of the transaction. Above
/// `STALL`: here it costs everybody's repetition.
const STALL_TIMEOUT: Duration = Duration::from_secs(3);

/// No result for this long: time to ask whether the transaction can still be committed.
const RESULT_TIMEOUT: Duration = Duration::from_millis(100);

impl Dispatcher<TxSender> {
    /// A transaction that waits too long: it may be beyond help without a word, or a partition takes nothing while
    /// brokers answer. When no broker answers, waiting is right.
    pub(super) fn check_for_stalls(&mut self, now: Instant) {
        let waits = now.saturating_duration_since(self.state.acknowledged_at) >= RESULT_TIMEOUT;
        let stalled = self.state.in_flight.stalled_for(STALL_TIMEOUT, now);
        let open = self.sender.transaction.as_ref().is_some_and(|run| !run.is_committing);
        if !open || (!waits && stalled.is_empty()) {
            return;
        }
        if self.sender.must_abort() {
            self.state.must_replace_producer = true;
            return;
        }
        let Some(first) = stalled.first() else { return };
        if let Some(TopicMetadata::Partitions(_)) = self.refresh_topic(first.topic, false, now) {
            for place in stalled {
                let delay = self.sender.held_lanes.mark_stalled(place, now).as_millis() as u64;
                let topic = &**self.state.policy.topic_name(place.topic);
                let partition = place.partition;
                tracing::warn!(
                    event = "drain.partition_stalled",
                    kafka.topic = topic,
                    kafka.partition = partition,
                    drain.delay_ms = delay,
                    "partition accepts nothing; its lanes wait"
                );
            }
            self.state.must_replace_producer = true;
        }
    }

    /// Lets lanes go whose reason is gone; the first record among them.
    pub(super) fn release_lanes(&mut self, now: Instant) -> Option<Lsn> {
        let Self { state, sender } = self;
        if sender.held_lanes.is_empty() {
            return None;
        }
        sender.held_lanes.retry(now);
        let jammed = sender.held_lanes.stalled_partitions();
        let (policy, values, may_begin) = (&state.policy, &state.values, state.rescan.may_begin(now));
        let mut begins = false;
        let first = sender.held_lanes.release(|scope, first| match scope {
            Scope::Topic(topic) => policy.is_route_known(topic),
            Scope::Deferred(_) => {
                let goes = may_begin && values.may_proceed(first);
                begins |= goes;
                goes
            }
            Scope::Partition(place) => !jammed.contains(&place),
        });
        if begins {
            state.rescan.begin(now);
        }
        first
    }
}
