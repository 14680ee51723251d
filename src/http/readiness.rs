//! `/healthz` and `/readyz`. The public listener says no causes.

use hyper::header::HeaderValue;
use hyper::{StatusCode, header};
use schemars::JsonSchema;
use serde::Serialize;

use super::http_response::HttpResponse;
use super::respond;
use crate::problems::Problem;

/// The state of a dependency that does what is needed of it.
const OK: &str = "ok";
/// Any other state, for strangers.
const DEGRADED: &str = "degraded";

/// Whether creates are accepted now, and how each dependency does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "readiness")]
pub struct Readiness {
    /// False while every create would be refused.
    pub ready: bool,
    /// Why not: `recovering`, `backlog_full`, `disk_full`, `overloaded`, `poisoned`, `stopping`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub reason: Option<&'static str>,
    /// State of each dependency by name: `ok`, or what is degraded (on the public listener just `degraded`). None of them
    /// makes the daemon unready.
    pub dependencies: std::collections::BTreeMap<&'static str, String>,
    /// What is wrong now, the most important first.
    pub problems: Vec<Problem>,
}

impl Readiness {
    /// The same for strangers, on the public listener: causes name brokers, files and operators.
    pub(super) fn redacted(self) -> Self {
        let known = |state: String| if state == OK { state } else { DEGRADED.to_owned() };
        Self {
            dependencies: self.dependencies.into_iter().map(|(name, state)| (name, known(state))).collect(),
            problems: self.problems.into_iter().map(Problem::redacted).collect(),
            ..self
        }
    }
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "health")]
pub(super) struct Health {
    #[schemars(extend("const" = OK))]
    status: &'static str,
}

/// The process answers; nothing more is claimed.
pub(super) fn health() -> HttpResponse {
    respond::json(&Health { status: OK })
}

/// 200 while commands are accepted, 503 while every create would be refused.
pub(super) fn ready(readiness: &Readiness) -> HttpResponse {
    let mut answer = respond::json(readiness);
    if !readiness.ready {
        *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    answer
}
