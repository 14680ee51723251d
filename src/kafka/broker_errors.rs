//! The most recent errors that the process's Kafka clients reported about each broker.
//!
//! librdkafka reports failures to connect and to authenticate through a callback of the client, without a record. It
//! never reports that a broker is available again, and it repeats an identical error every 30 s. So an error remains
//! current while it is repeated. It ends when it is no longer repeated, or when the cluster responds again.

use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode as Code;

use crate::kafka::{CertificateFault, is_denial};
use crate::sync::Mutex;

/// Maximum number of brokers whose errors are kept. A cluster rarely has more.
const MAX_BROKERS: usize = 64;
/// Maximum bytes kept of an error.
const MAX_TEXT: usize = 300;
/// An error that was not repeated for this long has ended. librdkafka suppresses identical errors for 30 s, and tries
/// to connect every 10 s.
const EXPIRES_AFTER: Duration = Duration::from_secs(60);
/// A single failed attempt is not an outage. The name `localhost` often has an IPv6 address that refuses connections
/// before the IPv4 address accepts them, and brokers close idle connections. A second error after this time comes
/// from another attempt.
const PERSISTS_AFTER: Duration = Duration::from_secs(5);

/// Replaces the broker in errors about the OAUTHBEARER token. Without a token no broker is contacted.
pub const TOKEN: &str = "sasl_token_file";

/// Kind of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerFailure {
    /// No connection, or no response.
    Unreachable,
    /// The daemon does not accept the broker's certificate, or both have no protocol in common.
    Tls,
    /// The broker rejects the client's identity.
    Authentication,
    /// The broker denies the request.
    Authorization,
}

/// The last error about one broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerError {
    /// `host:port`.
    pub broker: String,
    /// Kind of the failure.
    pub failure: BrokerFailure,
    /// What is wrong with the broker's certificate, if that is the cause and is known.
    pub certificate: Option<CertificateFault>,
    /// Error text of the Kafka client.
    pub error: String,
    /// Whether several attempts failed.
    pub is_persistent: bool,
    /// When the error was last reported.
    pub at: Instant,
}

/// A single list for the process: all its clients use one cluster, and librdkafka's callbacks belong to no component.
static ERRORS: BrokerErrors = BrokerErrors(Mutex::new(Vec::new()));

/// Records an error that a client reported without a record.
pub(super) fn record(code: Code, reason: &str) {
    ERRORS.record(code, reason, Instant::now());
}

/// Records that no token is available, and why. The client requests one every ten seconds.
pub(super) fn record_token_error(reason: &str) {
    ERRORS.take(TOKEN, BrokerFailure::Authentication, reason, Instant::now());
}

/// The brokers whose certificate may be the cause of a failure.
pub(super) fn brokers_with_tls_failure() -> Vec<String> {
    let recent = ERRORS.recent(Instant::now()).into_iter();
    recent.filter(|error| error.failure == BrokerFailure::Tls).map(|error| error.broker).collect()
}

/// Stores the fault found in a broker's certificate.
pub(super) fn set_certificate_fault(broker: &str, fault: Option<CertificateFault>) {
    ERRORS.set_certificate_fault(broker, fault);
}

/// The current errors, the latest first.
pub fn broker_errors() -> Vec<BrokerError> {
    ERRORS.recent(Instant::now())
}

/// The cluster responds again, so all earlier errors have ended.
pub(super) fn clear() {
    ERRORS.clear();
}

struct BrokerErrors(Mutex<Vec<RecordedError>>);

struct RecordedError {
    error: BrokerError,
    first: Instant,
}

impl BrokerErrors {
    fn record(&self, code: Code, reason: &str, now: Instant) {
        if let Some((broker, error)) = parse(reason) {
            self.take(broker, failure(code, error), error, now);
        }
    }

