//! Checks every two seconds whether the cluster responds, even while nothing is to be sent.
//!
//! The drain contacts brokers only to send records, and librdkafka reports failures but no recovery. So this separate
//! client requests the metadata of one topic.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, Producer as _, ProducerContext};

use crate::kafka::certificate_check::CertificateCheck;
use crate::kafka::{ClientError, Config, broker_errors, client, oauth};
use crate::sync::Mutex;
use crate::task::{FatalSignal, OnFailure, Thread};

/// Interval between two probes.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);
/// Timeout of a probe. A healthy broker responds within milliseconds; one that is starting or busy may need this
/// long.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
/// Events processed after a probe, one per call. A cluster has no more brokers than this that fail at the same time.
const MAX_EVENTS: usize = 64;
/// With librdkafka's default of 10 s, an operator would wait that long to see that Kafka is available again.
const RECONNECT_MAX_MS: &str = "1000";

/// Whether the cluster responds. Clones share the state.
#[derive(Clone, Default)]
pub struct ClusterHealth(Arc<Mutex<Option<Result<(), String>>>>);

impl ClusterHealth {
    /// The result of the last probe: success, or the error text of the client. `None` before the first probe.
    pub fn last(&self) -> Option<Result<(), String>> {
        self.0.lock().clone()
    }

    /// When the cluster responds again, the errors of its brokers have ended. Otherwise they would count for another
    /// minute.
    fn set(&self, answer: Result<(), String>) {
        let mut last = self.0.lock();
        if answer.is_ok() && matches!(*last, Some(Err(_))) {
            broker_errors::clear();
        }
        *last = Some(answer);
    }
}

/// Number of certificates checked per probe. A cluster in which one certificate is rejected usually has all rejected.
const MAX_CERTIFICATE_CHECKS: usize = 2;

/// The thread that probes the cluster. Dropping it ends the thread after its current probe.
pub struct ClusterProbe {
    health: ClusterHealth,
    thread: Thread,
}

impl ClusterProbe {
    /// Starts to probe the brokers at `bootstrap` with metadata requests for `topic`, which need not exist.
    pub fn start(
        config: &Config,
        bootstrap: &str,
        topic: &str,
        fatal: &FatalSignal,
    ) -> Result<Self, ClientError> {
        let mut settings = client::base(config, bootstrap)?;
        settings.set("reconnect.backoff.max.ms", RECONNECT_MAX_MS);
        let client: BaseProducer<Context> = settings.create_with_context(Context)?;
        let certificates = CertificateCheck::new(config);
        let health = ClusterHealth::default();
        let (shared, topic) = (health.clone(), topic.to_owned());
        let thread = Thread::spawn("kafka-probe", OnFailure::Raise(fatal.clone()), move |stop| {
            // The request for a token is among the first events.
            serve_events(&client);
            loop {
                let asked = client.client().fetch_metadata(Some(&topic), REQUEST_TIMEOUT);
                // After the probe, the errors of the brokers are known. They include the causes of rejected
                // certificates.
                serve_events(&client);
                for broker in
                    broker_errors::brokers_with_tls_failure().into_iter().take(MAX_CERTIFICATE_CHECKS)
                {
                    broker_errors::set_certificate_fault(&broker, certificates.check(&broker));
                }
                shared.set(asked.map(drop).map_err(|error| error_text(&error)));
                if stop.wait(PROBE_INTERVAL) {
                    return Ok(());
                }
            }
        });
        Ok(Self { health, thread: thread.map_err(ClientError::Thread)? })
    }

    /// Returns the thread for the caller to stop. It ends within about ten seconds.
    pub fn into_thread(self) -> Thread {
        self.thread
    }

    /// The shared health state.
    pub fn health(&self) -> ClusterHealth {
        self.health.clone()
    }
}

/// Runs the pending callbacks.
fn serve_events(client: &BaseProducer<Context>) {
    for _ in 0..MAX_EVENTS {
        client.poll(Duration::ZERO);
    }
}

fn error_text(error: &KafkaError) -> String {
    error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string())
}

struct Context;

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, path: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        oauth::token(path)
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        super::errors::log_client_error(&error, reason);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &rdkafka::message::DeliveryResult<'_>, (): ()) {}
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::kafka::{BrokerError, EmbeddedBroker, broker_errors};

    fn await_answer(probe: &ClusterProbe, wanted: impl Fn(&Result<(), String>) -> bool) {
        let end = Instant::now() + Duration::from_secs(60);
        while !probe.health().last().as_ref().is_some_and(&wanted) {
            assert!(Instant::now() < end, "{:?}", probe.health().last());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[test]
    fn responding_and_refusing_clusters_are_distinguished() {
        let broker = EmbeddedBroker::start().unwrap();
        let (config, fatal) = (Config::default(), FatalSignal::default());
        let probe = ClusterProbe::start(&config, broker.bootstrap(), "t", &fatal).unwrap();
        await_answer(&probe, Result::is_ok);
        let unreachable = ClusterProbe::start(&config, "127.0.0.1:9", "t", &fatal).unwrap();
        await_answer(&unreachable, Result::is_err);
        let end = Instant::now() + Duration::from_secs(60);
        let is_refused = |error: &BrokerError| {
            error.broker == "127.0.0.1:9" && error.error.ends_with("Connection refused")
        };
        while !broker_errors().iter().any(is_refused) {
            assert!(Instant::now() < end, "{:?}", broker_errors());
            std::thread::sleep(Duration::from_millis(20));
        }
        let ended = unreachable.into_thread().stop(Duration::from_secs(60));
        assert!(ended.is_ok(), "{ended:?}");
    }
}
