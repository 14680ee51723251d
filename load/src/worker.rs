//! A worker has one connection, and takes the request that has waited longest.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, RunClock};
use crate::http::{RequestError, ServerConnection};
use crate::operation::Operations;
use crate::queue::{DueRequest, Queue};
use crate::record::{Recorder, RequestOutcome, Sample};

/// What happened so far, for the progress bar.
#[derive(Default)]
pub struct ProgressCounts {
    /// Requests that were due.
    pub due: AtomicU64,
    /// Requests with an expected answer.
    pub good: AtomicU64,
    /// The others.
    pub errors: AtomicU64,
}

/// One connection of a run.
pub struct Worker {
    /// What is sent.
    pub operations: Arc<Operations>,
    /// Where requests wait.
    pub queue: Arc<Queue>,
    /// Where samples go. Few workers share it.
    pub recorder: Arc<Mutex<Recorder>>,
    /// For the progress bar.
    pub counts: Arc<ProgressCounts>,
    /// The clock of the run.
    pub clock: RunClock,
    /// A request that waits longer for a connection is not sent.
    pub send_within: Duration,
    /// A request that is not answered within this time after it was sent is given up.
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
            Ok(answer) if self.operations.expects(job.operation, answer.status) => {
                RequestOutcome::Good(answer.status)
            }
            Ok(answer) => RequestOutcome::Unexpected(answer.status, answer.code()),
            Err(failure) => RequestOutcome::Failed(failure),
        }
    }
}

/// Adds a sample to the figures and to the progress bar.
pub fn record(recorder: &Mutex<Recorder>, counts: &ProgressCounts, sample: &Sample) {
    let count = if matches!(sample.outcome, RequestOutcome::Good(_)) { &counts.good } else { &counts.errors };
    count.fetch_add(1, Ordering::Relaxed);
    recorder.lock().unwrap_or_else(PoisonError::into_inner).add(sample);
}
