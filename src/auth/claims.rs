//! Claims of forebay's own tokens (RFC 7519, RFC 9068).

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Number;

use crate::units::Timestamp;

/// Issuer and audience. They exclude tokens that other programs sign with the same key for other purposes.
pub(super) const ISSUER: &str = "forebay";

/// Purpose of a token. It is part of the signed header (`typ`), so that one kind is never accepted as the
/// other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenUse {
    /// Presented with every request.
    Access,
    /// Exchanged for the next pair of tokens.
    Refresh,
}

impl TokenUse {
    pub(super) const fn header_type(self) -> &'static str {
        match self {
            Self::Access => "at+jwt",
            Self::Refresh => "rt+jwt",
        }
    }

    /// Whether a header's `typ` names this use. The value is a media type: case is ignored, and `application/`
    /// is optional (RFC 7515, section 4.1.9).
    pub(super) fn matches_header(self, typ: &str) -> bool {
        let typ = typ.to_ascii_lowercase();
        typ.strip_prefix("application/").unwrap_or(&typ) == self.header_type()
    }
}

/// Claims of both kinds of tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Name of the user.
    pub sub: String,
    /// Time of issue, in seconds. Always set in forebay's tokens, optional in tokens of other issuers.
    #[serde(default, deserialize_with = "optional_seconds", skip_serializing_if = "Option::is_none")]
    pub iat: Option<u64>,
    /// Start of validity, in seconds. Also optional in tokens of other issuers.
    #[serde(default, deserialize_with = "optional_seconds", skip_serializing_if = "Option::is_none")]
    pub nbf: Option<u64>,
    /// End of validity, in seconds.
    #[serde(deserialize_with = "seconds")]
    pub exp: u64,
    /// Whether the user is an administrator. The database takes precedence.
    #[serde(default)]
    pub admin: bool,
    /// Session that the token belongs to, if forebay started it ([`Claims::session`]). A token without a session is
    /// accepted by its signature alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// Version of the user's password at the time of issue ([`super::password_version`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pwv: Option<String>,
    /// Registration time of the user, in milliseconds. Distinguishes later users of the same name even while the
    /// database is unavailable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registered_at: Option<u64>,
    /// In a refresh token: the number of times the session was refreshed.
    #[serde(default, rename = "gen", skip_serializing_if = "Option::is_none")]
    pub generation: Option<u32>,
    /// Always forebay's own issuer. The validation checks it; this field is only written.
    #[serde(skip_deserializing)]
    pub iss: &'static str,
    /// Always forebay's own audience, as above.
    #[serde(skip_deserializing)]
    pub aud: &'static str,
}

impl Claims {
    /// Creates claims that are valid from now, for `ttl` seconds.
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

    /// The forebay session of this token. `None` for a session of another program, whose format differs.
    pub fn session(&self) -> Option<&str> {
        let is_ours = |sid: &&str| {
            sid.len() == SESSION_LENGTH && sid.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        self.sid.as_deref().filter(is_ours)
    }
}

/// Length of 16 random bytes in hexadecimal, as stored in the sessions table.
const SESSION_LENGTH: usize = 32;

/// Reads a NumericDate and drops its optional fraction (RFC 7519, section 2).
fn seconds<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    whole_seconds(&Number::deserialize(from)?)
}

fn optional_seconds<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    Option::<Number>::deserialize(from)?.map(|number| whole_seconds(&number)).transpose()
}

fn whole_seconds<E: de::Error>(number: &Number) -> Result<u64, E> {
    /// Above this, a floating-point number cannot represent single seconds. Far beyond the year 9999.
    const LATEST: f64 = 1e15;
    let fractional = || number.as_f64().filter(|seconds| (0.0..LATEST).contains(seconds));
    let whole = number.as_u64().or_else(|| fractional().map(|seconds| seconds as u64));
    whole.ok_or_else(|| E::custom("not a number of seconds since 1970"))
}