    fn take(&self, broker: &str, failure: BrokerFailure, error: &str, now: Instant) {
        let mut noted = self.0.lock();
        noted.retain(|noted| now.saturating_duration_since(noted.error.at) < EXPIRES_AFTER);
        let at = noted.iter().position(|noted| noted.error.broker == broker);
        let before = at.map(|at| noted.swap_remove(at));
        let first = before.as_ref().map_or(now, |before| before.first);
        // The certificate is checked again as long as it is rejected.
        let certificate =
            before.filter(|_| failure == BrokerFailure::Tls).and_then(|before| before.error.certificate);
        let lasts = now.saturating_duration_since(first) >= PERSISTS_AFTER;
        if noted.len() < MAX_BROKERS {
            let (broker, error) = (broker.to_owned(), crate::bounded_errors::truncated(error, MAX_TEXT));
            let error = BrokerError { broker, failure, certificate, error, is_persistent: lasts, at: now };
            noted.push(RecordedError { error, first });
        }
    }

    fn set_certificate_fault(&self, broker: &str, fault: Option<CertificateFault>) {
        let mut noted = self.0.lock();
        let its = noted.iter_mut().filter(|noted| noted.error.broker == broker);
        its.filter(|noted| noted.error.failure == BrokerFailure::Tls)
            .for_each(|noted| noted.error.certificate = fault);
    }

    fn clear(&self) {
        self.0.lock().clear();
    }

    fn recent(&self, now: Instant) -> Vec<BrokerError> {
        let noted = self.0.lock();
        let is_recent = |error: &BrokerError| now.saturating_duration_since(error.at) < EXPIRES_AFTER;
        let mut recent: Vec<_> = noted.iter().map(|noted| noted.error.clone()).filter(is_recent).collect();
        recent.sort_by_key(|error| std::cmp::Reverse(error.at));
        recent
    }
}

/// Alerts with which a server rejects a client's certificate, or the lack of one (RFC 8446, section 6.2). With TLS
/// 1.3 they arrive after the client's handshake, as a broken connection.
const CLIENT_CERTIFICATE_ALERTS: [u16; 8] = [42, 43, 44, 45, 46, 48, 49, 116];

/// The TLS alert that a broker sent, if the text contains one.
fn alert(text: &str) -> Option<u16> {
    let (_, rest) = text.split_once("SSL alert number ")?;
    rest.split(|other: char| !other.is_ascii_digit()).next()?.parse().ok()
}

/// Classifies an error. `text` is the error text of the Kafka client.
pub(super) fn failure(code: Code, text: &str) -> BrokerFailure {
    match (alert(text), code) {
        (Some(alert), _) if CLIENT_CERTIFICATE_ALERTS.contains(&alert) => {
            return BrokerFailure::Authentication;
        }
        (Some(_), _) | (None, Code::SSL) => return BrokerFailure::Tls,
        // Texts of OpenSSL. A handshake that fails at its first step has the error code of a broken connection.
        (None, _) if text.contains("SSL routines") => return BrokerFailure::Tls,
        (None, _) => {}
    }
    match code {
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState => BrokerFailure::Authentication,
        code if is_denial(code) => BrokerFailure::Authorization,
        _ => BrokerFailure::Unreachable,
    }
}

/// The text of an error, without the broker and without parts that differ every time.
pub(super) fn without_broker(reason: &str) -> &str {
    parse(reason).map_or(reason, |(_, text)| text)
}

