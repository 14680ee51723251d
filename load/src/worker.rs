//! A worker: it has one connection, and sends the requests that have waited longest.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, RunClock};
use crate::http::{RequestError, ServerConnection};
use crate::operation::Operations;
use crate::queue::{DueRequest, Queue};
use crate::record::{Recorder, RequestOutcome, Sample};

/// Counts for the progress bar.
#[derive(Default)]
pub struct ProgressCounts {
    /// Requests that were due.
    pub due: AtomicU64,
    /// Requests with an expected response.
    pub good: AtomicU64,
    /// All other requests.
    pub errors: AtomicU64,
}

/// A worker with one connection.
pub struct Worker {
    /// The operations.
    pub operations: Arc<Operations>,
    /// The queue of due requests.
    pub queue: Arc<Queue>,
    /// Records the samples. Few workers share one recorder.
    pub recorder: Arc<Mutex<Recorder>>,
    /// Counters for the progress bar.
    pub counts: Arc<ProgressCounts>,
    /// The clock of the run.
    pub clock: RunClock,
    /// A request that waits longer for a connection is not sent.
    pub send_within: Duration,
    /// Timeout of a request after it was sent.
    pub timeout: Duration,
    /// The connection.
    pub link: ServerConnection,
}

impl Worker {
    /// Sends requests until the queue ends.
    pub async fn run(mut self) {
        while let Some(job) = self.queue.take().await {
            let sample = self.attempt(job).await;
            record(&self.recorder, &self.counts, &sample);
        }
    }

    async fn attempt(&mut self, job: DueRequest) -> Sample {
        let sent = self.clock.now();
        let outcome = match sent < job.due + self.send_within {
            false => RequestOutcome::Failed(RequestError::NotSent),
            true => tokio::time::timeout(self.timeout, self.exchange(job))
                .await
                .unwrap_or(RequestOutcome::Failed(RequestError::Timeout)),
        };
        Sample { operation: job.operation, due: job.due, sent, done: self.clock.now(), outcome }
    }

    async fn exchange(&mut self, job: DueRequest) -> RequestOutcome {
        let Some(call) = self.operations.call(job.operation, job.number) else {
            return RequestOutcome::Failed(RequestError::ConnectionLost(
                "the request could not be built".to_owned(),
            ));
        };
        match call.send(&mut self.link).await {
            Ok(response) if self.operations.expects(job.operation, response.status) => {
                RequestOutcome::Good(response.status)
            }
            Ok(response) => RequestOutcome::Unexpected(response.status, response.code()),
            Err(failure) => RequestOutcome::Failed(failure),
        }
    }
}

/// Adds a sample to the statistics and to the progress bar.
pub fn record(recorder: &Mutex<Recorder>, counts: &ProgressCounts, sample: &Sample) {
    let count = if matches!(sample.outcome, RequestOutcome::Good(_)) { &counts.good } else { &counts.errors };
    count.fetch_add(1, Ordering::Relaxed);
    recorder.lock().unwrap_or_else(PoisonError::into_inner).add(sample);
}
