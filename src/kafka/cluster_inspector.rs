//! Requests to brokers that create and change nothing, for `forebay check-config --connect`.
//!
//! Kafka has no request that returns whether this client may write. Brokers reject two kinds of requests after they
//! have checked the permission and before they do anything. The first is a record with an impossible number of
//! acknowledgements, the second a transactional producer with an impossible timeout. The error shows which of the two
//! checks failed.

use std::error::Error;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::{DefaultClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::{ClientConfig, ClientContext};

use crate::kafka::certificate_check::CertificateCheck;
use crate::kafka::topic_admin::{COMPACT, POLICY};
use crate::kafka::{
    BrokerError, BrokerFailure, ClientError, Config, TOKEN, TopicMetadata, broker_errors, client, oauth,
    query_client, topic_admin,
};
use crate::sync::Mutex;

/// Timeout of one request, connection included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Interval at which a client's events are polled.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// More than the number of events of one request.
const MAX_EVENTS: usize = 64;
/// No broker accepts this value: only 0, 1 and −1 exist.
const IMPOSSIBLE_ACKS: &str = "2";
/// No broker accepts this value: the limit `transaction.max.timeout.ms` is 15 min by default.
const IMPOSSIBLE_TIMEOUT_MS: &str = "2147483647";
const MAX_MESSAGE: &str = "max.message.bytes";

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InspectionError {
    /// The code of Kafka or of the client.
    pub code: Code,
    /// Error text of the Kafka client.
    pub text: String,
}

/// A topic as described by the brokers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    /// Number of partitions.
    pub partitions: i32,
    /// The topic's settings; an error if this client may not read them.
    pub settings: Result<TopicSettings, InspectionError>,
}

/// The relevant settings of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    /// `max.message.bytes`.
    pub max_message_bytes: u64,
    /// Whether it rejects records without a key.
    pub is_compacted: bool,
}

/// Sends requests to the brokers at one address. Each request blocks for at most five seconds.
pub struct ClusterInspector {
    config: Config,
    bootstrap: String,
}

impl ClusterInspector {
    /// Creates an inspector. `bootstrap` is one broker, or several separated by commas.
    pub fn new(config: &Config, bootstrap: &str) -> Self {
        Self { config: config.clone(), bootstrap: bootstrap.to_owned() }
    }

    /// The addresses that the cluster's brokers advertise. Fails if no broker responds.
    pub fn brokers(&self) -> Result<Vec<String>, InspectionError> {
        let query = self.query_client(client::base)?;
        let found = query.client().fetch_metadata(None, REQUEST_TIMEOUT);
        let metadata = found.map_err(|error| query.refusal(&error))?;
        Ok(metadata.brokers().iter().map(|broker| format!("{}:{}", broker.host(), broker.port())).collect())
    }

    /// Classifies an error as the running daemon does: the kind of failure and, if the broker's certificate is rejected,
    /// the fault of the certificate. The inspector must have the address of one broker. Blocks for a few seconds at
    /// most if the certificate must be checked.
    pub fn broker_error(&self, refusal: &InspectionError) -> BrokerError {
        let failure = broker_errors::failure(refusal.code, &refusal.text);
        let certificate = match failure {
            BrokerFailure::Tls => CertificateCheck::new(&self.config).check(&self.bootstrap),
            _ => None,
        };
        let broker = if self.has_no_token() { TOKEN } else { &self.bootstrap };
        let error = refusal.text.clone();
        BrokerError {
            broker: broker.to_owned(),
            failure,
            certificate,
            error,
            is_persistent: true,
            at: Instant::now(),
        }
    }

    /// Whether the client needs a token and the file contains no usable one.
    fn has_no_token(&self) -> bool {
        let file = self.config.sasl_token_file.as_ref().filter(|_| self.config.has_token());
        file.is_some_and(|file| oauth::token(Some(&file.to_string_lossy())).is_err())
    }

    /// The brokers' description of a topic.
    pub fn topic(&self, name: &str) -> Result<TopicDescription, InspectionError> {
        let query = self.query_client(client::base)?;
        let partitions = match topic_admin::fetch_metadata(query.client(), name, REQUEST_TIMEOUT) {
            TopicMetadata::Partitions(partitions) => partitions,
            TopicMetadata::Pending => return Err(Code::LeaderNotAvailable.into()),
            TopicMetadata::Refused(reason) => {
                let (words, is_denied) = topic_admin::kafka_error_name(reason);
                let code =
                    if is_denied { Code::TopicAuthorizationFailed } else { Code::UnknownTopicOrPartition };
                return Err(InspectionError { code, text: words });
            }
            TopicMetadata::Unavailable => {
                return Err(query.refusal(&KafkaError::MetadataFetch(Code::AllBrokersDown)));
            }
        };
        Ok(TopicDescription { partitions, settings: self.settings(name) })
    }

