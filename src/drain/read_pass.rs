//! One pass of the reader through a part of the log, for the queues that participate in it.

use crate::drain::queue::{OfferResult, QueueView, WorkerQueues};
use crate::wal::{Cursor, Lsn, ReadError, RecordRef};

/// The participating queues, and the progress of each. The pass must read all records from the lowest of these
/// positions.
pub(super) struct ReadPass<'a> {
    queues: &'a WorkerQueues,
    next: Vec<Option<Lsn>>,
    served: Vec<bool>,
}

impl<'a> ReadPass<'a> {
    /// Creates a pass for those open queues that `takes_part` selects.
    pub(super) fn new(queues: &'a WorkerQueues, takes_part: impl Fn(QueueView) -> bool) -> Self {
        let part = |view: QueueView| (view.is_open && takes_part(view)).then_some(view.next);
        let next: Vec<_> = queues.all().iter().map(|queue| part(queue.view())).collect();
        let served = vec![false; next.len()];
        Self { queues, next, served }
    }

    /// Whether no queue participates any more.
    pub(super) fn is_over(&self) -> bool {
        self.next.iter().all(Option::is_none)
    }

    /// The participating queues, each with its progress.
    pub(super) fn active_queues(&self) -> impl Iterator<Item = (usize, Lsn)> {
        self.next.iter().enumerate().filter_map(|(index, next)| Some((index, (*next)?)))
    }

    /// Removes the queues before this position from the pass.
    pub(super) fn begin_at(&mut self, position: Lsn) {
        self.next.iter_mut().for_each(|next| *next = next.filter(|next| *next >= position));
    }

    /// Whether a worker has nothing to do and this pass may bring it a record.
    pub(super) fn has_idle_worker(&self) -> bool {
        self.active_queues().any(|(index, _)| self.queues.view(index).is_wanted)
    }

    /// Reads the next record that a queue lacks, of at most `most` records.
    pub(super) fn read<'c>(
        &self,
        cursor: &'c mut Cursor,
        most: &mut u64,
    ) -> Result<Option<RecordRef<'c>>, ReadError> {
        let lacks = |index: usize, lsn| self.next[index].is_some_and(|next| next <= lsn);
        cursor
            .next_within(most, |lsn, lane| self.queues.for_lane(lane).iter().any(|&index| lacks(index, lsn)))
    }

    /// Puts a record into a queue that lacks it. Returns whether the queue is full; a full queue leaves the pass.
    pub(super) fn offer(&mut self, index: usize, frame: RecordRef<'_>) -> bool {
        let Some(next) = self.next[index].filter(|next| *next <= frame.lsn) else { return false };
        let offer = self.queues.all()[index].offer(frame, next);
        self.next[index] = (offer == OfferResult::Accepted).then(|| frame.lsn.next());
        self.served[index] |= offer == OfferResult::Accepted;
        offer == OfferResult::Full
    }

    /// Ends the pass: all records below `position` were read. Updates the participating queues and wakes the workers
    /// that got a record.
    pub(super) fn finish(self, position: Lsn) {
        for (index, queue) in self.queues.all().iter().enumerate() {
            let passed = self.next[index].is_some_and(|next| queue.advance(next, position));
            if passed || self.served[index] {
                queue.notify();
            }
        }
    }
}
