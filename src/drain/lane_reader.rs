//! One side of a worker's way through its lanes: a queue one can give a record back to.

use std::sync::Arc;

pub(super) use crate::drain::queue::owned;

use crate::drain::queue::{Dequeued, WorkerQueue};
use crate::wal::{Log, Lsn, Record, RecordRef};

/// Records between two looks at the results: a fraction of a millisecond.
pub(super) const TURN: usize = 256;

/// Which cursor brings a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadSide {
    Main,
    CatchUp,
    /// The catch-up side of one topic.
    Topic(usize),
}

/// What was done with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disposition {
    /// Sent, parked, or made a dead letter.
    Done,
    /// It cannot go now, and nothing behind it may pass; or it was not read yet.
    Wait,
}

/// Takes a worker's records out of its queue in order. Dropped, it closes the queue.
pub(super) struct LaneReader {
    log: Arc<Log>,
    queue: Arc<WorkerQueue>,
    // Taken out, and not yet done with. At most one record.
    pending: Option<(Record, u32)>,
}

impl LaneReader {
    /// From this record on.
    pub(super) fn new(log: &Arc<Log>, queue: &Arc<WorkerQueue>, from: Lsn) -> Self {
        queue.open(from);
        Self { log: Arc::clone(log), queue: Arc::clone(queue), pending: None }
    }

    /// Goes on from this record.
    pub(super) fn seek(&mut self, from: Lsn) {
        self.pending = None;
        self.queue.open(from);
    }

    /// Everything below was offered.
    pub(super) fn position(&self) -> Lsn {
        self.pending.as_ref().map_or_else(|| self.queue.position(), |(record, _)| record.lsn)
    }

    /// Whether a record was taken out and could not go.
    pub(super) fn is_waiting(&self) -> bool {
        self.pending.is_some()
    }

    /// Offers the next record; `None` when everything that is released was offered.
    pub(super) fn advance(
        &mut self,
        mut handle: impl FnMut(RecordRef<'_>) -> Disposition,
    ) -> Option<Disposition> {
        let (record, bytes) = match self.pending.take() {
            Some(held) => held,
            None => match self.queue.take() {
                Dequeued::Record(record, bytes) => (record, bytes),
                Dequeued::Pending => return Some(Disposition::Wait),
                Dequeued::Exhausted => return None,
            },
        };
        let Record { lsn, at, lane, ref payload } = record;
        // It may be over since it was read: an operator dropped it, or Kafka turned out to have it.
        let is_done = self.log.is_done(lsn);
        let step =
            if is_done { Disposition::Done } else { handle(RecordRef { lsn, at, lane, bytes, payload }) };
        if step == Disposition::Wait {
            self.pending = Some((record, bytes));
        }
        Some(step)
    }
}

impl Drop for LaneReader {
    fn drop(&mut self) {
        self.queue.close();
    }
}
