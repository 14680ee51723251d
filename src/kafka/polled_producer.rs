//! A producer and the thread that polls its events. rdkafka's own thread could die undetected.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, ProducerContext};

use crate::kafka::ClientError;
use crate::task::{OnFailure, Thread};

/// How long one wait for events lasts. It also bounds how long closing a producer takes.
const POLL_TIMEOUT: Duration = Duration::from_millis(100);
/// Callbacks take microseconds. A thread that is still in one after this time is abandoned.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// A producer whose callbacks run on its own thread.
pub(super) struct PolledProducer<C: ProducerContext + 'static> {
    producer: Arc<BaseProducer<C>>,
    /// `None` while the producer is being dropped.
    thread: Option<Thread>,
}

impl<C: ProducerContext + 'static> PolledProducer<C> {
    /// Creates the producer and starts the thread. Does not wait for a broker.
    pub(super) fn start(
        settings: &ClientConfig,
        context: C,
        on_failure: OnFailure,
    ) -> Result<Self, ClientError> {
        let producer: Arc<BaseProducer<C>> = Arc::new(settings.create_with_context(context)?);
        let its = Arc::clone(&producer);
        let thread = Thread::spawn("kafka-poll", on_failure, move |stop| {
            while !stop.wait(Duration::ZERO) {
                its.poll(POLL_TIMEOUT);
            }
            Ok(())
        });
        Ok(Self { producer, thread: Some(thread.map_err(ClientError::Thread)?) })
    }
}

impl<C: ProducerContext> Deref for PolledProducer<C> {
    type Target = BaseProducer<C>;

    fn deref(&self) -> &Self::Target {
        &self.producer
    }
}

impl<C: ProducerContext> Drop for PolledProducer<C> {
    fn drop(&mut self) {
        // Stopped before the producer itself, which processes its last events on this thread.
        if let Some(Err(late)) = self.thread.take().map(|thread| thread.stop(STOP_TIMEOUT)) {
            tracing::warn!(event = "task.thread_left", error = %late, "thread still running after its deadline");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use rdkafka::ClientContext;
    use rdkafka::message::DeliveryResult;
    use rdkafka::producer::BaseRecord;

    use super::*;
    use crate::kafka::{Config, EmbeddedBroker, GapPolicy, Producer, ProducerRecord, TopicMetadata};

    /// Longer than any test takes.
    const LONG: Duration = Duration::from_secs(60);

    struct Panics;

    impl ClientContext for Panics {}

    impl ProducerContext for Panics {
        type DeliveryOpaque = ();

        fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {
            // Do not panic again on the test's thread when the producer is dropped.
            if std::thread::current().name() == Some("kafka-poll") {
                panic!("a bug");
            }
        }
    }

    #[test]
    fn the_owner_is_notified_when_the_thread_dies() {
        let broker = EmbeddedBroker::start().unwrap();
        let mut settings = ClientConfig::new();
        settings.set("bootstrap.servers", broker.bootstrap());
        let (tell, told) = mpsc::channel();
        let on_failure = OnFailure::Report(Box::new(move |cause| tell.send(cause).unwrap()));
        let producer = PolledProducer::start(&settings, Panics, on_failure).unwrap();
        let sent = producer.send(BaseRecord::<[u8], [u8]>::to("t").payload(&b"x"[..]));
        assert!(sent.is_ok());
        assert_eq!(told.recv_timeout(LONG).unwrap(), "panic: a bug");
    }

    #[test]
    fn a_panicking_callback_fails_its_producer_but_not_the_successor() {
        let broker = EmbeddedBroker::start().unwrap();
        let (tell, told) = mpsc::channel();
        let config = Config::default();
        let new = |ring: Box<dyn Fn() + Send + Sync>| {
            Producer::new(&config, broker.bootstrap(), GapPolicy::Gapless, ring).unwrap()
        };
        // Create the topic first, so that no record fails because it is missing.
        let creator = new(Box::new(|| ()));
        while !matches!(creator.fetch_or_create_topic("t", LONG), TopicMetadata::Partitions(_)) {}
        let message =
            ProducerRecord { tag: 1, topic: "t", partition: 0, key: None, headers: &[], value: Some(b"x") };
        let failed = new(Box::new(move || {
            tell.send(()).unwrap();
            panic!("a bug")
        }));
        failed.send(&message).unwrap();
        // One notification for the result, and one for the failure.
        (0..2).for_each(|_| told.recv_timeout(LONG).unwrap());
        assert!(failed.has_failed() && failed.fatal().is_some());
        drop(failed);
        let (tell, told) = mpsc::channel();
        let successor = new(Box::new(move || tell.send(()).unwrap()));
        successor.send(&message).unwrap();
        told.recv_timeout(LONG).unwrap();
        assert!(!successor.has_failed() && successor.fatal().is_none());
    }
}
