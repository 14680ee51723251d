//! What a token of ours says (RFC 7519, RFC 9068).

use serde::Deserialize;
use serde::Serialize;

use crate::units::Timestamp;

/// Issuer and audience: tokens that others sign with the same key for something else are not for us.
pub(super) const ISSUER: &str = "forebay";

/// What a token is good for. It stands in the signed header (`typ`), so that one kind is never taken for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Shown with every request.
    Access,
    /// Exchanged for the next pair.
    Refresh,
}

impl Use {
    pub(super) const fn typ(self) -> &'static str {
        match self {
            Self::Access => "at+jwt",
            Self::Refresh => "rt+jwt",
        }
    }
}

/// The claims of both kinds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Whose it is.
    pub sub: String,
    /// Issued at, in seconds.
    pub iat: u64,
    /// Not valid before, in seconds.
    pub nbf: u64,
    /// Not valid from then on, in seconds.
    pub exp: u64,
    /// Whether everything is theirs to see and to change. What the database says counts more.
    #[serde(default)]
    pub admin: bool,
    /// The login it comes from; a token that came from none is believed on its signature alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// Which password the user had then ([`super::password_version`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pwv: Option<String>,
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
            iat: now,
            nbf: now,
            exp: now + ttl,
            admin: false,
            sid: None,
            pwv: None,
            generation: None,
            iss: ISSUER,
            aud: ISSUER,
        }
    }
}
