//! A producer of one worker.

use std::borrow::Cow;
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, PurgeConfig};
use rdkafka::{ClientConfig, ClientContext, Message as _};

use crate::kafka::polled_producer::PolledProducer;
use crate::kafka::{Acks, ClientError, Config, GapPolicy, TopicMetadata, client, oauth, topic_admin};
use crate::sync::Mutex;
use crate::task::OnFailure;

/// A record to send.
#[derive(Debug)]
pub struct ProducerRecord<'a> {
    /// Returned with the delivery report.
    pub tag: u64,
    /// Destination topic.
    pub topic: &'a str,
    /// Destination partition.
    pub partition: i32,
    /// Key of the record.
    pub key: Option<&'a [u8]>,
    /// Headers of the record.
    pub headers: &'a [(&'a str, Cow<'a, str>)],
    /// Value of the record. `None` differs from an empty value: in a compacted topic it deletes the key.
    pub value: Option<&'a [u8]>,
}

/// The result of sending a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveryReport {
    /// Tag of the record.
    pub tag: u64,
    /// Partition of the record.
    pub partition: i32,
    /// Offset of the record; −1 if the broker was not asked to return it.
    pub offset: i64,
    /// Why the record was not delivered.
    pub error: Option<RDKafkaErrorCode>,
}

/// An idempotent producer with its own connections and threads. Delivery reports are gathered until they are taken.
/// Their number is bounded by the worker's in-flight limit.
pub struct Producer {
    pub(super) inner: PolledProducer<Context>,
    results: Arc<Results>,
    /// Settings of short-lived clients that may create topics.
    topic_creating: ClientConfig,
}

struct Results {
    deliveries: Mutex<Vec<DeliveryReport>>,
    failed: AtomicBool,
    /// Why no more delivery reports arrive.
    stopped: OnceLock<String>,
    notify: Box<dyn Fn() + Send + Sync>,
}

impl Results {
    /// Delivery reports were or will be lost, so the producer is unusable.
    fn stop_reporting(&self, cause: String) {
        tracing::error!(
            event = "kafka.poll_failed",
            error = cause,
            "delivery reports of a producer were lost; a new producer replaces it"
        );
        self.stopped.get_or_init(|| cause);
        self.failed.store(true, Ordering::Release);
        // The notification itself may have failed.
        let _ = catch_unwind(AssertUnwindSafe(|| (self.notify)()));
    }

    fn push(&self, delivery: DeliveryReport) {
        // The flag is set first, so that a thread that checks it in between sees it too early rather than too late.
        if delivery.error.is_some() {
            self.failed.store(true, Ordering::Release);
        }
        let mut deliveries = self.deliveries.lock();
        let is_first = deliveries.is_empty();
        deliveries.push(delivery);
        drop(deliveries);
        // The notification for the first report that was not taken yet covers the others.
        if is_first {
            (self.notify)();
        }
    }
}

