//! A broker in the process, for those who have none: librdkafka's mock cluster.
//!
//! Its topics live in memory (5 MiB a partition) and die with the process. It shows the flow and serves fast
//! tests; it proves nothing about repeats.

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{DefaultProducerContext, Producer as _};

use crate::kafka::ClientError;
use crate::kafka::polled_producer::PolledProducer;
use crate::task::OnFailure;

/// A running embedded broker; it stops when this is dropped.
pub struct EmbeddedBroker {
    // The client that owns the mock cluster and keeps it alive.
    #[cfg_attr(not(test), expect(dead_code, reason = "held for its Drop"))]
    owner: PolledProducer<DefaultProducerContext>,
    bootstrap: String,
}

impl EmbeddedBroker {
    /// Starts a broker on a free loopback port.
    pub fn start() -> Result<Self, ClientError> {
        let mut settings = ClientConfig::new();
        settings.set("test.mock.num.brokers", "1").set("client.id", "embedded");
        // It only throws log lines away; the brokers have threads of their own.
        let on_failure = OnFailure::Report(Box::new(drop));
        let owner = PolledProducer::start(&settings, DefaultProducerContext, on_failure)?;
        let bootstrap = owner
            .client()
            .mock_cluster()
            .map(|cluster| cluster.bootstrap_servers())
            .ok_or(KafkaError::MockCluster(RDKafkaErrorCode::Fail))?;
        Ok(Self { owner, bootstrap })
    }

    /// `host:port`, for any Kafka client.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The cluster, to inject faults.
    #[cfg(test)]
    pub(crate) fn cluster(&self) -> rdkafka::mocking::MockCluster<'_, DefaultProducerContext> {
        self.owner.client().mock_cluster().unwrap()
    }
}
