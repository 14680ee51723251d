//! The `[kafka]` section.

use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config_error::ConfigError;
use crate::kafka::{Acks, Brokers, Compression, Linger, Properties, SaslMechanism, SecurityProtocol};
use crate::units::ByteSize;

/// Connection to Kafka, and settings of all clients.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Bootstrap brokers.
    pub brokers: Brokers,
    /// Client id in the brokers' logs and quotas.
    pub client_id: String,
    /// The confirmation that counts as delivered (`acks`).
    pub acks: Acks,
    /// Compression of batches.
    pub compression: Compression,
    /// How long a record waits for others of its batch.
    pub linger: Linger,
    /// Maximum batch size.
    pub batch_size: ByteSize,
    /// Maximum record size: key, headers and value.
    pub message_max: ByteSize,
    /// Transport, and whether clients authenticate.
    pub security_protocol: SecurityProtocol,
    /// Authentication mechanism.
    pub sasl_mechanism: Option<SaslMechanism>,
    /// User name.
    pub sasl_username: Option<String>,
    /// File with the password. A final newline is not part of it.
    pub sasl_password_file: Option<PathBuf>,
    /// File with the token (OAUTHBEARER), which another program keeps up to date.
    pub sasl_token_file: Option<PathBuf>,
    /// Authorities for the brokers' certificates (default: the system's).
    pub ssl_ca_file: Option<PathBuf>,
    /// The client's certificate.
    pub ssl_cert_file: Option<PathBuf>,
    /// The key of the client's certificate.
    pub ssl_key_file: Option<PathBuf>,
    /// Further librdkafka settings.
    pub properties: Properties,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            brokers: Brokers::Embedded,
            client_id: "forebay".to_owned(),
            acks: Acks::All,
            compression: Compression::Lz4,
            linger: Linger::Auto,
            batch_size: ByteSize::mib(1),
            message_max: ByteSize::mib(1),
            security_protocol: SecurityProtocol::Plaintext,
            sasl_mechanism: None,
            sasl_username: None,
            sasl_password_file: None,
            sasl_token_file: None,
            ssl_ca_file: None,
            ssl_cert_file: None,
            ssl_key_file: None,
            properties: Properties::default(),
        }
    }
}

/// New partitions are detected after at most this time, unless `topic.metadata.refresh.interval.ms` is shorter.
const DEFAULT_TOPIC_REFRESH: Duration = Duration::from_secs(180);

impl Config {
    /// Whether clients authenticate with a token.
    pub fn has_token(&self) -> bool {
        self.sasl_mechanism.is_some_and(SaslMechanism::has_token)
    }

    /// Interval between metadata requests for a healthy topic.
    pub fn topic_refresh(&self) -> Duration {
        let set = self.properties.get("topic.metadata.refresh.interval.ms");
        // −1 disables the client's own metadata requests.
        let set = set.and_then(|millis| millis.parse().ok()).map(Duration::from_millis);
        set.map_or(DEFAULT_TOPIC_REFRESH, |set| set.min(DEFAULT_TOPIC_REFRESH))
    }

    /// Reports all invalid settings at once.
    pub fn validate(&self) -> Vec<ConfigError> {
        let mut mistakes = self.properties.validate();
        let mut range = |key: &str, found: u64, shown: String, low: u64, high: u64, allowed: &str| {
            if !(low..=high).contains(&found) {
                mistakes.push(ConfigError::new("kafka", key, shown, allowed));
            }
        };
        // librdkafka's own limits.
        let linger = self.linger.of_producer();
        let millis = u64::try_from(linger.0.as_millis()).unwrap_or(u64::MAX);
        range("linger", millis, linger.to_string(), 0, 900_000, Linger::ALLOWED);
        let size = self.message_max;
        range("message_max", size.0, size.to_string(), 1000, 1_000_000_000, "1kB to 1GB");
        let size = self.batch_size;
        range("batch_size", size.0, size.to_string(), 1, 2_147_483_647, "1B to 2147483647B");
        if let Brokers::List(list) = &self.brokers
            && let Some(broker) =
                list.split(',').map(str::trim).find(|broker| !is_address(broker, self.security_protocol))
        {
            mistakes.push(ConfigError::new(
                "kafka",
                "brokers",
                if broker.is_empty() { list.as_str() } else { broker },
                "\"embedded\", or a list of host:port with ports 1 to 65535, an IPv6 address as [::1]:9092",
            ));
        }
        self.validate_security(&mut mistakes);
        mistakes
    }

