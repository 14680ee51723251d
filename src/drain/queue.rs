//! The bounded queues between the log reader and the workers.
//!
//! Each queue belongs to one reader of one worker: its main reader or its catch-up reader. `next` is the log
//! reader's progress for the queue. Since the queue was opened, every record of its lanes below `next` that is not
//! done was put into it, in order. A record that does not fit stays in the log, at or above `next`, and the log
//! reader returns for it. No record is lost or overtaken, however long a worker takes none. A worker may return to
//! any record at any time ([`WorkerQueue::open`]).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::drain::control::Control;
use crate::drain::notify::Notify;
use crate::sync::{Mutex, MutexGuard};
use crate::wal::{Log, Lsn, Record, RecordRef};

/// Capacity of all queues together: half a second at 50,000 records per second of 300 bytes. An empty queue accepts
/// one record more.
const CAPACITY: u64 = 8 << 20;
/// Bytes that a record takes in addition to its payload.
const RECORD_OVERHEAD: u64 = 80;

/// State that all queues of a drain share.
pub(super) struct QueuePool {
    log: Arc<Log>,
    control: Arc<Control>,
    capacity: u64,
    bytes: AtomicU64,
    /// Whether every worker that has nothing to do must wake the reader.
    blocked: AtomicBool,
    /// Whether a worker has woken the reader.
    reader_called: AtomicBool,
}

impl QueuePool {
    fn room(&self) -> u64 {
        self.capacity.saturating_sub(self.bytes.load(Ordering::Relaxed))
    }

    /// Wakes the reader, which waits on the log.
    fn wake(&self) {
        self.reader_called.store(true, Ordering::Relaxed);
        self.log.wake_readers();
    }
}

/// A queue of records for one reader of a worker.
pub(super) struct WorkerQueue {
    pool: Arc<QueuePool>,
    notify: Arc<Notify>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    records: VecDeque<(Record, u32)>,
    bytes: u64,
    /// Bytes the worker has taken so far.
    taken: u64,
    next: Lsn,
    is_open: bool,
    /// Whether the worker found the queue empty.
    is_wanted: bool,
    /// Whether the worker waits for `next` to move, because there was more to read.
    is_awaited: bool,
    /// Set after a record did not fit: the queue has free space again at this many bytes.
    resume_at_bytes: Option<u64>,
}

/// What a worker gets from its queue.
pub(super) enum Dequeued {
    /// A record, and the bytes it takes in the log.
    Record(Record, u32),
    /// Nothing yet: the reader has not reached the end of the released records.
    Pending,
    /// Nothing: every released record was taken out.
    Exhausted,
}

/// The result of offering a record to a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OfferResult {
    Accepted,
    /// The record does not fit now.
    Full,
    /// The worker has moved elsewhere in the log, or needs no records.
    NotNeeded,
}

/// The reader's view of a queue.
#[derive(Clone, Copy)]
pub(super) struct QueueView {
    pub(super) next: Lsn,
    pub(super) is_open: bool,
    /// Whether the worker found the queue empty.
    pub(super) is_wanted: bool,
    /// Whether a record did not fit, and few bytes were taken since.
    pub(super) is_full: bool,
    pub(super) bytes: u64,
    pub(super) taken: u64,
}

