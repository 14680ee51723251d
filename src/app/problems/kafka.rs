//! Problems of Kafka as a whole and of single brokers.

use crate::kafka;
use crate::kafka::{
    BrokerError, BrokerFailure, Brokers, CertificateFault, ClusterHealth, SaslMechanism, TOKEN, broker_errors,
};
use crate::problems::{Code, Observation};
use crate::units::Timestamp;

/// Maximum number of brokers whose errors are reported when none answers.
const MAX_NAMED: usize = 3;

/// Configured identity and addresses of Kafka.
pub(in crate::app) struct Cluster {
    /// Bootstrap brokers.
    brokers: String,
    mechanism: Option<SaslMechanism>,
    username: String,
    has_certificate: bool,
}

impl Cluster {
    pub(in crate::app) fn of(config: &kafka::Config) -> Self {
        let brokers = match &config.brokers {
            Brokers::Embedded => "the embedded broker".to_owned(),
            Brokers::List(list) => list.clone(),
        };
        Self {
            brokers,
            mechanism: config.sasl_mechanism.filter(|_| config.security_protocol.has_sasl()),
            username: config.sasl_username.clone().unwrap_or_default(),
            has_certificate: config.ssl_cert_file.is_some(),
        }
    }

    /// Why a broker cannot be used, and the remedy. `expired` is the end of the daemon's own certificate, if it is past.
    pub(in crate::app) fn advice(&self, error: &BrokerError, expired: Option<Timestamp>) -> String {
        reason(error, self, expired)
    }
}

/// Reports the problems of Kafka. `expired` is the end of the daemon's own certificate, if it is near or past.
pub(in crate::app) fn kafka(
    health: &ClusterHealth,
    cluster: &Cluster,
    expired: Option<Timestamp>,
) -> Vec<Observation> {
    observe(health.last(), &broker_errors(), cluster, expired.filter(|end| *end <= Timestamp::now()))
}

fn observe(
    response: Option<Result<(), String>>,
    errors: &[BrokerError],
    cluster: &Cluster,
    expired: Option<Timestamp>,
) -> Vec<Observation> {
    match response {
        // Not queried yet.
        None => Vec::new(),
        Some(Ok(())) => {
            let lasting = errors.iter().filter(|error| error.is_persistent);
            lasting.map(|error| one_broker(error, cluster, expired)).collect()
        }
        Some(Err(error)) => vec![all_brokers(&error, errors, cluster, expired)],
    }
}

fn one_broker(error: &BrokerError, cluster: &Cluster, expired: Option<Timestamp>) -> Observation {
    let broker = &error.broker;
    let mut detail = match broker.as_str() {
        TOKEN => "the daemon cannot open new connections to Kafka; open connections continue".to_owned(),
        broker => format!("broker {broker} cannot be used; other brokers are available"),
    };
    if error.failure != BrokerFailure::Unreachable {
        detail = format!("{detail}; {}", reason(error, cluster, expired));
    }
    Observation::new(code(error.failure), detail).about(broker).with_error(&error.error).partial()
}

/// Reports that no broker can be used. The code stays the same while the kinds of errors do, whichever error is the
/// latest. A broker that denies a permission does answer, so a denial never explains this problem.
fn all_brokers(
    error: &str,
    errors: &[BrokerError],
    cluster: &Cluster,
    expired: Option<Timestamp>,
) -> Observation {
    // Sorted by name, because the latest error is a different one every time.
    let mut sorted: Vec<_> = errors.iter().collect();
    sorted.sort_unstable_by(|one, other| one.broker.cmp(&other.broker));
    // A missing token comes first: without it a client cannot even try to log in.
    let token = sorted.iter().find(|error| error.broker == TOKEN);
    let first = |failure| sorted.iter().find(|error| error.failure == failure);
    let brokers = &cluster.brokers;
    let (code, detail) = if let Some(refused) = token.or_else(|| first(BrokerFailure::Authentication)) {
        let why = reason(refused, cluster, expired);
        let detail = format!("no broker of {brokers} accepts the daemon's credentials; {why}");
        (Code::KafkaAuthenticationFailed, detail)
    } else if let Some(refused) = first(BrokerFailure::Tls) {
        let why = reason(refused, cluster, expired);
        (Code::KafkaTlsFailed, format!("no broker of {brokers} can be used over TLS; {why}"))
    } else {
        (Code::KafkaUnreachable, format!("no broker of {brokers} answers"))
    };
    let named: Vec<_> =
        sorted.iter().take(MAX_NAMED).map(|error| format!("{}: {}", error.broker, error.error)).collect();
    let error = if named.is_empty() { error.to_owned() } else { named.join("; ") };
    Observation::new(code, detail).with_error(error)
}

