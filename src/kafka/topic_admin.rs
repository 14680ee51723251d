//! What brokers say about topics, and topics that are created on purpose.
//!
//! The user service's own topics are created by an admin request ([`TopicAdmin::ensure`]): they are part of the daemon. A
//! topic that the configuration names belongs to the operator. It is created only by a metadata request that asks for
//! it ([`create_by_default`]), so that brokers with `auto.create.topics.enable=false` do not create it.

use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::{Client, DefaultClientContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::Producer as _;
use rdkafka::{ClientConfig, ClientContext};
use tokio::runtime::Runtime;

use crate::kafka::query_client::ShortLivedContext;
use crate::kafka::{Brokers, ClientError, Config, SaslMechanism, client, query_client};

/// One request; below the watchdog's patience.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
/// As many partitions, and replicas, as the cluster gives by default.
const BROKER_DEFAULT: i32 = -1;
/// Kafka's own limit for a topic's name, in bytes.
const MAX_TOPIC_NAME_BYTES: usize = 249;
/// The setting that says whether a topic is compacted, alone or beside `delete`.
pub(super) const POLICY: &str = "cleanup.policy";
pub(super) const COMPACT: &str = "compact";
/// Reason of a topic that brokers do not know.
pub(super) const UNKNOWN: &str = "topic: unknown";

/// Reason of a topic that brokers do not let us use.
pub(super) const NOT_AUTHORISED: &str = "topic: not authorised";
pub(super) const INVALID_NAME: &str = "topic: invalid name";

/// What Kafka calls the reason of a refused topic, and whether access was denied.
pub fn kafka_error_name(reason: &str) -> (String, bool) {
    match reason {
        UNKNOWN => (RDKafkaErrorCode::UnknownTopicOrPartition.to_string(), false),
        INVALID_NAME => (RDKafkaErrorCode::InvalidTopic.to_string(), false),
        NOT_AUTHORISED => (RDKafkaErrorCode::TopicAuthorizationFailed.to_string(), true),
        other => (other.to_owned(), false),
    }
}

/// What the brokers say about a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicMetadata {
    /// It has this many partitions.
    Partitions(i32),
    /// Nothing yet: it is being made, or has no leader.
    Pending,
    /// It does not exist, or we may not know.
    Refused(&'static str),
    /// No broker answered.
    Away,
}

/// Asks the brokers about a topic. Blocks for at most `timeout`.
pub(super) fn fetch_metadata<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    timeout: Duration,
) -> TopicMetadata {
    const INVALID: TopicMetadata = TopicMetadata::Refused(INVALID_NAME);
    // rdkafka panics on a name that librdkafka refuses outright.
    if topic.is_empty() || topic.len() > MAX_TOPIC_NAME_BYTES || topic.contains('\0') {
        return INVALID;
    }
    let Ok(metadata) = client.fetch_metadata(Some(topic), timeout) else { return TopicMetadata::Away };
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
        return TopicMetadata::Pending;
    };
    match found.error().map(RDKafkaErrorCode::from) {
        None if found.partitions().is_empty() => TopicMetadata::Pending,
        None => TopicMetadata::Partitions(i32::try_from(found.partitions().len()).unwrap_or(i32::MAX)),
        Some(RDKafkaErrorCode::UnknownTopicOrPartition) => TopicMetadata::Refused(UNKNOWN),
        Some(RDKafkaErrorCode::TopicAuthorizationFailed) => TopicMetadata::Refused(NOT_AUTHORISED),
        Some(RDKafkaErrorCode::InvalidTopic) => INVALID,
        Some(_) => TopicMetadata::Pending,
    }
}

/// Asks for a topic to be created with the brokers' defaults, where they allow that, by a client of its own: the right
/// to create topics is a client's, and no other client has it. Blocks for at most `timeout`.
pub(super) fn create_by_default(creating: &ClientConfig, topic: &str, timeout: Duration) -> TopicMetadata {
    match query_client::producer(creating, ShortLivedContext) {
        Ok(creator) => fetch_metadata(creator.client(), topic, timeout),
        Err(error) => {
            tracing::warn!(
                event = "kafka.client_failed",
                %error,
                kafka.topic = topic,
                "client to create a topic not built"
            );
            TopicMetadata::Away
        }
    }
}

/// Whether an admin client would wait in vain: it cannot be given a token (see `oauth`).
fn needs_token(settings: &ClientConfig) -> bool {
    settings.get("sasl.mechanism") == Some(SaslMechanism::OAuthBearer.as_str())
}

/// The settings of a topic.
pub(super) fn describe(
    admin: &AdminClient<DefaultClientContext>,
    runtime: &Runtime,
    topic: &str,
    options: &AdminOptions,
) -> Result<ConfigResource, KafkaError> {
    let resource = ResourceSpecifier::Topic(topic);
    let described = runtime.block_on(admin.describe_configs([&resource], options))?;
    let first = described.into_iter().next().unwrap_or(Err(RDKafkaErrorCode::Fail));
    first.map_err(KafkaError::AdminOp)
}

