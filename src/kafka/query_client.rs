//! Short-lived clients for single requests.

use std::error::Error;
use std::time::Duration;

use rdkafka::client::OAuthToken;
use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext};

use crate::kafka::{client, oauth};

/// Events processed before the first request. The request for a token is among the first.
const MAX_FIRST_EVENTS: usize = 8;

/// The context of such a client. Errors are returned as the result of the request.
pub(super) struct ShortLivedContext;

/// A client that requests metadata.
pub(super) fn producer<C: ProducerContext>(
    settings: &ClientConfig,
    context: C,
) -> KafkaResult<BaseProducer<C>> {
    let client = BaseProducer::from_config_and_context(settings, context)?;
    // Without a token there is no connection.
    for _ in 0..MAX_FIRST_EVENTS {
        client.poll(Duration::ZERO);
    }
    Ok(client)
}

/// A client that reads records. It has no partitions yet, so no record is lost here.
pub(super) fn consumer<C: ConsumerContext>(
    settings: &ClientConfig,
    context: C,
) -> KafkaResult<BaseConsumer<C>> {
    let client = BaseConsumer::from_config_and_context(settings, context)?;
    for _ in 0..MAX_FIRST_EVENTS {
        drop(client.poll(Duration::ZERO));
    }
    Ok(client)
}

impl ClientContext for ShortLivedContext {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, kafka.reason = reason, "Kafka client error");
    }

    fn generate_oauth_token(&self, path: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        oauth::token(path)
    }
}

impl ProducerContext for ShortLivedContext {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

impl ConsumerContext for ShortLivedContext {}
