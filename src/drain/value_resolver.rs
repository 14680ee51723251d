//! Who makes the final value of a sealed record, and how the answer comes back to its worker.

use std::sync::Arc;

use crate::command::Envelope;
use crate::drain::notify::Notify;
use crate::sync::Mutex;
use crate::wal::Lsn;

/// Makes the final value of sealed records.
pub trait ValueResolver: Send + Sync {
    /// Begins to make the value of this record and returns at once; `answer` says when it is there. The same record may
    /// be asked for again, after a restart too, and must get the same bytes.
    fn resolve(&self, envelope: &Envelope<'_>, answer: ValueCompletion);
}

/// For a log that holds no sealed record: one that is there all the same becomes a dead letter.
pub struct NoDeferredValues;

impl ValueResolver for NoDeferredValues {
    fn resolve(&self, _: &Envelope<'_>, answer: ValueCompletion) {
        answer.dead("sealed: nobody hashes here");
    }
}

/// Tells the worker what became of one record's value. Dropped without a word, the value is asked for again.
pub struct ValueCompletion {
    lsn: Lsn,
    inbox: Arc<CompletionInbox>,
    value: Option<ResolvedValue>,
}

impl ValueCompletion {
    pub(super) fn new(lsn: Lsn, inbox: &Arc<CompletionInbox>) -> Self {
        Self { lsn, inbox: Arc::clone(inbox), value: None }
    }

    /// The value Kafka gets.
    pub fn complete(mut self, value: Vec<u8>) {
        self.value = Some(ResolvedValue::Value(value));
    }

    /// There will never be one. `reason`: from a fixed set.
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

/// Where a worker's answers come in.
pub(super) struct CompletionInbox {
    notify: Arc<Notify>,
    completed: Mutex<Vec<(Lsn, Option<ResolvedValue>)>>,
}

impl CompletionInbox {
    /// `notify`: the worker's.
    pub(super) fn new(notify: &Arc<Notify>) -> Self {
        Self { notify: Arc::clone(notify), completed: Mutex::default() }
    }

    /// What came in since the last call.
    pub(super) fn take(&self) -> Vec<(Lsn, Option<ResolvedValue>)> {
        std::mem::take(&mut *self.completed.lock())
    }
}

/// What became of a value.
pub(super) enum ResolvedValue {
    Value(Vec<u8>),
    Dead(&'static str),
}
