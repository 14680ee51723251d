//! Delivery from the log to Kafka: lanes, workers, positions, dead letters.
//!
//! Worker *i* owns the lanes whose number modulo the number of workers is *i*. So a key has one worker and one producer
//! at a time. A worker keeps many records in flight. A record that cannot be sent now is parked in order, and other
//! records pass it. Parked records are not kept in memory: they are read again from the log.
//!
//! The path of a record:
//!
//! 1. `reader` reads the log once for all workers, in `read_pass`es, into the bounded `queue` of each worker.
//!    `release_pacer` decides when it gets new records, so that batches are not small.
//! 2. `lane_reader` takes the record out of the queue for its worker (`plain::worker`, `transactional::worker`).
//! 3. `dispatcher` decides: send, park, wait, or dead letter. The decision uses the state of topics and rejected
//!    records (`failure_policy`), the records in flight (`in_flight`) and the deferred values (`deferred_values`). All
//!    are part of `dispatch_state`.
//! 4. A `sender` sends it or parks it: `plain` (at least once) or `transactional` (exactly once).
//! 5. The `delivery` file of that sender confirms the record in the log, or gives it to `failure_policy`.

mod backpressure;
mod config;
mod context;
mod control;
mod dead_letter_buffer;
mod dead_reason;
mod deferred_values;
mod dispatch_state;
mod dispatcher;
mod failure_policy;
mod handle;
mod in_flight;
mod in_flight_record;
mod known_topics;
mod lane_reader;
mod lanes;
mod metrics;
mod monitor;
mod notify;
mod partition_in_flight;
mod partitioner;
mod plain;
mod poison_isolation;
mod producer_settings;
mod queue;
mod read_pass;
mod reader;
mod release_pacer;
mod scope;
mod send_permit;
mod sender;
#[cfg(test)]
mod tests;
mod topic_constraints;
mod topic_fault;
mod topic_state;
mod traced_records;
mod transactional;
mod usage;
mod value_resolver;
mod worker_parts;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::drain::context::Context;
use crate::drain::lanes::Lanes;
use crate::drain::producer_settings::ProducerSettings;
use crate::drain::reader::Reader;
use crate::drain::release_pacer::ReleasePacer;
use crate::drain::transactional::{Purpose, Takeover};
use crate::drain::worker_parts::WorkerParts;
use crate::kafka;
use crate::status::Statuses;
use crate::task::{FatalSignal, OnFailure, StopSignal, Thread};
use crate::telemetry::trace::Tracer;
use crate::wal::Log;

pub use backpressure::Backpressure;
pub use config::{Config, DeliveryGuarantee, OnRestoredLog};
pub use handle::Handle;
pub use metrics::Metrics;
pub use monitor::{Denial, WorkerState};
pub use value_resolver::{NoDeferredValues, ValueCompletion, ValueResolver};

/// The dependencies of a drain.
pub struct DrainParts {
    /// The log to drain.
    pub log: Arc<Log>,
    /// Receives the result of each record, for clients that wait for it.
    pub statuses: Statuses,
    /// The drain's metrics.
    pub metrics: Arc<Metrics>,
    /// `[drain]`.
    pub config: Config,
    /// `[kafka]`.
    pub kafka: kafka::Config,
    /// Receives the signal when a worker fails, because its lanes would stall.
    pub fatal: FatalSignal,
    /// Limits the bytes of commands about users that the consumer has not applied. `None` disables the limit.
    pub backpressure: Option<Arc<Backpressure>>,
    /// Bootstrap brokers: those of `[kafka]`, or the embedded broker.
    pub bootstrap: String,
    /// Resolves the value of records whose password waits to be hashed.
    pub resolver: Arc<dyn ValueResolver>,
    /// Receives the spans of sampled records.
    pub tracer: Tracer,
}

