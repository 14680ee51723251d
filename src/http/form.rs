//! Reads small JSON documents: users, passwords, logins, rate limits.

use bytes::Bytes;
use serde_json::{Map, Value};

use super::body::BodyBudget;
use super::media_type::{Format, MediaType};
use super::problem;
use super::problem::Problem;
use super::server::service::MatchedRequest;
use crate::kinds;

/// Maximum bytes of a form. A registration needs at most 4 KiB, also with escaped characters. A refresh token needs
/// less than 1 KiB.
pub(super) const MAX_BYTES: usize = 16 << 10;

/// A form: its bytes as sent, and its parsed members.
pub(super) struct Form {
    pub bytes: Bytes,
    pub members: Map<String, Value>,
}

/// Reads a form of at most `limit` bytes, and at most [`MAX_BYTES`].
pub(super) async fn read(
    bodies: &BodyBudget,
    limit: usize,
    request: MatchedRequest<'_>,
) -> Result<Form, Problem> {
    let media_type = MediaType::of(&request.head.headers)?;
    if Format::of(media_type.as_ref())? == Format::Batch {
        let refusal = "Send one object as application/json, in UTF-8.";
        return Err(Problem::new(&problem::UNSUPPORTED_MEDIA_TYPE, refusal).field("Content-Type"));
    }
    let body = bodies.read(request.body, limit.min(MAX_BYTES), request.conn).await?;
    let members = kinds::object(&body.bytes)?;
    Ok(Form { bytes: body.bytes.clone(), members })
}
