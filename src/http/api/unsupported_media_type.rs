//! The problem for a media type that a kind does not accept.

use crate::http::media_type::unsupported;
use crate::http::problem::Problem;
use crate::kinds::{EVENTS, Kind};

/// A 415 that lists the media types that the kind accepts.
pub(super) fn refusal(kind: &Kind, essence: Option<&str>) -> Problem {
    let types = kind.content_types().join(", ");
    if kind.accepts_events() {
        return unsupported(format!(
            "This kind accepts CloudEvents: application/cloudevents+json, application/cloudevents-batch+json, or ce- headers \
             with data as {types}."
        ));
    }
    let lines = if kind.accepts_json() { ", or application/x-ndjson for a batch of JSON" } else { "" };
    if essence.is_some_and(|essence| essence.starts_with(EVENTS)) {
        return unsupported(format!("This kind does not accept CloudEvents. It accepts {types}{lines}."));
    }
    if kind.content_types() == ["application/json"] {
        return unsupported("Send application/json, or application/x-ndjson for a batch, in UTF-8.");
    }
    unsupported(format!("This kind accepts {types}{lines}."))
}
