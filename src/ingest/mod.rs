//! From a parsed command to its receipt after the flush.
//!
//! Requests wait in one bounded queue; one thread, the only writer of the log, takes all that wait, writes and
//! flushes them together, and answers. The next group gathers meanwhile, and under load a little longer (`gather`). No
//! timer delays a lone request: the thread is asleep on the queue and begins at once. (Flushing on the caller's own thread would save one hand-over,
//! about 20 µs, and block a thread of the runtime for the flush.)

mod commit;
mod config;
mod gather;
mod index;
mod maintenance;
mod metrics;
#[cfg(test)]
#[cfg(feature = "shuttle")]
mod model;
mod pending_reply;
mod queue;
mod repeats;
mod replay;
mod request;
mod reservations;
mod shared;
#[cfg(test)]
mod tests;
mod traced;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use crate::command::CommandId;
use crate::sync::atomic::Ordering;
use crate::task::{Alarm, OnFailure, Thread};
use crate::telemetry::trace::Tracer;
use crate::units::Timestamp;
use crate::wal::{Letter, Lsn, Unready, Writer};

pub use config::{CommitQueue, Config};
pub use index::IndexError;
pub use metrics::Metrics;
pub use replay::Again;
pub use request::{Admission, Idempotency, Receipt, Request, Submission, SubmitError};
pub use reservations::Claimed;

use commit::Committer;
use gather::Rule;
use index::Index;
use maintenance::Maintenance;
use queue::{CommitJob, Keyed};
use repeats::Earlier;
use request::CommitOutcome;
use shared::Shared;
use traced::Traced;

/// How long a refused client should wait: a flush takes milliseconds, a backlog or a disk does not empty at once.
const RETRY_SOON: Duration = Duration::from_secs(1);
const RETRY_LATER: Duration = Duration::from_secs(10);
/// How long a request waits for its flush. A disk that needs longer answers no client in useful time, and a stop gives
/// requests as long.
const FLUSH_DEADLINE: Duration = Duration::from_secs(30);

/// The way into the log. Cheap to clone.
#[derive(Clone)]
pub struct Ingest {
    shared: Arc<Shared>,
    flush_deadline: Duration,
}

/// The threads behind it; whoever holds this stops them.
pub struct IngestThreads {
    shared: Arc<Shared>,
    committer: Thread,
    maintenance: Maintenance,
}

/// What ingest needs to start.
pub struct Parts {
    /// The only writer of the log.
    pub writer: Writer,
    /// `[wal]`.
    pub config: Config,
    /// How often a checkpoint is taken (`[drain] checkpoint_interval`).
    pub checkpoint_interval: Duration,
    /// Where figures go.
    pub metrics: Arc<Metrics>,
    /// Who is told when the commit thread fails.
    pub alarm: Alarm,
    /// Who takes the spans of sampled requests.
    pub tracer: Tracer,
}

/// Starts the commit thread and the housekeeper.
pub fn start(parts: Parts) -> std::io::Result<(Ingest, IngestThreads)> {
    let Parts { writer, config, checkpoint_interval, metrics, alarm, tracer } = parts;
    let index = Index::open(Arc::clone(writer.log()), Arc::clone(&metrics), &alarm)?;
    let shared = Arc::new(Shared::new(&writer, &config, Box::new(index), metrics).with_tracer(tracer));
    let committer = Committer::new(Arc::clone(&shared), writer, config.segment_max_age.0, Rule::default());
    let committer = Thread::spawn("commit", OnFailure::Raise(alarm.clone()), move |_| {
        committer.run();
        Ok(())
    })?;
    let maintenance = Maintenance::start(Arc::clone(&shared), &config, checkpoint_interval, &alarm)?;
    let ingest = Ingest { shared: Arc::clone(&shared), flush_deadline: FLUSH_DEADLINE };
    Ok((ingest, IngestThreads { shared, committer, maintenance }))
}

impl Ingest {
    /// Commits the request and returns after the flush that covers it, or when that does not come in time. If the future
    /// is dropped, the request may or may not have been accepted.
    pub async fn submit(&self, request: Request) -> Result<Receipt, SubmitError> {
        match tokio::time::timeout(self.flush_deadline, self.commit(request)).await {
            Ok(committed) => committed,
            Err(_) => {
                self.shared.metrics.deadline_hit.inc();
                Err(SubmitError::Undecided)
            }
        }
    }

    /// The same, however long it takes.
    async fn commit(&self, request: Request) -> Result<Receipt, SubmitError> {
        let started = Instant::now();
        let keyed = match &request.idempotency {
            None => None,
            Some(idempotency) => {
                let digests = self.shared.digest(&request, idempotency).await?;
                match self.shared.earlier(&digests).await? {
                    Earlier::Receipt(receipt) => return Ok(receipt),
                    Earlier::None { since } => Some(Keyed { repeat: digests.repeat, since }),
                }
            }
        };
        let (reply, answer) = tokio::sync::oneshot::channel();
        let bytes = request.bytes();
        let traced = Traced::begin(&self.shared.tracer, request.traceparent.as_deref());
        self.shared.queue.push(CommitJob::Submit { request, keyed, traced, reply }, bytes).inspect_err(
            |error| {
                if *error == SubmitError::QueueFull {
                    self.shared.metrics.queue_hit.inc();
                }
            },
        )?;
        // A committer that is gone without an answer has failed: what it held is "maybe".
        let committed = answer.await.unwrap_or(Err(SubmitError::Poisoned))?;
        self.shared.metrics.commit_seconds.observe(started.elapsed().as_secs_f64());
        match (committed, keyed) {
            (CommitOutcome::New(receipt), _) => Ok(receipt),
            (CommitOutcome::Repeat(first), Some(keyed)) => self.shared.receipt(first, keyed.repeat).await,
            (CommitOutcome::Repeat(_), None) => Err(SubmitError::IndexRebuilding),
        }
    }

