//! What the Kafka clients of this process last said about each broker, in their own words.
//!
//! librdkafka reports failures to connect and to authenticate by a callback of the client, without a record. It never
//! reports that a broker is available again, and repeats an identical error every 30 s. So an error counts for as long
//! as it is repeated, and until the cluster answers again after none of it did.

use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode as Code;

use crate::sync::Mutex;

/// Brokers whose errors are kept; a cluster rarely has more.
const MAX_BROKERS: usize = 64;
/// Bytes kept of an error.
const MAX_TEXT: usize = 300;
/// An error that was not repeated for so long is over: librdkafka suppresses identical errors for 30 s, and tries to
/// connect every 10 s.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// One failed attempt is no outage: the name `localhost` often has an IPv6 address that refuses before the IPv4 address
/// answers, and brokers close idle connections. A second error after this time is another attempt.
const LASTS_AFTER: Duration = Duration::from_secs(5);

/// What kind of a failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerFailure {
    /// No connection, or no answer.
    Unreachable,
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
    /// The client's own words.
    pub error: String,
    /// Whether several attempts failed.
    pub lasts: bool,
    /// When it was reported last.
    pub at: Instant,
}

/// One for the process: all its clients talk to one cluster, and librdkafka's callbacks belong to no component.
static ERRORS: BrokerErrors = BrokerErrors(Mutex::new(Vec::new()));

/// Takes an error of a client into account that came without a record.
pub(super) fn note(code: Code, reason: &str) {
    ERRORS.note(code, reason, Instant::now());
}

/// The errors that are not over, the latest first.
pub fn broker_errors() -> Vec<BrokerError> {
    ERRORS.recent(Instant::now())
}

/// The cluster answers again: what was said meanwhile is over.
pub(super) fn forget() {
    ERRORS.forget();
}

struct BrokerErrors(Mutex<Vec<Noted>>);

struct Noted {
    error: BrokerError,
    first: Instant,
}

impl BrokerErrors {
    fn note(&self, code: Code, reason: &str, now: Instant) {
        let Some((broker, error)) = parse(reason) else { return };
        let mut noted = self.0.lock();
        noted.retain(|noted| now.saturating_duration_since(noted.error.at) < FORGOTTEN_AFTER);
        let at = noted.iter().position(|noted| noted.error.broker == broker);
        let first = at.map_or(now, |at| noted.swap_remove(at).first);
        let lasts = now.saturating_duration_since(first) >= LASTS_AFTER;
        if noted.len() < MAX_BROKERS {
            let (broker, error) = (broker.to_owned(), crate::reported::shortened(error, MAX_TEXT));
            let error = BrokerError { broker, failure: failure(code), error, lasts, at: now };
            noted.push(Noted { error, first });
        }
    }

    fn forget(&self) {
        self.0.lock().clear();
    }

    fn recent(&self, now: Instant) -> Vec<BrokerError> {
        let noted = self.0.lock();
        let is_recent = |error: &BrokerError| now.saturating_duration_since(error.at) < FORGOTTEN_AFTER;
        let mut recent: Vec<_> = noted.iter().map(|noted| noted.error.clone()).filter(is_recent).collect();
        recent.sort_by_key(|error| std::cmp::Reverse(error.at));
        recent
    }
}

fn failure(code: Code) -> BrokerFailure {
    match code {
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState => BrokerFailure::Authentication,
        Code::ClusterAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed
        | Code::TopicAuthorizationFailed => BrokerFailure::Authorization,
        _ => BrokerFailure::Unreachable,
    }
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
        errors.note(Code::BrokerTransportFailure, REFUSED, start);
        errors.note(Code::BrokerTransportFailure, REFUSED, after(1));
        assert!(!errors.recent(after(1))[0].lasts, "two clients, or two addresses of one name");
        errors.note(Code::Authentication, REFUSED, after(30));
        let recent = errors.recent(after(30));
        assert!(recent.len() == 1 && recent[0].lasts, "{recent:?}");
        assert_eq!(recent[0].failure, BrokerFailure::Authentication, "the last error counts");
        assert_eq!(errors.recent(after(90)), []);
        errors.note(Code::BrokerTransportFailure, REFUSED, after(91));
        assert!(!errors.recent(after(91))[0].lasts, "it begins anew");
        errors.note(Code::BrokerTransportFailure, REFUSED, after(100));
        errors.forget();
        errors.note(Code::BrokerTransportFailure, REFUSED, after(101));
        assert!(!errors.recent(after(101))[0].lasts, "the cluster answered meanwhile");
    }

    #[test]
    fn the_number_of_brokers_is_bounded() {
        let (errors, now) = (BrokerErrors(Mutex::default()), Instant::now());
        for port in 0..1_000 {
            errors.note(Code::Resolve, &format!("b:{port}/1: no such host"), now);
        }
        assert_eq!(errors.recent(now).len(), MAX_BROKERS);
    }
}