/// Whether brokers say that a topic is compacted: then they refuse records without a key. `None`: they do not say, or
/// may not tell us. Blocks for at most `timeout`.
pub(super) fn is_compacted(settings: &ClientConfig, topic: &str, timeout: Duration) -> Option<bool> {
    if needs_token(settings) {
        return None;
    }
    let admin: AdminClient<DefaultClientContext> = settings.create().ok()?;
    let waiting = tokio::runtime::Builder::new_current_thread().build().ok()?;
    let options = AdminOptions::new().operation_timeout(Some(timeout)).request_timeout(Some(timeout));
    match describe(&admin, &waiting, topic, &options) {
        Ok(described) => {
            let policy = described.get(POLICY)?.value.clone()?;
            Some(policy.split(',').any(|part| part.trim() == COMPACT))
        }
        Err(error) => {
            tracing::debug!(%error, kafka.topic = topic, "cleanup.policy of a topic not known");
            None
        }
    }
}

/// Why topics are not there.
#[derive(Debug, thiserror::Error)]
pub enum TopicAdminError {
    /// The client refuses its settings.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// No broker answers: later.
    #[error("no broker answers: {0}")]
    Unavailable(KafkaError),
    /// They will not be made by us.
    #[error("topic {topic} is missing and may not be made ({code}): make it, or allow it to be made")]
    Refused {
        /// Its name.
        topic: String,
        /// What was said.
        code: RDKafkaErrorCode,
    },
    /// The client that creates topics cannot log in (see `oauth`).
    #[error(
        "missing: {topics}; with OAUTHBEARER the daemon cannot create topics, because its Kafka library cannot use a \
         token for that: create them with kafka-topics.sh --create"
    )]
    NoToken {
        /// Their names, separated by commas.
        topics: String,
    },
}

/// Makes topics.
pub struct TopicAdmin {
    settings: ClientConfig,
    creating: ClientConfig,
    embedded: bool,
}

impl TopicAdmin {
    /// No broker is asked yet.
    pub fn new(config: &Config, bootstrap: &str) -> Result<Self, ClientError> {
        let (settings, creating) =
            (client::base(config, bootstrap)?, client::topic_creating(config, bootstrap)?);
        Ok(Self { settings, creating, embedded: config.brokers == Brokers::Embedded })
    }

    /// Makes those of `topics` that are missing. Blocks for a few seconds at most.
    pub fn ensure(&self, topics: &[&str]) -> Result<(), TopicAdminError> {
        // The embedded broker has no admin requests; it makes what it is asked for.
        let settings = if self.embedded { &self.creating } else { &self.settings };
        let asking = query_client::producer(settings, ShortLivedContext).map_err(ClientError::from)?;
        let mut missing = Vec::new();
        for topic in topics {
            let asked = asking
                .client()
                .fetch_metadata(Some(topic), REQUEST_TIMEOUT)
                .map_err(TopicAdminError::Unavailable)?;
            let known = asked.topics().iter().find(|known| known.name() == *topic);
            if known.is_none_or(|known| known.error().is_some()) {
                missing.push(*topic);
            }
        }
        if missing.is_empty() || self.embedded { Ok(()) } else { self.create(&missing) }
    }

    fn create(&self, missing: &[&str]) -> Result<(), TopicAdminError> {
        if needs_token(&self.settings) {
            return Err(TopicAdminError::NoToken { topics: missing.join(", ") });
        }
        let admin: AdminClient<DefaultClientContext> = self.settings.create().map_err(ClientError::from)?;
        let waiting = tokio::runtime::Builder::new_current_thread().build();
        let away = |error: &dyn std::fmt::Display| {
            TopicAdminError::Unavailable(KafkaError::AdminOpCreation(error.to_string()))
        };
        let waiting = waiting.map_err(|error| away(&error))?;
        let topics: Vec<_> = missing
            .iter()
            .map(|topic| NewTopic::new(topic, BROKER_DEFAULT, TopicReplication::Fixed(BROKER_DEFAULT)))
            .collect();
        let options = AdminOptions::new()
            .operation_timeout(Some(REQUEST_TIMEOUT))
            .request_timeout(Some(REQUEST_TIMEOUT));
        let made =
            waiting.block_on(admin.create_topics(&topics, &options)).map_err(TopicAdminError::Unavailable)?;
        for result in made {
            match result {
                Ok(topic) => {
                    tracing::info!(event = "kafka.topic_created", kafka.topic = topic, "topic created")
                }
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, code)) => return Err(TopicAdminError::Refused { topic, code }),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_a_token_missing_topics_are_left_to_the_operator() {
        let config = "security_protocol = \"sasl_ssl\"\nsasl_mechanism = \"OAUTHBEARER\"\n";
        let topics = TopicAdmin::new(&toml::from_str(config).unwrap(), "127.0.0.1:9").unwrap();
        let error = topics.create(&["a", "b"]).unwrap_err();
        assert!(matches!(error, TopicAdminError::NoToken { .. }), "{error}");
        assert!(error.to_string().contains("missing: a, b; with OAUTHBEARER"), "{error}");
    }
}
