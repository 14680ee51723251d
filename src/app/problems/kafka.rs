//! Kafka as a whole, and broker by broker.

use crate::kafka::{BrokerError, BrokerFailure, ClusterHealth, broker_errors};
use crate::problems::{Code, Observation};

/// Brokers whose errors are named when none answers.
const MAX_NAMED: usize = 3;

/// `brokers`: those that the configuration names.
pub(in crate::app) fn kafka(health: &ClusterHealth, brokers: &str) -> Vec<Observation> {
    observe(health.last(), &broker_errors(), brokers)
}

fn observe(answer: Option<Result<(), String>>, errors: &[BrokerError], brokers: &str) -> Vec<Observation> {
    match answer {
        // Not asked yet.
        None => Vec::new(),
        Some(Ok(())) => errors.iter().filter(|error| error.lasts).map(one_broker).collect(),
        Some(Err(error)) => vec![all_brokers(&error, errors, brokers)],
    }
}

fn one_broker(error: &BrokerError) -> Observation {
    let broker = &error.broker;
    let detail = format!("broker {broker} cannot be used; other brokers answer");
    Observation::new(code(error.failure), detail).about(broker).with_error(&error.error).partial()
}

/// One code for as long as the errors are of the same kinds, whichever is the latest. Brokers that deny something do
/// answer, so that is never why none does.
fn all_brokers(error: &str, errors: &[BrokerError], brokers: &str) -> Observation {
    let (code, detail) = match errors.iter().any(|error| error.failure == BrokerFailure::Authentication) {
        true => (
            Code::KafkaAuthenticationFailed,
            format!("no broker of {brokers} accepts the daemon's credentials"),
        ),
        false => (Code::KafkaUnreachable, format!("no broker of {brokers} answers")),
    };
    let mut named: Vec<_> = errors.iter().map(|error| format!("{}: {}", error.broker, error.error)).collect();
    // In the order of their names: the latest error is another one every time.
    named.sort_unstable();
    named.truncate(MAX_NAMED);
    let error = if named.is_empty() { error.to_owned() } else { named.join("; ") };
    Observation::new(code, detail).with_error(error)
}

fn code(failure: BrokerFailure) -> Code {
    match failure {
        BrokerFailure::Unreachable => Code::KafkaUnreachable,
        BrokerFailure::Authentication => Code::KafkaAuthenticationFailed,
        BrokerFailure::Authorization => Code::KafkaAuthorizationFailed,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn error(broker: &str, failure: BrokerFailure, lasts: bool) -> BrokerError {
        let (broker, error) = (broker.to_owned(), "Connection refused".to_owned());
        BrokerError { broker, failure, error, lasts, at: Instant::now() }
    }

    fn codes(answer: Option<Result<(), String>>, errors: &[BrokerError]) -> Vec<Code> {
        observe(answer, errors, "a:1").iter().map(Observation::code).collect()
    }

    #[test]
    fn the_answer_decides_and_the_errors_say_why() {
        let down = || Some(Err("timed out".to_owned()));
        let refused = error("a:1", BrokerFailure::Unreachable, false);
        assert_eq!(codes(None, std::slice::from_ref(&refused)), []);
        assert_eq!(codes(Some(Ok(())), std::slice::from_ref(&refused)), [], "one attempt");
        assert_eq!(codes(down(), &[]), [Code::KafkaUnreachable]);
        assert_eq!(codes(down(), std::slice::from_ref(&refused)), [Code::KafkaUnreachable]);
        let denied = error("a:1", BrokerFailure::Authentication, false);
        let is_any = codes(down(), &[refused, denied]);
        assert_eq!(is_any, [Code::KafkaAuthenticationFailed], "whichever is the latest");
        let forbidden = error("a:1", BrokerFailure::Authorization, false);
        assert_eq!(codes(down(), &[forbidden]), [Code::KafkaUnreachable], "one that denies does answer");
        let two = ["b:1", "c:1"].map(|broker| error(broker, BrokerFailure::Unreachable, true));
        assert_eq!(codes(Some(Ok(())), &two), [Code::KafkaUnreachable; 2], "broker by broker");
    }
}