impl WorkerQueue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// For the worker: requests the records from this one on, and discards those in the queue.
    pub(super) fn open(&self, from: Lsn) {
        let mut state = self.state();
        self.clear(&mut state);
        (state.next, state.is_open, state.is_wanted, state.is_awaited) = (from, true, true, true);
        drop(state);
        self.pool.wake();
    }

    /// For the worker: requests no more records.
    pub(super) fn close(&self) {
        let mut state = self.state();
        self.clear(&mut state);
        state.is_open = false;
    }

    fn clear(&self, state: &mut State) {
        self.pool.bytes.fetch_sub(state.bytes, Ordering::Relaxed);
        *state = State { taken: state.taken, ..State::default() };
    }

    /// For the worker: the position below which every record was taken out.
    pub(super) fn position(&self) -> Lsn {
        let state = self.state();
        state.records.front().map_or(state.next, |(record, _)| record.lsn)
    }

    /// For the worker: takes the next record.
    pub(super) fn take(&self) -> Dequeued {
        let mut state = self.state();
        let Some((record, bytes)) = state.records.pop_front() else {
            let is_news = !std::mem::replace(&mut state.is_wanted, true);
            let is_awaited = state.next < self.pool.control.released();
            state.is_awaited = is_awaited;
            drop(state);
            if is_news && self.pool.blocked.load(Ordering::Relaxed) {
                self.pool.wake();
            }
            return if is_awaited { Dequeued::Pending } else { Dequeued::Exhausted };
        };
        let size = size(record.payload.len());
        state.bytes -= size;
        state.taken += size;
        self.pool.bytes.fetch_sub(size, Ordering::Relaxed);
        let has_room = state.resume_at_bytes.is_some_and(|low| state.bytes <= low);
        if has_room {
            state.resume_at_bytes = None;
        }
        drop(state);
        if has_room {
            self.pool.wake();
        }
        Dequeued::Record(record, bytes)
    }

    /// For the reader: offers the next record of this queue's lanes at or above `next`. The reader knows `next` from
    /// a view or from the last offer. A queue may hold at most as many bytes as all queues together leave free, so
    /// that a queue that is not emptied leaves space for the others.
    pub(super) fn offer(&self, frame: RecordRef<'_>, next: Lsn) -> OfferResult {
        let mut state = self.state();
        if !state.is_open || state.next != next {
            return OfferResult::NotNeeded;
        }
        let size = size(frame.payload.len());
        if !state.records.is_empty() && state.bytes + size > self.pool.room() {
            state.next = frame.lsn;
            state.resume_at_bytes = Some(state.bytes / 4 * 3);
            return OfferResult::Full;
        }
        self.pool.bytes.fetch_add(size, Ordering::Relaxed);
        state.bytes += size;
        state.next = frame.lsn.next();
        (state.is_wanted, state.is_awaited) = (false, false);
        state.records.push_back((owned(frame), frame.bytes));
        OfferResult::Accepted
    }

    /// For the reader: no record of these lanes exists between `next` and `position`. Returns whether the worker
    /// waits for this information.
    pub(super) fn advance(&self, next: Lsn, position: Lsn) -> bool {
        let mut state = self.state();
        if !state.is_open || state.next != next || position <= next {
            return false;
        }
        state.next = position;
        std::mem::take(&mut state.is_awaited)
    }

    pub(super) fn notify(&self) {
        self.notify.notify();
    }

    pub(super) fn view(&self) -> QueueView {
        let state = self.state();
        QueueView {
            next: state.next,
            is_open: state.is_open,
            is_wanted: state.is_wanted,
            is_full: state.resume_at_bytes.is_some(),
            bytes: state.bytes,
            taken: state.taken,
        }
    }
}

/// An owned copy of the record.
pub(super) fn owned(frame: RecordRef<'_>) -> Record {
    let RecordRef { lsn, at, lane, payload, .. } = frame;
    Record { lsn, at, lane, payload: payload.to_vec() }
}

fn size(payload: usize) -> u64 {
    payload as u64 + RECORD_OVERHEAD
}

/// The queues of all workers: one for the main reader of each, and one for its catch-up reader.
pub(super) struct WorkerQueues {
    pool: Arc<QueuePool>,
    all: Vec<Arc<WorkerQueue>>,
    workers: usize,
}

impl WorkerQueues {
    /// Creates two queues for each worker, each with the notification that wakes the worker.
    pub(super) fn new(log: &Arc<Log>, control: &Arc<Control>, notifies: &[Arc<Notify>]) -> Self {
        Self::with_capacity(log, control, notifies, CAPACITY)
    }

    pub(super) fn with_capacity(
        log: &Arc<Log>,
        control: &Arc<Control>,
        notifies: &[Arc<Notify>],
        capacity: u64,
    ) -> Self {
        let pool = Arc::new(QueuePool {
            log: Arc::clone(log),
            control: Arc::clone(control),
            capacity,
            bytes: AtomicU64::default(),
            blocked: AtomicBool::default(),
            reader_called: AtomicBool::default(),
        });
        let queue = |notify: &Arc<Notify>| {
            Arc::new(WorkerQueue {
                pool: Arc::clone(&pool),
                notify: Arc::clone(notify),
                state: Mutex::default(),
            })
        };
        let all = notifies.iter().chain(notifies).map(queue).collect();
        Self { pool, all, workers: notifies.len() }
    }

    /// The queue for the main reader of a worker.
    pub(super) fn head(&self, worker: usize) -> &Arc<WorkerQueue> {
        &self.all[worker]
    }

    /// The queue for the catch-up reader of a worker.
    pub(super) fn catch_up(&self, worker: usize) -> &Arc<WorkerQueue> {
        &self.all[self.workers + worker]
    }

    /// The indexes of the queues that take the records of a lane.
    pub(super) fn for_lane(&self, lane: u8) -> [usize; 2] {
        let worker = usize::from(lane) % self.workers;
        [worker, self.workers + worker]
    }

    pub(super) fn all(&self) -> &[Arc<WorkerQueue>] {
        &self.all
    }

    pub(super) fn view(&self, index: usize) -> QueueView {
        self.all[index].view()
    }

    /// Sets whether every worker that finds its queue empty must wake the reader.
    pub(super) fn set_blocked(&self, blocked: bool) {
        self.pool.blocked.store(blocked, Ordering::Relaxed);
    }

    /// Clears the wake-ups so far, because the reader is about to check all queues.
    pub(super) fn clear_reader_calls(&self) {
        self.pool.reader_called.store(false, Ordering::Relaxed);
    }

    /// Whether a worker has woken the reader since its last check.
    pub(super) fn is_reader_called(&self) -> bool {
        self.pool.reader_called.load(Ordering::Relaxed)
    }

    /// Bytes in all queues.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> u64 {
        self.pool.bytes.load(Ordering::Relaxed)
    }
}
