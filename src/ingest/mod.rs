//! From a parsed command to its receipt after the flush.
//!
//! Requests wait in one bounded queue; one thread, the only writer of the log, takes all that wait, writes and
//! flushes them together, and answers. The next group gathers meanwhile, and under load a little longer (`gather`). No
//! timer delays a lone request: the thread is asleep on the queue and begins at once. (Flushing on the caller's own thread would save one hand-over,
//! about 20 µs, and block a thread of the runtime for the flush.)

mod claims;
mod commit;
mod config;
mod gather;
mod housekeeper;
mod index;
#[cfg(all(test, feature = "shuttle"))]
mod model;
mod queue;
mod replay;
mod request;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use std::time::Instant;

use crate::command::CommandId;
use crate::command::Envelope;
use crate::command::Repeat;
use crate::metrics::Metrics;
use crate::sync::atomic::AtomicBool;
use crate::sync::atomic::Ordering;
use crate::task::Alarm;
use crate::task::OnFailure;
use crate::task::Thread;
use crate::wal::Letter;
use crate::wal::Log;
use crate::wal::Lsn;
use crate::wal::Writer;

pub use claims::Claimed;
pub use config::CommitQueue;
pub use config::Config;
pub use index::IndexError;
pub use replay::Again;
pub use request::Admission;
pub use request::Idempotency;
pub use request::Receipt;
pub use request::Request;
pub use request::Submission;
pub use request::SubmitError;

use commit::Committed;
use commit::Committer;
use gather::Rule;
use housekeeper::Housekeeper;
use index::Index;
use index::Keys;
use index::Known;
use queue::Queue;
use queue::Work;
use request::Digests;

/// How long a refused client should wait: a flush takes milliseconds, a backlog or a disk does not empty at once.
const RETRY_SOON: Duration = Duration::from_secs(1);
const RETRY_LATER: Duration = Duration::from_secs(10);
/// Above this a body is digested on a thread that may block: 64 KiB take about 50 µs.
const DIGEST_ON_RUNTIME: usize = 64 << 10;

/// What everyone on the way into the log shares.
struct Shared {
    log: Arc<Log>,
    queue: Queue,
    index: Box<dyn Keys>,
    digests: Digests,
    metrics: Arc<Metrics>,
    /// Backlog bytes above which nothing more is accepted.
    max_backlog: u64,
    /// Whether the last batch found no room.
    refused_for_room: AtomicBool,
    heartbeat: Arc<AtomicU64>,
}

/// The way into the log. Cheap to clone.
#[derive(Clone)]
pub struct Ingest {
    shared: Arc<Shared>,
}

/// The threads behind it; whoever holds this stops them.
pub struct IngestThreads {
    shared: Arc<Shared>,
    committer: Thread,
    housekeeper: Housekeeper,
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
}

/// Starts the commit thread and the housekeeper.
pub fn start(parts: Parts) -> std::io::Result<(Ingest, IngestThreads)> {
    let Parts { writer, config, checkpoint_interval, metrics, alarm } = parts;
    let index = Index::open(Arc::clone(writer.log()))?;
    let shared = Arc::new(Shared::new(&writer, &config, Box::new(index), metrics));
    let committer = Committer::new(Arc::clone(&shared), writer, config.segment_max_age.0, Rule::default());
    let committer = Thread::spawn("commit", OnFailure::Raise(alarm), move |_| {
        committer.run();
        Ok(())
    })?;
    let housekeeper = Housekeeper::start(Arc::clone(&shared), &config, checkpoint_interval)?;
    Ok((Ingest { shared: Arc::clone(&shared) }, IngestThreads { shared, committer, housekeeper }))
}

impl Shared {
    fn new(writer: &Writer, config: &Config, index: Box<dyn Keys>, metrics: Arc<Metrics>) -> Self {
        let log = Arc::clone(writer.log());
        Self {
            queue: Queue::new(config.commit_queue.requests, config.commit_queue.bytes.as_usize()),
            index,
            digests: Digests::new(&log.identity().secret),
            metrics,
            max_backlog: config.max_backlog_size.map_or(u64::MAX, |size| size.0),
            refused_for_room: AtomicBool::new(false),
            heartbeat: Arc::default(),
            log,
        }
    }

    /// Blocks.
    fn claimed(&self, claim: &[u8; 16]) -> Result<Option<CommandId>, SubmitError> {
        let scope = self.digests.of_claim(claim);
        let known = self.index.find(&scope).map_err(|_| SubmitError::IndexRebuilding)?;
        let Some(known) = known else { return Ok(None) };
        let record = self.log.read(known.first).map_err(|_| SubmitError::IndexRebuilding)?;
        // Retention may take the segment between the look-up and here: then it is not kept.
        let Some(record) = record else { return Ok(None) };
        let envelope = Envelope::decode(&record.payload).map_err(|_| SubmitError::IndexRebuilding)?;
        Ok(Some(envelope.id).filter(|_| envelope.claim == Some(*claim)))
    }
}

impl Ingest {
    /// Commits the request and returns after the flush that covers it. If the future is dropped, the request may
    /// or may not have been accepted.
    pub async fn submit(&self, request: Request) -> Result<Receipt, SubmitError> {
        let started = Instant::now();
        let repeat = match &request.idempotency {
            Some(idempotency) => Some(self.digest(&request, idempotency).await?),
            None => None,
        };
        let (reply, answer) = tokio::sync::oneshot::channel();
        let bytes = request.bytes();
        self.shared.queue.push(Work::Submit { request, repeat, reply }, bytes).inspect_err(|error| {
            if *error == SubmitError::QueueFull {
                self.shared.metrics.bound_hit.with_label_values(&["commit_queue"]).inc();
            }
        })?;
        // A committer that is gone without an answer has failed: what it held is "maybe".
        let committed = answer.await.unwrap_or(Err(SubmitError::Poisoned))?;
        self.shared.metrics.commit_seconds.observe(started.elapsed().as_secs_f64());
        match committed {
            Committed::New(receipt) => Ok(receipt),
            Committed::Repeat { first, count } => self.receipt_of_repeat(first, count).await,
        }
    }

