//! One pass of the reader through a part of the log, for the queues that take part in it.

use crate::drain::queue::{OfferResult, QueueView, WorkerQueues};
use crate::wal::{Cursor, Lsn, ReadError, RecordRef};

/// Which queues take part, and how far each has come. Everything from the lowest of these positions on must come by.
pub(super) struct ReadPass<'a> {
    queues: &'a WorkerQueues,
    next: Vec<Option<Lsn>>,
    served: Vec<bool>,
}

impl<'a> ReadPass<'a> {
    /// Of the open queues, those that are chosen.
    pub(super) fn new(queues: &'a WorkerQueues, takes_part: impl Fn(QueueView) -> bool) -> Self {
        let part = |view: QueueView| (view.is_open && takes_part(view)).then_some(view.next);
        let next: Vec<_> = queues.all().iter().map(|queue| part(queue.view())).collect();
        let served = vec![false; next.len()];
        Self { queues, next, served }
    }

    /// Whether no queue takes part any more.
    pub(super) fn is_over(&self) -> bool {
        self.next.iter().all(Option::is_none)
    }

    /// The queues that take part, each with how far it has come.
    pub(super) fn active_queues(&self) -> impl Iterator<Item = (usize, Lsn)> {
        self.next.iter().enumerate().filter_map(|(index, next)| Some((index, (*next)?)))
    }

    /// Those before this position no longer take part.
    pub(super) fn begin_at(&mut self, position: Lsn) {
        self.next.iter_mut().for_each(|next| *next = next.filter(|next| *next >= position));
    }

    /// Whether a worker has nothing to do and this pass may bring it something.
    pub(super) fn has_idle_worker(&self) -> bool {
        self.active_queues().any(|(index, _)| self.queues.view(index).is_wanted)
    }

    /// The next record that a queue lacks, of at most `most`.
    pub(super) fn read<'c>(
        &self,
        cursor: &'c mut Cursor,
        most: &mut u64,
    ) -> Result<Option<RecordRef<'c>>, ReadError> {
        let lacks = |index: usize, lsn| self.next[index].is_some_and(|next| next <= lsn);
        cursor
            .next_within(most, |lsn, lane| self.queues.for_lane(lane).iter().any(|&index| lacks(index, lsn)))
    }

    /// Puts a record into a queue that lacks it; says whether that is full. Then it no longer takes part.
    pub(super) fn offer(&mut self, index: usize, frame: RecordRef<'_>) -> bool {
        let Some(next) = self.next[index].filter(|next| *next <= frame.lsn) else { return false };
        let offer = self.queues.all()[index].offer(frame, next);
        self.next[index] = (offer == OfferResult::Accepted).then(|| frame.lsn.next());
        self.served[index] |= offer == OfferResult::Accepted;
        offer == OfferResult::Full
    }

    /// Everything below `position` came by: the queues that took part know it, and workers that got something wake.
    pub(super) fn finish(self, position: Lsn) {
        for (index, queue) in self.queues.all().iter().enumerate() {
            let passed = self.next[index].is_some_and(|next| queue.advance(next, position));
            if passed || self.served[index] {
                queue.notify();
            }
        }
    }
}
