//! Phases of the stop, in order, and their deadlines.

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

/// Deadlines of the phases, in order. Work that a phase does not finish in time stays undone: undelivered records stay
/// in the log, and an outdated checkpoint causes redelivery.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadlines {
    /// Requests in flight are answered.
    pub(super) requests: Duration,
    /// The broker confirms the records in flight.
    pub(super) drain: Duration,
    /// Pending records are flushed, the checkpoint is written, threads end.
    pub(super) rest: Duration,
}

impl Deadlines {
    /// Deadlines of an orderly stop. A flush on a slow disk and a confirmation by all replicas take seconds at worst.
    pub(super) fn orderly(grace: Duration) -> Self {
        let seconds = Duration::from_secs;
        Self { requests: grace, drain: seconds(10), rest: seconds(15) }
    }

    /// Deadlines after a failure that the process cannot fix. Waiting clients have their result, so only responses are
    /// sent.
    pub(super) fn failed() -> Self {
        let short = Duration::from_secs(1);
        Self { requests: short, drain: short, rest: short }
    }

    fn total(self) -> Duration {
        self.requests + self.drain + self.rest + OUTSIDE_PHASES
    }
}

/// Time outside the phases: two attempts to record a failure of the log, and the export of the last spans, 1 s each.
const OUTSIDE_PHASES: Duration = Duration::from_secs(3);

/// Duration of the longest stop that a valid configuration allows.
pub fn longest_stop() -> Duration {
    Deadlines::orderly(MAX_SHUTDOWN_GRACE.0).total()
}

/// Running components in addition to the listeners, whichever subcommand started them.
#[derive(Default)]
pub(super) struct RunningComponents {
    pub(super) control: Option<control::Server>,
    pub(super) ingest: Option<IngestThreads>,
    pub(super) drain: Option<Drain>,
    pub(super) consumer: Option<Consumer>,
    pub(super) service: Option<RunningUserService>,
    pub(super) auth: Option<Auth>,
    pub(super) hashing: Option<HashWorkers>,
    /// Checks whether brokers answer. While none does, a request takes some seconds.
    pub(super) probe: Option<Thread>,
    /// Threads that only watch.
    pub(super) watches: Vec<Thread>,
}

impl RunningComponents {
    /// Stops all components, in the order in which commands flow. Blocks.
    pub(super) fn stop(mut self, deadlines: Deadlines) {
        // Its last request ends in parallel with everything else.
        if let Some(probe) = &mut self.probe {
            probe.request_stop();
        }
        // Operators' changes end. Then ingest accepts no more commands, and flushes and answers the pending ones.
        if let Some(control) = self.control {
            control.stop();
        }
        if let Some(ingest) = &self.ingest {
            ingest.close();
        }
        // Workers start nothing new and wait for the records in flight.
        if let Some(drain) = self.drain {
            drain.stop(Instant::now() + deadlines.drain);
        }
        // The consumer settles the commands it has begun.
        if let Some(consumer) = self.consumer {
            consumer.stop(Instant::now() + deadlines.rest);
        }
        // Maintenance of reservations, caches, keys and limits ends.
        drop(self.service);
        drop(self.auth);
        // Hashing ends. Records that wait for a hash stay in the log.
        if let Some(hashing) = self.hashing {
            hashing.stop(deadlines.rest);
        }
        // The log's threads end, after a last checkpoint.
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
