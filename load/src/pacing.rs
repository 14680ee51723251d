//! The thread that hands requests over to the workers.

use std::num::NonZero;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cli_support::Interrupt;
use hdrhistogram::Histogram;

use crate::arrivals::Arrivals;
use crate::clock::RunClock;
use crate::http::Failure;
use crate::operation::Operations;
use crate::pacer::pace;
use crate::queue::{Job, Queue};
use crate::record;
use crate::record::{Outcome, Recorder, Sample};
use crate::worker::{Counts, record};

/// What the thread needs.
pub struct Pacing {
    /// The operations that requests are chosen of.
    pub operations: Arc<Operations>,
    /// Where requests go.
    pub queue: Arc<Queue>,
    /// Where requests go that the queue has no room for.
    pub recorder: Arc<Mutex<Recorder>>,
    /// For the progress bar.
    pub counts: Arc<Counts>,
    /// The clock of the run.
    pub clock: RunClock,
    /// How many workers end with the queue.
    pub workers: usize,
    /// Ends it early.
    pub interrupt: Interrupt,
    /// The longest lateness that is told apart.
    pub longest: Duration,
}

impl Pacing {
    /// Returns when it was interrupted, and how late requests were, in microseconds.
    pub fn run(self, arrivals: Arrivals) -> (Option<Duration>, Histogram<u64>) {
        // The kernel may otherwise add 50 µs to each sleep. Where it is not allowed, it does.
        let _ = rustix::thread::set_current_timer_slack(NonZero::new(1));
        let mut lateness = record::histogram(self.longest, 3);
        let mut random = fastrand::Rng::with_seed(self.operations.seed);
        let mut number = 0;
        let stopped = pace(
            arrivals,
            &self.clock,
            || self.interrupt.came(),
            |due, now| {
                number += 1;
                self.counts.due.fetch_add(1, Ordering::Relaxed);
                record::record(&mut lateness, now.saturating_sub(due));
                let job = Job { number, due, operation: self.operations.mix.choose(&mut random) };
                if let Err(Job { operation, due, .. }) = self.queue.push(job) {
                    let outcome = Outcome::Failed(Failure::NotSent);
                    let sample = Sample { operation, due, sent: now, done: now, outcome };
                    record(&self.recorder, &self.counts, &sample);
                }
            },
        );
        self.queue.finish(self.workers);
        (stopped, lateness)
    }
}
