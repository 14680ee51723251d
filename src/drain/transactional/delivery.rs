//! Delivery reports of a transaction, its commit and its abort.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::lane_positions::LanePositions;
use super::retry_timeouts::retry_timeouts;
use super::transaction::Transaction;
use super::tx_sender::TxSender;
use crate::drain::dispatcher::Dispatcher;
use crate::drain::scope::TopicPartition;
use crate::failpoint::Failpoint;
use crate::kafka::{DeliveryFault, ErrorCode, TABLE_ENTRY_TAG, classify};
use crate::units::Timestamp;
use crate::wal::Lsn;

/// Number of transactions that contain one topic each, after a transaction with several topics was rejected because
/// of one of them. If none of these fails, the cause is gone.
const MAX_ISOLATING_TRANSACTIONS: u32 = 64;
/// Time limit of an abort. After it the producer is closed instead; the next producer aborts the transaction too.
const ABORT_TIMEOUT: Duration = Duration::from_secs(5);

impl Dispatcher<TxSender> {
    /// Processes all delivery reports so far.
    pub(super) fn collect(&mut self, now: Instant) {
        let Self { state, sender } = self;
        let Some(producer) = sender.producer.producer() else { return };
        producer.take_results(&mut state.results);
        state.must_replace_producer |= producer.has_failed();
        let results = std::mem::take(&mut state.results);
        let at = Timestamp::now();
        for result in &results {
            let Some(run) = &mut sender.transaction else { continue };
            match (result.error, result.tag) {
                (None, TABLE_ENTRY_TAG) => run.are_positions_confirmed = true,
                (None, _) => {
                    // The commit decides whether the record stays in Kafka, but its topic and partition are healthy.
                    let Some((flight, confirmation)) = state.on_confirmed(result, at, now) else {
                        continue;
                    };
                    if Failpoint::SentBeforeCommit.is_set() {
                        state.context.log.confirm(&[confirmation]);
                    }
                    sender.held_lanes.on_confirmed(flight.topic_partition);
                    run.confirmed.push((flight, confirmation));
                }
                (Some(code), TABLE_ENTRY_TAG) => {
                    tracing::warn!(
                        event = "drain.positions_refused",
                        kafka.error = %code,
                        "Kafka rejected the positions of a transaction"
                    );
                    state.must_replace_producer = true;
                }
                (Some(code), tag) => sender.failures.push((Lsn(tag), code)),
            }
        }
        if !results.is_empty() {
            state.confirmed_at = now;
        }
        state.results = results;
        state.results.clear();
    }

    /// Whether all records of the open transaction are confirmed, its dead letters are stored, and it is closed.
    pub(super) fn is_fully_confirmed(&self) -> bool {
        let closed =
            self.sender.transaction.as_ref().is_some_and(|run| run.is_closed && run.are_positions_confirmed);
        closed
            && !self.state.must_replace_producer
            && self.state.in_flight.len() == 0
            && !self.state.policy.has_unstored_dead_letters()
    }

    /// Commits a fully confirmed transaction. Blocks, calling `tick`.
    pub(super) fn commit(&mut self, now: Instant, tick: &mut dyn FnMut() -> bool) {
        let sender = &mut self.sender;
        let (Some(run), Some(producer)) = (&mut sender.transaction, sender.producer.producer()) else {
            return;
        };
        run.is_committing = true;
        let outcome = retry_timeouts(tick, |slice| producer.commit_transaction(slice));
        let loses = Failpoint::LoseCommitAnswer.triggers() || Failpoint::GuessCommit.triggers();
        match outcome {
            Ok(()) if loses => sender.producer.close(now),
            Ok(()) => {
                sender.isolating_transactions = sender.isolating_transactions.saturating_sub(1);
                sender.producer.record_success();
                self.on_committed();
            }
            Err(error) => {
                tracing::warn!(
                    event = "drain.commit_unknown",
                    %error,
                    "outcome of a commit is unknown; reading it from Kafka"
                );
                sender.producer.close(now);
            }
        }
    }

    /// The open transaction is committed, so its records are delivered.
    fn on_committed(&mut self) {
        let Some(run) = self.sender.transaction.take() else { return };
        self.sender.committed = run.positions;
        self.state.confirm(&run.confirmed);
    }

    /// A new producer found these positions. They show whether the previous producer's transaction was committed.
    pub(super) fn resolve_commit(&mut self, found: &LanePositions) {
        let Some(run) = &self.sender.transaction else { return };
        if run.is_committing && run.positions == *found {
            tracing::info!(event = "drain.commit_confirmed", "commit had succeeded");
            self.sender.producer.record_success();
            self.on_committed();
        } else {
            self.discard();
        }
    }

