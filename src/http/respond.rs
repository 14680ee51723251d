//! Answers to what went well.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::StatusCode;
use hyper::header;
use hyper::header::HeaderName;
use hyper::header::HeaderValue;
use serde::Serialize;

use super::answer::Answer;
use super::headers::Format;
use super::headers::Prefer;
use crate::command::CommandId;
use crate::command::Status;
use crate::ingest::Receipt;
use crate::units::Timestamp;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
/// What a 202 promises; there is no weaker setting.
const DURABILITY: &str = "fsync";
/// Where statuses are found.
const COMMANDS: &str = "/v1/commands/";

/// A JSON document that is true now and perhaps not in a moment.
pub(super) fn json(document: &impl Serialize) -> Answer {
    // Serialising our own documents cannot fail: their keys are strings.
    bytes(JSON, serde_json::to_vec(document).unwrap_or_default())
}

/// A body of another type.
pub(super) fn bytes(media_type: HeaderValue, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    answer.headers_mut().insert(header::CONTENT_TYPE, media_type);
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// The 202: everything in the receipt is on stable storage.
pub(super) fn accepted(receipt: &Receipt, format: Format, prefer: Prefer) -> Answer {
    let mut answer = match (format, receipt.ids.first()) {
        (Format::Single, Some(id)) => accepted_one(id, receipt.accepted_at),
        _ => accepted_batch(receipt),
    };
    *answer.status_mut() = StatusCode::ACCEPTED;
    finish(answer, receipt, prefer)
}

/// The shortest way from a receipt to bytes: this is what nearly every request is answered.
fn accepted_one(id: &CommandId, accepted_at: Timestamp) -> Answer {
    let location = format!("{COMMANDS}{id}");
    let id = &location[COMMANDS.len()..];
    let document = format!(
        r#"{{"id":"{id}","state":"accepted","durability":"{DURABILITY}","accepted_at":"{accepted_at}"}}"#
    );
    let mut answer = Response::new(Full::new(Bytes::from(document)));
    answer.headers_mut().insert(header::CONTENT_TYPE, JSON);
    if let Ok(location) = HeaderValue::try_from(location) {
        answer.headers_mut().insert(header::LOCATION, location);
    }
    answer
}

fn accepted_batch(receipt: &Receipt) -> Answer {
    #[derive(Serialize)]
    struct Command<'a> {
        id: &'a CommandId,
    }
    #[derive(Serialize)]
    struct Batch<'a> {
        durability: &'static str,
        accepted_at: Timestamp,
        commands: Vec<Command<'a>>,
    }
    json(&Batch {
        durability: DURABILITY,
        accepted_at: receipt.accepted_at,
        commands: receipt.ids.iter().map(|id| Command { id }).collect(),
    })
}

/// The 200 of a request whose commands became final while it waited.
pub(super) fn waited(statuses: &[Status], format: Format, receipt: &Receipt, prefer: Prefer) -> Answer {
    let answer = match (format, statuses) {
        (Format::Single, [status]) => json(status),
        _ => json(&serde_json::json!({ "commands": statuses })),
    };
    finish(answer, receipt, prefer)
}

fn finish(mut answer: Answer, receipt: &Receipt, prefer: Prefer) -> Answer {
    if receipt.replayed {
        answer.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    applied(answer, prefer)
}

/// Says which preferences were followed.
pub(super) fn applied(mut answer: Answer, prefer: Prefer) -> Answer {
    if let Some(applied) = prefer.applied() {
        answer.headers_mut().insert(PREFERENCE_APPLIED, applied);
    }
    answer
}
