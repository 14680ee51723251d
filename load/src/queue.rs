//! The queue of due requests that wait for a free connection.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

/// Maximum number of waiting requests, of 32 bytes each. Further requests are not sent.
const MAX_WAITING: usize = 1 << 20;

/// A due request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueRequest {
    /// Number in this run, from 1.
    pub number: u64,
    /// Due time since the start of the run.
    pub due: Duration,
    /// Index of the operation.
    pub operation: usize,
}

/// A queue from one thread to many workers.
pub struct Queue {
    waiting: Mutex<VecDeque<DueRequest>>,
    /// One permit per waiting request, and at the end one per worker.
    permits: Semaphore,
}

impl Queue {
    /// An empty queue.
    pub fn new() -> Self {
        Self { waiting: Mutex::default(), permits: Semaphore::new(0) }
    }

    /// Adds a request. Returns it as an error if the queue is full.
    pub fn push(&self, job: DueRequest) -> Result<(), DueRequest> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= MAX_WAITING {
            return Err(job);
        }
        waiting.push_back(job);
        drop(waiting);
        self.permits.add_permits(1);
        Ok(())
    }

    /// Ends the queue. Each of this many workers ends when no request waits.
    pub fn finish(&self, workers: usize) {
        self.permits.add_permits(workers);
    }

    /// Waits for the oldest request. `None` after the end.
    pub async fn take(&self) -> Option<DueRequest> {
        self.permits.acquire().await.ok()?.forget();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}
