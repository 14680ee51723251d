//! Queue of spans for the thread that exports them.

use std::collections::VecDeque;
use std::time::Duration;

use prometheus::IntCounter;

use super::span::Span;
use crate::sync::{Condvar, Mutex};

/// Capacity in spans: about 4 MiB, and half a second of the spans from 5 % of 75,000 requests per second.
pub(super) const MAX_SPANS: usize = 8192;
/// Maximum number of spans per export, as in OpenTelemetry's own processors.
pub(super) const BATCH: usize = 512;

/// A bounded queue. Adding a span never blocks.
#[derive(Debug)]
pub(super) struct SpanQueue {
    state: Mutex<State>,
    filled: Condvar,
    dropped: IntCounter,
}

#[derive(Debug, Default)]
struct State {
    spans: VecDeque<Span>,
    /// Number of spans in the batch that was returned last, until the next one is requested.
    taken: usize,
    is_closed: bool,
}

impl SpanQueue {
    /// Creates an empty queue. `dropped` counts spans that find it full.
    pub(super) fn new(dropped: &IntCounter) -> Self {
        Self { state: Mutex::default(), filled: Condvar::new(), dropped: dropped.clone() }
    }

    /// Adds a span, or drops it if the queue is full.
    pub(super) fn add(&self, span: Span) {
        let mut state = self.state.lock();
        if state.is_closed || state.spans.len() >= MAX_SPANS {
            drop(state);
            self.dropped.inc();
            return;
        }
        state.spans.push_back(span);
        // Fewer spans wait for the thread's next turn, because waking it for each would cost the caller a system call.
        let is_batch = state.spans.len() == BATCH;
        drop(state);
        if is_batch {
            self.filled.notify_one();
        }
    }

    /// Closes the queue: no more spans are added.
    pub(super) fn close(&self) {
        self.state.lock().is_closed = true;
        self.filled.notify_one();
    }

    /// Returns the next batch: a full one, or the present spans after `patience`. `None` if the queue is closed and empty.
    /// The call also means that the caller has finished with the previous batch.
    pub(super) fn next_batch(&self, patience: Duration) -> Option<Vec<Span>> {
        let waits = |state: &mut State| state.spans.len() < BATCH && !state.is_closed;
        let mut state = self.state.lock();
        state.taken = 0;
        let mut state = self.filled.wait_timeout_while(state, patience, waits);
        let count = state.spans.len().min(BATCH);
        state.taken = count;
        if count == 0 && state.is_closed {
            return None;
        }
        Some(state.spans.drain(..count).collect())
    }

    /// Number of queued spans, and of those in a batch that the caller has not finished with.
    pub(super) fn unfinished(&self) -> usize {
        let state = self.state.lock();
        state.spans.len() + state.taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::trace::context::TraceContext;

    /// Longer than any test may take.
    const LONG: Duration = Duration::from_secs(60);

    fn span() -> Span {
        let context =
            TraceContext::sampled("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        Span::child(context, context, "test")
    }

    #[test]
    fn a_full_queue_drops_spans_and_counts_them() {
        let dropped = IntCounter::new("dropped", "dropped").unwrap();
        let queue = SpanQueue::new(&dropped);
        (0..MAX_SPANS + 3).for_each(|_| queue.add(span()));
        assert_eq!((dropped.get(), queue.unfinished()), (3, MAX_SPANS));
        assert_eq!(queue.next_batch(LONG).unwrap().len(), BATCH);
        queue.add(span());
        assert_eq!(dropped.get(), 3, "there is room again");
    }

    #[test]
    fn a_closed_queue_yields_waiting_spans_and_accepts_none() {
        let dropped = IntCounter::new("dropped", "dropped").unwrap();
        let queue = SpanQueue::new(&dropped);
        assert_eq!(queue.next_batch(Duration::ZERO).map(|spans| spans.len()), Some(0));
        queue.add(span());
        queue.close();
        queue.add(span());
        assert_eq!(dropped.get(), 1);
        assert_eq!(queue.next_batch(LONG).map(|spans| spans.len()), Some(1));
        assert!(queue.next_batch(LONG).is_none());
    }

    #[test]
    fn a_batch_counts_until_the_next_one_is_asked_for() {
        let queue = SpanQueue::new(&IntCounter::new("dropped", "dropped").unwrap());
        (0..BATCH + 2).for_each(|_| queue.add(span()));
        assert_eq!(queue.next_batch(LONG).unwrap().len(), BATCH);
        assert_eq!(queue.unfinished(), BATCH + 2, "the first batch is still on its way");
        queue.close();
        assert_eq!(queue.next_batch(LONG).unwrap().len(), 2);
        assert_eq!(queue.unfinished(), 2);
        assert!(queue.next_batch(LONG).is_none());
        assert_eq!(queue.unfinished(), 0);
    }
}
