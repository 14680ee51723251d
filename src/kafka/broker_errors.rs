//! What the Kafka clients of this process last said about each broker, in their own words.
//!
//! librdkafka reports failures to connect and to authenticate by a callback of the client, without a record. It never
//! reports that a broker is available again, and repeats an identical error every 30 s. So an error counts for as long
//! as it is repeated, and until the cluster answers again after none of it did.

use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode as Code;

use crate::kafka::{CertificateFault, is_denial};
use crate::sync::Mutex;

/// Brokers whose errors are kept; a cluster rarely has more.
const MAX_BROKERS: usize = 64;
/// Bytes kept of an error.
const MAX_TEXT: usize = 300;
/// An error that was not repeated for so long is over: librdkafka suppresses identical errors for 30 s, and tries to
/// connect every 10 s.
const EXPIRES_AFTER: Duration = Duration::from_secs(60);
/// One failed attempt is no outage: the name `localhost` often has an IPv6 address that refuses before the IPv4 address
/// answers, and brokers close idle connections. A second error after this time is another attempt.
const PERSISTS_AFTER: Duration = Duration::from_secs(5);

/// Stands for the broker in errors about the token of OAUTHBEARER: without one no broker is asked.
pub const TOKEN: &str = "sasl_token_file";

/// What kind of a failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerFailure {
    /// No connection, or no answer.
    Unreachable,
    /// We do not accept the broker's certificate, or have no protocol in common.
    Tls,
    /// The broker does not accept who we are.
    Authentication,
    /// The broker does not allow what we ask.
    Authorization,
}

/// The last error about one broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerError {
    /// `host:port`.
    pub broker: String,
    /// What kind of a failure it is.
    pub failure: BrokerFailure,
    /// What is wrong with its certificate, if that is why and was found out.
    pub certificate: Option<CertificateFault>,
    /// The client's own words.
    pub error: String,
    /// Whether several attempts failed.
    pub is_persistent: bool,
    /// When it was reported last.
    pub at: Instant,
}

/// One for the process: all its clients talk to one cluster, and librdkafka's callbacks belong to no component.
static ERRORS: BrokerErrors = BrokerErrors(Mutex::new(Vec::new()));

/// Takes an error of a client into account that came without a record.
pub(super) fn record(code: Code, reason: &str) {
    ERRORS.record(code, reason, Instant::now());
}

/// Takes into account that there is no token, and why. The caller asks every ten seconds.
pub(super) fn record_token_error(reason: &str) {
    ERRORS.take(TOKEN, BrokerFailure::Authentication, reason, Instant::now());
}

/// The brokers of which the certificate may be refused.
pub(super) fn brokers_with_tls_failure() -> Vec<String> {
    let recent = ERRORS.recent(Instant::now()).into_iter();
    recent.filter(|error| error.failure == BrokerFailure::Tls).map(|error| error.broker).collect()
}

/// What was found to be wrong with the certificate of a broker.
pub(super) fn set_certificate_fault(broker: &str, fault: Option<CertificateFault>) {
    ERRORS.set_certificate_fault(broker, fault);
}

/// The errors that are not over, the latest first.
pub fn broker_errors() -> Vec<BrokerError> {
    ERRORS.recent(Instant::now())
}

/// The cluster answers again: what was said meanwhile is over.
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
        // It is looked at again and again while it is refused.
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

/// Alerts by which a server refuses a client's certificate, or the lack of one (RFC 8446, section 6.2). With TLS 1.3 they
/// come after the client's handshake, as a connection that breaks.
const CLIENT_CERTIFICATE_ALERTS: [u16; 8] = [42, 43, 44, 45, 46, 48, 49, 116];

/// The TLS alert that a broker sent, if this is about one.
fn alert(text: &str) -> Option<u16> {
    let (_, rest) = text.split_once("SSL alert number ")?;
    rest.split(|other: char| !other.is_ascii_digit()).next()?.parse().ok()
}

/// What kind of a failure an error of the client is. `text`: the client's own words.
pub(super) fn failure(code: Code, text: &str) -> BrokerFailure {
    match (alert(text), code) {
        (Some(alert), _) if CLIENT_CERTIFICATE_ALERTS.contains(&alert) => {
            return BrokerFailure::Authentication;
        }
        (Some(_), _) | (None, Code::SSL) => return BrokerFailure::Tls,
        // OpenSSL's own words. A handshake that fails at its first step comes with the code of a broken connection.
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

/// The text of an error, without the broker and without what differs every time.
pub(super) fn without_broker(reason: &str) -> &str {
    parse(reason).map_or(reason, |(_, text)| text)
}

/// `[PROTOCOL://]HOST:PORT/ID: TEXT (after 3ms in state CONNECT)`: the broker, and the text without what differs every
/// time. None for what is not about a broker.
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
    fn the_broker_and_its_words_are_found() {
        let words = "Connect to ipv4#127.0.0.1:9 failed: Connection refused";
        assert_eq!(parse(REFUSED), Some(("127.0.0.1:9", words)));
        let refused = "sasl_plaintext://[::1]:9092/2: SASL authentication error: Authentication failed (after 3ms in \
                       state AUTH_REQ, 1 identical error(s) suppressed)";
        assert_eq!(parse(refused), Some(("[::1]:9092", "SASL authentication error: Authentication failed")));
        assert_eq!(parse("1/1 brokers are down"), None);
        assert_eq!(parse("GroupCoordinator: no such group"), None);
    }

    #[test]
    fn an_error_lasts_after_a_second_attempt_and_ends_without_repetition() {
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
        assert!(!errors.recent(after(91))[0].is_persistent, "it begins anew");
        errors.record(Code::BrokerTransportFailure, REFUSED, after(100));
        errors.clear();
        errors.record(Code::BrokerTransportFailure, REFUSED, after(101));
        assert!(!errors.recent(after(101))[0].is_persistent, "the cluster answered meanwhile");
    }

    #[test]
    fn a_refused_certificate_is_told_by_whose_it_is() {
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
    fn what_is_wrong_with_a_certificate_stays_while_it_is_refused() {
        let (errors, now) = (BrokerErrors(Mutex::default()), Instant::now());
        errors.record(Code::SSL, REFUSED, now);
        errors.set_certificate_fault("127.0.0.1:9", Some(CertificateFault::Expired));
        errors.record(Code::SSL, REFUSED, now);
        assert_eq!(errors.recent(now)[0].certificate, Some(CertificateFault::Expired));
        errors.record(Code::BrokerTransportFailure, REFUSED, now);
        assert_eq!(errors.recent(now)[0].certificate, None, "it is not the certificate any more");
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
