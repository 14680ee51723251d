//! Produces each record to Kafka and waits for the broker's confirmation, like an application without a log.

use std::borrow::Cow;
use std::sync::Arc;

use forebay::command::{CommandId, Envelope, headers};
use forebay::ingest::Submission;
use forebay::units::Timestamp;
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Message as _};
use tokio::sync::oneshot;

use crate::producer;

/// One producer for all requests.
#[derive(Clone)]
pub struct WaitingProducer {
    producer: Arc<ThreadedProducer<DeliveryContext>>,
    topic: Arc<str>,
}

struct DeliveryContext;

impl ClientContext for DeliveryContext {}

impl ProducerContext for DeliveryContext {
    type DeliveryOpaque = Box<oneshot::Sender<()>>;

    fn delivery(&self, result: &DeliveryResult<'_>, confirmed: Self::DeliveryOpaque) {
        match result {
            Ok(message) => assert!(message.offset() >= 0, "the broker confirms each record"),
            Err((error, _)) => panic!("{error}"),
        }
        // A disconnected client needs no response.
        let _ = confirmed.send(());
    }
}

impl WaitingProducer {
    /// Creates a producer with the drain's settings, but without linger, which would delay each response.
    pub fn new(bootstrap: &str, topic: &str) -> Self {
        let mut settings = producer::settings(bootstrap);
        settings.set("linger.ms", "0");
        let producer = settings.create_with_context(DeliveryContext).expect("a producer");
        Self { producer: Arc::new(producer), topic: topic.into() }
    }

    /// Sends a record with the same headers as the drain. Returns when the broker has confirmed it.
    pub async fn send(&self, command: &Submission, id: CommandId, traceparent: Option<&str>) {
        let envelope = Envelope {
            traceparent,
            ..Envelope::new(id, &command.kind, &self.topic, &command.content_type, &command.value)
        };
        let headers: Vec<(&str, Cow<'_, str>)> = headers(&envelope, Timestamp::now());
        let headers = headers
            .iter()
            .fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: Some(&**value) }));
        let (confirmed, answer) = oneshot::channel();
        let mut record = BaseRecord::with_opaque_to(&self.topic, Box::new(confirmed))
            .payload(&command.value[..])
            .headers(headers);
        if let Some(key) = &command.key {
            record = record.key(&key[..]);
        }
        if let Err((error, _)) = self.producer.send(record) {
            panic!("{error}");
        }
        answer.await.expect("a confirmation");
    }
}
