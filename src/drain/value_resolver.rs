//! Resolves deferred values in the background, and returns them to the worker.

use std::sync::Arc;

use crate::command::Envelope;
use crate::drain::notify::Notify;
use crate::sync::Mutex;
use crate::wal::Lsn;

/// Computes the final value of records with a deferred value.
pub trait ValueResolver: Send + Sync {
    /// Begins to compute the value of this record and returns immediately. `answer` reports the result. The same
    /// record may be requested again, also after a restart, and must get the same bytes.
    fn resolve(&self, envelope: &Envelope<'_>, answer: ValueCompletion);
}

/// A resolver for a log without deferred values. Such a record still becomes a dead letter if it occurs.
pub struct NoDeferredValues;

impl ValueResolver for NoDeferredValues {
    fn resolve(&self, _: &Envelope<'_>, answer: ValueCompletion) {
        answer.dead("sealed: nobody hashes here");
    }
}

/// Reports the result of one value to the worker. If it is dropped unused, the value is requested again.
pub struct ValueCompletion {
    lsn: Lsn,
    inbox: Arc<CompletionInbox>,
    value: Option<ResolvedValue>,
}

impl ValueCompletion {
    pub(super) fn new(lsn: Lsn, inbox: &Arc<CompletionInbox>) -> Self {
        Self { lsn, inbox: Arc::clone(inbox), value: None }
    }

    /// Reports the value to send to Kafka.
    pub fn complete(mut self, value: Vec<u8>) {
        self.value = Some(ResolvedValue::Value(value));
    }

    /// Reports that the value can never be resolved. `reason` comes from a fixed set.
    pub fn dead(mut self, reason: &'static str) {
        self.value = Some(ResolvedValue::Dead(reason));
    }
}

impl Drop for ValueCompletion {
    fn drop(&mut self) {
        let made = (self.lsn, self.value.take());
        self.inbox.completed.lock().push(made);
        self.inbox.notify.notify();
    }
}

/// A worker's inbox of results.
pub(super) struct CompletionInbox {
    notify: Arc<Notify>,
    completed: Mutex<Vec<(Lsn, Option<ResolvedValue>)>>,
}

impl CompletionInbox {
    /// Creates an inbox that triggers the worker's `notify`.
    pub(super) fn new(notify: &Arc<Notify>) -> Self {
        Self { notify: Arc::clone(notify), completed: Mutex::default() }
    }

    /// The results received since the last call.
    pub(super) fn take(&self) -> Vec<(Lsn, Option<ResolvedValue>)> {
        std::mem::take(&mut *self.completed.lock())
    }
}

/// The result of resolving a value.
pub(super) enum ResolvedValue {
    Value(Vec<u8>),
    Dead(&'static str),
}