fn code(failure: BrokerFailure) -> Code {
    match failure {
        BrokerFailure::Unreachable => Code::KafkaUnreachable,
        BrokerFailure::Tls => Code::KafkaTlsFailed,
        BrokerFailure::Authentication => Code::KafkaAuthenticationFailed,
        BrokerFailure::Authorization => Code::KafkaAuthorizationFailed,
    }
}

/// Why a broker cannot be used, and how to fix it.
fn reason(error: &BrokerError, cluster: &Cluster, expired: Option<Timestamp>) -> String {
    match error.failure {
        BrokerFailure::Tls => tls_reason(error.certificate).to_owned(),
        BrokerFailure::Authentication if error.error.contains("SSL alert number") => {
            own_certificate_reason(cluster, expired)
        }
        BrokerFailure::Authentication => login_reason(error, cluster),
        BrokerFailure::Authorization => "grant it to the daemon's principal; no restart is needed".to_owned(),
        BrokerFailure::Unreachable => "restore the broker or the network; no restart is needed".to_owned(),
    }
}

fn tls_reason(fault: Option<CertificateFault>) -> &'static str {
    match fault {
        Some(CertificateFault::UnknownAuthority) => {
            "no authority in [kafka] ssl_ca_file signed the broker's certificate; correct that file and restart the \
                         daemon, or renew the certificate"
        }
        Some(CertificateFault::Expired) => {
            "the broker's certificate has expired; renew it on the broker; no restart is needed"
        }
        Some(CertificateFault::NotYetValid) => {
            "the broker's certificate is not valid yet; compare the clocks of both machines"
        }
        Some(CertificateFault::OtherName) => {
            "the broker's certificate is for another host name; use its name in [kafka] brokers and in the brokers' \
                         advertised.listeners, or renew the certificate"
        }
        None => {
            "compare [kafka] security_protocol and ssl_ca_file with the broker's listener and certificate; restart \
                         the daemon after a change of its files"
        }
    }
}

fn own_certificate_reason(cluster: &Cluster, expired: Option<Timestamp>) -> String {
    match (cluster.has_certificate, expired) {
        (false, _) => {
            "the brokers require a client certificate; set [kafka] ssl_cert_file and ssl_key_file, and restart \
             the daemon"
                .into()
        }
        (true, Some(end)) => format!(
            "the brokers reject the daemon's certificate, which expired at {end}; renew [kafka] ssl_cert_file and \
             restart the daemon"
        ),
        (true, None) => "the brokers reject the daemon's certificate; they must trust the authority that signed \
                         [kafka] ssl_cert_file; restart the daemon after a change of that file"
            .into(),
    }
}