    fn settings(&self, name: &str) -> Result<TopicSettings, InspectionError> {
        if self.config.has_token() {
            let text = "with OAUTHBEARER the Kafka library cannot read settings of topics".to_owned();
            return Err(InspectionError { code: Code::UnsupportedFeature, text });
        }
        let admin: AdminClient<DefaultClientContext> =
            client::base(&self.config, &self.bootstrap)?.create()?;
        let waiting = tokio::runtime::Builder::new_current_thread().build();
        let waiting = waiting.map_err(|error| KafkaError::AdminOpCreation(error.to_string()))?;
        let options = AdminOptions::new()
            .operation_timeout(Some(REQUEST_TIMEOUT))
            .request_timeout(Some(REQUEST_TIMEOUT));
        let described = topic_admin::describe(&admin, &waiting, name, &options)?;
        // Every topic has settings. rdkafka drops the error that brokers return instead of them.
        if described.entries.is_empty() {
            let text =
                "brokers do not show them to this client, most likely for want of DescribeConfigs".to_owned();
            return Err(InspectionError { code: Code::TopicAuthorizationFailed, text });
        }
        let value = |key: &str| described.get(key).and_then(|entry| entry.value.clone()).unwrap_or_default();
        Ok(TopicSettings {
            max_message_bytes: value(MAX_MESSAGE).parse().unwrap_or(u64::MAX),
            is_compacted: value(POLICY).split(',').any(|part| part.trim() == COMPACT),
        })
    }

    /// Checks that this client may write to a topic. Brokers reject the record in any case.
    pub fn may_write(&self, topic: &str) -> Result<(), InspectionError> {
        let query = self.query_client(|config, bootstrap| {
            let mut settings = client::base(config, bootstrap)?;
            settings.set("enable.idempotence", "false").set("acks", IMPOSSIBLE_ACKS).set("linger.ms", "0");
            settings.set("message.timeout.ms", REQUEST_TIMEOUT.as_millis().to_string());
            Ok(settings)
        })?;
        // The record has a key, because a compacted topic rejects records without one.
        let record = BaseRecord::<str, str>::to(topic).partition(0).key("forebay").payload("");
        query.0.send(record).map_err(|(error, _)| error)?;
        let end = Instant::now() + REQUEST_TIMEOUT + POLL_INTERVAL;
        while Instant::now() < end {
            query.0.poll(POLL_INTERVAL);
            if let Some(code) = *query.context().delivered.lock() {
                return match code {
                    Code::InvalidRequiredAcks => Ok(()),
                    code => Err(query.refusal(&KafkaError::MessageProduction(code))),
                };
            }
        }
        Err(query.refusal(&KafkaError::MessageProduction(Code::MessageTimedOut)))
    }

    /// Checks that this client may read a topic. It commits no offsets and joins no group.
    pub fn may_read(&self, topic: &str, group: &str) -> Result<(), InspectionError> {
        let consumer = self.consumer(group)?;
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition_offset(topic, 0, Offset::End)?;
        consumer.assign(&partitions)?;
        let end = Instant::now() + REQUEST_TIMEOUT;
        while Instant::now() < end {
            match consumer.poll(POLL_INTERVAL) {
                None => {}
                Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => return Ok(()),
                // Unavailable brokers are reported separately.
                Some(Err(error)) if is_of_connection(&error) => {}
                Some(Err(error)) => return Err(error.into()),
            }
        }
        Err(Code::RequestTimedOut.into())
    }

    /// Checks that this client may describe a consumer group.
    pub fn group(&self, group: &str, topic: &str) -> Result<(), InspectionError> {
        let consumer = self.consumer(group)?;
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition(topic, 0);
        let found = match consumer.committed_offsets(partitions, REQUEST_TIMEOUT) {
            Ok(found) => found,
            // librdkafka repeats the request to a coordinator that rejects it until the timeout. The rejection itself
            // arrives as an event.
            Err(error) => return Err(event(&consumer).unwrap_or(error).into()),
        };
        Ok(found.elements().iter().try_for_each(|element| element.error())?)
    }

    /// Checks that this client may use transactional ids like this one. Brokers reject the producer in any case. The
    /// id must be unused: a broker without a timeout limit would assign it to this client.
    pub fn transactional_id(&self, id: &str) -> Result<(), InspectionError> {
        let query = self.query_client(|config, bootstrap| {
            let mut settings = client::transactional(config, bootstrap, id)?;
            settings.set("transaction.timeout.ms", IMPOSSIBLE_TIMEOUT_MS);
            Ok(settings)
        })?;
        match query.0.init_transactions(REQUEST_TIMEOUT) {
            Ok(()) => Ok(()),
            Err(error) => match code_of(&error) {
                Code::InvalidTransactionTimeout => Ok(()),
                _ => Err(query.refusal(&error)),
            },
        }
    }

