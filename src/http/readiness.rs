//! `/healthz` and `/readyz`. The public listener says no causes.

use hyper::header::HeaderValue;
use hyper::{StatusCode, header};
use schemars::JsonSchema;
use serde::Serialize;

use super::answer::Answer;
use super::backend::Readiness;
use super::respond;

const OK: &str = "ok";

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "health")]
pub(super) struct Health {
    #[schemars(extend("const" = OK))]
    status: &'static str,
}

/// The process answers; nothing more is claimed.
pub(super) fn health() -> Answer {
    respond::json(&Health { status: OK })
}

/// 200 while commands are accepted, 503 while every create would be refused.
pub(super) fn ready(readiness: &Readiness) -> Answer {
    let mut answer = respond::json(readiness);
    if !readiness.ready {
        *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    answer
}
