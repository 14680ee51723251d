//! Questions to the shared store, gathered: while one call is under way those of other clients come together, and go
//! with the next one. A call of many costs little more than a call of one.

use std::sync::Arc;

use prometheus::IntCounter;
use tokio::sync::Mutex;
use tokio::sync::mpsc;

use crate::kv::Rate;
use crate::kv::Spend;

use super::entry::Entry;
use super::lease::Ask;
use super::store::Store;

/// Questions that wait. Whoever finds no room is decided upon without an answer.
const WAITING: usize = 10_000;
/// Of one call.
const AT_ONCE: usize = 500;

/// A lease that is to be filled. Dropped, the client may ask again, and whoever waits for it looks again.
pub(super) struct Question {
    pub entry: Arc<Entry>,
    pub rate: Rate,
    pub ask: Ask,
}

impl Drop for Question {
    fn drop(&mut self) {
        self.entry.refill_ended();
    }
}

/// Both ends of the queue.
pub(super) struct Questions {
    sender: mpsc::Sender<Question>,
    waiting: Mutex<mpsc::Receiver<Question>>,
    full: IntCounter,
}

impl Questions {
    pub fn new(full: IntCounter) -> Self {
        let (sender, waiting) = mpsc::channel(WAITING);
        Self { sender, waiting: Mutex::new(waiting), full }
    }

    /// An error: there is no room.
    pub fn put(&self, question: Question) -> Result<(), Question> {
        self.sender.try_send(question).map_err(|error| {
            self.full.inc();
            error.into_inner()
        })
    }

    /// Asks the store, call after call.
    pub async fn ask(&self, store: &Store) {
        let mut waiting = self.waiting.lock().await;
        let mut questions = Vec::with_capacity(AT_ONCE);
        while waiting.recv_many(&mut questions, AT_ONCE).await > 0 {
            let spend = |question: &Question| {
                let Ask { need, extra } = question.ask;
                Spend { key: question.entry.key().to_owned(), rate: question.rate, need, extra }
            };
            let calls: Vec<_> = questions.iter().map(spend).collect();
            // Whoever waits behind a call that failed is let go at once.
            let answers = match store.is_away() {
                true => None,
                false => store.spend_all(&calls).await,
            };
            for (question, spent) in questions.iter().zip(answers.unwrap_or_default()) {
                question.entry.answered(question.rate, question.ask, spent, store.now());
            }
            questions.clear();
        }
    }
}
