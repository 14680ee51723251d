//! Builds responses that contain a document.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::HeaderValue;
use hyper::{Response, header};
use serde::Serialize;

use super::http_response::HttpResponse;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A JSON response that must not be cached.
pub(super) fn json(document: &impl Serialize) -> HttpResponse {
    // Serialising these documents cannot fail, because their keys are strings.
    bytes(JSON, serde_json::to_vec(document).unwrap_or_default())
}

/// Like [`json`], with the members of each object in alphabetical order.
pub(super) fn sorted_json(document: &impl Serialize) -> HttpResponse {
    json(&serde_json::to_value(document).unwrap_or_default())
}

/// A response of any media type that must not be cached.
pub(super) fn bytes(media_type: HeaderValue, body: impl Into<Bytes>) -> HttpResponse {
    let mut response = Response::new(Full::new(body.into()));
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
