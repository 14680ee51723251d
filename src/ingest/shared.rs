//! State shared by requests, the commit thread and maintenance.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::commit_queue::CommitQueue;
use super::config::Config;
use super::index::{IdempotencyIndex, IndexLookup};
use super::metrics::Metrics;
use super::request::{RequestDigests, SubmitError};
use crate::command::{CommandId, Envelope, IdSeal};
use crate::sync::atomic::AtomicBool;
use crate::telemetry::trace::Tracer;
use crate::units::Timestamp;
use crate::wal::{Log, Lsn, Writer};

/// State shared by requests, the commit thread and maintenance.
pub(super) struct Shared {
    pub(super) log: Arc<Log>,
    pub(super) queue: CommitQueue,
    pub(super) index: Box<dyn IdempotencyIndex>,
    pub(super) digests: RequestDigests,
    /// Seal on command ids.
    pub(super) seal: IdSeal,
    pub(super) metrics: Arc<Metrics>,
    /// How long delivered segments are retained, unless space is needed (`[wal] retain_acked_age`).
    pub(super) retained_for: Duration,
    /// Backlog limit in bytes; above it, no more commands are accepted.
    pub(super) max_backlog: u64,
    /// Whether the last group failed because the next segment was not available: the disk is full, or the segment is
    /// still being preallocated.
    pub(super) was_segment_unavailable: AtomicBool,
    /// When the last record was accepted, in milliseconds since the epoch.
    pub(super) last_accepted_ms: AtomicU64,
    pub(super) heartbeat: Arc<AtomicU64>,
    pub(super) tracer: Tracer,
}

impl Shared {
    pub(super) fn new(
        writer: &Writer,
        config: &Config,
        index: Box<dyn IdempotencyIndex>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let log = Arc::clone(writer.log());
        Self {
            queue: CommitQueue::new(config.commit_queue.requests, config.commit_queue.bytes.as_usize()),
            index,
            digests: RequestDigests::new(&log.identity().secret),
            seal: IdSeal::default(),
            metrics,
            retained_for: config.retain_acked_age.0,
            max_backlog: config.max_backlog_size.map_or(u64::MAX, |size| size.0),
            was_segment_unavailable: AtomicBool::new(false),
            last_accepted_ms: AtomicU64::new(writer.next_timestamp(Timestamp::default()).0),
            heartbeat: Arc::default(),
            tracer: Tracer::default(),
            log,
        }
    }

    /// Sets the receiver of spans.
    pub(super) fn with_tracer(self, tracer: Tracer) -> Self {
        Self { tracer, ..self }
    }

    /// The command that was accepted with this claim. Blocks.
    pub(super) fn find_claimed(&self, claim: &[u8; 16]) -> Result<Option<CommandId>, SubmitError> {
        let scope = self.digests.claim_digest(claim);
        let found = self.index.find(&scope, Lsn(0)).map_err(|_| SubmitError::IndexRebuilding)?;
        let IndexLookup::Found(first) = found else { return Ok(None) };
        let record = self.log.read(first).map_err(|_| SubmitError::IndexRebuilding)?;
        // Retention may delete the segment after the look-up; the record is then no longer retained.
        let Some(record) = record else { return Ok(None) };
        match Envelope::decode(&record.payload) {
            Ok(envelope) if envelope.claim == Some(*claim) => Ok(Some(envelope.id)),
            _ => {
                self.index.report_mismatch(&scope, first);
                Err(SubmitError::IndexRebuilding)
            }
        }
    }
}