    fn query_client(
        &self,
        settings: impl FnOnce(&Config, &str) -> Result<ClientConfig, ClientError>,
    ) -> Result<QueryClient, InspectionError> {
        let settings = settings(&self.config, &self.bootstrap)?;
        Ok(QueryClient(query_client::producer(&settings, QueryContext::default())?))
    }

    fn consumer(&self, group: &str) -> Result<BaseConsumer<QueryContext>, InspectionError> {
        let mut settings = client::consumer(&self.config, &self.bootstrap, group)?;
        settings.set("enable.partition.eof", "true");
        Ok(query_client::consumer(&settings, QueryContext::default())?)
    }
}

/// A separate client for one request.
struct QueryClient(BaseProducer<QueryContext>);

impl QueryClient {
    fn client(&self) -> &rdkafka::client::Client<QueryContext> {
        self.0.client()
    }

    fn context(&self) -> &QueryContext {
        self.0.client().context()
    }

    /// The cause of a failure. If the error itself only reports that no broker responded, the cause is what the
    /// client reported about the brokers in the meantime.
    fn refusal(&self, error: &KafkaError) -> InspectionError {
        for _ in 0..MAX_EVENTS {
            self.0.poll(Duration::ZERO);
        }
        let heard = self.context().errors.lock().last().cloned();
        heard.filter(|_| is_of_connection(error)).unwrap_or_else(|| error.into())
    }
}

/// The events that librdkafka reports through callbacks.
#[derive(Default)]
struct QueryContext {
    errors: Mutex<Vec<InspectionError>>,
    /// The result of the record; `NoError` if it was confirmed.
    delivered: Mutex<Option<Code>>,
}

impl ClientContext for QueryContext {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    /// A deliberately provoked rejection is not an error of the daemon.
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(kafka.facility = facility, "{message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let mut errors = self.errors.lock();
        // "1/1 brokers are down" contains less information than the earlier errors.
        if errors.len() < MAX_EVENTS && code_of(&error) != Code::AllBrokersDown {
            let words = broker_errors::without_broker(reason).to_owned();
            errors.push(InspectionError { code: code_of(&error), text: words });
        }
    }

    fn generate_oauth_token(&self, path: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        oauth::token(path).inspect_err(|error| {
            self.errors.lock().push(InspectionError { code: Code::Authentication, text: error.to_string() });
        })
    }
}

impl ConsumerContext for QueryContext {}

impl ProducerContext for QueryContext {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let code = match result {
            Ok(_) => Code::NoError,
            Err((error, _)) => code_of(error),
        };
        *self.delivered.lock() = Some(code);
    }
}

impl From<&KafkaError> for InspectionError {
    fn from(error: &KafkaError) -> Self {
        code_of(error).into()
    }
}

impl From<KafkaError> for InspectionError {
    fn from(error: KafkaError) -> Self {
        match error.rdkafka_error_code() {
            Some(code) => code.into(),
            None => Self { code: Code::Fail, text: error.to_string() },
        }
    }
}

impl From<Code> for InspectionError {
    fn from(code: Code) -> Self {
        // The text is `Name (Broker: meaning)`; the name adds no information.
        let shown = code.to_string();
        let words = shown.split_once('(').and_then(|(_, words)| words.strip_suffix(')'));
        Self { code, text: words.unwrap_or(&shown).to_owned() }
    }
}

impl From<ClientError> for InspectionError {
    fn from(error: ClientError) -> Self {
        Self { code: Code::InvalidArgument, text: error.to_string() }
    }
}

/// The next event of a consumer that is not about its connections.
fn event(consumer: &BaseConsumer<QueryContext>) -> Option<KafkaError> {
    let events = (0..MAX_EVENTS).map_while(|_| consumer.poll(POLL_INTERVAL));
    events.filter_map(Result::err).find(|error| !is_of_connection(error))
}

fn code_of(error: &KafkaError) -> Code {
    match error {
        KafkaError::Transaction(error) => error.code(),
        other => other.rdkafka_error_code().unwrap_or(Code::Fail),
    }
}

/// Whether an error only reports that there is no connection or no response.
fn is_of_connection(error: &KafkaError) -> bool {
    matches!(
        code_of(error),
        Code::AllBrokersDown
            | Code::BrokerTransportFailure
            | Code::OperationTimedOut
            | Code::MessageTimedOut
            | Code::RequestTimedOut
            | Code::Resolve
            | Code::Authentication
            | Code::SSL
    )
}
