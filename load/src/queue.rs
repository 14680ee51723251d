//! Requests that are due and wait for a free connection.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

/// At most so many wait: 32 bytes each. Requests beyond it are given up at once.
const MAX_WAITING: usize = 1 << 20;

/// A request that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueRequest {
    /// Its number in this run, from 1.
    pub number: u64,
    /// When it is due, since the start of the run.
    pub due: Duration,
    /// Which operation it is.
    pub operation: usize,
}

/// A queue from one thread to many workers.
pub struct Queue {
    waiting: Mutex<VecDeque<DueRequest>>,
    /// One permit per waiting request, and in the end one per worker.
    permits: Semaphore,
}

impl Queue {
    /// An empty one.
    pub fn new() -> Self {
        Self { waiting: Mutex::default(), permits: Semaphore::new(0) }
    }

    /// Adds a request. Gives it back if too many wait.
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

    /// No request follows. Each of so many workers ends when nothing waits.
    pub fn finish(&self, workers: usize) {
        self.permits.add_permits(workers);
    }

    /// The request that has waited longest. `None` after the end.
    pub async fn take(&self) -> Option<DueRequest> {
        self.permits.acquire().await.ok()?.forget();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}
