//! From an `Authorization` header to who calls.

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

/// Tokens remembered at a time.
const MAX_CACHED_TOKENS: u64 = 100_000;
/// How long a request waits to hear whether its token's user is still the same. More than a database needs, and less
/// than its time-outs: commands are to be accepted without it.
const ACCOUNT_CHECK_TIMEOUT: Duration = Duration::from_secs(1);
/// A key that was exchanged counts this soon.
const FILE_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Why a request is from nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Not `Bearer TOKEN`.
    #[error("send `Authorization: Bearer TOKEN`")]
    Malformed,
    /// The token is not good.
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// What the authenticator is made of.
pub struct AuthenticatorParts<'a> {
    /// `[auth]`.
    pub config: Config,
    /// Its files.
    pub keyring: Arc<Keyring>,
    /// The generations that cached tokens belong to.
    pub generations: CacheGenerations,
    /// Where users, passwords and ended logins are looked up; none: signatures alone count.
    pub db: Option<Database>,
    /// Hits and misses.
    pub metrics: &'a Metrics,
}

/// Says who calls. Cheap to clone.
#[derive(Clone)]
pub struct Authenticator(Arc<Inner>);

struct Inner {
    config: Config,
    keyring: Arc<Keyring>,
    generations: CacheGenerations,
    db: Option<Database>,
    cache: TokenCache,
    /// Why the files cannot be used, if so: the previous keys and tokens still count.
    file_error: Mutex<Option<String>>,
}

impl Authenticator {
    /// Ties the parts together.
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

    /// One that asks nobody: every caller counts as an administrator.
    pub fn open(metrics: &Metrics) -> Self {
        let (config, keyring, generations) = (Config::default(), Arc::default(), CacheGenerations::new(1));
        Self::new(AuthenticatorParts { config, keyring, generations, db: None, metrics })
    }

    /// Whether callers have to say who they are.
    pub fn requires_token(&self) -> bool {
        self.0.config.mode != Mode::Open
    }

    /// Who shows this header. In open mode nobody is asked, and nothing shown is looked at.
    pub async fn caller(&self, authorization: Option<&[u8]>) -> Result<Caller, AuthError> {
        if !self.requires_token() {
            return Ok(Caller::OpenMode);
        }
        let Some(header) = authorization else { return Ok(Caller::Anonymous) };
        let token = bearer(header).ok_or(AuthError::Malformed)?;
        Ok(Caller::Authenticated(self.principal(token).await?))
    }

    /// Whose access token this is.
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
                // A token lives for minutes; the database may be away for longer, and commands are to be accepted
                // without it. Not remembered, so that it is asked as soon as it answers.
                tracing::debug!(%error, "token accepted by its signature alone");
                Ok(account_state::principal(&claims))
            }
        }
    }

    /// Looks whether the files of `[auth]` have changed, for as long as the task is held.
    pub fn reload_on_change(&self) -> Task {
        let this = self.clone();
        Task::spawn("auth-files", async move {
            loop {
                tokio::time::sleep(FILE_CHECK_INTERVAL).await;
                this.reload_files().await;
            }
        })
    }

    /// Why the files of `[auth]` cannot be used, if so: the previous keys and tokens still count.
    pub fn file_error(&self) -> Option<String> {
        self.0.file_error.lock().clone()
    }

    /// Takes over what has changed in the files of `[auth]`; what is wrong with them is logged.
    pub async fn reload_files(&self) {
        let inner = Arc::clone(&self.0);
        let looked = tokio::task::spawn_blocking(move || inner.keyring.reload(&inner.config)).await;
        match looked {
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
    Err(DbError::Unavailable("no answer while a request waited".to_owned()))
}

/// The token in `Bearer TOKEN` (RFC 6750, section 2.1).
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