    /// What [`Self::submit`] would answer to a request whose key was used before, without submitting anything; none if
    /// it was not, or if its first use is still on its way.
    pub async fn recognise(&self, request: &Request) -> Result<Option<Receipt>, SubmitError> {
        let Some(idempotency) = &request.idempotency else { return Ok(None) };
        let digests = self.shared.digest(request, idempotency).await?;
        match self.shared.earlier(&digests).await? {
            Earlier::Receipt(receipt) => Ok(Some(receipt)),
            Earlier::None { .. } => Ok(None),
        }
    }

    /// The command that was accepted with this claim, if it is flushed and still kept.
    pub async fn claimed(&self, claim: &[u8; 16]) -> Result<Option<CommandId>, SubmitError> {
        let (shared, claim) = (Arc::clone(&self.shared), *claim);
        let found = tokio::task::spawn_blocking(move || shared.claimed(&claim));
        found.await.map_err(|_| SubmitError::Closing)?
    }

    /// The instant that a command accepted now gets, at least. It is never before that of an earlier one of this log.
    pub fn instant(&self) -> Timestamp {
        Timestamp::now().max(Timestamp(self.shared.last_at.load(Ordering::Relaxed)))
    }

    /// What a create would be answered now.
    pub fn admission(&self) -> Admission {
        let shared = &self.shared;
        if shared.log.poisoned().is_some() {
            return Admission::Closed(SubmitError::Poisoned);
        }
        if shared.queue.is_closed() {
            return Admission::Closed(SubmitError::Closing);
        }
        let unready = shared.log.unready().filter(|_| shared.refused_for_room.load(Ordering::Relaxed));
        match unready {
            Some(Unready::NoRoom) => return Admission::Closed(SubmitError::DiskFull),
            Some(Unready::Filling) => return Admission::Closed(SubmitError::SegmentNotReady),
            None => {}
        }
        if shared.log.backlog_bytes() >= shared.max_backlog {
            return Admission::Closed(SubmitError::BacklogFull { limit: shared.max_backlog });
        }
        Admission::Open
    }

    /// How long a refused client should wait before it tries again, for `Retry-After`.
    pub fn retry_after(&self, error: &SubmitError) -> Duration {
        match error {
            SubmitError::QueueFull | SubmitError::IndexRebuilding | SubmitError::SegmentNotReady => {
                RETRY_SOON
            }
            _ => RETRY_LATER,
        }
    }

    /// For how long a repeated `Idempotency-Key` is recognised, as far as anyone can say now: until a segment was let go
    /// of early, the time it is kept; from then on, the age of the oldest kept record.
    pub fn idempotency_window(&self) -> Duration {
        let (log, age) = (&self.shared.log, self.shared.retained_for);
        let oldest = log.oldest_kept();
        if oldest.0 <= 1 {
            return age;
        }
        let accepted = log.accepted_at(oldest).ok().flatten();
        accepted.map_or(Duration::ZERO, |at| Timestamp::now().since(at)).min(age)
    }

    /// Puts a dead letter into the log again, under its own command id and a new number, and takes it out of the
    /// dead-letter store. Blocks: for a thread that may.
    pub fn requeue(&self, letter: &Letter) -> Result<Lsn, String> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        let work = CommitJob::Requeue { payload: letter.payload.clone(), from: letter.lsn, reply };
        self.shared.queue.push(work, letter.payload.len()).map_err(|e| e.to_string())?;
        let lsn = answer
            .blocking_recv()
            .map_err(|_| SubmitError::Poisoned.to_string())?
            .map_err(|e| e.to_string())?;
        let removal = crate::wal::dead::Removal::Requeued(lsn);
        self.shared.log.remove_letter(letter.lsn, removal).map_err(|e| e.to_string())?;
        Ok(lsn)
    }
}

impl IngestThreads {
    /// Counts the commit thread's turns: at least one in two seconds while it is well.
    pub fn heartbeat(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.shared.heartbeat)
    }

    /// Takes nothing new, flushes and answers what waits, and ends the commit thread.
    pub fn close(&self) {
        self.shared.queue.close();
    }

    /// Ends the threads after `close`, with a last checkpoint. Waits for each at most this long. Blocks.
    pub fn join(self, within: Duration) {
        self.shared.queue.close();
        if let Err(late) = self.committer.stop(within) {
            tracing::warn!(event = "task.thread_left", error = %late, "thread still running after its deadline");
        }
        self.maintenance.stop(within);
        self.shared.index.stop(within);
    }
}
