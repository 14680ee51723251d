//! Questions to the shared store, gathered: while one call is under way those of other clients come together, and go
//! with the next one. A call of many costs little more than a call of one.

use prometheus::IntCounter;
use tokio::sync::{Mutex, mpsc};

use crate::kv::{PermitReply, PermitRequest};

/// Questions that wait. A client that finds no room is decided upon without an answer.
const MAX_WAITING: usize = 10_000;
/// Of one call.
const MAX_BATCH: usize = 500;

/// A lease that is to be filled.
pub(super) struct RefillRequest {
    pub spend: PermitRequest,
    /// Called with the store's answer and its instant (see `OfflineLog::now`); dropped when there is no answer.
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

    /// An error: there is no room.
    pub fn put(&self, question: RefillRequest) -> Result<(), RefillRequest> {
        self.sender.try_send(question).map_err(|error| {
            self.full.inc();
            error.into_inner()
        })
    }

    /// The questions of the next call; waits for the first one.
    pub async fn next(&self) -> Vec<RefillRequest> {
        let mut questions = Vec::with_capacity(MAX_BATCH);
        self.waiting.lock().await.recv_many(&mut questions, MAX_BATCH).await;
        questions
    }
}
