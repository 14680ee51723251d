//! The embedded store for a single daemon: sled, in this process.
//!
//! sled blocks and may panic. It therefore runs on blocking threads, a few calls at a time, and its failures and panics
//! are only errors of the call.

mod files;
mod trees;
mod value_cipher;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use prometheus::IntCounter;
use tokio::sync::{Semaphore, broadcast};
use tokio::time::timeout;

use crate::units::Timestamp;

use super::KvError;
use super::call::{Call, Reply};
use super::subscription_event::SubscriptionEvent;

use trees::Trees;
use value_cipher::ValueCipher;

/// Timeout of a call. A disk that takes longer is broken.
const DISK_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum number of concurrent calls. Writers wait for each other, so more threads would only wait too.
const THREADS: usize = 8;
/// Maximum number of messages that a subscriber may lag behind before it misses some.
const MAX_QUEUED_MESSAGES: usize = 1024;

/// The embedded store. Clones share it.
#[derive(Clone)]
pub(super) struct Embedded {
    trees: Arc<Trees>,
    threads: Arc<Semaphore>,
    /// Messages, each with its channel.
    messages: broadcast::Sender<(Arc<str>, Arc<str>)>,
}

impl Embedded {
    pub fn open(dir: &Path, secret: Option<&[u8; 32]>) -> Result<Self, KvError> {
        let trees = Trees::open(dir, secret.map(ValueCipher::new)).map_err(KvError::Unavailable)?;
        let (messages, _) = broadcast::channel(MAX_QUEUED_MESSAGES);
        Ok(Self { trees: Arc::new(trees), threads: Arc::new(Semaphore::new(THREADS)), messages })
    }

    /// Counts keys that are evicted for lack of space.
    pub fn count_evictions(&self, counter: IntCounter) {
        self.trees.count_evictions(counter);
    }

    pub async fn run(&self, calls: Vec<Call>) -> Result<Vec<Reply>, KvError> {
        self.run_blocking(move |trees| trees.apply(&calls, Timestamp::now())).await
    }

    /// Returns when all data is on disk.
    pub async fn flush(&self) -> Result<(), KvError> {
        self.run_blocking(Trees::flush).await
    }

    async fn run_blocking<T, F>(&self, work: F) -> Result<T, KvError>
    where
        T: Send + 'static,
        F: FnOnce(&Trees) -> Result<T, String> + Send + 'static,
    {
        timeout(DISK_TIMEOUT, self.spawn(work)).await.unwrap_or(Err(KvError::Timeout))
    }

    async fn spawn<T, F>(&self, work: F) -> Result<T, KvError>
    where
        T: Send + 'static,
        F: FnOnce(&Trees) -> Result<T, String> + Send + 'static,
    {
        let closed = |_| KvError::Unavailable("the store is closed".to_owned());
        let permit = Arc::clone(&self.threads).acquire_owned().await.map_err(closed)?;
        let trees = Arc::clone(&self.trees);
        let done = tokio::task::spawn_blocking(move || {
            // Held until the thread is finished, even if no caller waits for it any more.
            let _permit = permit;
            work(&trees)
        });
        let done = done.await.map_err(|_| KvError::Unavailable("the store panicked".to_owned()))?;
        done.map_err(KvError::Unavailable)
    }

    pub fn publish(&self, channel: &str, message: &str) {
        // Fails if the channel has no subscriber.
        let _ = self.messages.send((channel.into(), message.into()));
    }

    pub fn subscribe(&self, channel: &str) -> LocalSubscriber {
        let messages = self.messages.subscribe();
        LocalSubscriber { channel: channel.to_owned(), messages, _sender: self.messages.clone() }
    }
}

/// A subscriber in the same process.
pub(super) struct LocalSubscriber {
    channel: String,
    messages: broadcast::Receiver<(Arc<str>, Arc<str>)>,
    /// Keeps the channel open while the subscriber exists.
    _sender: broadcast::Sender<(Arc<str>, Arc<str>)>,
}

impl LocalSubscriber {
    pub async fn next(&mut self) -> SubscriptionEvent {
        loop {
            match self.messages.recv().await {
                Ok((channel, message)) if *channel == *self.channel => {
                    return SubscriptionEvent::Message(message.to_string());
                }
                Ok(_) => {}
                Err(_) => {
                    // The queued messages were published before. Dropping them makes space for new ones.
                    self.messages = self.messages.resubscribe();
                    return SubscriptionEvent::MessagesMissed;
                }
            }
        }
    }
}
