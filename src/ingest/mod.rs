//! Commits parsed commands to the log and acknowledges them after the flush.
//!
//! Requests wait in one bounded queue. The commit thread is the only writer of the log. It takes all waiting requests,
//! writes and flushes them together, and replies. The next group forms during the flush, and under load for a little
//! longer (`group_gatherer`).
//!
//! A single request without load is flushed at once: the thread sleeps on the queue. Under load, the thread waits up to
//! 150 µs for more requests (`group_gatherer`). A flush on the caller's own thread would save one hand-over, about 20
//! µs, but would block a runtime thread for the whole flush.

mod commit;
mod commit_queue;
mod config;
mod group_gatherer;
mod idempotency;
mod index;
mod maintenance;
mod metrics;
#[cfg(test)]
#[cfg(feature = "shuttle")]
mod model;
mod pending_reply;
mod replay;
mod request;
mod request_spans;
mod reservations;
mod shared;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use crate::command::CommandId;
use crate::sync::atomic::Ordering;
use crate::task::{FatalSignal, OnFailure, Thread};
use crate::telemetry::trace::Tracer;
use crate::units::Timestamp;
use crate::wal::{DeadLetter, Lsn, SegmentUnavailable, Writer};

pub use config::{CommitQueueConfig, Config};
pub use index::IndexError;
pub use metrics::Metrics;
pub use replay::ReplayResult;
pub use request::{Admission, Idempotency, Receipt, Request, Submission, SubmitError};
pub use reservations::ClaimedCommand;

use commit::Committer;
use commit_queue::{CommitJob, KeyedRequest};
use group_gatherer::GatherRule;
use idempotency::EarlierRequest;
use index::DiskIndex;
use maintenance::Maintenance;
use request::CommitOutcome;
use request_spans::TracedRequest;
use shared::Shared;

/// How long a refused client should wait. A flush takes milliseconds; a backlog or a full disk takes longer to clear.
const RETRY_SOON: Duration = Duration::from_secs(1);
const RETRY_LATER: Duration = Duration::from_secs(10);
/// How long a request waits for its flush, and how long a shutdown waits for requests. With a slower disk no client
/// gets a useful answer.
const FLUSH_DEADLINE: Duration = Duration::from_secs(30);

/// Submits requests to the log. Cheap to clone.
#[derive(Clone)]
pub struct Ingest {
    shared: Arc<Shared>,
    flush_deadline: Duration,
}

/// The threads of [`Ingest`]. The owner must stop them.
pub struct IngestThreads {
    shared: Arc<Shared>,
    committer: Thread,
    maintenance: Maintenance,
}

/// The dependencies and settings of [`start`].
pub struct IngestParts {
    /// The only writer of the log.
    pub writer: Writer,
    /// `[wal]`.
    pub config: Config,
    /// How often a checkpoint is taken (`[drain] checkpoint_interval`).
    pub checkpoint_interval: Duration,
    /// Metrics of ingest.
    pub metrics: Arc<Metrics>,
    /// Receives the failure of the commit thread.
    pub fatal: FatalSignal,
    /// Receives the spans of sampled requests.
    pub tracer: Tracer,
}

/// Starts the commit thread and the maintenance threads.
pub fn start(parts: IngestParts) -> std::io::Result<(Ingest, IngestThreads)> {
    let IngestParts { writer, config, checkpoint_interval, metrics, fatal, tracer } = parts;
    let index = DiskIndex::open(Arc::clone(writer.log()), Arc::clone(&metrics), &fatal)?;
    let shared = Arc::new(Shared::new(&writer, &config, Box::new(index), metrics).with_tracer(tracer));
    let committer =
        Committer::new(Arc::clone(&shared), writer, config.segment_max_age.0, GatherRule::default());
    let committer = Thread::spawn("commit", OnFailure::Raise(fatal.clone()), move |_| {
        committer.run();
        Ok(())
    })?;
    let maintenance = Maintenance::start(Arc::clone(&shared), &config, checkpoint_interval, &fatal)?;
    let ingest = Ingest { shared: Arc::clone(&shared), flush_deadline: FLUSH_DEADLINE };
    Ok((ingest, IngestThreads { shared, committer, maintenance }))
}

impl Ingest {
    /// Commits the request and returns after the flush that covers it, or at the flush deadline. If the future is
    /// dropped, the request may or may not have been accepted.
    pub async fn submit(&self, request: Request) -> Result<Receipt, SubmitError> {
        match tokio::time::timeout(self.flush_deadline, self.commit(request)).await {
            Ok(committed) => committed,
            Err(_) => {
                self.shared.metrics.deadline_hit.inc();
                Err(SubmitError::Undecided)
            }
        }
    }

    /// [`Self::submit`] without the deadline.
    async fn commit(&self, request: Request) -> Result<Receipt, SubmitError> {
        let started = Instant::now();
        let keyed = match &request.idempotency {
            None => None,
            Some(idempotency) => {
                let digests = self.shared.digest(&request, idempotency).await?;
                match self.shared.earlier(&digests).await? {
                    EarlierRequest::Receipt(receipt) => return Ok(receipt),
                    EarlierRequest::None { since } => Some(KeyedRequest { digest: digests.digest, since }),
                }
            }
        };
        let (reply, answer) = tokio::sync::oneshot::channel();
        let bytes = request.bytes();
        let traced = TracedRequest::begin(&self.shared.tracer, request.traceparent.as_deref());
        self.shared.queue.push(CommitJob::Submit { request, keyed, traced, reply }, bytes).inspect_err(
            |error| {
                if *error == SubmitError::QueueFull {
                    self.shared.metrics.queue_hit.inc();
                }
            },
        )?;
        // A commit thread that ended without a reply has failed: its pending requests are undecided.
        let committed = answer.await.unwrap_or(Err(SubmitError::Poisoned))?;
        self.shared.metrics.commit_seconds.observe(started.elapsed().as_secs_f64());
        match (committed, keyed) {
            (CommitOutcome::New(receipt), _) => Ok(receipt),
            (CommitOutcome::Repeat(first), Some(keyed)) => self.shared.receipt(first, keyed.digest).await,
            (CommitOutcome::Repeat(_), None) => Err(SubmitError::IndexRebuilding),
        }
    }

