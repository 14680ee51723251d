//! `content_types` of a kind: the accepted media types, and which of them are JSON.

use crate::command::is_json;

/// The default media type of a kind.
pub const JSON: &str = "application/json";
/// The media type of a body without one, if the kind does not accept JSON (RFC 9110, section 8.3).
pub const UNKNOWN: &str = "application/octet-stream";
/// curl's default media type. It is read as JSON, because the API has no HTML forms.
const FORM: &str = "application/x-www-form-urlencoded";
/// The media type of batches: one JSON document per line.
const LINES: &str = "application/x-ndjson";
/// Prefix of the media types of event formats.
pub const EVENTS: &str = "application/cloudevents";
/// Maximum number of media types per kind.
const MAX_CONTENT_TYPES: usize = 32;

/// How a body is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// As JSON. It is parsed, and its key and schema are checked.
    Json,
    /// As opaque bytes. They are not checked.
    Opaque,
}

/// The media types of a kind.
pub(super) struct ContentTypes {
    types: Vec<String>,
    accepts_json: bool,
}

impl ContentTypes {
    /// Checks the configured list. The error is the configured value and the violated rule.
    pub fn build(configured: &[String]) -> Result<Self, (String, String)> {
        if configured.is_empty() || configured.len() > MAX_CONTENT_TYPES {
            return Err((
                format!("{} media types", configured.len()),
                format!("1 to {MAX_CONTENT_TYPES} media types"),
            ));
        }
        let mut types: Vec<String> = Vec::with_capacity(configured.len());
        for name in configured {
            let lower = name.to_ascii_lowercase();
            let rule = broken_rule(&lower)
                .or_else(|| types.contains(&lower).then_some("each media type once"))
                .map(|rule| (name.clone(), rule.to_owned()));
            if let Some(broken) = rule {
                return Err(broken);
            }
            types.push(lower);
        }
        let accepts_json = types.iter().any(|one| one == JSON);
        Ok(Self { types, accepts_json })
    }

    /// How a body with this media type is read. `None`: it is not accepted. `essence` is in lower case, without
    /// parameters.
    pub fn content(&self, essence: Option<&str>) -> Option<Content> {
        let essence = match essence {
            None if self.accepts_json => JSON,
            None => UNKNOWN,
            Some(FORM) if self.accepts_json => JSON,
            Some(essence) => essence,
        };
        let content = if is_json(essence) { Content::Json } else { Content::Opaque };
        self.types.iter().any(|one| one == essence).then_some(content)
    }

    /// The first media type that is not JSON.
    pub fn opaque(&self) -> Option<&str> {
        self.types.iter().find(|one| !is_json(one)).map(String::as_str)
    }

    pub fn names(&self) -> &[String] {
        &self.types
    }

    pub fn accepts_json(&self) -> bool {
        self.accepts_json
    }

    /// Whether any media type is JSON.
    pub fn reads_json(&self) -> bool {
        self.types.iter().any(|one| is_json(one))
    }
}

/// The rule that a media type violates.
fn broken_rule(lower: &str) -> Option<&'static str> {
    let token = |part: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte);
        (1..=127).contains(&part.len()) && part.bytes().all(allowed)
    };
    match lower.split_once('/') {
        Some((kind, subtype)) if token(kind) && token(subtype) => {}
        _ => return Some("media types such as `application/avro`, without parameters or wildcards"),
    }
    if lower.starts_with(EVENTS) {
        return Some("media types of data only; set `cloudevents` to accept events");
    }
    match lower {
        FORM => Some("other media types; this one is curl's default and is read as JSON"),
        LINES => Some("other media types; this one is a batch of JSON, which `application/json` includes"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(types: &[&str]) -> Result<ContentTypes, (String, String)> {
        ContentTypes::build(&types.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn media_types_determine_how_a_body_is_read() {
        let json = build(&["Application/JSON"]).unwrap();
        assert_eq!(json.content(None), Some(Content::Json));
        assert_eq!(json.content(Some(FORM)), Some(Content::Json));
        assert_eq!(json.content(Some("application/json")), Some(Content::Json));
        assert_eq!(json.content(Some("application/octet-stream")), None);
        assert_eq!(json.opaque(), None);
        assert!(json.reads_json());

        let avro = build(&["application/avro", "application/vnd.a+json"]).unwrap();
        assert_eq!(avro.content(Some("application/avro")), Some(Content::Opaque));
        assert_eq!(avro.content(Some("application/vnd.a+json")), Some(Content::Json));
        for other in [None, Some(FORM), Some("application/json"), Some("application/x-ndjson")] {
            assert_eq!(avro.content(other), None, "{other:?}");
        }
        assert_eq!(avro.opaque(), Some("application/avro"));
        assert!(avro.reads_json() && !avro.accepts_json());

        let any = build(&["application/octet-stream"]).unwrap();
        assert_eq!(any.content(None), Some(Content::Opaque));
        assert!(!any.reads_json());
    }

    #[test]
    fn invalid_lists_of_media_types_are_refused() {
        for wrong in [
            &[][..],
            &["*/*"],
            &["avro"],
            &["a/b/c"],
            &["application/avro; x=y"],
            &["application/x-ndjson"],
            &["application/x-www-form-urlencoded"],
            &["application/cloudevents+json"],
            &["a/b", "A/B"],
            &["a/b"; 33],
        ] {
            assert!(build(wrong).is_err(), "{wrong:?}");
        }
    }
}
