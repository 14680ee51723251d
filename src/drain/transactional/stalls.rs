//! Detects transactions that wait too long, and releases held lanes.

use std::time::{Duration, Instant};

use super::tx_sender::TxSender;
use crate::drain::dispatcher::Dispatcher;
use crate::drain::scope::Scope;
use crate::kafka::TopicMetadata;
use crate::wal::Lsn;

/// A partition that confirms nothing for this long while brokers respond is removed from the transaction. Longer than
/// `STALL`, because here all records of the transaction must be sent again.
const STALL_TIMEOUT: Duration = Duration::from_secs(3);

/// After this long without a delivery report, check whether the transaction can still be committed.
const RESULT_TIMEOUT: Duration = Duration::from_millis(100);

impl Dispatcher<TxSender> {
    /// Checks a transaction that waits too long. It may have failed without a report, or a partition accepts nothing
    /// while brokers respond. If no broker responds, the worker keeps waiting.
    pub(super) fn check_for_stalls(&mut self, now: Instant) {
        let waits = now.saturating_duration_since(self.state.confirmed_at) >= RESULT_TIMEOUT;
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
                    "partition accepts nothing; its lanes are held"
                );
            }
            self.state.must_replace_producer = true;
        }
    }

    /// Releases the lanes whose cause is gone. Returns the first record among them.
    pub(super) fn release_lanes(&mut self, now: Instant) -> Option<Lsn> {
        let Self { state, sender } = self;
        if sender.held_lanes.is_empty() {
            return None;
        }
        sender.held_lanes.retry(now);
        let stalled_partitions = sender.held_lanes.stalled_partitions();
        let (policy, values, may_begin) = (&state.policy, &state.values, state.rescan.may_begin(now));
        let mut begins = false;
        let first = sender.held_lanes.release(|scope, first| match scope {
            Scope::Topic(topic) => policy.is_route_known(topic),
            Scope::Deferred(_) => {
                let goes = may_begin && values.may_proceed(first);
                begins |= goes;
                goes
            }
            Scope::Partition(place) => !stalled_partitions.contains(&place),
        });
        if begins {
            state.rescan.begin(now);
        }
        first
    }
}
