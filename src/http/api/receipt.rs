//! Responses to accepted commands.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Response, StatusCode, header};

use super::documents::{Accepted, AcceptedBatch, AcceptedCommand, FinalBatch, StatusDocument};
use super::state::JSON;
use crate::command::{CommandId, CommandStatus};
use crate::http::headers::Prefer;
use crate::http::http_response::HttpResponse;
use crate::http::media_type::Format;
use crate::http::respond;
use crate::ingest::Receipt;
use crate::units::Timestamp;

const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
/// Path prefix of statuses.
const COMMANDS: &str = "/v1/commands/";

/// The 202 response. All commands of the receipt are on stable storage.
pub fn accepted_response(receipt: &Receipt, format: Format, prefer: Prefer) -> HttpResponse {
    let mut response = match (format, receipt.ids.first()) {
        (Format::Single, Some(id)) => accepted_one(id, receipt.accepted_at),
        _ => {
            let commands = receipt.ids.iter().map(|id| AcceptedCommand { id: *id }).collect();
            respond::json(&AcceptedBatch::new(receipt.accepted_at, commands))
        }
    };
    *response.status_mut() = StatusCode::ACCEPTED;
    finish(response, receipt, prefer)
}

/// The 202 response to one command. It avoids unnecessary work, because it is the most frequent response.
fn accepted_one(id: &CommandId, accepted_at: Timestamp) -> HttpResponse {
    let location = format!("{COMMANDS}{id}");
    let document = Accepted::new(&location[COMMANDS.len()..], accepted_at);
    let document = serde_json::to_vec(&document).unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::from(document)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// The 200 response to a request whose commands became final during its wait.
pub fn final_response(
    statuses: &[CommandStatus],
    format: Format,
    receipt: &Receipt,
    prefer: Prefer,
) -> HttpResponse {
    let response = match (format, statuses) {
        (Format::Single, [status]) => respond::json(&StatusDocument::from(status)),
        _ => respond::sorted_json(&FinalBatch {
            commands: statuses.iter().map(StatusDocument::from).collect(),
        }),
    };
    finish(response, receipt, prefer)
}

fn finish(mut response: HttpResponse, receipt: &Receipt, prefer: Prefer) -> HttpResponse {
    if receipt.replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    add_preference_applied(response, prefer)
}

/// Adds `Preference-Applied` with the applied preferences.
pub fn add_preference_applied(mut response: HttpResponse, prefer: Prefer) -> HttpResponse {
    if let Some(applied) = prefer.applied() {
        response.headers_mut().insert(PREFERENCE_APPLIED, applied);
    }
    response
}
