//! The `[kafka]` section.

use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;
use serde::Serialize;
use serde::de;

use crate::kafka::Properties;
use crate::mistake::Mistake;
use crate::units::ByteSize;
use crate::units::Span;

/// Where Kafka is and how to speak to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The brokers to ask first.
    pub brokers: Brokers,
    /// How the daemon names itself in the brokers' logs and quotas.
    pub client_id: String,
    /// Which confirmation counts as delivered.
    pub acks: Acks,
    /// Compression of batches.
    pub compression: Compression,
    /// How long a batch waits for company.
    pub linger: Span,
    /// Largest batch.
    pub batch_size: ByteSize,
    /// Largest record: key, headers and value.
    pub message_max: ByteSize,
    /// Transport and whether a client has to name itself.
    pub security_protocol: SecurityProtocol,
    /// How it names itself.
    pub sasl_mechanism: Option<SaslMechanism>,
    /// Its name.
    pub sasl_username: Option<String>,
    /// The file that holds its password; a final newline is not part of it.
    pub sasl_password_file: Option<PathBuf>,
    /// Certificates that may sign the brokers' (default: the system's).
    pub ssl_ca_file: Option<PathBuf>,
    /// The client's certificate.
    pub ssl_cert_file: Option<PathBuf>,
    /// Its key.
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
            linger: Span::millis(1),
            batch_size: ByteSize::mib(1),
            message_max: ByteSize::mib(1),
            security_protocol: SecurityProtocol::Plaintext,
            sasl_mechanism: None,
            sasl_username: None,
            sasl_password_file: None,
            ssl_ca_file: None,
            ssl_cert_file: None,
            ssl_key_file: None,
            properties: Properties::default(),
        }
    }
}

impl Config {
    /// Everything that is wrong, at once.
    pub fn validate(&self) -> Vec<Mistake> {
        let mut mistakes = self.properties.validate();
        let mut range = |key: &str, found: u64, shown: String, low: u64, high: u64, allowed: &str| {
            if !(low..=high).contains(&found) {
                mistakes.push(Mistake::new("kafka", key, shown, allowed));
            }
        };
        // librdkafka's own bounds.
        let linger = u64::try_from(self.linger.0.as_millis()).unwrap_or(u64::MAX);
        range("linger", linger, self.linger.to_string(), 0, 900_000, "0s to 15m");
        let size = self.message_max;
        range("message_max", size.0, size.to_string(), 1000, 1_000_000_000, "1kB to 1GB");
        let size = self.batch_size;
        range("batch_size", size.0, size.to_string(), 1, 2_147_483_647, "1B to 2147483647B");
        if let Brokers::List(list) = &self.brokers
            && list.split(',').any(|broker| !is_address(broker.trim()))
        {
            mistakes.push(Mistake::new(
                "kafka",
                "brokers",
                list,
                "\"embedded\" or host:port, separated by commas",
            ));
        }
        self.validate_security(&mut mistakes);
        mistakes
    }

    fn validate_security(&self, mistakes: &mut Vec<Mistake>) {
        let mut needs = |missing: bool, key: &str, why: &str| {
            if missing {
                mistakes.push(Mistake::new("kafka", key, "nothing", why));
            }
        };
        if self.security_protocol.has_sasl() {
            needs(self.sasl_mechanism.is_none(), "sasl_mechanism", "needed with this security_protocol");
            needs(self.sasl_username.is_none(), "sasl_username", "needed with this security_protocol");
            needs(
                self.sasl_password_file.is_none(),
                "sasl_password_file",
                "needed with this security_protocol",
            );
        }
        let (cert, key) = (self.ssl_cert_file.is_some(), self.ssl_key_file.is_some());
        needs(cert && !key, "ssl_key_file", "needed with ssl_cert_file");
        needs(key && !cert, "ssl_cert_file", "needed with ssl_key_file");
        let files = [
            ("sasl_password_file", &self.sasl_password_file),
            ("ssl_ca_file", &self.ssl_ca_file),
            ("ssl_cert_file", &self.ssl_cert_file),
            ("ssl_key_file", &self.ssl_key_file),
        ];
        for (key, path) in files {
            if let Some(path) = path.as_ref().filter(|path| !path.is_file()) {
                mistakes.push(Mistake::new("kafka", key, path.display(), "a file that exists"));
            }
        }
    }
}

