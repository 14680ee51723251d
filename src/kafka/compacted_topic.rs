//! The topic of a table: created if missing, checked, and corrected if it was never written to.
//!
//! In earlier versions, a metadata request made the brokers create the topic with their defaults: several partitions
//! and `cleanup.policy=delete`. Such a topic is corrected here. Only partition 0 is used, so further partitions,
//! which Kafka cannot remove, do no harm. A topic with its own policy, or with records, is not changed. It may belong
//! to another application, and its records may already have expired.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigEntry, ConfigResource, ConfigSource, NewTopic,
    ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;
use tokio::runtime::Runtime;

use crate::kafka::topic_admin::{COMPACT, POLICY};
use crate::kafka::{ClientError, topic_admin};

/// Timeout of one request by a new client: connection, handshake and response. Below the watchdog's timeout.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
/// Timeout for creating a topic, which takes a broker longer than returning its metadata.
const CREATE_TIMEOUT: Duration = Duration::from_secs(10);
/// The topic's own settings. A start reads about two segments, so they are small (16 MiB). There are few keys, which
/// are written often, so the cleaner runs early.
const SETTINGS: [(&str, &str); 3] =
    [(POLICY, COMPACT), ("segment.bytes", "16777216"), ("min.cleanable.dirty.ratio", "0.1")];

/// Why the table is unavailable.
#[derive(Debug, thiserror::Error)]
pub enum CompactedTopicError {
    /// The Kafka client rejects its settings.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The topic does not keep the last record of every key.
    #[error(
        "topic {topic}: its cleanup.policy is `{policy}`, and entries would be lost; it must be `compact`. \
         Change it with: kafka-configs.sh --bootstrap-server {brokers} --alter --entity-type topics \
         --entity-name {topic} --add-config cleanup.policy=compact"
    )]
    WrongSettings {
        /// Name of the topic.
        topic: String,
        /// The topic's policy.
        policy: String,
        /// The bootstrap brokers.
        brokers: String,
    },
    /// A broker did not respond, or rejected the request.
    #[error("topic {topic}: {source}")]
    Kafka {
        /// Name of the topic.
        topic: String,
        /// The error.
        source: KafkaError,
    },
    /// The caller stopped waiting.
    #[error("interrupted")]
    Interrupted,
}

/// Creates the topic if it is missing, and checks its policy. Blocks for about `CREATE_TIMEOUT` at most.
pub(super) fn ensure(settings: &ClientConfig, name: &str) -> Result<(), CompactedTopicError> {
    let failed = |source| CompactedTopicError::Kafka { topic: name.to_owned(), source };
    let admin: AdminClient<DefaultClientContext> = settings.create().map_err(ClientError::from)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(|error| failed(KafkaError::AdminOpCreation(error.to_string())))?;
    let topic = CompactedTopic { name, admin, runtime };
    let partitions = match topic.partitions().map_err(failed)? {
        Some(partitions) => partitions,
        None => {
            topic.create().map_err(failed)?;
            Vec::new()
        }
    };
    let found = topic.describe().map_err(failed)?;
    let policy = found.get(POLICY).and_then(|entry| entry.value.clone()).unwrap_or_default();
    if policy == COMPACT {
        return Ok(());
    }
    let is_default = found.get(POLICY).is_some_and(|entry| entry.source != ConfigSource::DynamicTopic);
    if is_default && topic.was_never_written(&partitions).map_err(failed)? {
        match topic.correct(&found) {
            Ok(()) => {
                tracing::warn!(
                    event = "kafka.topic_corrected",
                    kafka.topic = name,
                    "cleanup.policy of an empty topic changed from the broker's default to compact"
                );
                return Ok(());
            }
            Err(KafkaError::AdminOp(code)) => tracing::warn!(
                event = "kafka.topic_correction_refused",
                kafka.topic = name,
                kafka.error = %code,
                "cleanup.policy of an empty topic not changed"
            ),
            Err(error) => return Err(failed(error)),
        }
    }
    let brokers = settings.get("bootstrap.servers").unwrap_or_default().to_owned();
    Err(CompactedTopicError::WrongSettings { topic: name.to_owned(), policy, brokers })
}

/// The topic's partitions; `None` if the brokers do not know the topic.
pub(super) fn partitions_of(topic: Option<&MetadataTopic>) -> Result<Option<Vec<i32>>, KafkaError> {
    let Some(topic) = topic else { return Ok(None) };
    match topic.error().map(RDKafkaErrorCode::from) {
        None => Ok(Some(topic.partitions().iter().map(|partition| partition.id()).collect())),
        Some(RDKafkaErrorCode::UnknownTopicOrPartition) => Ok(None),
        Some(code) => Err(KafkaError::MetadataFetch(code)),
    }
}

struct CompactedTopic<'a> {
    name: &'a str,
    admin: AdminClient<DefaultClientContext>,
    runtime: Runtime,
}

impl CompactedTopic<'_> {
    fn partitions(&self) -> Result<Option<Vec<i32>>, KafkaError> {
        let metadata = self.admin.inner().fetch_metadata(Some(self.name), REQUEST_TIMEOUT)?;
        partitions_of(metadata.topics().iter().find(|topic| topic.name() == self.name))
    }

    fn create(&self) -> Result<(), KafkaError> {
        // −1: the cluster's default number of replicas.
        let new = NewTopic::new(self.name, 1, TopicReplication::Fixed(-1));
        let new = SETTINGS.iter().fold(new, |new, (key, value)| new.set(key, value));
        for result in self.runtime.block_on(self.admin.create_topics([&new], &options()))? {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((_, code)) => return Err(KafkaError::AdminOp(code)),
            }
        }
        Ok(())
    }

    fn describe(&self) -> Result<ConfigResource, KafkaError> {
        topic_admin::describe(&self.admin, &self.runtime, self.name, &options())
    }

    /// Whether no record was ever written. Expired records would leave offsets behind.
    fn was_never_written(&self, partitions: &[i32]) -> Result<bool, KafkaError> {
        for partition in partitions {
            if self.admin.inner().fetch_watermarks(self.name, *partition, REQUEST_TIMEOUT)? != (0, 0) {
                return Ok(false);
            }
        }
        Ok(!partitions.is_empty())
    }

    /// Sets the topic's settings. The request replaces all of the topic's own settings, so it repeats the others.
    fn correct(&self, found: &ConfigResource) -> Result<(), KafkaError> {
        let own = |entry: &&ConfigEntry| entry.source == ConfigSource::DynamicTopic;
        let kept = found.entries.iter().filter(own);
        let kept = kept.filter_map(|entry| Some((entry.name.as_str(), entry.value.as_deref()?)));
        let change = AlterConfig::new(ResourceSpecifier::Topic(self.name));
        let change = kept.chain(SETTINGS).fold(change, |change, (key, value)| change.set(key, value));
        for result in self.runtime.block_on(self.admin.alter_configs([&change], &options()))? {
            result.map_err(|(_, code)| KafkaError::AdminOp(code))?;
        }
        Ok(())
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(CREATE_TIMEOUT)).request_timeout(Some(CREATE_TIMEOUT))
}
