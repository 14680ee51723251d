//! Topics that are needed are made when they are missing, where the brokers allow that.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::AdminClient;
use rdkafka::admin::AdminOptions;
use rdkafka::admin::NewTopic;
use rdkafka::admin::TopicReplication;
use rdkafka::client::DefaultClientContext;
use rdkafka::error::KafkaError;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::BaseProducer;
use rdkafka::producer::Producer as _;

use crate::kafka::Brokers;
use crate::kafka::ClientError;
use crate::kafka::Config;
use crate::kafka::client;

/// One request; below the watchdog's patience.
const ASK: Duration = Duration::from_secs(3);
/// As many partitions, and replicas, as the cluster gives by default.
const DEFAULT: i32 = -1;

/// Why topics are not there.
#[derive(Debug, thiserror::Error)]
pub enum TopicsError {
    /// The client refuses its settings.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// No broker answers: later.
    #[error("no broker answers: {0}")]
    Away(KafkaError),
    /// They will not be made by us.
    #[error("topic {topic} is missing and may not be made ({code}): make it, or allow it to be made")]
    Refused {
        /// Its name.
        topic: String,
        /// What was said.
        code: RDKafkaErrorCode,
    },
}

/// Makes topics.
pub struct Topics {
    settings: ClientConfig,
    embedded: bool,
}

impl Topics {
    /// No broker is asked yet.
    pub fn new(config: &Config, bootstrap: &str) -> Result<Self, ClientError> {
        Ok(Self { settings: client::base(config, bootstrap)?, embedded: config.brokers == Brokers::Embedded })
    }

    /// Makes those of `topics` that are missing. Blocks for a few seconds at most.
    pub fn ensure(&self, topics: &[&str]) -> Result<(), TopicsError> {
        let asking: BaseProducer = self.settings.create().map_err(ClientError::from)?;
        let mut missing = Vec::new();
        for topic in topics {
            // The embedded broker makes what it is asked about.
            let asked = asking.client().fetch_metadata(Some(topic), ASK).map_err(TopicsError::Away)?;
            let known = asked.topics().iter().find(|known| known.name() == *topic);
            if known.is_none_or(|known| known.error().is_some()) {
                missing.push(*topic);
            }
        }
        if missing.is_empty() || self.embedded { Ok(()) } else { self.make(&missing) }
    }

    fn make(&self, missing: &[&str]) -> Result<(), TopicsError> {
        let admin: AdminClient<DefaultClientContext> = self.settings.create().map_err(ClientError::from)?;
        let waiting = tokio::runtime::Builder::new_current_thread().build();
        let away =
            |error: &dyn std::fmt::Display| TopicsError::Away(KafkaError::AdminOpCreation(error.to_string()));
        let waiting = waiting.map_err(|error| away(&error))?;
        let topics: Vec<_> = missing
            .iter()
            .map(|topic| NewTopic::new(topic, DEFAULT, TopicReplication::Fixed(DEFAULT)))
            .collect();
        let options = AdminOptions::new().operation_timeout(Some(ASK)).request_timeout(Some(ASK));
        let made = waiting.block_on(admin.create_topics(&topics, &options)).map_err(TopicsError::Away)?;
        for result in made {
            match result {
                Ok(topic) => tracing::info!(topic, "topic made"),
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, code)) => return Err(TopicsError::Refused { topic, code }),
            }
        }
        Ok(())
    }
}