    /// The response that [`Self::submit`] would give to a repeated key, without submitting anything. `None` if the key
    /// is unused, or if its first use is not yet committed.
    pub async fn find_repeat(&self, request: &Request) -> Result<Option<Receipt>, SubmitError> {
        let Some(idempotency) = &request.idempotency else { return Ok(None) };
        let digests = self.shared.digest(request, idempotency).await?;
        match self.shared.earlier(&digests).await? {
            EarlierRequest::Receipt(receipt) => Ok(Some(receipt)),
            EarlierRequest::None { .. } => Ok(None),
        }
    }

    /// The command that was accepted with this claim, if it is flushed and still retained.
    pub async fn find_claimed(&self, claim: &[u8; 16]) -> Result<Option<CommandId>, SubmitError> {
        let (shared, claim) = (Arc::clone(&self.shared), *claim);
        let found = tokio::task::spawn_blocking(move || shared.find_claimed(&claim));
        found.await.map_err(|_| SubmitError::Closing)?
    }

    /// The earliest acceptance time of a command accepted now. It is never before that of an earlier record of this
    /// log.
    pub fn next_accept_time(&self) -> Timestamp {
        Timestamp::now().max(Timestamp(self.shared.last_accepted_ms.load(Ordering::Relaxed)))
    }

    /// Whether a create would be accepted now.
    pub fn admission(&self) -> Admission {
        let shared = &self.shared;
        if shared.log.poisoned().is_some() {
            return Admission::Closed(SubmitError::Poisoned);
        }
        if shared.queue.is_closed() {
            return Admission::Closed(SubmitError::Closing);
        }
        let unready = shared
            .log
            .next_segment_unavailable()
            .filter(|_| shared.was_segment_unavailable.load(Ordering::Relaxed));
        match unready {
            Some(SegmentUnavailable::OutOfSpace) => return Admission::Closed(SubmitError::DiskFull),
            Some(SegmentUnavailable::Filling) => return Admission::Closed(SubmitError::SegmentNotReady),
            None => {}
        }
        if shared.log.backlog_bytes() >= shared.max_backlog {
            return Admission::Closed(SubmitError::BacklogFull { limit: shared.max_backlog });
        }
        Admission::Open
    }

    /// How long a refused client should wait before it retries, for `Retry-After`.
    pub fn retry_after(&self, error: &SubmitError) -> Duration {
        match error {
            SubmitError::QueueFull | SubmitError::IndexRebuilding | SubmitError::SegmentNotReady => {
                RETRY_SOON
            }
            _ => RETRY_LATER,
        }
    }

    /// For how long a repeated `Idempotency-Key` is recognised. Normally the retention time of delivered segments. Once
    /// a segment was deleted early, the age of the oldest retained record.
    pub fn idempotency_window(&self) -> Duration {
        let (log, age) = (&self.shared.log, self.shared.retained_for);
        let oldest = log.oldest_retained();
        if oldest.0 <= 1 {
            return age;
        }
        let accepted = log.accepted_at(oldest).ok().flatten();
        accepted.map_or(Duration::ZERO, |at| Timestamp::now().since(at)).min(age)
    }

    /// Appends a dead letter to the log again, under its own command id and a new LSN, and removes it from the
    /// dead-letter store. Blocks on disk I/O.
    pub fn requeue(&self, dead_letter: &DeadLetter) -> Result<Lsn, String> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        let work = CommitJob::Requeue { payload: dead_letter.payload.clone(), from: dead_letter.lsn, reply };
        self.shared.queue.push(work, dead_letter.payload.len()).map_err(|e| e.to_string())?;
        let lsn = answer
            .blocking_recv()
            .map_err(|_| SubmitError::Poisoned.to_string())?
            .map_err(|e| e.to_string())?;
        let removal = crate::wal::dead_letters::Removal::Requeued(lsn);
        self.shared.log.remove_dead_letter(dead_letter.lsn, removal).map_err(|e| e.to_string())?;
        Ok(lsn)
    }
}

impl IngestThreads {
    /// Counter of the commit thread's loops. A healthy thread increments it at least every two seconds.
    pub fn heartbeat(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.shared.heartbeat)
    }

    /// Rejects new requests, flushes and answers the waiting ones, and ends the commit thread.
    pub fn close(&self) {
        self.shared.queue.close();
    }

    /// Ends the threads after `close`, with a last checkpoint. Waits for each for at most `within`. Blocks.
    pub fn join(self, within: Duration) {
        self.shared.queue.close();
        if let Err(late) = self.committer.stop(within) {
            tracing::warn!(event = "task.thread_left", error = %late, "thread still running after its deadline");
        }
        self.maintenance.stop(within);
        self.shared.index.stop(within);
    }
}
