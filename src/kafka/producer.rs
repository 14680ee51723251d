//! One producer of one worker.

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
    /// Comes back with the result.
    pub tag: u64,
    /// Where to.
    pub topic: &'a str,
    /// Which of the topic's partitions.
    pub partition: i32,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its headers.
    pub headers: &'a [(&'a str, Cow<'a, str>)],
    /// Its value. None is not the same as an empty one: in a compacted topic it deletes the key.
    pub value: Option<&'a [u8]>,
}

/// What became of a record that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveryReport {
    /// The message's tag.
    pub tag: u64,
    /// Where it is.
    pub partition: i32,
    /// Its offset; −1 where the broker was not asked to say.
    pub offset: i64,
    /// Why it is not there.
    pub error: Option<RDKafkaErrorCode>,
}

/// An idempotent producer with its own connections and threads. Results are gathered until they are taken; how
/// many there can be is bounded by what the worker keeps in flight.
pub struct Producer {
    pub(super) inner: PolledProducer<Context>,
    results: Arc<Results>,
    /// Of clients that live for one question, and may create topics.
    topic_creating: ClientConfig,
}

struct Results {
    deliveries: Mutex<Vec<DeliveryReport>>,
    failed: AtomicBool,
    /// Why nobody hears of results any more.
    stopped: OnceLock<String>,
    notify: Box<dyn Fn() + Send + Sync>,
}

impl Results {
    /// Results were lost, or will be: the producer is of no more use.
    fn stop_reporting(&self, cause: String) {
        tracing::error!(
            event = "kafka.poll_failed",
            error = cause,
            "results of a producer were lost; another one replaces it"
        );
        self.stopped.get_or_init(|| cause);
        self.failed.store(true, Ordering::Release);
        // It may be the ring that failed.
        let _ = catch_unwind(AssertUnwindSafe(|| (self.notify)()));
    }

    fn push(&self, delivery: DeliveryReport) {
        // The flag first: whoever looks at it between the two sees it too early rather than too late.
        if delivery.error.is_some() {
            self.failed.store(true, Ordering::Release);
        }
        let mut deliveries = self.deliveries.lock();
        let is_first = deliveries.is_empty();
        deliveries.push(delivery);
        drop(deliveries);
        // The ring of the first result that was not taken yet covers the others.
        if is_first {
            (self.notify)();
        }
    }
}

impl Producer {
    /// A new producer; no broker is asked yet. `notify` is called, from another thread, whenever there are results again
    /// after all were taken, and when the producer fails.
    pub fn new(
        config: &Config,
        bootstrap: &str,
        guarantee: GapPolicy,
        ring: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, ClientError> {
        let idempotent = config.acks == Acks::All;
        let creating = client::topic_creating(config, bootstrap)?;
        Self::build(&client::producer(config, bootstrap, guarantee)?, creating, idempotent, ring)
    }

    /// A producer of transactions under this id. It sends nothing before [`Self::init_transactions`].
    pub fn transactional(
        config: &Config,
        bootstrap: &str,
        id: &str,
        ring: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, ClientError> {
        let creating = client::topic_creating(config, bootstrap)?;
        Self::build(&client::transactional(config, bootstrap, id)?, creating, true, ring)
    }

    fn build(
        settings: &ClientConfig,
        creating: ClientConfig,
        idempotent: bool,
        ring: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, ClientError> {
        let results = Arc::new(Results {
            deliveries: Mutex::default(),
            failed: AtomicBool::new(false),
            stopped: OnceLock::new(),
            notify: Box::new(ring),
        });
        let its = Arc::clone(&results);
        let on_failure = OnFailure::Report(Box::new(move |cause| its.stop_reporting(cause)));
        let context = Context { idempotent, results: Arc::clone(&results) };
        let inner = PolledProducer::start(settings, context, on_failure)?;
        Ok(Self { inner, results, topic_creating: creating })
    }

    /// Hands a record over; its result comes later. An error here means that it was not handed over.
    pub fn send(&self, message: &ProducerRecord<'_>) -> Result<(), RDKafkaErrorCode> {
        let headers = message
            .headers
            .iter()
            .fold(OwnedHeaders::new_with_capacity(message.headers.len()), |headers, (key, value)| {
                headers.insert(Header { key, value: Some(&**value) })
            });
        // LSNs stay below 2^48 (a command id has six bytes for one).
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

    /// Hands over an entry of a table (no value: the entry goes). Its result comes later, with tag [`TABLE_ENTRY_TAG`].
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

    /// The results so far, into `into`, in the order in which they came.
    pub fn take_results(&self, into: &mut Vec<DeliveryReport>) {
        into.append(&mut self.results.deliveries.lock());
    }

    /// Whether any record failed since [`Self::clear_failures`], or the producer itself did.
    pub fn has_failed(&self) -> bool {
        self.results.failed.load(Ordering::Acquire)
    }

    /// What failed so far is dealt with, unless the producer itself failed.
    pub fn clear_failures(&self) {
        if self.fatal().is_none() {
            self.results.failed.store(false, Ordering::Release);
        }
    }

    /// Why the producer sends nothing more, if so.
    pub fn fatal(&self) -> Option<(RDKafkaErrorCode, String)> {
        let deaf = self.results.stopped.get().map(|cause| (RDKafkaErrorCode::Fatal, cause.clone()));
        deaf.or_else(|| self.inner.client().fatal_error())
    }

    /// Gives back, as failed, every record that is not on its way to a broker.
    pub fn purge_queue(&self) {
        self.inner.purge(PurgeConfig::default().queue());
    }

    /// Asks the brokers about a topic, and makes this producer believe the answer. Blocks for at most `timeout`.
    pub fn fetch_metadata(&self, topic: &str, timeout: Duration) -> TopicMetadata {
        topic_admin::fetch_metadata(self.inner.client(), topic, timeout)
    }

    /// The same for a topic that is needed now: one that brokers do not know is created, where their own setting
    /// (`auto.create.topics.enable`) allows it. Blocks for at most `timeout`.
    pub fn fetch_or_create_topic(&self, topic: &str, timeout: Duration) -> TopicMetadata {
        let end = Instant::now() + timeout;
        let answer = self.fetch_metadata(topic, timeout);
        let left = end.saturating_duration_since(Instant::now());
        if answer != TopicMetadata::Refused(topic_admin::UNKNOWN) || left.is_zero() {
            return answer;
        }
        match topic_admin::create_by_default(&self.topic_creating, topic, left) {
            // It exists, or will in a moment; this producer learns so from its next question.
            TopicMetadata::Partitions(_) | TopicMetadata::Pending => TopicMetadata::Pending,
            TopicMetadata::Refused(reason) => TopicMetadata::Refused(reason),
            TopicMetadata::Away => answer,
        }
    }

    /// Whether brokers say that a topic is compacted; `None` where they do not say. Blocks for at most `timeout`.
    pub fn is_compacted(&self, topic: &str, timeout: Duration) -> Option<bool> {
        topic_admin::is_compacted(&self.topic_creating, topic, timeout)
    }
}

/// Tag of a table's entry. Records have LSNs, which begin at 1.
pub const TABLE_ENTRY_TAG: u64 = 0;

pub(super) struct Context {
    idempotent: bool,
    results: Arc<Results>,
}

impl Context {
    /// Calls what librdkafka's events lead to. A panic of ours costs the producer, not the thread: that would be the
    /// worker's where the last events are served.
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
            // No broker confirmed it: librdkafka concluded so from the confirmation of a later batch. Where the
            // partition did not know the producer that is wrong (see `drain::plain::primed_partitions`), and nobody else can tell.
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
