//! The refusal of a media type that a kind does not take.

use crate::http::media_type::unsupported;
use crate::http::problem::Problem;
use crate::kinds::{EVENTS, Kind};

/// A 415 that says what the kind takes.
pub(super) fn refusal(kind: &Kind, essence: Option<&str>) -> Problem {
    if essence.is_some_and(|essence| essence.starts_with(EVENTS)) {
        return unsupported("This kind accepts no CloudEvents, or not in this format.");
    }
    let types = kind.content_types().join(", ");
    if kind.takes_events() {
        return unsupported(format!(
            "This kind accepts CloudEvents: application/cloudevents+json, application/cloudevents-batch+json, or ce- headers \
             with data as {types}."
        ));
    }
    if kind.content_types() == ["application/json"] {
        return unsupported("Send application/json, or application/x-ndjson for a batch, in UTF-8.");
    }
    let lines = if kind.takes_json() { ", or application/x-ndjson for a batch of JSON" } else { "" };
    unsupported(format!("This kind accepts {types}{lines}."))
}
