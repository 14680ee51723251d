//! `[[kinds]]` of the configuration, and its validation.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::content_types::{ContentTypes, JSON};
use super::events::CloudEvents;
use super::key::{Key, is_key_header};
use super::kind::Kind;
use super::pointer::Pointer;
use super::schema::Schema;
use crate::command::INTERNAL_TOPICS;
use crate::config_error::ConfigError;

/// Prefixes of kinds that only forebay itself may use.
const RESERVED: [&str; 2] = ["user.", "forebay."];
/// Prefix of Kafka's internal topics, such as `__consumer_offsets`.
const INTERNAL_TOPIC_PREFIX: &str = "__";
/// Maximum length of a topic's name in Kafka. The same rule applies to names of kinds, because they are used in paths
/// and labels.
const MAX_NAME: usize = 249;
const NAME_RULE: &str = "1 to 249 of the characters a-z A-Z 0-9 . _ -, and neither `.` nor `..`";

/// One entry of `[[kinds]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The kind's name in `POST /v1/commands/{kind}`.
    pub name: String,
    /// The Kafka topic.
    pub topic: String,
    /// JSON pointer to the member that is the Kafka key. `None`: records have no key from the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// File with the JSON Schema of the body, or `builtin:NAME` for an embedded schema. `None`: any JSON object is
    /// accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_file: Option<String>,
    /// Accepted media types of the body. For events, of their data.
    #[serde(default = "json")]
    pub content_types: Vec<String>,
    /// The request header that contains the Kafka key.
    #[serde(default)]
    pub key_header: Option<String>,
    /// Whether the commands are CloudEvents, and their content mode in Kafka.
    #[serde(default)]
    pub cloudevents: CloudEvents,
}

fn json() -> Vec<String> {
    vec![JSON.to_owned()]
}

/// The kinds if none are configured: one example.
pub fn defaults() -> Vec<Config> {
    vec![Config {
        name: "order.create".to_owned(),
        topic: "orders.v1".to_owned(),
        key: Some("/id".to_owned()),
        schema_file: Some("builtin:order.create".to_owned()),
        content_types: json(),
        key_header: None,
        cloudevents: CloudEvents::Off,
    }]
}

impl Config {
    /// Builds the kind of this entry. Returns `None` if the entry has errors, and adds all of them to `errors`.
    pub(super) fn build(&self, index: usize, errors: &mut Vec<ConfigError>) -> Option<Kind> {
        let before = errors.len();
        let mut wrong = |key: &str, found: &str, allowed: String| {
            errors.push(config_error(index, key, found, &allowed));
        };
        if !is_name(&self.name) {
            wrong("name", &self.name, NAME_RULE.to_owned());
        }
        if let Some(prefix) = RESERVED.iter().find(|prefix| self.name.starts_with(*prefix)) {
            wrong(
                "name",
                &self.name,
                format!("a name that does not begin with `{prefix}`, which is reserved"),
            );
        }
        if !is_name(&self.topic) {
            wrong("topic", &self.topic, NAME_RULE.to_owned());
        }
        if let Some(own) = INTERNAL_TOPICS.iter().find(|own| names_collide(own, &self.topic)) {
            wrong("topic", &self.topic, format!("a topic other than `{own}`, which forebay uses itself"));
        }
        if self.topic.starts_with(INTERNAL_TOPIC_PREFIX) {
            wrong(
                "topic",
                &self.topic,
                format!(
                    "a topic that does not begin with `{INTERNAL_TOPIC_PREFIX}` (Kafka's internal topics)"
                ),
            );
        }
        let content_types = ContentTypes::build(&self.content_types)
            .map_err(|(found, rule)| wrong("content_types", &found, rule))
            .ok();
        self.check_json(content_types.as_ref(), &mut wrong);
        let pointer = self
            .key
            .as_deref()
            .and_then(|text| Pointer::parse(text).map_err(|rule| wrong("key", text, rule.to_owned())).ok());
        let header = self.key_header.as_deref().and_then(|name| {
            self.check_key_header(name).map_err(|rule| wrong("key_header", name, rule.to_owned())).ok()
        });
        let schema = self
            .schema_file
            .as_deref()
            .and_then(|file| Schema::load(file).map_err(|rule| wrong("schema_file", file, rule)).ok());
        let content_types = content_types.filter(|_| errors.len() == before)?;
        Some(Kind {
            name: Arc::from(self.name.as_str()),
            topic: Arc::from(self.topic.as_str()),
            key: match (pointer, header) {
                (Some(pointer), _) => Key::Pointer(pointer),
                (None, Some(header)) => Key::Header(header),
                (None, None) => Key::None,
            },
            schema,
            content_types,
            cloudevents: self.cloudevents,
        })
    }

    /// Checks that kinds with a schema or a JSON pointer accept only JSON bodies.
    fn check_json(&self, types: Option<&ContentTypes>, wrong: &mut impl FnMut(&str, &str, String)) {
        let Some(opaque) = types.and_then(ContentTypes::opaque) else { return };
        if self.schema_file.is_some() {
            wrong(
                "content_types",
                opaque,
                "JSON media types only, because the kind has a `schema_file`".to_owned(),
            );
        }
        if self.key.is_some() {
            let rule = "JSON media types only, because the kind has a `key`; `key_header` works with any";
            wrong("content_types", opaque, rule.to_owned());
        }
    }

    /// Returns the name in lower case. The error is the violated rule.
    fn check_key_header(&self, name: &str) -> Result<String, &'static str> {
        if self.key.is_some() {
            return Err("no value, because the kind has a `key`");
        }
        if self.cloudevents != CloudEvents::Off {
            return Err("no value, because the key of an event is its attribute `partitionkey`");
        }
        let lower = name.to_ascii_lowercase();
        match is_key_header(&lower) {
            true => Ok(lower),
            false => Err("the name of a header that has no other meaning, such as `Forebay-Key`"),
        }
    }
}

/// A configuration error in the entry `index`.
pub(super) fn config_error(index: usize, key: &str, found: &str, allowed: &str) -> ConfigError {
    ConfigError::new(&format!("kinds[{index}]"), key, format!("`{found}`"), allowed)
}

/// Whether Kafka treats the names as the same topic. Kafka's metrics replace `.` with `_`. Therefore Kafka rejects two
/// topics that differ only in these characters.
fn names_collide(one: &str, other: &str) -> bool {
    one.replace('.', "_") == other.replace('.', "_")
}

fn is_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(allowed) && name != "." && name != ".."
}
