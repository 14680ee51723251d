//! Topic metadata, and deliberate creation of topics.
//!
//! The user service's own topics are part of the daemon, so an admin request creates them ([`TopicAdmin::ensure`]). A
//! topic that the configuration names belongs to the operator. It is created only by a metadata request that asks for
//! it ([`create_by_default`]). Brokers with `auto.create.topics.enable=false` then do not create it.

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

/// Timeout of one request. Below the watchdog's timeout.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
/// The cluster's default number of partitions and replicas.
const BROKER_DEFAULT: i32 = -1;
/// Kafka's limit for the length of a topic name, in bytes.
const MAX_TOPIC_NAME_BYTES: usize = 249;
/// The setting that determines whether a topic is compacted, alone or together with `delete`.
pub(super) const POLICY: &str = "cleanup.policy";
pub(super) const COMPACT: &str = "compact";
/// Reason for a topic that the brokers do not know.
pub(super) const UNKNOWN: &str = "topic: unknown";

/// Reason for a topic that the brokers do not allow this client to use.
pub(super) const NOT_AUTHORISED: &str = "topic: not authorised";
pub(super) const INVALID_NAME: &str = "topic: invalid name";

/// Kafka's name for the reason of a rejected topic, and whether access was denied.
pub fn kafka_error_name(reason: &str) -> (String, bool) {
    match reason {
        UNKNOWN => (RDKafkaErrorCode::UnknownTopicOrPartition.to_string(), false),
        INVALID_NAME => (RDKafkaErrorCode::InvalidTopic.to_string(), false),
        NOT_AUTHORISED => (RDKafkaErrorCode::TopicAuthorizationFailed.to_string(), true),
        other => (other.to_owned(), false),
    }
}

/// The brokers' metadata about a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicMetadata {
    /// The topic has this many partitions.
    Partitions(i32),
    /// Not usable yet: the topic is being created, or has no leader.
    Pending,
    /// The topic does not exist, or this client may not describe it.
    Refused(&'static str),
    /// No broker is available.
    Unavailable,
}

/// Fetches a topic's metadata. Blocks for at most `timeout`.
pub(super) fn fetch_metadata<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    timeout: Duration,
) -> TopicMetadata {
    const INVALID: TopicMetadata = TopicMetadata::Refused(INVALID_NAME);
    // rdkafka panics on a name that librdkafka rejects immediately.
    if topic.is_empty() || topic.len() > MAX_TOPIC_NAME_BYTES || topic.contains('\0') {
        return INVALID;
    }
    let Ok(metadata) = client.fetch_metadata(Some(topic), timeout) else { return TopicMetadata::Unavailable };
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

/// Requests the creation of a topic with the brokers' defaults, if they allow it. A separate client does this,
/// because the setting applies to a whole client, and no other client has it. Blocks for at most `timeout`.
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
            TopicMetadata::Unavailable
        }
    }
}

/// Whether an admin client cannot log in, because it cannot get a token (see `oauth`).
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

/// Whether a topic is compacted and so rejects records without a key. `None` if the brokers do not return it or deny
/// the request. Blocks for at most `timeout`.
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
            tracing::debug!(%error, kafka.topic = topic, "cleanup.policy of a topic is unknown");
            None
        }
    }
}

/// Why topics are missing.
#[derive(Debug, thiserror::Error)]
pub enum TopicAdminError {
    /// The Kafka client rejects its settings.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// No broker is available. The caller tries again later.
    #[error("no broker answers: {0}")]
    Unavailable(KafkaError),
    /// This client may not create the topic.
    #[error(
        "topic {topic} is missing and this client may not create it ({code}); create it, or allow its creation"
    )]
    Refused {
        /// Name of the topic.
        topic: String,
        /// The error code.
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

/// Creates topics.
pub struct TopicAdmin {
    settings: ClientConfig,
    creating: ClientConfig,
    embedded: bool,
}

impl TopicAdmin {
    /// Creates the admin client. Does not contact a broker yet.
    pub fn new(config: &Config, bootstrap: &str) -> Result<Self, ClientError> {
        let (settings, creating) =
            (client::base(config, bootstrap)?, client::topic_creating(config, bootstrap)?);
        Ok(Self { settings, creating, embedded: config.brokers == Brokers::Embedded })
    }

    /// Creates the missing ones of `topics`. Blocks for a few seconds at most.
    pub fn ensure(&self, topics: &[&str]) -> Result<(), TopicAdminError> {
        // The embedded broker has no admin requests. It creates topics on metadata requests.
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
