//! Applies a range of `user.commands.v1` again, for an operator. This is safe: commands with an outcome are skipped.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::command::USER_TOPIC;
use crate::kafka::{Interrupted, OffsetSpan, TopicRange, TopicRangeError};
use crate::task::StopSignal;

use super::ConsumerParts;
use super::engine::{OutcomeCounts, StepOutcome};
use super::heartbeat::Heartbeat;
use super::pending_batch::PendingBatch;

/// Why a range was not completely applied.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The range cannot be read.
    #[error(transparent)]
    Range(#[from] TopicRangeError),
    /// The operator interrupted the replay.
    #[error("interrupted; a part of the range was applied, and it is safe to repeat the replay")]
    Interrupted(#[from] Interrupted),
}

/// The result of a replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Records read.
    pub read: u64,
    /// Number of records by outcome.
    pub counts: OutcomeCounts,
}

/// Reads the range and applies it. Blocks; must not run on a thread of the runtime.
pub fn replay(parts: &ConsumerParts, span: OffsetSpan, stop: &StopSignal) -> Result<Replayed, ReplayError> {
    let beats = AtomicU64::new(0);
    let heartbeat = Heartbeat::new(stop, &beats);
    let mut engine = parts.engine();
    let mut range = TopicRange::open(&parts.kafka, &parts.bootstrap, USER_TOPIC, span)?;
    let mut read = 0;
    let mut pending = PendingBatch::default();
    while !range.is_over() || !pending.is_empty() {
        while pending.len() < parts.config.batch_size as usize && !range.is_over() {
            if let Some(record) = range.next_record()? {
                read += 1;
                pending.push(record);
            }
            check_stop(&heartbeat)?;
        }
        let mut backoff = Backoff::new(parts.config.retry_backoff_min.0, parts.config.retry_backoff_max.0);
        while !pending.is_empty() {
            let outcome = engine.step(&mut pending, &heartbeat, &mut || heartbeat.beat())?;
            if let StepOutcome::Wait(why) = outcome {
                tracing::warn!(
                    event = "consumer.database_unwritable",
                    reason = why,
                    "database cannot be written; retrying"
                );
                sleep(&heartbeat, backoff.delay())?;
            }
        }
    }
    Ok(Replayed { read, counts: engine.counts })
}

fn check_stop(heartbeat: &Heartbeat<'_>) -> Result<(), Interrupted> {
    if heartbeat.beat() { Ok(()) } else { Err(Interrupted) }
}

fn sleep(heartbeat: &Heartbeat<'_>, time: Duration) -> Result<(), Interrupted> {
    if heartbeat.sleep(time) { Ok(()) } else { Err(Interrupted) }
}
