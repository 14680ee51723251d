//! The trace of one request, and which commands it is about.

use std::sync::OnceLock;

use hyper::HeaderMap;

use super::request_metrics::CompletedRequest;
use crate::command::CommandId;
use crate::http::headers;
use crate::telemetry::trace::{SampledRequest, Tracer};

/// What is known of a request from its head on, and is filled in by what answers it.
pub struct RequestTrace {
    /// What the log keeps: the client's, or that of our own span where the request is sampled.
    traceparent: Option<String>,
    sampled: Option<SampledRequest>,
    commands: OnceLock<(CommandId, usize)>,
}

impl RequestTrace {
    /// Decides whether the request is sampled: the only place that does.
    pub(super) fn begin(tracer: &Tracer, headers: &HeaderMap) -> Self {
        let given = headers::traceparent(headers);
        let entered = tracer.start_request(given);
        let traceparent = match &entered {
            Some(entered) => Some(entered.context().to_string()),
            None => given.map(str::to_owned),
        };
        Self { traceparent, sampled: entered, commands: OnceLock::new() }
    }

    /// What the log keeps with each command of the request.
    pub fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_deref()
    }

    /// The trace, if there is one.
    pub(super) fn trace_id(&self) -> Option<&str> {
        self.traceparent()?.get(3..35)
    }

    /// The request is about these commands.
    pub fn set_commands(&self, ids: &[CommandId]) {
        if let Some(first) = ids.first() {
            let _ = self.commands.set((*first, ids.len()));
        }
    }

    /// The command it is about, or the first of a batch, and how many there are.
    pub(super) fn commands(&self) -> Option<&(CommandId, usize)> {
        self.commands.get()
    }

    /// The request is answered. `route`: method and path, as the routes have them.
    pub(super) fn finish(
        &self,
        tracer: &Tracer,
        seen: &CompletedRequest<'_>,
        route: Option<(&'static str, &'static str)>,
    ) {
        let Some(entered) = &self.sampled else { return };
        // A request must not invent names: without a route it has those of OpenTelemetry.
        let method = route.map_or("_OTHER", |(method, _)| method);
        let name = route.map_or_else(|| "HTTP".to_owned(), |(method, path)| format!("{method} {path}"));
        let status = seen.status;
        let mut span = entered
            .finish(name)
            .with("http.request.method", method)
            .with("http.response.status_code", i64::from(status.as_u16()));
        if let Some((_, path)) = route {
            span = span.with("http.route", path);
        }
        if let Some((id, count)) = self.commands() {
            span = span.with("forebay.command.id", id.to_string());
            span = span.with("forebay.commands", i64::try_from(*count).unwrap_or(i64::MAX));
        }
        if status.is_server_error() {
            span = span.failed(status.as_str().to_owned());
        }
        tracer.record(span);
    }
}
