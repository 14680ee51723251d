//! Who makes the final value of a sealed record, and how the answer comes back to its worker.

use std::sync::Arc;

use crate::command::Envelope;
use crate::drain::notify::Notify;
use crate::sync::Mutex;
use crate::wal::Lsn;

/// Makes the final value of sealed records.
pub trait Prepare: Send + Sync {
    /// Begins to make the value of this record and returns at once; `answer` says when it is there. The same record may
    /// be asked for again, after a restart too, and must get the same bytes.
    fn prepare(&self, envelope: &Envelope<'_>, answer: Answer);
}

/// For a log that holds no sealed record: one that is there all the same becomes a dead letter.
pub struct NothingSealed;

impl Prepare for NothingSealed {
    fn prepare(&self, _: &Envelope<'_>, answer: Answer) {
        answer.dead("sealed: nobody hashes here");
    }
}

/// Tells the worker what became of one record's value. Dropped without a word, the value is asked for again.
pub struct Answer {
    lsn: Lsn,
    inbox: Arc<Inbox>,
    made: Option<Made>,
}

impl Answer {
    pub(super) fn new(lsn: Lsn, inbox: &Arc<Inbox>) -> Self {
        Self { lsn, inbox: Arc::clone(inbox), made: None }
    }

    /// The value Kafka gets.
    pub fn value(mut self, value: Vec<u8>) {
        self.made = Some(Made::Value(value));
    }

    /// There will never be one. `reason`: from a fixed set.
    pub fn dead(mut self, reason: &'static str) {
        self.made = Some(Made::Dead(reason));
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let made = (self.lsn, self.made.take());
        self.inbox.made.lock().push(made);
        self.inbox.notify.notify();
    }
}

/// Where a worker's answers come in.
pub(super) struct Inbox {
    notify: Arc<Notify>,
    made: Mutex<Vec<(Lsn, Option<Made>)>>,
}

impl Inbox {
    /// `notify`: the worker's.
    pub(super) fn new(notify: &Arc<Notify>) -> Self {
        Self { notify: Arc::clone(notify), made: Mutex::default() }
    }

    /// What came in since the last call.
    pub(super) fn take(&self) -> Vec<(Lsn, Option<Made>)> {
        std::mem::take(&mut *self.made.lock())
    }
}

/// What became of a value.
pub(super) enum Made {
    Value(Vec<u8>),
    Dead(&'static str),
}
