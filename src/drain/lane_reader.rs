//! Reads a worker's lanes from one queue, and can hold back one record.

use std::sync::Arc;

pub(super) use crate::drain::queue::owned;

use crate::drain::queue::{Dequeued, WorkerQueue};
use crate::wal::{Log, Lsn, Record, RecordRef};

/// Records processed between two checks of the delivery reports: a fraction of a millisecond.
pub(super) const RECORDS_PER_TURN: usize = 256;

/// Which reader of a worker delivers a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadSide {
    Main,
    CatchUp,
    /// The catch-up reader of one topic.
    Topic(usize),
}

/// The result of dispatching a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disposition {
    /// The reader continues behind this record. It was sent, parked, made a dead letter, or needs no processing here.
    Processed,
    /// The record cannot proceed now, and no record behind it may pass; or it was not read yet.
    Wait,
}

/// Takes a worker's records out of its queue in order. Dropping it closes the queue.
pub(super) struct LaneReader {
    log: Arc<Log>,
    queue: Arc<WorkerQueue>,
    // Taken out of the queue and not processed yet. At most one record.
    pending: Option<(Record, u32)>,
}

impl LaneReader {
    /// Starts at this record.
    pub(super) fn new(log: &Arc<Log>, queue: &Arc<WorkerQueue>, from: Lsn) -> Self {
        queue.open(from);
        Self { log: Arc::clone(log), queue: Arc::clone(queue), pending: None }
    }

    /// Continues at this record.
    pub(super) fn seek(&mut self, from: Lsn) {
        self.pending = None;
        self.queue.open(from);
    }

    /// All records below were offered.
    pub(super) fn position(&self) -> Lsn {
        self.pending.as_ref().map_or_else(|| self.queue.position(), |(record, _)| record.lsn)
    }

    /// Whether a record was taken out and could not proceed.
    pub(super) fn is_waiting(&self) -> bool {
        self.pending.is_some()
    }

    /// Offers the next record. Returns `None` when all released records were offered.
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
        // The record may be done since it was read: an operator dropped it, or Kafka turned out to have it.
        let is_done = self.log.is_done(lsn);
        let step = if is_done {
            Disposition::Processed
        } else {
            handle(RecordRef { lsn, at, lane, bytes, payload })
        };
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
