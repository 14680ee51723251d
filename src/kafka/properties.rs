//! `[kafka] properties`: librdkafka settings without a key of their own, except those that the guarantees depend on.

use std::collections::BTreeMap;
use std::fmt;

use rdkafka::ClientConfig;
use serde::{Deserialize, Serialize};

use crate::config_error::ConfigError;

/// Settings passed to librdkafka unchanged. Values that may be secrets are never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(BTreeMap<String, String>);

/// Settings that would break a guarantee or have their own key, and what to use instead.
const REFUSED: [(&str, &str); 37] = [
    ("acks", "[kafka] acks"),
    ("request.required.acks", "[kafka] acks"),
    ("bootstrap.servers", "[kafka] brokers"),
    ("metadata.broker.list", "[kafka] brokers"),
    ("client.id", "[kafka] client_id"),
    ("compression.codec", "[kafka] compression"),
    ("compression.type", "[kafka] compression"),
    ("linger.ms", "[kafka] linger"),
    ("queue.buffering.max.ms", "[kafka] linger"),
    ("batch.size", "[kafka] batch_size"),
    ("message.max.bytes", "[kafka] message_max"),
    ("security.protocol", "[kafka] security_protocol"),
    ("sasl.mechanism", "[kafka] sasl_mechanism"),
    ("sasl.mechanisms", "[kafka] sasl_mechanism"),
    ("sasl.username", "[kafka] sasl_username"),
    ("sasl.password", "[kafka] sasl_password_file"),
    ("sasl.oauthbearer.config", "[kafka] sasl_token_file"),
    ("sasl.oauthbearer.method", "[kafka] sasl_token_file: this client has no HTTP client"),
    ("enable.sasl.oauthbearer.unsecure.jwt", "[kafka] sasl_token_file"),
    ("enable.idempotence", BREAKS_ORDER),
    ("enable.gapless.guarantee", BREAKS_ORDER),
    ("transactional.id", BREAKS_ORDER),
    ("max.in.flight", BREAKS_ORDER),
    ("max.in.flight.requests.per.connection", BREAKS_ORDER),
    ("partitioner", BREAKS_ORDER),
    ("allow.auto.create.topics", "nothing: the brokers decide with auto.create.topics.enable"),
    ("retries", BREAKS_RETRIES),
    ("message.send.max.retries", BREAKS_RETRIES),
    ("message.timeout.ms", BREAKS_RETRIES),
    ("delivery.timeout.ms", BREAKS_RETRIES),
    ("topic.metadata.propagation.max.ms", BREAKS_ORDER),
    ("queue.buffering.max.messages", BREAKS_IN_FLIGHT),
    ("queue.buffering.max.kbytes", BREAKS_IN_FLIGHT),
    ("delivery.report.only.error", "nothing: every delivery report is needed"),
    ("dr_cb", "nothing: every delivery report is needed"),
    ("test.mock.num.brokers", "brokers = \"embedded\""),
    ("log.queue", "nothing: the daemon writes librdkafka's logs"),
];
const BREAKS_ORDER: &str = "nothing: the order of records with the same key depends on it";
const BREAKS_RETRIES: &str = "nothing: a record is retried indefinitely";
const BREAKS_IN_FLIGHT: &str = "nothing: the daemon limits the records in flight";

impl Properties {
    /// Name and value of each setting.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of one setting.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Reports settings that are not allowed, that librdkafka does not know, or whose value it rejects.
    pub fn validate(&self) -> Vec<ConfigError> {
        self.iter().filter_map(|(name, value)| mistake(name, value)).collect()
    }

    fn redacted(&self) -> impl Iterator<Item = (&str, &str)> {
        self.iter().map(|(name, value)| (name, if is_secret(name) { "***" } else { value }))
    }
}

fn mistake(name: &str, value: &str) -> Option<ConfigError> {
    let shown = if is_secret(name) { "***" } else { value };
    let wrong =
        |allowed: String| Some(ConfigError::new("kafka", &format!("properties.{name}"), shown, allowed));
    if let Some((_, instead)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
        return wrong((*instead).to_owned());
    }
    match ClientConfig::new().set(name, value).create_native_config() {
        Ok(_) => None,
        // The reason repeats the value.
        Err(_) if is_secret(name) => wrong("a value that librdkafka accepts".to_owned()),
        Err(rdkafka::error::KafkaError::ClientConfig(_, reason, _, _)) => wrong(reason),
        Err(other) => wrong(other.to_string()),
    }
}

fn is_secret(name: &str) -> bool {
    ["password", "secret", ".pem", "token", "sasl.oauthbearer.config", "passphrase"]
        .iter()
        .any(|part| name.contains(part))
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.redacted()).finish()
    }
}

impl Serialize for Properties {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.redacted())
    }
}

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Bool(bool),
            Number(i64),
            Fraction(f64),
            Text(String),
        }
        let written = BTreeMap::<String, Written>::deserialize(from)?;
        let text = |value| match value {
            Written::Bool(value) => value.to_string(),
            Written::Number(value) => value.to_string(),
            Written::Fraction(value) => value.to_string(),
            Written::Text(value) => value,
        };
        Ok(Self(written.into_iter().map(|(name, value)| (name, text(value))).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Properties {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn settings_that_break_the_guarantees_are_rejected() {
        for (name, _) in REFUSED {
            assert_eq!(read(&format!("\"{name}\" = 1")).validate().len(), 1, "{name}");
        }
    }

    #[test]
    fn unknown_settings_and_wrong_values_are_errors() {
        assert_eq!(read("\"socket.timeout.ms\" = 5000\n\"broker.address.family\" = \"v4\"").validate(), []);
        assert_eq!(read("\"sokket.timeout.ms\" = 5000").validate().len(), 1);
        assert_eq!(read("\"socket.timeout.ms\" = \"soon\"").validate().len(), 1);
    }

    #[test]
    fn secrets_are_never_shown() {
        let properties = read("\"ssl.key.password\" = \"hunter2\"\n\"sasl.password\" = \"hunter2\"");
        let shown =
            format!("{properties:?} {} {:?}", toml::to_string(&properties).unwrap(), properties.validate());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
