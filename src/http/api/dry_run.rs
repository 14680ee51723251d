//! Checks a body without a running daemon, for `forebay check-config --body`.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use super::admission_checker;
use super::admission_checker::{AdmissionChecker, KafkaRecord};
use crate::http::config::Config;
use crate::http::problem::Problem;
use crate::ingest::Submission;
use crate::kinds::{Content, JSON, Kind, Kinds};
use crate::units::ByteSize;

/// The result for a body that would be accepted.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct DryRun {
    /// The kind.
    pub kind: String,
    /// The topic of the record.
    pub topic: String,
    /// The key of the record. `None` if the kind has no key, or if the key is in a header of the request.
    pub key: Option<String>,
    /// The part of a request that contains the key, if the key is not in the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_from: Option<String>,
    /// Bytes of the record's value.
    pub body_bytes: usize,
    /// Maximum size in bytes that Kafka counts for the record. It does not include what a request adds: a key in a
    /// header, the trace context, the idempotency key, the attributes of an event.
    pub record_bytes: usize,
    /// `[kafka] message_max`.
    pub message_max: usize,
}

/// Checks a body as `POST /v1/commands/{kind}` does. The media type is `application/json` if the kind accepts it, else
/// the first media type of the kind. For kinds of CloudEvents, the body is the data of an event. The error is the
/// problem document that the client would get.
pub fn dry_run(
    config: &Config,
    message_max: ByteSize,
    kinds: &Kinds,
    name: &str,
    body: Bytes,
) -> Result<DryRun, Vec<u8>> {
    let admit = || {
        let kind = admission_checker::kind(kinds, name)?;
        let admission =
            AdmissionChecker::for_dry_run(kind, config.max_body.as_usize(), message_max.as_usize());
        let submission = admitted(kind, &admission, body)?;
        Ok(DryRun {
            record_bytes: admission_checker::max_record_size(&submission),
            body_bytes: submission.value.len(),
            key_from: key_from(kind),
            key: submission.key.as_deref().map(|key| String::from_utf8_lossy(key).into_owned()),
            kind: submission.kind.to_string(),
            topic: submission.topic.to_string(),
            message_max: message_max.as_usize(),
        })
    };
    admit().map_err(|problem: Problem| problem.document())
}

fn admitted(kind: &Kind, admission: &AdmissionChecker, body: Bytes) -> Result<Submission, Problem> {
    let media_type = match kind.content_types().first() {
        Some(first) if !kind.accepts_json() => first.as_str(),
        _ => JSON,
    };
    let content_type: Arc<str> = media_type.into();
    match kind.content(Some(media_type)) {
        content if kind.accepts_events() => data(kind, admission, content, content_type, body),
        Some(Content::Json) => admission.json(body, Some(&content_type), None),
        Some(Content::Opaque) | None => admission.opaque(body, content_type, None),
    }
}

/// Checks the data of an otherwise valid event.
fn data(
    kind: &Kind,
    admission: &AdmissionChecker,
    content: Option<Content>,
    content_type: Arc<str>,
    body: Bytes,
) -> Result<Submission, Problem> {
    admission.check_size(body.len())?;
    let (key, value) = match content {
        Some(Content::Json) => {
            // An empty body is not JSON: the event then has no data.
            let data = Some(body).filter(|body| !body.is_empty());
            (kind.admit_data(data.as_ref())?.key, data)
        }
        Some(Content::Opaque) | None => (None, Some(body)),
    };
    admission.submission(KafkaRecord { key, content_type, headers: Bytes::new(), more_len: 0, value })
}

fn key_from(kind: &Kind) -> Option<String> {
    match (kind.key(), kind.key_header()) {
        (Some(_), _) => None,
        (None, Some(header)) => Some(format!("the request header {header}")),
        (None, None) => kind.accepts_events().then(|| "the attribute partitionkey".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::kinds::{CloudEvents, Config as KindConfig, defaults};

    fn tried(kind: KindConfig, body: &'static str) -> Result<DryRun, Value> {
        let name = kind.name.clone();
        let kinds = Kinds::build(&[kind]).unwrap();
        let tried = dry_run(&Config::default(), ByteSize::mib(1), &kinds, &name, Bytes::from(body));
        tried.map_err(|problem| serde_json::from_slice::<Value>(&problem).unwrap()["code"].clone())
    }

    fn kind(content_type: &str, cloudevents: CloudEvents) -> KindConfig {
        KindConfig {
            key: None,
            schema_file: None,
            content_types: vec![content_type.to_owned()],
            cloudevents,
            ..defaults().remove(0)
        }
    }

    #[test]
    fn media_types_ending_in_json_are_read_as_json() {
        let plus = || kind("application/vnd.a+json", CloudEvents::Off);
        assert_eq!(tried(plus(), "no JSON").unwrap_err(), "malformed_body");
        assert_eq!(tried(plus(), "[]").unwrap_err(), "malformed_body");
        assert_eq!(tried(plus(), "{}").unwrap().key_from, None);
        let keyed = KindConfig { key: Some("/id".to_owned()), ..plus() };
        assert_eq!(tried(keyed.clone(), "{}").unwrap_err(), "invalid_command");
        assert_eq!(tried(keyed, "{\"id\":1}").unwrap().key.unwrap(), "1");
        assert_eq!(tried(kind("application/avro", CloudEvents::Off), "no JSON").unwrap().body_bytes, 7);
    }

    #[test]
    fn body_of_an_event_kind_is_checked_as_data() {
        for cloudevents in [CloudEvents::Binary, CloudEvents::Structured] {
            let event = || kind("application/json", cloudevents);
            for data in ["[1]", "null", ""] {
                let trial = tried(event(), data).unwrap();
                assert_eq!(trial.key_from.as_deref(), Some("the attribute partitionkey"), "{data}");
            }
            assert_eq!(tried(event(), "no JSON").unwrap_err(), "malformed_body");
            let keyed = || KindConfig { key: Some("/id".to_owned()), ..event() };
            assert_eq!(tried(keyed(), "").unwrap_err(), "invalid_command");
            assert_eq!(tried(keyed(), "[1]").unwrap_err(), "malformed_body");
            assert_eq!(tried(keyed(), "{\"id\":\"a\"}").unwrap().key.unwrap(), "a");
            assert_eq!(tried(kind("text/plain", cloudevents), "no JSON").unwrap().body_bytes, 7);
        }
    }

    #[test]
    fn result_names_the_header_with_the_key() {
        let named = KindConfig {
            key_header: Some("File-Name".to_owned()),
            ..kind("application/json", CloudEvents::Off)
        };
        let trial = tried(named, "{}").unwrap();
        assert_eq!((trial.key, trial.key_from.as_deref()), (None, Some("the request header file-name")));
    }
}