    fn validate_security(&self, mistakes: &mut Vec<ConfigError>) {
        if self.sasl_mechanism.is_some() && !self.security_protocol.has_sasl() {
            let found = self.security_protocol.as_str();
            let allowed = "sasl_plaintext or sasl_ssl, because sasl_mechanism is set";
            mistakes.push(ConfigError::new("kafka", "security_protocol", found, allowed));
        }
        let mut needs = |missing: bool, key: &str, why: &str| {
            if missing {
                mistakes.push(ConfigError::new("kafka", key, "nothing", why));
            }
        };
        if self.security_protocol.has_sasl() {
            needs(self.sasl_mechanism.is_none(), "sasl_mechanism", "needed with this security_protocol");
            let (needs_token, why) = (self.has_token(), "needed with this security_protocol");
            needs(self.sasl_username.is_none() && !needs_token, "sasl_username", why);
            needs(self.sasl_password_file.is_none() && !needs_token, "sasl_password_file", why);
            needs(
                self.sasl_token_file.is_none() && needs_token,
                "sasl_token_file",
                "needed with OAUTHBEARER",
            );
        }
        let (cert, key) = (self.ssl_cert_file.is_some(), self.ssl_key_file.is_some());
        needs(cert && !key, "ssl_key_file", "needed with ssl_cert_file");
        needs(key && !cert, "ssl_cert_file", "needed with ssl_key_file");
        let files = [
            ("sasl_password_file", &self.sasl_password_file),
            ("sasl_token_file", &self.sasl_token_file),
            ("ssl_ca_file", &self.ssl_ca_file),
            ("ssl_cert_file", &self.ssl_cert_file),
            ("ssl_key_file", &self.ssl_key_file),
        ];
        for (key, path) in files {
            if let Some(path) = path.as_ref().filter(|path| !path.is_file()) {
                mistakes.push(ConfigError::new("kafka", key, path.display(), "a file that exists"));
            }
        }
    }
}

/// Whether this is a valid `host:port` for librdkafka. An IPv6 address is in brackets. A prefix `PROTOCOL://` is
/// allowed and must match the configured protocol.
fn is_address(text: &str, protocol: SecurityProtocol) -> bool {
    let named = match text.split_once("://") {
        Some((prefix, named)) if prefix.eq_ignore_ascii_case(protocol.as_str()) => named,
        Some(_) => return false,
        None => text,
    };
    let is_port = |port: &str| {
        port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    named.rsplit_once(':').is_some_and(|(host, port)| is_host(host) && is_port(port))
}

fn is_host(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        let Some(address) = rest.strip_suffix(']') else { return false };
        let (address, zone) = address.split_once('%').unwrap_or((address, "0"));
        return address.parse::<Ipv6Addr>().is_ok() && is_label(zone);
    }
    host.strip_suffix('.').unwrap_or(host).split('.').all(is_label)
}