    /// Ends a transaction that cannot be committed, and finds the topic or record at fault. Returns whether one was
    /// found; then the others need not wait. Blocks, calling `tick`.
    pub(super) fn end_failed(&mut self, now: Instant, tick: &mut dyn FnMut() -> bool) -> bool {
        self.state.must_replace_producer = false;
        let is_open = self.sender.transaction.as_ref().is_some_and(|run| !run.is_committing);
        if is_open && self.sender.refused.is_none() {
            self.sender.must_abort();
        }
        let aborted = is_open && self.sender.abort(now, tick);
        if !aborted {
            self.sender.producer.close(now);
        }
        let mut is_known = self.isolate_topic(now);
        if is_known {
            // The topic has its own delays, and the producer is not at fault.
            self.sender.producer.rebuild_now(now);
        }
        self.return_failures(aborted, now);
        if is_open {
            self.discard();
        }
        is_known |= self.state.policy.has_unstored_dead_letters() || self.state.policy.has_suspects();
        is_known
    }

    /// Handles a transaction that was rejected as a whole because of a topic. If the transaction was limited to one
    /// topic, that topic is at fault. Otherwise the next transactions test each topic in turn. Returns whether a
    /// topic was the cause.
    fn isolate_topic(&mut self, now: Instant) -> bool {
        let Self { state, sender } = self;
        let Some(code) = sender.refused.take() else { return false };
        let fault = classify(code);
        let Some(run) = sender
            .transaction
            .as_ref()
            .filter(|_| matches!(fault, DeliveryFault::Topic(_) | DeliveryFault::StaleMetadata))
        else {
            return false;
        };
        match run.only_topic {
            Some(topic) if !run.is_closed => {
                sender.isolating_transactions = 0;
                state.policy.mark_topic_fault(topic, fault, now);
            }
            _ => sender.isolating_transactions = MAX_ISOLATING_TRANSACTIONS,
        }
        true
    }

    /// No record of the transaction is in Kafka. All are sent again.
    fn discard(&mut self) {
        let Self { state, sender } = self;
        if let Some(Transaction { from, confirmed: arrived, .. }) = sender.transaction.take() {
            for (flight, confirmation) in arrived {
                state.policy.record_attempts(confirmation.lsn, flight.attempts);
            }
            sender.reread = Some(sender.reread.map_or(from, |first| first.min(from)));
        }
        let unreported = state.in_flight.lsns_of(false).into_iter().chain(state.in_flight.lsns_of(true));
        let unreported: Vec<_> = unreported.map(|lsn| (lsn, ErrorCode::PurgeInflight)).collect();
        state.on_failed(&unreported);
    }

    /// Returns failed records. `whole` is whether all delivery reports have arrived. Batches are rejected as a whole,
    /// so a record whose partition reported no other rejection was alone in its batch.
    fn return_failures(&mut self, whole: bool, now: Instant) {
        let failures = std::mem::take(&mut self.sender.failures);
        let mut returned = self.state.on_failed(&failures);
        let mut refused: HashMap<TopicPartition, u32> = HashMap::new();
        for record in returned.iter().filter(|record| matches!(record.fault, DeliveryFault::Record(_))) {
            *refused.entry(record.topic_partition).or_default() += 1;
        }
        for record in
            returned.iter_mut().filter(|record| whole && refused.get(&record.topic_partition) == Some(&1))
        {
            record.was_alone = true;
        }
        self.state.policy.handle_failures(returned, now);
    }
}

impl TxSender {
    /// Whether the open transaction can only be aborted. Stores the cause.
    pub(super) fn must_abort(&mut self) -> bool {
        let Some(error) = self.producer.producer().and_then(|producer| producer.must_abort()) else {
            return false;
        };
        tracing::warn!(event = "drain.transaction_failed", %error, "transaction can only be aborted");
        self.refused = Some(error.code);
        true
    }

    /// Aborts the open transaction. Returns whether that succeeded. Blocks, calling `tick`.
    fn abort(&mut self, now: Instant, tick: &mut dyn FnMut() -> bool) -> bool {
        let (end, Some(producer)) = (now + ABORT_TIMEOUT, self.producer.producer()) else { return false };
        let mut tick = || tick() && Instant::now() < end;
        let aborted = retry_timeouts(&mut tick, |slice| producer.abort_transaction(slice));
        // By now, the other records of the transaction were returned with their error, or as purged.
        let mut rest = Vec::new();
        producer.take_results(&mut rest);
        let failed = rest.iter().filter(|result| result.tag != TABLE_ENTRY_TAG);
        self.failures.extend(failed.filter_map(|result| Some((Lsn(result.tag), result.error?))));
        let not_aborted = |error: &_| {
            tracing::warn!(event = "drain.abort_failed", %error, "transaction not aborted");
        };
        aborted.inspect_err(not_aborted).is_ok()
    }
}