/// Why the drain did not start.
#[derive(Debug, thiserror::Error)]
pub enum DrainError {
    /// The Kafka client rejects its settings.
    #[error(transparent)]
    Client(#[from] kafka::ClientError),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// The running workers. Dropping this value stops them immediately. Undelivered records remain in the log.
pub struct Drain {
    handle: Handle,
    threads: Vec<Thread>,
    fatal: FatalSignal,
}

impl Drain {
    /// Starts the workers. Brokers may be unavailable. Returns an error for settings that the Kafka client rejects.
    pub fn start(parts: DrainParts) -> Result<Self, DrainError> {
        let pacer = ReleasePacer::for_linger(parts.kafka.linger);
        Self::start_with(parts, pacer)
    }

    /// As [`Drain::start`]. Tests inject the pacer.
    fn start_with(parts: DrainParts, pacer: ReleasePacer) -> Result<Self, DrainError> {
        let DrainParts {
            log,
            statuses,
            metrics,
            config,
            kafka,
            fatal,
            backpressure,
            bootstrap,
            resolver,
            tracer,
        } = parts;
        let workers = config.worker_count();
        let (backoff, exactly_once) = (config.backoff(), config.delivery == DeliveryGuarantee::ExactlyOnce);
        let handle = Handle::new(Arc::clone(&log), Arc::clone(&metrics), workers);
        let reader = Reader::new(handle.reader_parts(pacer, statuses.clone()), &backoff, &metrics);
        let mut drain = Self { handle: handle.clone(), threads: Vec::with_capacity(workers + 2), fatal };
        let context = Context::new(log, statuses, metrics, backpressure, resolver).with_tracer(tracer);
        let producer_settings = ProducerSettings::new(kafka, bootstrap);
        for index in 0..workers {
            let (lanes, name) = (Lanes::new(index, workers), format!("drain-{index}"));
            let worker_parts =
                WorkerParts::new(lanes, handle.clone(), context.clone(), &producer_settings, &config);
            if exactly_once {
                let worker = transactional::Worker::new(worker_parts)?;
                drain.spawn(&name, move || worker.run())?;
            } else {
                let worker = plain::Worker::new(worker_parts)?;
                drain.spawn(&name, move || worker.run())?;
            }
        }
        // If an earlier run used transactions, at-least-once delivery also needs the takeover. It starts behind the
        // delivered records, and ends the open transactions.
        if exactly_once || context.log.transactions().ids.is_some_and(|ids| ids > 0) {
            let purpose = if exactly_once {
                Purpose::ExactlyOnce(config.on_restored_log)
            } else {
                Purpose::AtLeastOnce
            };
            let takeover =
                Takeover::new(context, handle.clone(), producer_settings, workers, purpose, backoff)?;
            drain.spawn("drain-claim", move || takeover.run())?;
        } else {
            // No earlier run used transactions, so there is nothing to take over.
            handle.permit.grant();
        }
        drain.spawn("drain-reader", move || reader.run(&handle.reader_heartbeat))?;
        Ok(drain)
    }

    fn spawn(&mut self, name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        let body = move |_: &StopSignal| {
            run();
            Ok(())
        };
        self.threads.push(Thread::spawn(name, OnFailure::Raise(self.fatal.clone()), body)?);
        Ok(())
    }

    /// Returns a handle that observes and controls the workers.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Stops new sends and waits for the records in flight, at most until `deadline`. It does not wait for brokers
    /// that confirm nothing. Blocks.
    pub fn stop(mut self, deadline: Instant) {
        self.halt(deadline);
    }

    fn halt(&mut self, deadline: Instant) {
        self.handle.control.request_stop(deadline);
        self.handle.notify();
        self.handle.log.wake_readers();
        for thread in self.threads.drain(..) {
            let left = deadline.saturating_duration_since(Instant::now());
            if let Err(late) = thread.stop(left + WORKER_EXIT_MARGIN) {
                tracing::warn!(event = "task.thread_left", error = %late, "thread still running after its deadline");
            }
        }
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        self.halt(Instant::now());
    }
}

/// Time that a worker may take after the deadline, for its last turn and for closing its producers.
const WORKER_EXIT_MARGIN: Duration = Duration::from_secs(5);
