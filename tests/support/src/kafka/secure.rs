//! Listeners with TLS, and with TLS and SASL, in addition to those of a cluster with ACLs.

use super::certificates::Certificates;
use super::options::{ADMIN_PASSWORD, ADMIN_USER, CLIENT_PASSWORD, CLIENT_USER, Properties};

/// Users of SASL/PLAIN and SCRAM in addition to [`CLIENT_USER`], with its password. Each is for a test that denies it
/// an operation.
const OTHER_USERS: [&str; 4] = ["no-topic", "no-transactions", "no-idempotence", "no-group"];

/// A listener with TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// Requires a client certificate. The user is its subject.
    ClientCertificate,
    /// SASL: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER (unsecured tokens, whose `sub` is the user).
    Sasl,
    /// The listener's certificate has expired.
    Expired,
    /// The listener's certificate is for another name.
    OtherName,
}

impl Listener {
    pub(super) const ALL: [Listener; 4] =
        [Listener::ClientCertificate, Listener::Sasl, Listener::Expired, Listener::OtherName];

    /// Kafka's name, protocol and certificate of the listener.
    fn settings(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Listener::ClientCertificate => ("TLS", "SSL", "broker"),
            Listener::Sasl => ("TLSSASL", "SASL_SSL", "broker"),
            Listener::Expired => ("EXPIRED", "SSL", "expired-broker"),
            Listener::OtherName => ("OTHERNAME", "SSL", "other-broker"),
        }
    }
}

/// Adds the listeners to the properties of a broker.
pub(super) fn listeners(all: &mut Properties, certificates: &Certificates, ports: &[(Listener, u16); 4]) {
    let mut add = |key: &str, more: String| {
        let value = all.entry(key.to_owned()).or_default();
        *value = if value.is_empty() { more } else { format!("{value},{more}") };
    };
    for (listener, port) in ports {
        let (name, protocol, _) = listener.settings();
        add("listeners", format!("{name}://127.0.0.1:{port}"));
        add("advertised.listeners", format!("{name}://127.0.0.1:{port}"));
        add("listener.security.protocol.map", format!("{name}:{protocol}"));
    }
    let mut set = |key: String, value: String| all.insert(key, value);
    set("ssl.truststore.type".into(), "PEM".into());
    set("ssl.truststore.location".into(), certificates.ca());
    set("ssl.keystore.type".into(), "PEM".into());
    for (listener, _) in ports {
        let (name, _, certificate) = listener.settings();
        let prefix = format!("listener.name.{}", name.to_lowercase());
        set(format!("{prefix}.ssl.keystore.location"), certificates.store(certificate));
    }
    set("listener.name.tls.ssl.client.auth".into(), "required".into());
    let sasl = "listener.name.tlssasl";
    let mechanisms = "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER";
    set(format!("{sasl}.sasl.enabled.mechanisms"), mechanisms.into());
    let security = "org.apache.kafka.common.security";
    let users: String =
        users().map(|user| format!(" user_{user}=\"{CLIENT_PASSWORD}\"")).collect::<Vec<_>>().concat();
    let modules = [
        (
            "plain",
            format!(
                "plain.PlainLoginModule required username=\"{ADMIN_USER}\" password=\"{ADMIN_PASSWORD}\"{users};"
            ),
        ),
        ("scram-sha-256", "scram.ScramLoginModule required;".to_owned()),
        ("scram-sha-512", "scram.ScramLoginModule required;".to_owned()),
        ("oauthbearer", "oauthbearer.OAuthBearerLoginModule required;".to_owned()),
    ];
    for (mechanism, module) in modules {
        set(format!("{sasl}.{mechanism}.sasl.jaas.config"), format!("{security}.{module}"));
    }
}

/// The storage tool's arguments for SCRAM users.
pub(super) fn scram_users() -> Vec<String> {
    let of_each = |user: &'static str| {
        let user = format!("[name={user},password={CLIENT_PASSWORD}]");
        let add = |mechanism: &str| ["--add-scram".to_owned(), format!("{mechanism}={user}")];
        add("SCRAM-SHA-256").into_iter().chain(add("SCRAM-SHA-512"))
    };
    users().flat_map(of_each).collect()
}

fn users() -> impl Iterator<Item = &'static str> {
    [CLIENT_USER].into_iter().chain(OTHER_USERS)
}