/// A label of a host name. `_` is not valid in DNS host names, but occurs in names of containers.
fn is_label(label: &str) -> bool {
    !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Span;

    fn read(text: &str) -> Config {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn values_are_accepted_in_every_usual_notation() {
        assert_eq!(read("acks = 1").acks, Acks::Leader);
        assert_eq!(read("acks = \"all\"").acks, Acks::All);
        assert_eq!(read("brokers = [\"a:1\", \"b:2\"]").brokers, Brokers::List("a:1,b:2".into()));
        assert_eq!(read("brokers = \"embedded\"").brokers, Brokers::Embedded);
        assert_eq!(read("security_protocol = \"sasl_ssl\"").security_protocol, SecurityProtocol::SaslSsl);
        assert_eq!(Config::default().linger, Linger::Auto);
        assert_eq!(read("linger = \"auto\"").linger, Linger::Auto);
        assert_eq!(read("linger = \"5ms\"").linger, Linger::For(Span::millis(5)));
        assert_eq!(read("linger = \"0s\"").linger, Linger::For(Span::millis(0)));
        assert!(toml::from_str::<Config>("acks = 2").is_err());
        assert!(toml::from_str::<Config>("brokerz = \"a:1\"").is_err());
    }

    #[test]
    fn an_invalid_linger_is_rejected_by_name() {
        let error = toml::from_str::<Config>("linger = \"automatic\"").unwrap_err().to_string();
        assert!(error.contains("`automatic` is neither \"auto\" nor a duration such as \"5ms\""), "{error}");
        assert!(error.contains("linger"), "{error}");
        let mistakes = read("linger = \"16m\"").validate();
        assert!(mistakes[0].to_string().contains("\"auto\", or 0s to 15m"), "{mistakes:?}");
    }

    #[test]
    fn the_effective_section_round_trips() {
        let text = toml::to_string(&Config::default()).unwrap();
        assert_eq!(toml::to_string(&read(&text)).unwrap(), text);
        assert_eq!(Config::default().validate(), []);
    }

    #[test]
    fn a_broker_is_a_host_and_a_port() {
        let fine = |brokers: &str| read(&format!("brokers = \"{brokers}\"")).validate().is_empty();
        for brokers in [
            "localhost:9092",
            "10.0.0.1:9092",
            "kafka-1.example.org.:9092, kafka_2:1",
            "[::1]:9092",
            "[fe80::1%eth0]:9092",
            "PLAINTEXT://a:9092,plaintext://[::1]:9092",
        ] {
            assert!(fine(brokers), "{brokers}");
        }
        for brokers in [
            "",
            "a",
            ":9092",
            "a:",
            "a:0",
            "a:65536",
            "a:+1",
            "::1:9092",
            "[::1]",
            "[::1:9092",
            "::1]:9092",
            "[a]:9092",
            "a:9092 b:9092",
            "a:9092;b:9092",
            "a:9092,",
            "a b:9092",
            "a..b:9092",
            "a:9092/x",
            "user:word@a:9092",
            "http://a:9092",
            "SSL://a:9092",
            "PLAINTEXT://http://a:9092",
        ] {
            assert!(!fine(brokers), "{brokers}");
        }
    }

    #[test]
    fn a_token_replaces_the_name_and_the_password() {
        let sasl = "security_protocol = \"sasl_ssl\"\nsasl_mechanism = \"OAUTHBEARER\"\n";
        let keys = |text: &str| -> Vec<String> {
            read(&format!("{sasl}{text}")).validate().into_iter().map(|mistake| mistake.key).collect()
        };
        assert_eq!(keys(""), ["sasl_token_file"]);
        assert_eq!(keys("sasl_token_file = \"/does/not/exist\""), ["sasl_token_file"]);
        assert_eq!(keys("sasl_token_file = \"/dev/null\""), ["sasl_token_file"], "no file");
        assert_eq!(
            keys(&format!("sasl_token_file = {:?}", env!("CARGO_MANIFEST_DIR").to_owned() + "/Cargo.toml")),
            [""; 0]
        );
    }

    #[test]
    fn every_config_error_is_reported_with_its_key() {
        let config = read(
            "brokers = \"localhost\"\nlinger = \"1h\"\nmessage_max = \"2B\"\nsecurity_protocol = \"sasl_ssl\"\n\
             ssl_ca_file = \"/does/not/exist\"\nproperties = { acks = 1 }",
        );
        let keys: Vec<_> = config.validate().into_iter().map(|mistake| mistake.key).collect();
        for key in [
            "brokers",
            "linger",
            "message_max",
            "sasl_mechanism",
            "sasl_username",
            "sasl_password_file",
            "ssl_ca_file",
            "properties.acks",
        ] {
            assert!(keys.iter().any(|found| found == key), "{key} is missing in {keys:?}");
        }
    }
}
