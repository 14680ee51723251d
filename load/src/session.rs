//! The token of requests, and how it is replaced.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::Method;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::json;
use tokio::sync::Mutex;

use crate::clock::{Clock, RunClock};
use crate::http::{HttpResponse, OutgoingRequest, RequestError, ServerConnection};

/// A token is replaced when less than this fraction of its lifetime is left.
const REFRESH_MARGIN: f64 = 0.1;

/// Counters of obtained tokens, by reason.
#[derive(Default)]
pub struct LoginCounters {
    /// No token existed.
    pub first: AtomicU64,
    /// The token was about to expire.
    pub before_expiry: AtomicU64,
    /// The target refused the token with 401.
    pub after_401: AtomicU64,
}

/// Source of a token.
pub enum TokenSource {
    /// A file that another program keeps up to date.
    File(PathBuf),
    /// A login with name and password.
    Login {
        /// The user's name.
        name: String,
        /// The user's password.
        password: String,
    },
}

/// A caller with a token, shared by all its requests.
pub struct Session {
    source: TokenSource,
    /// Headers of its logins.
    headers: HeaderMap,
    clock: RunClock,
    logins: Arc<LoginCounters>,
    token: Mutex<Option<BearerToken>>,
}

struct BearerToken {
    bearer: HeaderValue,
    /// When to replace the token. `None`: only when the target refuses it.
    replace_at: Option<Duration>,
}

impl Session {
    /// A session without a token.
    pub fn new(source: TokenSource, headers: HeaderMap, clock: RunClock, logins: Arc<LoginCounters>) -> Self {
        Self { source, headers, clock, logins, token: Mutex::default() }
    }

    /// The header of a request. Obtains a token if none exists or it is about to expire.
    pub async fn bearer(&self, link: &mut ServerConnection) -> Result<HeaderValue, RequestError> {
        let mut token = self.token.lock().await;
        let reason = match &*token {
            Some(held) if held.replace_at.is_none_or(|at| self.clock.now() < at) => {
                return Ok(held.bearer.clone());
            }
            Some(_) => &self.logins.before_expiry,
            None => &self.logins.first,
        };
        self.replace(&mut token, link, reason).await
    }

    /// The header of the second attempt, after the target refused `refused` with 401.
    ///
    /// If many requests are refused at once, the first obtains the token and the others use it.
    pub async fn bearer_after(
        &self,
        refused: &HeaderValue,
        link: &mut ServerConnection,
    ) -> Result<HeaderValue, RequestError> {
        let mut token = self.token.lock().await;
        match &*token {
            Some(held) if held.bearer != *refused => Ok(held.bearer.clone()),
            _ => self.replace(&mut token, link, &self.logins.after_401).await,
        }
    }

    /// Stores the token from the response to a separate login request.
    pub async fn store_token(&self, response: &HttpResponse) -> Result<(), RequestError> {
        *self.token.lock().await = Some(self.token_of(response)?);
        Ok(())
    }

    /// The request that logs this caller in. `None` if the token comes from a file.
    pub fn login(&self) -> Option<OutgoingRequest> {
        let TokenSource::Login { name, password } = &self.source else { return None };
        let mut headers = self.headers.clone();
        // Overrides the content type of other requests.
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let body = json!({"name": name, "password": password}).to_string();
        let path = hyper::Uri::from_static("/login");
        Some(OutgoingRequest { method: Method::POST, path, headers, body: body.into() })
    }

    async fn replace(
        &self,
        token: &mut Option<BearerToken>,
        link: &mut ServerConnection,
        reason: &AtomicU64,
    ) -> Result<HeaderValue, RequestError> {
        let fresh = match (&self.source, self.login()) {
            (TokenSource::File(path), _) => self.read(path.clone()).await?,
            (_, Some(login)) => self.token_of(&link.send(&login, None, true).await?)?,
            (_, None) => return Err(RequestError::Login("no source of a new token".to_owned())),
        };
        reason.fetch_add(1, Ordering::Relaxed);
        let bearer = fresh.bearer.clone();
        *token = Some(fresh);
        Ok(bearer)
    }

    async fn read(&self, path: PathBuf) -> Result<BearerToken, RequestError> {
        let name = path.display().to_string();
        let failed = |error: String| RequestError::Login(format!("{name}: {error}"));
        let text = tokio::task::spawn_blocking(move || std::fs::read_to_string(path)).await;
        let text =
            text.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))?;
        Ok(BearerToken { bearer: header(text.trim())?, replace_at: None })
    }

    fn token_of(&self, response: &HttpResponse) -> Result<BearerToken, RequestError> {
        if response.status != 200 {
            let code = response.code().map(|code| format!(" {code}")).unwrap_or_default();
            return Err(RequestError::Login(format!("the login returned {}{code}", response.status)));
        }
        let token = response.member("access_token");
        let token = token.as_ref().and_then(|token| token.as_str());
        let token = token
            .ok_or_else(|| RequestError::Login("the login's response has no access_token".to_owned()))?;
        let life = response.member("expires_in").and_then(|seconds| seconds.as_f64());
        let life = life.filter(|seconds| (0.0..1e9).contains(seconds));
        let replace_at = life.map(|seconds| replace_at(self.clock.now(), Duration::from_secs_f64(seconds)));
        Ok(BearerToken { bearer: header(token)?, replace_at })
    }
}

/// When to replace a token that was issued now and has this lifetime.
fn replace_at(now: Duration, life: Duration) -> Duration {
    now + life.mul_f64(1.0 - REFRESH_MARGIN)
}

fn header(token: &str) -> Result<HeaderValue, RequestError> {
    let value = HeaderValue::from_str(&format!("Bearer {token}"));
    let mut value = value.map_err(|_| RequestError::Login("the token is not printable".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_replaced_before_it_expires() {
        let seconds = Duration::from_secs;
        assert_eq!(replace_at(seconds(100), seconds(900)), seconds(910));
        assert!(replace_at(seconds(1), seconds(1)) < seconds(2));
    }
}
