//! Batching of requests to the shared store. While one call is in progress, requests of other clients are collected,
//! and the next call sends them. A call for many clients costs little more than a call for one.

use prometheus::IntCounter;
use tokio::sync::{Mutex, mpsc};

use crate::kv::{PermitReply, PermitRequest};

/// Maximum number of waiting requests. Further requests are decided without a reply.
const MAX_WAITING: usize = 10_000;
/// Maximum number of requests per call.
const MAX_BATCH: usize = 500;

/// A request to refill a lease.
pub(super) struct RefillRequest {
    pub spend: PermitRequest,
    /// Called with the store's reply and its instant (see `SharedStore::now`); dropped if no reply arrives.
    pub on_reply: Box<dyn FnOnce(PermitReply, u64) + Send>,
}

/// Both ends of the queue.
pub(super) struct RefillQueue {
    sender: mpsc::Sender<RefillRequest>,
    waiting: Mutex<mpsc::Receiver<RefillRequest>>,
    full: IntCounter,
}

impl RefillQueue {
    pub fn new(full: IntCounter) -> Self {
        let (sender, waiting) = mpsc::channel(MAX_WAITING);
        Self { sender, waiting: Mutex::new(waiting), full }
    }

    /// Adds a request. Returns it as an error if the queue is full.
    pub fn put(&self, request: RefillRequest) -> Result<(), RefillRequest> {
        self.sender.try_send(request).map_err(|error| {
            self.full.inc();
            error.into_inner()
        })
    }

    /// Waits for requests, and returns those of the next call.
    pub async fn next(&self) -> Vec<RefillRequest> {
        let mut requests = Vec::with_capacity(MAX_BATCH);
        self.waiting.lock().await.recv_many(&mut requests, MAX_BATCH).await;
        requests
    }
}
