//! One step of the consumer: tries a transaction for the pending commands and handles its result.
//!
//! | result from the database | reaction |
//! |---|---|
//! | success | release reservations, refresh caches, wake clients, then send the retry records; then the offsets may be committed |
//! | unique index violated | read again; then smaller batches, down to one command; then like a permanent error |
//! | temporary error | wait and retry the same batch, without a limit |
//! | permanent error | smaller batches, down to one command; that one is parked, if the database accepts other writes |
//!
//! If the database cannot even store a command as parked or dead, the command becomes a dead letter in Kafka only. So
//! every command is settled after a bounded number of steps, unless the database or Kafka is unavailable. Repeated
//! steps without success are delayed.
//!
//! The batch size decides the speed. `batch_limit` begins at `[consumer] batch_size`. It is halved after repeated
//! conflicts and permanent errors, and doubled after each commit. Reading, the transaction, `post_commit` and the retry
//! records run one after the other.

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::db::DbError;
use crate::kafka::{Interrupted, Outbox, Record};
use crate::telemetry::trace::Tracer;
use crate::units::Timestamp;

use super::apply::{Applier, AttemptOutcome, CommittedBatch};
use super::degraded::DegradedMode;
use super::heartbeat::{Heartbeat, block_on};
use super::metrics::Metrics;
use super::pending_batch::PendingBatch;
use super::plan::CommandOutcome;
use super::post_commit::PostCommitRunner;
use super::{Config, command_spans, retry_records};

/// After this many unique index violations, each after a new read, coincidence is unlikely: the batch is made smaller.
const MAX_CONFLICTS: u32 = 3;
/// After this many violations for a single command, the command will not be applied.
const MAX_SINGLE_CONFLICTS: u32 = 12;
/// Limit of consecutive steps that settle nothing and do not wait. The largest batch is halved 11 times with three
/// conflicts each; then one command has its twelve conflicts and is dead-lettered: about 50 steps. More indicate a
/// loop.
const MAX_STEPS_WITHOUT_PROGRESS: u32 = 100;
/// Dead-letter reason of a command whose conflicts are not explained by the content of the tables.
const UNEXPLAINED_CONFLICT: &str = "a unique index rejects the command for an unknown reason";

/// The result of a step.
pub(super) enum StepOutcome {
    /// These records are settled. Their offsets may be committed.
    Settled(Vec<Record>),
    /// The state changed; retry at once.
    Retry,
    /// The database cannot apply the batch now, for this reason.
    Wait(String),
}

impl StepOutcome {
    /// Whether the step made progress.
    pub(super) fn made_progress(&self) -> bool {
        matches!(self, Self::Settled(records) if !records.is_empty())
    }
}

/// The dependencies and state of the steps.
pub(super) struct Engine {
    pub(super) applier: Applier,
    pub(super) outbox: Outbox,
    pub(super) post_commit: PostCommitRunner,
    pub(super) degraded_mode: DegradedMode,
    pub(super) config: Config,
    pub(super) metrics: Arc<Metrics>,
    pub(super) runtime: Handle,
    pub(super) tracer: Tracer,
    /// How many commands are tried per transaction.
    pub(super) batch_limit: usize,
    /// Consecutive unique index violations.
    pub(super) conflicts: u32,
    /// Consecutive steps that settled nothing and did not wait.
    pub(super) steps_without_progress: u32,
    pub(super) counts: OutcomeCounts,
}

/// Number of records by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutcomeCounts {
    /// Applied by this consumer.
    pub applied: u64,
    /// Rejected by this consumer.
    pub rejected: u64,
    /// Repeats that already had an outcome.
    pub repeats: u64,
    /// Sent to the retry topic.
    pub retried: u64,
    /// Became dead letters.
    pub dead: u64,
}

impl Engine {
    /// Tries the first pending commands in one transaction. `tick` is called repeatedly while a step waits for Kafka,
    /// and returns whether to continue: see [`Outbox::send`].
    pub(super) fn step(
        &mut self,
        pending: &mut PendingBatch,
        heartbeat: &Heartbeat<'_>,
        tick: &mut dyn FnMut() -> bool,
    ) -> Result<StepOutcome, Interrupted> {
        let outcome = self.attempt(pending, heartbeat, tick)?;
        if outcome.made_progress() || matches!(outcome, StepOutcome::Wait(_)) {
            self.steps_without_progress = 0;
            return Ok(outcome);
        }
        self.steps_without_progress += 1;
        if self.steps_without_progress <= MAX_STEPS_WITHOUT_PROGRESS {
            return Ok(outcome);
        }
        Ok(StepOutcome::Wait("the next commands are retried repeatedly, and none is settled".to_owned()))
    }

