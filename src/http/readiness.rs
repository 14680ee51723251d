//! `/healthz` and `/readyz`, the same on both listeners.

use hyper::StatusCode;
use hyper::header;
use hyper::header::HeaderValue;
use serde_json::json;

use super::answer::Answer;
use super::backend::AdminBackend;
use super::respond;

/// The process answers; nothing more is claimed.
pub(super) fn health() -> Answer {
    respond::json(&json!({"status": "ok"}))
}

/// 200 while commands are accepted, 503 while every create would be refused.
pub(super) fn ready(backend: &dyn AdminBackend) -> Answer {
    let readiness = backend.ready();
    let mut answer = respond::json(&readiness);
    if !readiness.ready {
        *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    answer
}
