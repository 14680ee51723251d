//! Values of `[kafka]` settings that have a fixed set of choices.

use std::str::FromStr;

use serde::{Deserialize, Serialize, de};

use crate::units::Span;

/// The bootstrap brokers, or the embedded broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Brokers {
    /// The embedded broker.
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

/// The confirmation that counts as delivered (`acks`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// Every in-sync replica has the record.
    All,
    /// The partition's leader has the record. It is lost if the leader is.
    Leader,
    /// The record was handed to the network.
    None,
}

impl Acks {
    /// The notation in configuration files and for librdkafka.
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

/// How long a record waits for others of its batch. Written as `"auto"` or a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linger {
    /// The drain gathers records under load and otherwise sends immediately.
    Auto,
    /// Always this long, in librdkafka. The drain gathers nothing.
    For(Span),
}

impl Linger {
    /// The allowed values.
    pub const ALLOWED: &str = "\"auto\", or 0s to 15m";

    /// The `linger` value for librdkafka.
    pub fn of_producer(self) -> Span {
        match self {
            // Longer than handing over the gathered records takes, so that they make one batch per partition. This is
            // also the whole delay of a record after an idle period.
            Self::Auto => Span::millis(1),
            Self::For(span) => span,
        }
    }
}

impl Serialize for Linger {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => to.serialize_str("auto"),
            Self::For(span) => span.serialize(to),
        }
    }
}

impl<'de> Deserialize<'de> for Linger {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let not_allowed =
            |_| de::Error::custom(format!("`{text}` is neither \"auto\" nor a duration such as \"5ms\""));
        text.parse().map(Self::For).map_err(not_allowed)
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
    /// The value for librdkafka.
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

/// Transport, and whether clients authenticate.
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
    /// The value for librdkafka.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Ssl => "ssl",
            Self::SaslPlaintext => "sasl_plaintext",
            Self::SaslSsl => "sasl_ssl",
        }
    }

    /// Whether clients authenticate.
    pub fn has_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

/// Authentication mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names Kafka gives them")]
pub enum SaslMechanism {
    #[serde(rename = "PLAIN")]
    Plain,
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
    #[serde(rename = "OAUTHBEARER")]
    OAuthBearer,
}

impl SaslMechanism {
    /// The value for librdkafka.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::OAuthBearer => "OAUTHBEARER",
        }
    }

    /// Whether a client authenticates with a token, and not with a name and a password.
    pub fn has_token(self) -> bool {
        self == Self::OAuthBearer
    }
}
