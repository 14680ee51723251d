//! Authenticates the caller of a request from its `Authorization` header.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::error::Elapsed;
use tokio::time::timeout;

use crate::db::{Database, DbError};
use crate::sync::Mutex;
use crate::task::Task;

use super::account_state;
use super::cache_generations::CacheGenerations;
use super::claims::TokenUse;
use super::config::{Config, Mode};
use super::keyring::Keyring;
use super::keys::TokenError;
use super::metrics::Metrics;
use super::principal::{Caller, Principal};
use super::token_cache::TokenCache;
use super::tokens_file::digest_of;

/// Maximum number of cached tokens.
const MAX_CACHED_TOKENS: u64 = 100_000;
/// Maximum time that a request waits for the check of its token's user. Longer than a healthy database needs, and
/// shorter than the database's own timeouts, because commands must be accepted without the database.
const ACCOUNT_CHECK_TIMEOUT: Duration = Duration::from_secs(1);
/// Interval between two checks of the files, and so the delay until a replaced key takes effect.
const FILE_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Why a request could not be authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Not `Bearer TOKEN`.
    #[error("send `Authorization: Bearer TOKEN`")]
    Malformed,
    /// The token is invalid.
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// Dependencies of the authenticator.
pub struct AuthenticatorParts<'a> {
    /// `[auth]`.
    pub config: Config,
    /// Contents of the section's files.
    pub keyring: Arc<Keyring>,
    /// The generations that cached tokens belong to.
    pub generations: CacheGenerations,
    /// Used to look up users, passwords and ended sessions. `None`: only signatures are checked.
    pub db: Option<Database>,
    /// Hits and misses of the token cache.
    pub metrics: &'a Metrics,
}

/// Authenticates callers. Cheap to clone.
#[derive(Clone)]
pub struct Authenticator(Arc<Inner>);

struct Inner {
    config: Config,
    keyring: Arc<Keyring>,
    generations: CacheGenerations,
    db: Option<Database>,
    cache: TokenCache,
    /// Why the files cannot be used, if they cannot. The previous keys and tokens stay in use.
    file_error: Mutex<Option<String>>,
}

impl Authenticator {
    /// Creates an authenticator.
    pub fn new(parts: AuthenticatorParts<'_>) -> Self {
        let AuthenticatorParts { config, keyring, generations, db, metrics } = parts;
        let verified = TokenCache::new(MAX_CACHED_TOKENS, generations.clone(), metrics);
        Self(Arc::new(Inner {
            config,
            keyring,
            generations,
            db,
            cache: verified,
            file_error: Mutex::default(),
        }))
    }

    /// Creates an authenticator in open mode: every caller counts as an administrator.
    pub fn open(metrics: &Metrics) -> Self {
        let (config, keyring, generations) = (Config::default(), Arc::default(), CacheGenerations::new(1));
        Self::new(AuthenticatorParts { config, keyring, generations, db: None, metrics })
    }

    /// Whether callers must present a token.
    pub fn requires_token(&self) -> bool {
        self.0.config.mode != Mode::Open
    }

    /// Authenticates the caller that presents this header. In open mode the header is ignored.
    pub async fn caller(&self, authorization: Option<&[u8]>) -> Result<Caller, AuthError> {
        if !self.requires_token() {
            return Ok(Caller::OpenMode);
        }
        let Some(header) = authorization else { return Ok(Caller::Anonymous) };
        let token = bearer(header).ok_or(AuthError::Malformed)?;
        Ok(Caller::Authenticated(self.principal(token).await?))
    }

    /// Verifies an access token and returns its principal.
    pub async fn principal(&self, token: &str) -> Result<Principal, TokenError> {
        let inner = &*self.0;
        let shown = digest_of(token);
        if let Some(service) = inner.keyring.tokens().find(&shown) {
            return Ok(service.clone());
        }
        if let Some(known) = inner.cache.get(&shown) {
            return Ok(known);
        }
        let keys = inner.keyring.keys().ok_or(TokenError::Invalid)?;
        let claims = keys.verify(token, TokenUse::Access)?;
        let generation = inner.generations.current(&claims.sub);
        let account_state = match &inner.db {
            Some(db) => timeout(ACCOUNT_CHECK_TIMEOUT, account_state::current_principal(db, &claims))
                .await
                .unwrap_or_else(timeout_error),
            None => Ok(Some(account_state::principal(&claims))),
        };
        match account_state {
            Ok(Some(principal)) => {
                inner.cache.insert(shown, principal.clone(), claims.exp, generation);
                Ok(principal)
            }
            Ok(None) => Err(TokenError::Invalid),
            Err(error) => {
                // A token lives for minutes, and the database may be unavailable for longer. Commands must be accepted
                // without it. The result is not cached, so the database is queried as soon as it answers.
                tracing::debug!(%error, "token accepted by its signature alone");
                Ok(account_state::principal(&claims))
            }
        }
    }

    /// Watches the files of `[auth]` for changes until the returned `Task` is dropped.
    pub fn reload_on_change(&self) -> Task {
        let this = self.clone();
        Task::spawn("auth-files", async move {
            loop {
                tokio::time::sleep(FILE_CHECK_INTERVAL).await;
                this.reload_files().await;
            }
        })
    }

    /// Why the files of `[auth]` cannot be used, if they cannot. The previous keys and tokens stay in use.
    pub fn file_error(&self) -> Option<String> {
        self.0.file_error.lock().clone()
    }

    /// Loads the files of `[auth]` if they have changed. Errors are logged.
    pub async fn reload_files(&self) {
        let inner = Arc::clone(&self.0);
        let reloaded = tokio::task::spawn_blocking(move || inner.keyring.reload(&inner.config)).await;
        match reloaded {
            Ok(Ok(false)) => {}
            Ok(Ok(true)) => {
                *self.0.file_error.lock() = None;
                self.0.cache.clear();
                tracing::info!(event = "auth.files_reloaded", "changed keys and tokens of [auth] are in use");
            }
            Ok(Err(why)) => {
                tracing::warn!(
                    event = "auth.files_rejected",
                    error = why,
                    "changed files of [auth] rejected; the previous keys and tokens stay in use"
                );
                *self.0.file_error.lock() = Some(why);
            }
            Err(error) => {
                tracing::error!(event = "auth.files_not_checked", %error, "files of [auth] not checked for changes");
            }
        }
    }
}

fn timeout_error<T>(_: Elapsed) -> Result<T, DbError> {
    Err(DbError::Unavailable("no response within the timeout of a request".to_owned()))
}

/// Extracts the token from `Bearer TOKEN` (RFC 6750, section 2.1).
fn bearer(header: &[u8]) -> Option<&str> {
    let text = str::from_utf8(header).ok()?;
    let (scheme, token) = text.split_once(' ')?;
    let token = token.trim_matches(' ');
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    let sane = !token.is_empty() && token.bytes().all(plain);
    (scheme.eq_ignore_ascii_case("bearer") && sane).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bearer_token_is_read() {
        assert_eq!(bearer(b"Bearer abc.def-_~+/="), Some("abc.def-_~+/="));
        assert_eq!(bearer(b"bearer  abc "), Some("abc"));
        for other in [&b"Basic YTpi"[..], b"Bearer", b"Bearer ", b"Bearer a b", b"abc", b"", b"Bearer \xff"] {
            assert_eq!(bearer(other), None, "{other:?}");
        }
    }
}
