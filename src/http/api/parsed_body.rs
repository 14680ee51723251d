//! The content of a request after its body was checked.

use bytes::Bytes;

use crate::ingest::{Idempotency, Submission};

/// The content of a checked body.
pub(super) struct ParsedBody {
    pub(super) commands: Vec<Submission>,
    /// The idempotency key that results from the body: source and id of its events.
    pub(super) event_key: Option<String>,
    /// The data to which an idempotency key is bound, if it is not the body alone.
    pub(super) key_scope: Option<Bytes>,
    /// The trace context of an event.
    pub(super) traceparent: Option<String>,
}

impl ParsedBody {
    /// The key and data that identify a repeated request. `key` is the client's key. It takes precedence over the
    /// events' key.
    pub(super) fn idempotency(&mut self, key: Option<String>, body: &Bytes) -> Option<Idempotency> {
        let key = key.or_else(|| self.event_key.take())?;
        let body = self.key_scope.take().unwrap_or_else(|| body.clone());
        Some(Idempotency { key, body, route: None })
    }
}
