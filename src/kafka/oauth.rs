//! Tokens for SASL/OAUTHBEARER, read from a file that another program keeps up to date.
//!
//! Every client requests a token through its context when it is created, and again before the token expires. The
//! request contains the path, which is set in librdkafka's `sasl.oauthbearer.config`. librdkafka itself uses that
//! setting only for unsecured tokens. rdkafka's admin client never requests a token, so it cannot be used with this
//! mechanism.

use std::error::Error;
use std::fs::File;
use std::io;
use std::io::Read as _;

use data_encoding::BASE64URL_NOPAD;
use rdkafka::client::OAuthToken;
use serde::Deserialize;

use crate::kafka::broker_errors;
use crate::units::Timestamp;

/// Maximum size of a token. Tokens have a few kilobytes.
const MAX_BYTES: u64 = 64 << 10;
/// The file is read again after at most four fifths of this time, because a revoked token is replaced there.
const MAX_LIFETIME_MS: u64 = 60_000;
/// Name of the client if the token does not contain one. Used only in librdkafka's logs.
const UNNAMED: &str = "forebay";

/// The relevant claims of a signed token. A token in another format has none.
#[derive(Default, Deserialize)]
struct Claims {
    sub: Option<String>,
    /// Seconds since 1970.
    exp: Option<f64>,
}

/// The token in the file at `path`. An error is recorded for the problem list, because librdkafka reports an
/// unchanged error only once.
pub(super) fn token(path: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
    read(path.unwrap_or_default(), Timestamp::now())
        .inspect_err(|error| broker_errors::record_token_error(&error.to_string()))
        .map_err(Into::into)
}

/// Reads the token. Errors never contain the content of the file.
fn read(path: &str, now: Timestamp) -> io::Result<OAuthToken> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{path}: {error}"));
    let mut text = String::new();
    let file = File::open(path).map_err(named)?;
    file.take(MAX_BYTES).read_to_string(&mut text).map_err(named)?;
    let token = text.trim();
    if token.is_empty() {
        return Err(io::Error::other(format!("{path} contains no token")));
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(io::Error::other(format!("{path} contains data that is not a token")));
    }
    let claims = claims(token);
    let end = claims.exp.map(|seconds| Timestamp((seconds.max(0.0) * 1e3) as u64));
    if let Some(end) = end.filter(|end| *end <= now) {
        return Err(io::Error::other(format!("the token in {path} expired at {end}")));
    }
    let lifetime = end.map_or(MAX_LIFETIME_MS, |end| end.0 - now.0).min(MAX_LIFETIME_MS);
    Ok(OAuthToken {
        token: token.to_owned(),
        principal_name: claims.sub.unwrap_or_else(|| UNNAMED.to_owned()),
        lifetime_ms: i64::try_from(now.0 + lifetime).unwrap_or(i64::MAX),
    })
}

fn claims(token: &str) -> Claims {
    let payload = token.split('.').nth(1).and_then(|part| BASE64URL_NOPAD.decode(part.as_bytes()).ok());
    payload.and_then(|payload| serde_json::from_slice(&payload).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn of(text: &str) -> Result<OAuthToken, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, text).unwrap();
        read(path.to_str().unwrap(), NOW).map_err(|error| error.to_string())
    }

    fn signed(claims: &str) -> String {
        format!("e30.{}.c2ln", BASE64URL_NOPAD.encode(claims.as_bytes()))
    }

    #[test]
    fn a_token_is_reread_before_expiry_and_every_minute() {
        let soon = of(&format!("{}\n", signed(r#"{"sub":"ada","exp":1010}"#))).unwrap();
        assert_eq!((soon.principal_name.as_str(), soon.lifetime_ms), ("ada", 1_010_000));
        assert_eq!(soon.token, signed(r#"{"sub":"ada","exp":1010}"#), "without the end of the line");
        assert_eq!(of(&signed(r#"{"exp":9999999}"#)).unwrap().lifetime_ms, 1_060_000);
        assert_eq!(of("opaque").unwrap().lifetime_ms, 1_060_000, "a token of another form");
    }

    #[test]
    fn an_unusable_token_is_rejected_without_being_shown() {
        let expired = of(&signed(r#"{"sub":"ada","exp":999}"#)).err().unwrap();
        assert!(expired.contains("expired at 1970-01-01T00:16:39"), "{expired}");
        assert!(!expired.contains("e30"), "{expired}");
        let torn = of("secret secret").err().unwrap();
        assert!(torn.contains("not a token") && !torn.contains("secret"), "{torn}");
        assert!(of(" \n").err().unwrap().contains("contains no token"));
        assert!(read("/does/not/exist", NOW).err().unwrap().to_string().contains("/does/not/exist"));
    }
}