fn login_reason(error: &BrokerError, cluster: &Cluster) -> String {
    let mechanism = cluster.mechanism.map_or("SASL", SaslMechanism::as_str);
    if error.broker == TOKEN {
        return "no usable token exists; renew the file of [kafka] sasl_token_file; the daemon reads it again within \
                        10 s"
            .into();
    }
    // The broker names the mechanisms it supports.
    if error.error.contains("mechanism handshake failed") {
        return format!(
            "the brokers' listener does not offer {mechanism}; correct [kafka] sasl_mechanism and restart the daemon, \
                         or correct the listener"
        );
    }
    if cluster.mechanism.is_some_and(SaslMechanism::has_token) {
        return "the brokers reject the token; check its issuer, audience and time, and renew the file of [kafka] \
                        sasl_token_file; the daemon reads it again within 1 min"
            .into();
    }
    format!(
        "the brokers reject user {} ({mechanism}), which is unknown there or has another password; correct the user \
                 on the brokers, or [kafka] sasl_username and sasl_password_file and restart the daemon",
        cluster.username
    )
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn error(broker: &str, failure: BrokerFailure, lasts: bool) -> BrokerError {
        let (broker, error) = (broker.to_owned(), "Connection refused".to_owned());
        BrokerError { broker, failure, certificate: None, error, is_persistent: lasts, at: Instant::now() }
    }

    fn cluster() -> Cluster {
        let sasl = "brokers = \"a:1\"\nsecurity_protocol = \"sasl_ssl\"\nsasl_mechanism = \"PLAIN\"\n\
                    sasl_username = \"ada\"\n";
        Cluster::of(&toml::from_str(sasl).unwrap())
    }

    fn codes(response: Option<Result<(), String>>, errors: &[BrokerError]) -> Vec<Code> {
        observe(response, errors, &cluster(), None).iter().map(Observation::code).collect()
    }

    #[test]
    fn the_response_decides_and_the_errors_explain_it() {
        let down = || Some(Err("timed out".to_owned()));
        let refused = error("a:1", BrokerFailure::Unreachable, false);
        assert_eq!(codes(None, std::slice::from_ref(&refused)), []);
        assert_eq!(codes(Some(Ok(())), std::slice::from_ref(&refused)), [], "one attempt");
        assert_eq!(codes(down(), &[]), [Code::KafkaUnreachable]);
        assert_eq!(codes(down(), std::slice::from_ref(&refused)), [Code::KafkaUnreachable]);
        let untrusted = error("b:1", BrokerFailure::Tls, false);
        assert_eq!(codes(down(), &[refused.clone(), untrusted.clone()]), [Code::KafkaTlsFailed]);
        let denied = error("a:1", BrokerFailure::Authentication, false);
        let is_any = codes(down(), &[refused, untrusted, denied]);
        assert_eq!(is_any, [Code::KafkaAuthenticationFailed], "whichever is the latest");
        let forbidden = error("a:1", BrokerFailure::Authorization, false);
        assert_eq!(
            codes(down(), &[forbidden]),
            [Code::KafkaUnreachable],
            "a broker that denies access does answer"
        );
        let two = ["b:1", "c:1"].map(|broker| error(broker, BrokerFailure::Unreachable, true));
        assert_eq!(codes(Some(Ok(())), &two), [Code::KafkaUnreachable; 2], "broker by broker");
    }

    #[test]
    fn each_cause_has_a_reason_of_its_own() {
        let tls = |certificate| BrokerError { certificate, ..error("a:1", BrokerFailure::Tls, true) };
        let login = |broker: &str, text: &str| BrokerError {
            error: text.to_owned(),
            ..error(broker, BrokerFailure::Authentication, true)
        };
        let alert = login("a:1", "Receive failed: SSL alert number 46");
        let with_certificate = Cluster { has_certificate: true, ..cluster() };
        let by_token = Cluster { mechanism: Some(SaslMechanism::OAuthBearer), ..cluster() };
        let of = |error: &BrokerError| reason(error, &cluster(), None);
        let mut reasons = vec![
            of(&tls(None)),
            of(&tls(Some(CertificateFault::UnknownAuthority))),
            of(&tls(Some(CertificateFault::Expired))),
            of(&tls(Some(CertificateFault::NotYetValid))),
            of(&tls(Some(CertificateFault::OtherName))),
            of(&alert),
            reason(&alert, &with_certificate, None),
            reason(&alert, &with_certificate, Some(Timestamp(0))),
            of(&login("a:1", "Invalid username or password")),
            of(&login("a:1", "SASL PLAIN mechanism handshake failed")),
            reason(&login("a:1", "invalid_token"), &by_token, None),
            reason(&login(TOKEN, "the token expired"), &by_token, None),
        ];
        let all = reasons.len();
        reasons.sort_unstable();
        reasons.dedup();
        assert_eq!(reasons.len(), all, "{reasons:#?}");
    }
}
