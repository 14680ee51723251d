//! What would happen to a body: `forebay check-config --body`.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use super::admission;
use super::admission::Admission;
use crate::http::config::Config;
use crate::http::problem::Problem;
use crate::kinds::Kinds;
use crate::units::ByteSize;

/// What would happen to a body that is accepted.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Trial {
    /// Its kind.
    pub kind: String,
    /// The topic of its record.
    pub topic: String,
    /// The key of its record. None where the kind has no key, or takes it from a header of the request.
    pub key: Option<String>,
    /// Bytes of its value.
    pub body_bytes: usize,
    /// The most bytes that Kafka may count for its record, without headers of the client.
    pub record_bytes: usize,
    /// `[kafka] message_max`.
    pub message_max: usize,
}

/// Checks a body as `POST /v1/commands/{kind}` does: as JSON where the kind takes that, else as bytes of the first media
/// type that it takes; of an event, its data. An error is the problem document that the client would get.
pub fn examine(
    config: &Config,
    message_max: ByteSize,
    kinds: &Kinds,
    name: &str,
    body: Bytes,
) -> Result<Trial, Vec<u8>> {
    let admit = || {
        let kind = admission::kind(kinds, name)?;
        let admission = Admission::of_trial(kind, config.max_body.as_usize(), message_max.as_usize());
        let submission = match kind.content_types().first() {
            Some(bytes) if !kind.takes_json() => admission.opaque(body, Arc::from(&**bytes), None)?,
            _ => admission.json(body, None, None)?,
        };
        Ok(Trial {
            record_bytes: admission::size_of(&submission),
            body_bytes: submission.value.len(),
            key: submission.key.as_deref().map(|key| String::from_utf8_lossy(key).into_owned()),
            kind: submission.kind.to_string(),
            topic: submission.topic.to_string(),
            message_max: message_max.as_usize(),
        })
    };
    admit().map_err(|problem: Problem| problem.document())
}
