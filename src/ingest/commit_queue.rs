//! The queue of the commit thread, bounded in count and bytes. Its content is handed over as a whole.
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::group_gatherer::GroupGatherer;
use super::request::{CommitOutcome, Request, SubmitError};
use super::request_spans::TracedRequest;
use crate::command::RequestDigest;
use crate::failpoint::Failpoint;
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::wal::Lsn;

/// An idempotent request: the digests that recognise its repetitions.
#[derive(Clone, Copy)]
pub(super) struct KeyedRequest {
    pub digest: RequestDigest,
    /// No earlier request with this key has a lower LSN.
    pub since: Lsn,
}

/// One job for the commit thread, with its reply channel.
pub(super) enum CommitJob {
    Submit {
        request: Request,
        keyed: Option<KeyedRequest>,
        // In a box: few requests are sampled, but every job has the field.
        traced: Option<Box<TracedRequest>>,
        reply: oneshot::Sender<Result<CommitOutcome, SubmitError>>,
    },
    /// Appends a dead letter's payload to the log again.
    Requeue { payload: Vec<u8>, from: Lsn, reply: oneshot::Sender<Result<Lsn, SubmitError>> },
}

impl CommitJob {
    /// Whether the receiver of the reply was dropped.
    fn is_cancelled(&self) -> bool {
        match self {
            Self::Submit { reply, .. } => reply.is_closed(),
            Self::Requeue { reply, .. } => reply.is_closed(),
        }
    }
}

pub(super) struct CommitQueue {
    max_count: usize,
    max_bytes: usize,
    state: Mutex<State>,
    ready: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<CommitJob>,
    bytes: usize,
    closed: bool,
    /// How many jobs must wait before the commit thread is woken; `None` while it is awake.
    wake_at: Option<usize>,
}

impl State {
    fn hand_over(&mut self, taken: &mut Vec<CommitJob>) {
        if !(Failpoint::CancelledKeepsRoom.is_set() && self.waiting.iter().any(CommitJob::is_cancelled)) {
            self.bytes = 0;
        }
        std::mem::swap(&mut self.waiting, taken);
    }
}

impl CommitQueue {
    pub fn new(max_count: usize, max_bytes: usize) -> Self {
        Self { max_count, max_bytes, state: Mutex::default(), ready: Condvar::new() }
    }

    /// Adds a job that holds `bytes`. A job larger than the whole queue is accepted when the queue is empty.
    pub fn push(&self, work: CommitJob, bytes: usize) -> Result<(), SubmitError> {
        if Failpoint::WakeBeforeEnqueue.is_set() {
            self.ready.notify_one();
        }
        let mut state = self.state.lock();
        if state.closed {
            return Err(SubmitError::Closing);
        }
        let too_many = state.waiting.len() >= self.max_count;
        if too_many || (state.bytes + bytes > self.max_bytes && !state.waiting.is_empty()) {
            return Err(SubmitError::QueueFull);
        }
        state.bytes += bytes;
        state.waiting.push(work);
        let is_enough = state.wake_at.is_some_and(|count| state.waiting.len() >= count);
        if is_enough && !Failpoint::WakeBeforeEnqueue.is_set() {
            state.wake_at = None;
            drop(state);
            self.ready.notify_one();
        }
        Ok(())
    }

    /// Moves all waiting jobs into `taken` once `group_gatherer` has its target, or nothing after `max_wait`. Returns
    /// `false` if the queue is closed and empty.
    pub fn take(&self, taken: &mut Vec<CommitJob>, max_wait: Duration, gather: &GroupGatherer) -> bool {
        let mut state = self.state.lock();
        if state.waiting.is_empty() && !state.closed {
            state = self.sleep(state, 1, max_wait);
        }
        let count = state.waiting.len();
        if count > 0
            && let Some(wish) = gather.target(count, Instant::now())
        {
            while !state.closed && state.waiting.len() < wish.count {
                let left = wish.until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                state = self.sleep(state, wish.count, left);
            }
        }
        state.hand_over(taken);
        !(state.closed && taken.is_empty())
    }

    /// Sleeps until `count` jobs wait, the queue is closed, or `max_wait` has passed.
    fn sleep<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        count: usize,
        max_wait: Duration,
    ) -> MutexGuard<'a, State> {
        state.wake_at = Some(count);
        state = self.ready.wait_timeout(state, max_wait);
        state.wake_at = None;
        state
    }

    /// `take` without waiting: for a failpoint only.
    pub fn take_now(&self, taken: &mut Vec<CommitJob>) {
        self.state.lock().hand_over(taken);
    }

    pub fn close(&self) {
        self.state.lock().closed = true;
        self.ready.notify_one();
    }

    /// Drops the waiting jobs. Their closed reply channels notify the callers.
    pub fn abandon(&self) {
        let waiting = {
            let mut state = self.state.lock();
            state.closed = true;
            std::mem::take(&mut state.waiting)
        };
        drop(waiting);
    }

    /// Number of waiting jobs, and their bytes.
    #[cfg(all(test, feature = "shuttle"))]
    pub fn held(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.waiting.len(), state.bytes)
    }

    pub fn is_closed(&self) -> bool {
        self.state.lock().closed
    }
}

#[cfg(test)]
mod tests {
    use super::super::group_gatherer::GatherRule;
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn push(queue: &CommitQueue) {
        let (reply, _) = oneshot::channel();
        queue.push(CommitJob::Requeue { payload: Vec::new(), from: Lsn(1), reply }, 1).unwrap();
    }

    /// Gathers three requests with a timeout of one hour; `end` ends the wait earlier.
    fn gathered(end: impl FnOnce(&CommitQueue)) -> usize {
        let queue = CommitQueue::new(10, 1000);
        let mut gather = GroupGatherer::new(GatherRule { above: 1, max_wait: HOUR, recent: HOUR });
        gather.on_group_answered(3, Instant::now());
        push(&queue);
        std::thread::scope(|scope| {
            let committer = scope.spawn(|| {
                let mut taken = Vec::new();
                queue.take(&mut taken, HOUR, &gather);
                taken.len()
            });
            while queue.state.lock().wake_at != Some(3) {
                std::thread::yield_now();
            }
            end(&queue);
            committer.join().unwrap()
        })
    }

    #[test]
    fn a_gathering_group_is_taken_at_its_target_count() {
        let taken = gathered(|queue| {
            push(queue);
            assert_eq!(queue.state.lock().wake_at, Some(3), "two requests must not wake the thread");
            push(queue);
        });
        assert_eq!(taken, 3);
    }

    #[test]
    fn closing_the_queue_ends_the_gathering() {
        assert_eq!(gathered(CommitQueue::close), 1);
    }

    #[test]
    fn abandoning_the_queue_notifies_waiting_requests() {
        let queue = CommitQueue::new(10, 1000);
        let (reply, mut answer) = oneshot::channel();
        queue.push(CommitJob::Requeue { payload: Vec::new(), from: Lsn(1), reply }, 1).unwrap();
        queue.abandon();
        assert!(matches!(answer.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
        let (reply, _answer) = oneshot::channel();
        let refused = queue.push(CommitJob::Requeue { payload: Vec::new(), from: Lsn(2), reply }, 1);
        assert_eq!(refused, Err(SubmitError::Closing));
    }
}
