//! What a request holds, once its body was checked.

use bytes::Bytes;

use crate::ingest::{Idempotency, Submission};

/// What a request holds.
pub(super) struct ParsedBody {
    pub(super) commands: Vec<Submission>,
    /// An idempotency key that the body has by itself: source and id of its events.
    pub(super) event_key: Option<String>,
    /// What an idempotency key is bound to, where that is not the body alone.
    pub(super) key_scope: Option<Bytes>,
    /// The trace context of an event.
    pub(super) traceparent: Option<String>,
}

impl ParsedBody {
    /// What recognises a repetition. `key`: the client's, which comes first.
    pub(super) fn idempotency(&mut self, key: Option<String>, body: &Bytes) -> Option<Idempotency> {
        let key = key.or_else(|| self.event_key.take())?;
        let body = self.key_scope.take().unwrap_or_else(|| body.clone());
        Some(Idempotency { key, body, route: None })
    }
}