fn is_address(text: &str) -> bool {
    let named = text.rsplit_once("://").map_or(text, |(_, rest)| rest);
    let port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    named.rsplit_once(':').is_some_and(|(host, number)| !host.is_empty() && port(number))
}

/// The brokers to ask first, or the one in the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Brokers {
    /// The broker in the process.
    Embedded,
    /// `host:port`, separated by commas.
    List(String),
}

impl Serialize for Brokers {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Embedded => to.serialize_str("embedded"),
            Self::List(list) => to.serialize_str(list),
        }
    }
}

impl<'de> Deserialize<'de> for Brokers {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "\"embedded\", host:port, or a list of these")]
        enum Written {
            One(String),
            Many(Vec<String>),
        }
        let list = match Written::deserialize(from)? {
            Written::One(list) => list,
            Written::Many(list) => list.join(","),
        };
        Ok(if list == "embedded" { Self::Embedded } else { Self::List(list) })
    }
}

/// Which confirmation counts as delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// Every in-sync replica has it.
    All,
    /// The partition's leader has it; it is lost if the leader is.
    Leader,
    /// It was handed to the network.
    None,
}

impl Acks {
    /// As it is written in configuration files and for librdkafka.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Leader => "1",
            Self::None => "0",
        }
    }
}

impl FromStr for Acks {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" | "-1" => Ok(Self::All),
            "1" => Ok(Self::Leader),
            "0" => Ok(Self::None),
            other => Err(format!("`{other}` is not \"all\", 1 or 0")),
        }
    }
}

impl Serialize for Acks {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Acks {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "\"all\", 1 or 0")]
        enum Written {
            Number(i64),
            Text(String),
        }
        let text = match Written::deserialize(from)? {
            Written::Number(number) => number.to_string(),
            Written::Text(text) => text,
        };
        text.parse().map_err(de::Error::custom)
    }
}

/// Compression of batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names of the algorithms")]
pub enum Compression {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Compression {
    /// As librdkafka writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// Transport, and whether a client has to name itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names Kafka gives them")]
pub enum SecurityProtocol {
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

impl SecurityProtocol {
    /// As librdkafka writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Ssl => "ssl",
            Self::SaslPlaintext => "sasl_plaintext",
            Self::SaslSsl => "sasl_ssl",
        }
    }

    /// Whether a client has to name itself.
    pub fn has_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

/// How a client names itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names Kafka gives them")]
pub enum SaslMechanism {
    #[serde(rename = "PLAIN")]
    Plain,
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl SaslMechanism {
    /// As librdkafka writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Config {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn values_are_taken_in_every_form_a_person_would_write() {
        assert_eq!(read("acks = 1").acks, Acks::Leader);
        assert_eq!(read("acks = \"all\"").acks, Acks::All);
        assert_eq!(read("brokers = [\"a:1\", \"b:2\"]").brokers, Brokers::List("a:1,b:2".into()));
        assert_eq!(read("brokers = \"embedded\"").brokers, Brokers::Embedded);
        assert_eq!(read("security_protocol = \"sasl_ssl\"").security_protocol, SecurityProtocol::SaslSsl);
        assert!(toml::from_str::<Config>("acks = 2").is_err());
        assert!(toml::from_str::<Config>("brokerz = \"a:1\"").is_err());
    }

    #[test]
    fn the_effective_section_reads_back() {
        let text = toml::to_string(&Config::default()).unwrap();
        assert_eq!(toml::to_string(&read(&text)).unwrap(), text);
        assert_eq!(Config::default().validate(), []);
    }

    #[test]
    fn every_mistake_is_reported_with_its_key() {
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
