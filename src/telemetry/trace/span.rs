//! Finished spans.

use std::borrow::Cow;
use std::time::SystemTime;

use opentelemetry::trace::{Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, Key, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::context::TraceContext;

/// Kind of the operation that a span describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A request answered by this process.
    Server,
    /// A message sent.
    Producer,
    /// A message processed.
    Consumer,
    /// A request to another system.
    Client,
    /// A step within the process.
    Internal,
}

/// A finished span. Attribute names follow OpenTelemetry's semantic conventions or begin with `forebay.`. Attributes
/// never contain a body, a key, a user or a secret.
#[derive(Debug)]
pub struct Span {
    context: TraceContext,
    parent: Option<SpanId>,
    /// Whether another process created the parent.
    is_parent_remote: bool,
    kind: Kind,
    name: Cow<'static, str>,
    start: SystemTime,
    end: SystemTime,
    attributes: Vec<KeyValue>,
    link: Option<TraceContext>,
    /// Reason of the failure, if any.
    error: Option<Cow<'static, str>>,
}

impl Span {
    /// Creates the span of a step in `parent`.
    pub fn child(context: TraceContext, parent: TraceContext, name: impl Into<Cow<'static, str>>) -> Self {
        Self { parent: Some(parent.span), ..Self::new(context, Kind::Internal, name.into()) }
    }

    /// Creates the span of an answered request.
    pub(super) fn server(
        context: TraceContext,
        parent: Option<SpanId>,
        name: impl Into<Cow<'static, str>>,
    ) -> Self {
        let span = Self::new(context, Kind::Server, name.into());
        Self { parent, is_parent_remote: parent.is_some(), ..span }
    }

    fn new(context: TraceContext, kind: Kind, name: Cow<'static, str>) -> Self {
        let now = SystemTime::UNIX_EPOCH;
        Self {
            context,
            parent: None,
            is_parent_remote: false,
            kind,
            name,
            start: now,
            end: now,
            attributes: Vec::new(),
            link: None,
            error: None,
        }
    }

    /// Sets the kind.
    #[must_use]
    pub fn of_kind(self, kind: Kind) -> Self {
        // The parent came with the record or message, possibly from before a restart.
        let is_parent_remote = self.is_parent_remote || kind == Kind::Consumer;
        Self { kind, is_parent_remote, ..self }
    }

    /// Sets start and end. If the clock was set back, the span ends at its start.
    #[must_use]
    pub fn lasted(self, start: SystemTime, end: SystemTime) -> Self {
        Self { start, end: end.max(start), ..self }
    }

    /// Adds an attribute.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.attributes.push(KeyValue::new(Key::from_static_str(key), value));
        self
    }

    /// Links this span to a span of another trace that describes the same work.
    #[must_use]
    pub fn linked(self, link: Option<TraceContext>) -> Self {
        Self { link, ..self }
    }

    /// Marks the span as failed. `reason` is a code, not a text.
    #[must_use]
    pub fn failed(self, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { error: Some(reason.into()), ..self }
    }

    /// Converts the span for the exporter.
    pub(super) fn into_data(mut self, scope: &InstrumentationScope) -> SpanData {
        let mut links = SpanLinks::default();
        links.links.extend(self.link.map(|link| Link::with_context(sampled(link, false))));
        let status = match self.error {
            None => Status::Unset,
            Some(reason) => {
                self.attributes.push(KeyValue::new("error.type", reason));
                Status::error("")
            }
        };
        SpanData {
            span_context: sampled(self.context, false),
            parent_span_id: self.parent.unwrap_or(SpanId::INVALID),
            parent_span_is_remote: self.is_parent_remote,
            span_kind: match self.kind {
                Kind::Server => SpanKind::Server,
                Kind::Producer => SpanKind::Producer,
                Kind::Consumer => SpanKind::Consumer,
                Kind::Client => SpanKind::Client,
                Kind::Internal => SpanKind::Internal,
            },
            name: self.name,
            start_time: self.start,
            end_time: self.end,
            attributes: self.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links,
            status,
            instrumentation_scope: scope.clone(),
        }
    }
}

fn sampled(context: TraceContext, is_remote: bool) -> SpanContext {
    let TraceContext { trace, span } = context;
    SpanContext::new(trace, span, TraceFlags::SAMPLED, is_remote, TraceState::NONE)
}