    fn attempt(
        &mut self,
        pending: &mut PendingBatch,
        heartbeat: &Heartbeat<'_>,
        tick: &mut dyn FnMut() -> bool,
    ) -> Result<StepOutcome, Interrupted> {
        let size = self.batch_limit.clamp(1, pending.len().max(1)).min(pending.len());
        let attempt = self.applier.attempt(&pending.commands[..size], self.degraded_mode.is_on());
        match block_on(&self.runtime, heartbeat, attempt)? {
            Ok(AttemptOutcome::Committed(done)) => {
                self.conflicts = 0;
                self.batch_limit = self.batch_limit.saturating_mul(2).min(self.config.batch_size as usize);
                let settled = pending.take(done.outcomes.len());
                self.finish_batch(settled, done, pending, heartbeat, tick)
            }
            Ok(AttemptOutcome::DeadLetters(letters)) => self.send_dead_letters(pending, &letters, tick),
            Err(DbError::Conflict) => self.handle_conflict(pending, size, heartbeat, tick),
            Err(DbError::Busy(why) | DbError::Unavailable(why)) => Ok(StepOutcome::Wait(why)),
            Err(error @ (DbError::BreakerOpen | DbError::PoolerMismatch(_))) => {
                Ok(StepOutcome::Wait(error.to_string()))
            }
            Err(DbError::Refused(_)) if size > 1 => {
                self.batch_limit = size / 2;
                Ok(StepOutcome::Retry)
            }
            Err(DbError::Refused(why)) => self.handle_refused(pending, why, heartbeat, tick),
        }
    }

    fn handle_conflict(
        &mut self,
        pending: &mut PendingBatch,
        size: usize,
        heartbeat: &Heartbeat<'_>,
        tick: &mut dyn FnMut() -> bool,
    ) -> Result<StepOutcome, Interrupted> {
        self.conflicts += 1;
        if self.conflicts < if size > 1 { MAX_CONFLICTS } else { MAX_SINGLE_CONFLICTS } {
            return Ok(StepOutcome::Retry);
        }
        self.conflicts = 0;
        if size > 1 {
            self.batch_limit = size / 2;
            return Ok(StepOutcome::Retry);
        }
        self.handle_refused(pending, UNEXPLAINED_CONFLICT.to_owned(), heartbeat, tick)
    }

    /// Handles a batch of one command that the database refused.
    fn handle_refused(
        &mut self,
        pending: &mut PendingBatch,
        why: String,
        heartbeat: &Heartbeat<'_>,
        tick: &mut dyn FnMut() -> bool,
    ) -> Result<StepOutcome, Interrupted> {
        if let Err(error) = block_on(&self.runtime, heartbeat, self.applier.probe())? {
            return Ok(StepOutcome::Wait(format!("{error} (for any command)")));
        }
        let command = &mut pending.commands[0];
        if !command.is_unapplicable() {
            tracing::warn!(
                event = "consumer.command_refused",
                command = %command.id,
                reason = why,
                "database refused a command"
            );
            command.mark_unapplicable(why);
            return Ok(StepOutcome::Retry);
        }
        // The database cannot even store the command as parked or dead.
        tracing::error!(
            event = "consumer.outcome_not_recorded",
            command = %command.id,
            reason = why,
            "dead letter without an outcome in the database"
        );
        let (id, was_sent) = (command.id.clone(), command.dead_letter_sent);
        if !was_sent {
            self.send_dead_letters(pending, &[(0, why)], tick)?;
        }
        // Later commands of its name would wait behind it.
        if let Err(error) = block_on(&self.runtime, heartbeat, self.applier.unpark(id))? {
            return Ok(StepOutcome::Wait(error.to_string()));
        }
        self.metrics.dead.inc();
        self.counts.dead += 1;
        Ok(StepOutcome::Settled(pending.take(1).records))
    }