    /// What [`Self::submit`] would answer to a request whose key was used before, without submitting anything; none if
    /// it was not, or if its first use is still on its way.
    pub async fn recognise(&self, request: &Request) -> Result<Option<Receipt>, SubmitError> {
        let Some(idempotency) = &request.idempotency else { return Ok(None) };
        let repeat = self.digest(request, idempotency).await?;
        match self.find(repeat.scope).await? {
            None => Ok(None),
            Some(known) if known.body != repeat.body => Err(SubmitError::KeyConflict),
            Some(known) => self.receipt_of_repeat(known.first, known.count).await.map(Some),
        }
    }

    /// The command that was accepted with this claim, if it is flushed and still kept.
    pub async fn claimed(&self, claim: &[u8; 16]) -> Result<Option<CommandId>, SubmitError> {
        let (shared, claim) = (Arc::clone(&self.shared), *claim);
        let found = tokio::task::spawn_blocking(move || shared.claimed(&claim));
        found.await.map_err(|_| SubmitError::Closing)?
    }

    /// What the index knows, asked on a thread that may block.
    async fn find(&self, scope: [u8; 16]) -> Result<Option<Known>, SubmitError> {
        let shared = Arc::clone(&self.shared);
        let found = tokio::task::spawn_blocking(move || shared.index.find(&scope));
        found.await.map_err(|_| SubmitError::Closing)?.map_err(|_| SubmitError::IndexRebuilding)
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
        if shared.refused_for_room.load(Ordering::Relaxed) && shared.log.has_no_room() {
            return Admission::Closed(SubmitError::DiskFull);
        }
        if shared.log.backlog_bytes() >= shared.max_backlog {
            return Admission::Closed(SubmitError::BacklogFull { limit: shared.max_backlog });
        }
        Admission::Open
    }

    /// How long a refused client should wait before it tries again, for `Retry-After`.
    pub fn retry_after(&self, error: &SubmitError) -> Duration {
        match error {
            SubmitError::QueueFull | SubmitError::IndexRebuilding => RETRY_SOON,
            _ => RETRY_LATER,
        }
    }

    /// Puts a dead letter into the log again, under its own command id and a new number, and takes it out of the
    /// dead-letter store. Blocks: for a thread that may.
    pub fn requeue(&self, letter: &Letter) -> Result<Lsn, String> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        let work = Work::Requeue { payload: letter.payload.clone(), from: letter.lsn, reply };
        self.shared.queue.push(work, letter.payload.len()).map_err(|e| e.to_string())?;
        let lsn = answer
            .blocking_recv()
            .map_err(|_| SubmitError::Poisoned.to_string())?
            .map_err(|e| e.to_string())?;
        let removal = crate::wal::dead::Removal::Requeued(lsn);
        self.shared.log.dead().remove(letter.lsn, removal).map_err(|e| e.to_string())?;
        Ok(lsn)
    }

    async fn digest(&self, request: &Request, idempotency: &Idempotency) -> Result<Repeat, SubmitError> {
        if idempotency.body.len() <= DIGEST_ON_RUNTIME {
            return Ok(self.shared.digests.of(request, idempotency));
        }
        let (shared, request, idempotency) = (Arc::clone(&self.shared), request.clone(), idempotency.clone());
        let digest = tokio::task::spawn_blocking(move || shared.digests.of(&request, &idempotency));
        digest.await.map_err(|_| SubmitError::Closing)
    }

    /// The receipt an earlier request got, read from its records.
    async fn receipt_of_repeat(&self, first: Lsn, count: u32) -> Result<Receipt, SubmitError> {
        let log = Arc::clone(&self.shared.log);
        let read = tokio::task::spawn_blocking(move || {
            let mut receipt = Receipt { ids: Vec::new(), accepted_at: Default::default(), replayed: true };
            let mut cursor = log.cursor(first);
            for n in 0..u64::from(count) {
                let frame = cursor.next_kept().ok().flatten().filter(|frame| frame.lsn == first.plus(n));
                // Retention may take the segment between the look-up and here: then the key has had its time.
                let frame = frame.ok_or(SubmitError::IndexRebuilding)?;
                let envelope = Envelope::decode(frame.payload).map_err(|_| SubmitError::IndexRebuilding)?;
                receipt.ids.push(envelope.id);
                receipt.accepted_at = frame.at;
            }
            Ok(receipt)
        });
        read.await.map_err(|_| SubmitError::Closing)?
    }
}

impl IngestThreads {
    /// Counts the commit thread's turns: at least one in two seconds while it is well.
    pub fn heartbeat(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.shared.heartbeat)
    }

    /// For how long a repeated `Idempotency-Key` is recognised, as far as anyone can say now.
    pub fn idempotency_window(&self) -> Duration {
        self.housekeeper.idempotency_window()
    }

    /// Takes nothing new, flushes and answers what waits, and ends the commit thread.
    pub fn close(&self) {
        self.shared.queue.close();
    }

    /// Ends the threads after `close`, with a last checkpoint. Waits for each at most this long. Blocks.
    pub fn join(self, within: Duration) {
        self.shared.queue.close();
        if let Err(late) = self.committer.stop(within) {
            tracing::warn!(%late, "the last flush is not back");
        }
        self.housekeeper.stop(within);
    }
}
