//! The problem for a media type that a kind does not accept.

use crate::http::media_type::unsupported;
use crate::http::problem::Problem;
use crate::kinds::{EVENTS, Kind};

/// A 415 that lists the media types that the kind accepts.
pub(super) fn refusal(kind: &Kind, essence: Option<&str>) -> Problem {
    if essence.is_some_and(|essence| essence.starts_with(EVENTS)) {
        return unsupported("This kind does not accept CloudEvents in this format.");
    }
    let types = kind.content_types().join(", ");
    if kind.accepts_events() {
        return unsupported(format!(
            "This kind accepts CloudEvents: application/cloudevents+json, application/cloudevents-batch+json, or ce- headers \
             with data as {types}."
        ));
    }
    if kind.content_types() == ["application/json"] {
        return unsupported("Send application/json, or application/x-ndjson for a batch, in UTF-8.");
    }
    let lines = if kind.accepts_json() { ", or application/x-ndjson for a batch of JSON" } else { "" };
    unsupported(format!("This kind accepts {types}{lines}."))
}
