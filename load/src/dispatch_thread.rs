//! The thread that puts due requests into the queue.

use std::num::NonZero;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cli_support::Interrupt;
use hdrhistogram::Histogram;

use crate::arrivals::Arrivals;
use crate::clock::RunClock;
use crate::dispatch::dispatch_when_due;
use crate::http::RequestError;
use crate::operation::Operations;
use crate::queue::{DueRequest, Queue};
use crate::record;
use crate::record::{Recorder, RequestOutcome, Sample};
use crate::worker::{ProgressCounts, record};

/// Dependencies of the thread.
pub struct DispatchThread {
    /// The operations from which requests are chosen.
    pub operations: Arc<Operations>,
    /// The queue of due requests.
    pub queue: Arc<Queue>,
    /// Records requests that do not fit into the queue.
    pub recorder: Arc<Mutex<Recorder>>,
    /// Counters for the progress bar.
    pub counts: Arc<ProgressCounts>,
    /// The clock of the run.
    pub clock: RunClock,
    /// Number of workers that end with the queue.
    pub workers: usize,
    /// Ends the thread early.
    pub interrupt: Interrupt,
    /// Maximum of the lateness histogram.
    pub max_lateness: Duration,
}

impl DispatchThread {
    /// Returns the time of an interruption, if one happened, and the lateness of requests in microseconds.
    pub fn run(self, arrivals: Arrivals) -> (Option<Duration>, Histogram<u64>) {
        // Otherwise the kernel may add 50 µs to each sleep. If setting the slack is not allowed, it does.
        let _ = rustix::thread::set_current_timer_slack(NonZero::new(1));
        let mut lateness = record::histogram(self.max_lateness, 3);
        let mut random = fastrand::Rng::with_seed(self.operations.seed);
        let mut number = 0;
        let stopped = dispatch_when_due(
            arrivals,
            &self.clock,
            || self.interrupt.was_received(),
            |due, now| {
                number += 1;
                self.counts.due.fetch_add(1, Ordering::Relaxed);
                record::record(&mut lateness, now.saturating_sub(due));
                let job = DueRequest { number, due, operation: self.operations.mix.choose(&mut random) };
                if let Err(DueRequest { operation, due, .. }) = self.queue.push(job) {
                    let outcome = RequestOutcome::Failed(RequestError::NotSent);
                    let sample = Sample { operation, due, sent: now, done: now, outcome };
                    record(&self.recorder, &self.counts, &sample);
                }
            },
        );
        self.queue.finish(self.workers);
        (stopped, lateness)
    }
}