impl Producer {
    /// Creates a producer. Does not contact a broker yet. `notify` is called from another thread in two cases: the
    /// first delivery report arrives after all were taken, or the producer fails.
    pub fn new(
        config: &Config,
        bootstrap: &str,
        guarantee: GapPolicy,
        notify: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, ClientError> {
        let idempotent = config.acks == Acks::All;
        let creating = client::topic_creating(config, bootstrap)?;
        Self::build(&client::producer(config, bootstrap, guarantee)?, creating, idempotent, notify)
    }

    /// Creates a producer of transactions with this id. It sends nothing before [`Self::init_transactions`].
    pub fn transactional(
        config: &Config,
        bootstrap: &str,
        id: &str,
        notify: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, ClientError> {
        let creating = client::topic_creating(config, bootstrap)?;
        Self::build(&client::transactional(config, bootstrap, id)?, creating, true, notify)
    }

    fn build(
        settings: &ClientConfig,
        creating: ClientConfig,
        idempotent: bool,
        notify: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, ClientError> {
        let results = Arc::new(Results {
            deliveries: Mutex::default(),
            failed: AtomicBool::new(false),
            stopped: OnceLock::new(),
            notify: Box::new(notify),
        });
        let its = Arc::clone(&results);
        let on_failure = OnFailure::Report(Box::new(move |cause| its.stop_reporting(cause)));
        let context = Context { idempotent, results: Arc::clone(&results) };
        let inner = PolledProducer::start(settings, context, on_failure)?;
        Ok(Self { inner, results, topic_creating: creating })
    }

    /// Enqueues a record. Its delivery report arrives later. An error means that the record was not enqueued.
    pub fn send(&self, message: &ProducerRecord<'_>) -> Result<(), RDKafkaErrorCode> {
        let headers = message
            .headers
            .iter()
            .fold(OwnedHeaders::new_with_capacity(message.headers.len()), |headers, (key, value)| {
                headers.insert(Header { key, value: Some(&**value) })
            });
        // LSNs stay below 2^48, because a command id has six bytes for one.
        let tag = usize::try_from(message.tag).map_err(|_| RDKafkaErrorCode::InvalidArgument)?;
        let record = BaseRecord::<[u8], [u8], usize> {
            topic: message.topic,
            partition: Some(message.partition),
            payload: message.value,
            key: message.key,
            timestamp: None,
            headers: Some(headers),
            delivery_opaque: tag,
        };
        self.enqueue(record)
    }

    /// Enqueues a table entry; without a value, the entry is deleted. Its delivery report arrives later, with tag
    /// [`TABLE_ENTRY_TAG`].
    pub fn send_table_entry(
        &self,
        topic: &str,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), RDKafkaErrorCode> {
        let record = BaseRecord::<[u8], [u8], usize> {
            topic,
            partition: Some(0),
            payload: value,
            key: Some(key),
            timestamp: None,
            headers: None,
            delivery_opaque: TABLE_ENTRY_TAG as usize,
        };
        self.enqueue(record)
    }

    fn enqueue(&self, record: BaseRecord<'_, [u8], [u8], usize>) -> Result<(), RDKafkaErrorCode> {
        self.inner.send(record).map_err(|(error, _)| match error {
            KafkaError::MessageProduction(code) => code,
            KafkaError::Nul(_) => RDKafkaErrorCode::InvalidTopic,
            other => other.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail),
        })
    }

    /// Moves the delivery reports so far to `into`, in the order of their arrival.
    pub fn take_results(&self, into: &mut Vec<DeliveryReport>) {
        into.append(&mut self.results.deliveries.lock());
    }

    /// Whether any record failed since [`Self::clear_failures`], or the producer itself failed.
    pub fn has_failed(&self) -> bool {
        self.results.failed.load(Ordering::Acquire)
    }

    /// Clears the failures so far, unless the producer itself failed.
    pub fn clear_failures(&self) {
        if self.fatal().is_none() {
            self.results.failed.store(false, Ordering::Release);
        }
    }

    /// Why the producer sends nothing more, if it has failed.
    pub fn fatal(&self) -> Option<(RDKafkaErrorCode, String)> {
        let stopped = self.results.stopped.get().map(|cause| (RDKafkaErrorCode::Fatal, cause.clone()));
        stopped.or_else(|| self.inner.client().fatal_error())
    }

    /// Returns, as failed, every record that is not in flight to a broker.
    pub fn purge_queue(&self) {
        self.inner.purge(PurgeConfig::default().queue());
    }

    /// Fetches a topic's metadata, which also updates this producer's own metadata. Blocks for at most `timeout`.
    pub fn fetch_metadata(&self, topic: &str, timeout: Duration) -> TopicMetadata {
        topic_admin::fetch_metadata(self.inner.client(), topic, timeout)
    }

    /// Like [`Self::fetch_metadata`], for a topic that is needed now. A topic that the brokers do not know is
    /// created, if their setting `auto.create.topics.enable` allows it. Blocks for at most `timeout`.
    pub fn fetch_or_create_topic(&self, topic: &str, timeout: Duration) -> TopicMetadata {
        let end = Instant::now() + timeout;
        let answer = self.fetch_metadata(topic, timeout);
        let left = end.saturating_duration_since(Instant::now());
        if answer != TopicMetadata::Refused(topic_admin::UNKNOWN) || left.is_zero() {
            return answer;
        }
        match topic_admin::create_by_default(&self.topic_creating, topic, left) {
            // The topic exists, or will soon. This producer sees it with its next metadata request.
            TopicMetadata::Partitions(_) | TopicMetadata::Pending => TopicMetadata::Pending,
            TopicMetadata::Refused(reason) => TopicMetadata::Refused(reason),
            TopicMetadata::Unavailable => answer,
        }
    }

    /// Whether a topic is compacted; `None` if the brokers do not return it. Blocks for at most `timeout`.
    pub fn is_compacted(&self, topic: &str, timeout: Duration) -> Option<bool> {
        topic_admin::is_compacted(&self.topic_creating, topic, timeout)
    }
}

/// Tag of a table entry. Records have LSNs, which begin at 1.
pub const TABLE_ENTRY_TAG: u64 = 0;

pub(super) struct Context {
    idempotent: bool,
    results: Arc<Results>,
}

impl Context {
    /// Runs the callbacks of librdkafka's events. A panic in forebay's code costs the producer, not the thread. The
    /// thread that processes the last events is the worker's.
    fn catch_panic(&self, callback: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(callback)).is_err() {
            self.results.stop_reporting("a callback panicked".to_owned());
        }
    }
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, path: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        oauth::token(path)
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.catch_panic(|| client::log(level, facility, message));
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.catch_panic(|| {
            if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
                self.results.failed.store(true, Ordering::Release);
                (self.results.notify)();
            }
            super::errors::log_client_error(&error, reason);
        });
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, tag: usize) {
        let (message, error) = match result {
            // No broker confirmed it. librdkafka inferred this from the confirmation of a later batch. The inference
            // is wrong where the partition did not know the producer (see `drain::plain::primed_partitions`), and no
            // other component can detect that.
            Ok(message) if self.idempotent && message.offset() < 0 => {
                (message, Some(RDKafkaErrorCode::PurgeInflight))
            }
            Ok(message) => (message, None),
            Err((error, message)) => {
                (message, Some(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)))
            }
        };
        let (partition, offset) = (message.partition(), message.offset());
        self.catch_panic(|| self.results.push(DeliveryReport { tag: tag as u64, partition, offset, error }));
    }
}
