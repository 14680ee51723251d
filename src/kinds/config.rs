//! `[[kinds]]` of the configuration, and everything that can be wrong with it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::admit::Kind;
use super::pointer::Pointer;
use super::schema::Schema;
use crate::command::OWN_TOPICS;
use crate::mistake::Mistake;

/// Kinds that forebay itself sends; nobody else may.
const RESERVED: [&str; 2] = ["user.", "forebay."];
/// How the names of Kafka's internal topics begin, such as `__consumer_offsets`.
const KAFKAS_OWN: &str = "__";
/// What Kafka allows for a topic's name; kinds follow the same rule, for they stand in paths and labels.
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
    /// JSON pointer to the member that is the Kafka key; none: records without a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// JSON Schema the body must satisfy; `builtin:NAME` is one compiled in. None: any JSON object passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_file: Option<String>,
}

/// The kinds of a daemon that was told none: one example.
pub fn defaults() -> Vec<Config> {
    vec![Config {
        name: "order.create".to_owned(),
        topic: "orders.v1".to_owned(),
        key: Some("/id".to_owned()),
        schema_file: Some("builtin:order.create".to_owned()),
    }]
}

impl Config {
    /// The kind this entry declares, or `None` after adding everything that is wrong with it to `mistakes`.
    pub(super) fn build(&self, index: usize, mistakes: &mut Vec<Mistake>) -> Option<Kind> {
        let before = mistakes.len();
        let mut wrong = |key, found: &str, allowed: String| {
            mistakes.push(mistake(index, key, found, &allowed));
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
        if let Some(own) = OWN_TOPICS.iter().find(|own| collide(own, &self.topic)) {
            wrong("topic", &self.topic, format!("another topic than `{own}`, which is forebay's own"));
        }
        if self.topic.starts_with(KAFKAS_OWN) {
            wrong(
                "topic",
                &self.topic,
                format!("a topic that does not begin with `{KAFKAS_OWN}`, as Kafka's own do"),
            );
        }
        let key = self
            .key
            .as_deref()
            .and_then(|text| Pointer::parse(text).map_err(|rule| wrong("key", text, rule.to_owned())).ok());
        let schema = self
            .schema_file
            .as_deref()
            .and_then(|file| Schema::load(file).map_err(|rule| wrong("schema_file", file, rule)).ok());
        (mistakes.len() == before).then(|| Kind {
            name: Arc::from(self.name.as_str()),
            topic: Arc::from(self.topic.as_str()),
            key,
            schema,
        })
    }
}

/// A mistake in the entry `index`.
pub(super) fn mistake(index: usize, key: &str, found: &str, allowed: &str) -> Mistake {
    Mistake::new(&format!("kinds[{index}]"), key, format!("`{found}`"), allowed)
}

/// Whether Kafka would take these for one topic: its metrics write `_` for `.`, so that it has no two topics that differ
/// in nothing else.
fn collide(one: &str, other: &str) -> bool {
    one.replace('.', "_") == other.replace('.', "_")
}

fn is_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(allowed) && name != "." && name != ".."
}
