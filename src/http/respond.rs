//! Answers that are documents.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::HeaderValue;
use hyper::{Response, header};
use serde::Serialize;

use super::http_response::HttpResponse;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A JSON document that is true now and perhaps not in a moment.
pub(super) fn json(document: &impl Serialize) -> HttpResponse {
    // Serialising our own documents cannot fail: their keys are strings.
    bytes(JSON, serde_json::to_vec(document).unwrap_or_default())
}

/// The same with the members of each object in alphabetical order.
pub(super) fn sorted_json(document: &impl Serialize) -> HttpResponse {
    json(&serde_json::to_value(document).unwrap_or_default())
}

/// A body of another type.
pub(super) fn bytes(media_type: HeaderValue, body: impl Into<Bytes>) -> HttpResponse {
    let mut answer = Response::new(Full::new(body.into()));
    answer.headers_mut().insert(header::CONTENT_TYPE, media_type);
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
