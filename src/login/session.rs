//! Sessions and the content of their tokens.

use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use schemars::JsonSchema;
use serde::Serialize;

use super::LoginError;
use super::credential_cache::Account;
use crate::auth::{Claims, Keyring, MAX_ACCESS_TTL, TokenError, TokenUse};
use crate::units::Timestamp;

const BEARER: &str = "Bearer";

/// The response to `POST /login` and `POST /refresh`.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "tokens", deny_unknown_fields)]
pub struct TokenPair {
    access_token: String,
    #[schemars(extend("const" = BEARER))]
    token_type: &'static str,
    /// Lifetime in seconds.
    expires_in: u64,
    refresh_token: String,
}

/// A session, at one of its refreshes.
pub(super) struct Session {
    pub name: String,
    pub id: String,
    /// Number of refreshes.
    pub generation: u32,
    pub password_version: String,
}

/// Signs and verifies the tokens of sessions.
pub(super) struct Sessions {
    pub keyring: Arc<Keyring>,
    pub access_ttl: Duration,
    pub refresh_ttl: Duration,
}

impl Session {
    pub fn begin(name: &str, account: &Account) -> Result<Self, LoginError> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|_| LoginError::Stopping)?;
        let password_version = account.password_version.clone();
        Ok(Self { name: name.to_owned(), id: HEXLOWER.encode(&id), generation: 0, password_version })
    }
}

impl Sessions {
    /// Issues both tokens of a session.
    pub fn issue(
        &self,
        session: &Session,
        account: &Account,
        now: Timestamp,
    ) -> Result<TokenPair, LoginError> {
        let keys = self.keyring.keys().ok_or(LoginError::NoKeys)?;
        let claims = |ttl: Duration| Claims {
            admin: account.admin,
            sid: Some(session.id.clone()),
            pwv: Some(session.password_version.clone()),
            registered_at: Some(account.registered_at.0),
            ..Claims::new(&session.name, now, ttl.as_secs())
        };
        let refresh =
            Claims { generation: Some(session.generation), admin: false, ..claims(self.refresh_ttl) };
        let sign = |claims: &Claims, for_| keys.sign(claims, for_).ok_or(LoginError::NoKeys);
        Ok(TokenPair {
            access_token: sign(&claims(self.access_ttl), TokenUse::Access)?,
            token_type: BEARER,
            expires_in: self.access_ttl.as_secs(),
            refresh_token: sign(&refresh, TokenUse::Refresh)?,
        })
    }

    /// The session of a refresh token.
    pub fn read(&self, token: &str) -> Result<Session, LoginError> {
        let keys = self.keyring.keys().ok_or(LoginError::NoKeys)?;
        let claims = keys.verify(token, TokenUse::Refresh)?;
        let id = claims.session().map(str::to_owned);
        match (id, claims.pwv, claims.generation) {
            (Some(id), Some(password_version), Some(generation)) => {
                Ok(Session { name: claims.sub, id, generation, password_version })
            }
            _ => Err(TokenError::Invalid.into()),
        }
    }

    /// When the last token of a session that is refreshed or ended now expires. An access token may outlive the refresh
    /// token, and may have been issued under a longer setting. Therefore the maximum allowed lifetime counts.
    pub fn last_expiry(&self, now: Timestamp) -> Timestamp {
        let longest = self.refresh_ttl.max(MAX_ACCESS_TTL.0);
        Timestamp(now.0 + u64::try_from(longest.as_millis()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ended_session_is_stored_until_its_tokens_expire() {
        let day = 24 * 3600;
        for (refresh_ttl, remembered) in [(60, day), (day - 1, day), (30 * day, 30 * day)] {
            let sessions = Sessions {
                keyring: Arc::default(),
                access_ttl: Duration::from_secs(60),
                refresh_ttl: Duration::from_secs(refresh_ttl),
            };
            assert_eq!(
                sessions.last_expiry(Timestamp(5)),
                Timestamp(remembered * 1_000 + 5),
                "{refresh_ttl}"
            );
        }
    }
}
