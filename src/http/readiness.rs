//! Responses of `/healthz` and `/readyz`. The public listener hides the causes of problems.

use hyper::header::HeaderValue;
use hyper::{StatusCode, header};
use schemars::JsonSchema;
use serde::Serialize;

use super::http_response::HttpResponse;
use super::respond;
use crate::problems::Problem;

/// State of a healthy dependency.
const OK: &str = "ok";
/// Any other state, as shown to unauthenticated clients.
const DEGRADED: &str = "degraded";

/// Whether the daemon accepts commands now, and the state of each dependency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "readiness")]
pub struct Readiness {
    /// `false` while the daemon would refuse every new command.
    pub ready: bool,
    /// Why it is not ready: `recovering`, `backlog_full`, `disk_full`, `overloaded`, `poisoned`, `stopping`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub reason: Option<&'static str>,
    /// State of each dependency by name: `ok`, or a description of the fault. The public listener shows `degraded`
    /// instead of the description. A dependency never makes the daemon unready.
    pub dependencies: std::collections::BTreeMap<&'static str, String>,
    /// Current problems, the most important first.
    pub problems: Vec<Problem>,
}

impl Readiness {
    /// A copy for unauthenticated clients of the public listener. It has no causes, because they name brokers, files
    /// and operators.
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

/// 200 whenever the process can respond. It reports nothing else.
pub(super) fn health() -> HttpResponse {
    respond::json(&Health { status: OK })
}

/// 200 while commands are accepted, 503 while every new command would be refused.
pub(super) fn ready(readiness: &Readiness) -> HttpResponse {
    let mut response = respond::json(readiness);
    if !readiness.ready {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
