//! The trace of one request, and the commands of the request.

use std::sync::OnceLock;

use hyper::HeaderMap;

use super::request_metrics::CompletedRequest;
use crate::command::CommandId;
use crate::http::headers;
use crate::telemetry::trace::{SampledRequest, Tracer};

/// The trace context of a request. The handler adds the commands.
pub struct RequestTrace {
    /// The value that the log stores: that of the daemon's span if the request is sampled, else the client's.
    traceparent: Option<String>,
    sampled: Option<SampledRequest>,
    commands: OnceLock<(CommandId, usize)>,
}

impl RequestTrace {
    /// Starts the trace. This is the only place that decides whether a request is sampled.
    pub(super) fn begin(tracer: &Tracer, headers: &HeaderMap) -> Self {
        let given = headers::traceparent(headers);
        let entered = tracer.start_request(given);
        let traceparent = match &entered {
            Some(entered) => Some(entered.context().to_string()),
            None => given.map(str::to_owned),
        };
        Self { traceparent, sampled: entered, commands: OnceLock::new() }
    }

    /// The value that the log stores with each command of the request.
    pub fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_deref()
    }

    /// The trace id. `None` if the request has no trace.
    pub(super) fn trace_id(&self) -> Option<&str> {
        self.traceparent()?.get(3..35)
    }

    /// Sets the commands of the request.
    pub fn set_commands(&self, ids: &[CommandId]) {
        if let Some(first) = ids.first() {
            let _ = self.commands.set((*first, ids.len()));
        }
    }

    /// The request's command or the first command of its batch, and the number of commands.
    pub(super) fn commands(&self) -> Option<&(CommandId, usize)> {
        self.commands.get()
    }

    /// Ends the span of the request. `route`: method and path of the matching route.
    pub(super) fn finish(
        &self,
        tracer: &Tracer,
        seen: &CompletedRequest<'_>,
        route: Option<(&'static str, &'static str)>,
    ) {
        let Some(entered) = &self.sampled else { return };
        // Text from a request must not become a name. Without a route, OpenTelemetry's fallback names are used.
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
