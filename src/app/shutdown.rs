//! The stop: the order of its phases, and how long each may take.

use std::time::{Duration, Instant};

use crate::config::MAX_SHUTDOWN_GRACE;
use crate::consumer::Consumer;
use crate::control;
use crate::drain::Drain;
use crate::ingest::IngestThreads;
use crate::task::Thread;
use crate::users::hash::HashWorkers;

use super::auth::Auth;
use super::user_service::RunningUserService;

/// The phases in their order. What a phase has not done when its time is over stays undone: undelivered records
/// stay in the log, and a stale checkpoint costs repeats.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadlines {
    /// Requests under way are answered.
    pub(super) requests: Duration,
    /// The broker confirms what is in flight.
    pub(super) drain: Duration,
    /// What waits is flushed, the position is saved, threads end.
    pub(super) rest: Duration,
}

impl Deadlines {
    /// An orderly stop. A flush on a slow disk and a confirmation by all replicas take seconds at worst.
    pub(super) fn orderly(grace: Duration) -> Self {
        let seconds = Duration::from_secs;
        Self { requests: grace, drain: seconds(10), rest: seconds(15) }
    }

    /// After a failure that nothing here can mend: those who wait have been told, so only their answers leave.
    pub(super) fn failed() -> Self {
        let short = Duration::from_secs(1);
        Self { requests: short, drain: short, rest: short }
    }

    fn total(self) -> Duration {
        self.requests + self.drain + self.rest + OUTSIDE_PHASES
    }
}

/// Around the phases: two attempts to note a failure of the log, and the export of the last spans, a second each.
const OUTSIDE_PHASES: Duration = Duration::from_secs(3);

/// The longest stop that a valid configuration allows.
pub fn longest_stop() -> Duration {
    Deadlines::orderly(MAX_SHUTDOWN_GRACE.0).total()
}

/// What runs beside the listeners, whichever subcommand has started it.
#[derive(Default)]
pub(super) struct RunningComponents {
    pub(super) control: Option<control::Server>,
    pub(super) ingest: Option<IngestThreads>,
    pub(super) drain: Option<Drain>,
    pub(super) consumer: Option<Consumer>,
    pub(super) service: Option<RunningUserService>,
    pub(super) auth: Option<Auth>,
    pub(super) hashing: Option<HashWorkers>,
    /// Asks brokers whether they answer. While none does, its question takes some seconds.
    pub(super) probe: Option<Thread>,
    /// Threads that only watch.
    pub(super) watches: Vec<Thread>,
}

impl RunningComponents {
    /// Stops everything, in the order in which commands flow. Blocks.
    pub(super) fn stop(mut self, deadlines: Deadlines) {
        // Its last question ends beside everything else.
        if let Some(probe) = &mut self.probe {
            probe.request_stop();
        }
        // Operators' changes end. Then ingest takes nothing new, and flushes and answers what waits.
        if let Some(control) = self.control {
            control.stop();
        }
        if let Some(ingest) = &self.ingest {
            ingest.close();
        }
        // Workers begin nothing new and wait for what is in flight.
        if let Some(drain) = self.drain {
            drain.stop(Instant::now() + deadlines.drain);
        }
        // The consumer settles what it has begun.
        if let Some(consumer) = self.consumer {
            consumer.stop(Instant::now() + deadlines.rest);
        }
        // Nobody keeps markers, caches, keys and limits any more.
        drop(self.service);
        drop(self.auth);
        // Nothing is hashed any more; what waits for a hash stays in the log.
        if let Some(hashing) = self.hashing {
            hashing.stop(deadlines.rest);
        }
        // The log's threads end, with a last checkpoint.
        if let Some(ingest) = self.ingest {
            ingest.join(deadlines.rest);
        }
        for thread in self.watches.into_iter().chain(self.probe) {
            if let Err(late) = thread.stop(deadlines.rest) {
                tracing::warn!(event = "task.thread_left", error = %late, "thread still running after its deadline");
            }
        }
    }
}