/// Parses `[PROTOCOL://]HOST:PORT/ID: TEXT (after 3ms in state CONNECT)`. Returns the broker, and the text without
/// parts that differ every time. Returns `None` for an error that is not about a broker.
fn parse(reason: &str) -> Option<(&str, &str)> {
    let (name, text) = reason.split_once(": ")?;
    let (address, _) = name.rsplit_once('/')?;
    let broker = address.rsplit_once("://").map_or(address, |(_, broker)| broker);
    let text = text.rsplit_once(" (after ").map_or(text, |(text, _)| text);
    let is_address = broker.contains(':') && !broker.contains(char::is_whitespace);
    is_address.then_some((broker, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: &str = "127.0.0.1:9/bootstrap: Connect to ipv4#127.0.0.1:9 failed: Connection refused (after 0ms \
                           in state CONNECT)";

    #[test]
    fn the_broker_and_its_error_text_are_parsed() {
        let words = "Connect to ipv4#127.0.0.1:9 failed: Connection refused";
        assert_eq!(parse(REFUSED), Some(("127.0.0.1:9", words)));
        let refused = "sasl_plaintext://[::1]:9092/2: SASL authentication error: Authentication failed (after 3ms in \
                       state AUTH_REQ, 1 identical error(s) suppressed)";
        assert_eq!(parse(refused), Some(("[::1]:9092", "SASL authentication error: Authentication failed")));
        assert_eq!(parse("1/1 brokers are down"), None);
        assert_eq!(parse("GroupCoordinator: no such group"), None);
    }

    #[test]
    fn an_error_persists_after_a_second_attempt_and_then_expires() {
        let (errors, start) = (BrokerErrors(Mutex::default()), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        errors.record(Code::BrokerTransportFailure, REFUSED, start);
        errors.record(Code::BrokerTransportFailure, REFUSED, after(1));
        assert!(!errors.recent(after(1))[0].is_persistent, "two clients, or two addresses of one name");
        errors.record(Code::Authentication, REFUSED, after(30));
        let recent = errors.recent(after(30));
        assert!(recent.len() == 1 && recent[0].is_persistent, "{recent:?}");
        assert_eq!(recent[0].failure, BrokerFailure::Authentication, "the last error counts");
        assert_eq!(errors.recent(after(90)), []);
        errors.record(Code::BrokerTransportFailure, REFUSED, after(91));
        assert!(!errors.recent(after(91))[0].is_persistent, "it starts again");
        errors.record(Code::BrokerTransportFailure, REFUSED, after(100));
        errors.clear();
        errors.record(Code::BrokerTransportFailure, REFUSED, after(101));
        assert!(!errors.recent(after(101))[0].is_persistent, "the cluster responded in between");
    }

    #[test]
    fn rejected_broker_and_client_certificates_are_distinguished() {
        let of = failure;
        let verify = "SSL handshake failed: error:0A000086:SSL routines::certificate verify failed: broker certificate \
                      could not be verified";
        assert_eq!(of(Code::SSL, verify), BrokerFailure::Tls);
        let at_once = "error:0A000086:SSL routines::certificate verify failed";
        assert_eq!(of(Code::BrokerTransportFailure, at_once), BrokerFailure::Tls);
        for alert in [42, 46, 48, 116] {
            let text =
                format!("Receive failed: error:0A000412:SSL routines::alert: SSL alert number {alert}");
            assert_eq!(of(Code::BrokerTransportFailure, &text), BrokerFailure::Authentication, "{alert}");
        }
        let version = "error:0A00042E:SSL routines::tlsv1 alert protocol version: SSL alert number 70";
        assert_eq!(of(Code::SSL, version), BrokerFailure::Tls);
        assert_eq!(of(Code::BrokerTransportFailure, "Connection refused"), BrokerFailure::Unreachable);
    }

    #[test]
    fn a_certificate_fault_remains_while_the_certificate_is_rejected() {
        let (errors, now) = (BrokerErrors(Mutex::default()), Instant::now());
        errors.record(Code::SSL, REFUSED, now);
        errors.set_certificate_fault("127.0.0.1:9", Some(CertificateFault::Expired));
        errors.record(Code::SSL, REFUSED, now);
        assert_eq!(errors.recent(now)[0].certificate, Some(CertificateFault::Expired));
        errors.record(Code::BrokerTransportFailure, REFUSED, now);
        assert_eq!(errors.recent(now)[0].certificate, None, "the certificate is no longer the cause");
        errors.set_certificate_fault("127.0.0.1:9", Some(CertificateFault::Expired));
        assert_eq!(errors.recent(now)[0].certificate, None);
    }

    #[test]
    fn the_number_of_brokers_is_bounded() {
        let (errors, now) = (BrokerErrors(Mutex::default()), Instant::now());
        for port in 0..1_000 {
            errors.record(Code::Resolve, &format!("b:{port}/1: no such host"), now);
        }
        assert_eq!(errors.recent(now).len(), MAX_BROKERS);
    }
}
