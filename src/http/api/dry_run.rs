//! What would happen to a body: `forebay check-config --body`.

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

/// What would happen to a body that is accepted.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct DryRun {
    /// Its kind.
    pub kind: String,
    /// The topic of its record.
    pub topic: String,
    /// The key of its record. None where the kind has no key, or a request says it beside the body.
    pub key: Option<String>,
    /// What of a request is the key, where the body has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_from: Option<String>,
    /// Bytes of its value.
    pub body_bytes: usize,
    /// The most bytes that Kafka may count for its record, without what a request adds: a key beside the body, trace,
    /// idempotency key, attributes of an event.
    pub record_bytes: usize,
    /// `[kafka] message_max`.
    pub message_max: usize,
}

/// Checks a body as `POST /v1/commands/{kind}` does: of `application/json` where the kind takes that, else of the first media
/// type that it takes; of an event, its data. An error is the problem document that the client would get.
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
        Some(first) if !kind.takes_json() => first.as_str(),
        _ => JSON,
    };
    let content_type: Arc<str> = media_type.into();
    match kind.content(Some(media_type)) {
        content if kind.takes_events() => data(kind, admission, content, content_type, body),
        Some(Content::Json) => admission.json(body, Some(&content_type), None),
        Some(Content::Opaque) | None => admission.opaque(body, content_type, None),
    }
}

/// The data of an event that is valid.
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
            // Nothing is no JSON.
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
        (None, None) => kind.takes_events().then(|| "the attribute partitionkey".to_owned()),
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
    fn json_of_another_name_is_read_as_json() {
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
    fn of_an_event_its_data_is_read() {
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
    fn a_key_in_a_header_is_named() {
        let named = KindConfig {
            key_header: Some("File-Name".to_owned()),
            ..kind("application/json", CloudEvents::Off)
        };
        let trial = tried(named, "{}").unwrap();
        assert_eq!((trial.key, trial.key_from.as_deref()), (None, Some("the request header file-name")));
    }
}
