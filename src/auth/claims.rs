//! What a token of ours says (RFC 7519, RFC 9068).

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Number;

use crate::units::Timestamp;

/// Issuer and audience: tokens that others sign with the same key for something else are not for us.
pub(super) const ISSUER: &str = "forebay";

/// What a token is good for. It stands in the signed header (`header_type`), so that one kind is never taken for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenUse {
    /// Shown with every request.
    Access,
    /// Exchanged for the next pair.
    Refresh,
}

impl TokenUse {
    pub(super) const fn header_type(self) -> &'static str {
        match self {
            Self::Access => "at+jwt",
            Self::Refresh => "rt+jwt",
        }
    }

    /// Whether a header's `header_type` names this use. It is a media type: case does not matter, and `application/` may be left
    /// out (RFC 7515, section 4.1.9).
    pub(super) fn matches_header(self, typ: &str) -> bool {
        let typ = typ.to_ascii_lowercase();
        typ.strip_prefix("application/").unwrap_or(&typ) == self.header_type()
    }
}

/// The claims of both kinds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Whose it is.
    pub sub: String,
    /// Issued at, in seconds. Ours have it; tokens of others need not.
    #[serde(default, deserialize_with = "optional_seconds", skip_serializing_if = "Option::is_none")]
    pub iat: Option<u64>,
    /// Not valid before, in seconds. The same.
    #[serde(default, deserialize_with = "optional_seconds", skip_serializing_if = "Option::is_none")]
    pub nbf: Option<u64>,
    /// Not valid from then on, in seconds.
    #[serde(deserialize_with = "seconds")]
    pub exp: u64,
    /// Whether everything is theirs to see and to change. What the database says counts more.
    #[serde(default)]
    pub admin: bool,
    /// The login it comes from, if it is one of ours ([`Claims::session`]); a token that came from none is believed on its
    /// signature alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// Which password the user had then ([`super::password_version`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pwv: Option<String>,
    /// When the user was registered, in milliseconds: tells later users of the name apart also while the database is away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registered_at: Option<u64>,
    /// Of a refresh token: how often the login was prolonged before.
    #[serde(default, rename = "gen", skip_serializing_if = "Option::is_none")]
    pub generation: Option<u32>,
    /// Always ours. Read by the validation, not from here.
    #[serde(skip_deserializing)]
    pub iss: &'static str,
    /// The same.
    #[serde(skip_deserializing)]
    pub aud: &'static str,
}

impl Claims {
    /// Claims that begin now and end after `ttl` seconds.
    pub fn new(sub: &str, now: Timestamp, ttl: u64) -> Self {
        let now = now.0 / 1000;
        Self {
            sub: sub.to_owned(),
            iat: Some(now),
            nbf: Some(now),
            exp: now + ttl,
            admin: false,
            sid: None,
            pwv: None,
            registered_at: None,
            generation: None,
            iss: ISSUER,
            aud: ISSUER,
        }
    }

    /// The login of ours that the token comes from. Other programs have sessions too, whose names mean nothing here.
    pub fn session(&self) -> Option<&str> {
        let is_ours = |sid: &&str| {
            sid.len() == SESSION_LENGTH && sid.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        self.sid.as_deref().filter(is_ours)
    }
}

/// Of 16 random bytes in hexadecimal: what the sessions' table holds.
const SESSION_LENGTH: usize = 32;

/// A NumericDate, without the fraction that it may have (RFC 7519, section 2).
fn seconds<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    whole_seconds(&Number::deserialize(from)?)
}

fn optional_seconds<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    Option::<Number>::deserialize(from)?.map(|number| whole_seconds(&number)).transpose()
}

fn whole_seconds<E: de::Error>(number: &Number) -> Result<u64, E> {
    /// Above it a floating-point number is no second; long after the year 9999.
    const LATEST: f64 = 1e15;
    let fractional = || number.as_f64().filter(|seconds| (0.0..LATEST).contains(seconds));
    let whole = number.as_u64().or_else(|| fractional().map(|seconds| seconds as u64));
    whole.ok_or_else(|| E::custom("not a number of seconds since 1970"))
}