    /// Sends dead letters to Kafka before the database records them.
    fn send_dead_letters(
        &mut self,
        pending: &mut PendingBatch,
        dead: &[(usize, String)],
        tick: &mut dyn FnMut() -> bool,
    ) -> Result<StepOutcome, Interrupted> {
        let dead_letter = |(at, reason): &(usize, String), with_value| {
            retry_records::dead_letter_record(
                &pending.records[*at],
                &pending.commands[*at],
                reason,
                with_value,
            )
        };
        let with_values: Vec<_> = dead.iter().map(|one| dead_letter(one, true)).collect();
        let verdicts = self.outbox.send(&with_values, tick)?;
        let refused = dead.iter().zip(&verdicts).filter(|(_, verdict)| verdict.is_some());
        let without_values: Vec<_> = refused.map(|(one, _)| dead_letter(one, false)).collect();
        if !without_values.is_empty() {
            tracing::error!(
                event = "consumer.dead_letter_values_refused",
                consumer.records = without_values.len(),
                "dead-letter topic rejected values; sending the dead letters without them"
            );
            self.outbox.send(&without_values, tick)?;
        }
        for (at, reason) in dead {
            let command = &mut pending.commands[*at];
            tracing::error!(
                event = "consumer.dead_letter",
                command = %command.id,
                kind = command.kind,
                reason,
                "command became a dead letter"
            );
            command.dead_letter_sent = true;
        }
        Ok(StepOutcome::Retry)
    }

    /// Completes a batch after its commit.
    fn finish_batch(
        &mut self,
        settled: PendingBatch,
        done: CommittedBatch,
        pending: &mut PendingBatch,
        heartbeat: &Heartbeat<'_>,
        tick: &mut dyn FnMut() -> bool,
    ) -> Result<StepOutcome, Interrupted> {
        self.count(&done);
        let finished: Vec<_> = settled
            .commands
            .iter()
            .zip(&done.outcomes)
            .filter(|(_, outcome)| {
                matches!(
                    outcome,
                    CommandOutcome::Applied
                        | CommandOutcome::Rejected
                        | CommandOutcome::AlreadyDecided
                        | CommandOutcome::Dead { .. }
                )
            })
            .map(|(command, _)| command)
            .collect();
        command_spans::report(&self.tracer, self.applier.db.system(), &self.config.group, &settled, &done);
        block_on(
            &self.runtime,
            heartbeat,
            self.post_commit.on_committed(&Vec::from_iter(done.changed), &finished),
        )?;
        let now = Timestamp::now();
        let (mut indexes, mut retries) = (Vec::new(), Vec::new());
        let settled_commands = settled.records.iter().zip(&settled.commands).zip(&done.outcomes);
        for (at, ((record, command), outcome)) in settled_commands.enumerate() {
            if let Some(retry) = retry_records::retry_record(&self.config, record, command, outcome, now) {
                indexes.push(at);
                retries.push(retry);
            }
        }
        if retries.is_empty() {
            return Ok(StepOutcome::Settled(settled.records));
        }
        let verdicts = self.outbox.send(&retries, tick)?;
        self.metrics.retried.inc_by(retries.len() as u64);
        let refused: Vec<usize> = indexes
            .into_iter()
            .zip(verdicts)
            .filter(|(_, verdict)| verdict.is_some())
            .map(|(at, _)| at)
            .collect();
        if refused.is_empty() {
            return Ok(StepOutcome::Settled(settled.records));
        }
        let mut others = Vec::new();
        for (at, (record, mut command)) in settled.records.into_iter().zip(settled.commands).enumerate().rev()
        {
            if refused.contains(&at) {
                command.give_up("the retry topic rejects the record");
                pending.put_back(record, command);
            } else {
                others.push(record);
            }
        }
        Ok(StepOutcome::Settled(others))
    }

    fn count(&mut self, done: &CommittedBatch) {
        self.degraded_mode.on_transaction(done.elapsed);
        self.metrics.batch_records.observe(done.outcomes.len() as f64);
        for outcome in &done.outcomes {
            self.metrics.applied.with_label_values(&[outcome.label()]).inc();
            match outcome {
                CommandOutcome::Applied => self.counts.applied += 1,
                CommandOutcome::Rejected => self.counts.rejected += 1,
                CommandOutcome::AlreadyDecided | CommandOutcome::NotParked | CommandOutcome::StaleCopy => {
                    self.counts.repeats += 1
                }
                CommandOutcome::Dead { .. } => {
                    self.metrics.dead.inc();
                    self.counts.dead += 1;
                }
                _ => self.counts.retried += 1,
            }
        }
        for id in &done.lost {
            tracing::error!(
                event = "consumer.retry_record_lost",
                command = id,
                "command abandoned: its record is no longer in the retry topic"
            );
        }
    }
}
