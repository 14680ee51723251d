//! The users that are registered before a run. They log in and read; registrations of the run add others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Uri};
use tokio::task::JoinSet;

use super::test_users::TestUsers;
use crate::clock::RunClock;
use crate::http::{OutgoingRequest, Server, ServerConnection};
use crate::session::{LoginCounters, Session, TokenSource};

/// Number of concurrent registrations: password hashing uses a few cores.
const CONCURRENT_REGISTRATIONS: usize = 4;
/// Maximum number of attempts for a registration that the target refuses with 503.
const ATTEMPTS: u32 = 20;
/// Maximum pause between two attempts, whatever `Retry-After` says, in seconds.
const MAX_PAUSE_SECONDS: u64 = 5;
/// Maximum wait of a registration until it is applied, as a `Prefer` header, in seconds.
const APPLY_WAIT: &str = "wait=60";
/// Timeout of a registration or login.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(75);

/// The users of a run.
pub struct Population {
    users: TestUsers,
    sessions: Vec<Arc<Session>>,
    /// Number of the next new user.
    next: AtomicU64,
}

impl Population {
    /// Creates the users without registering them.
    pub fn new(
        run: &str,
        size: u32,
        headers: &HeaderMap,
        clock: RunClock,
        logins: &Arc<LoginCounters>,
        random: &mut fastrand::Rng,
    ) -> Self {
        let users = TestUsers::new(run, random);
        let session = |number: u64| {
            let source = TokenSource::Login { name: users.name(number), password: users.password(number) };
            Arc::new(Session::new(source, headers.clone(), clock, Arc::clone(logins)))
        };
        let sessions = (0..u64::from(size)).map(session).collect();
        Self { users, sessions, next: AtomicU64::new(u64::from(size)) }
    }

    /// Registers all users and logs them in. Calls `done` after each.
    pub async fn register(
        self: &Arc<Self>,
        server: &Arc<Server>,
        headers: &HeaderMap,
        done: impl Fn() + Clone + Send + 'static,
    ) -> anyhow::Result<()> {
        let mut tasks = JoinSet::new();
        for first in 0..CONCURRENT_REGISTRATIONS.min(self.sessions.len()) {
            let (population, headers, done) = (Arc::clone(self), headers.clone(), done.clone());
            let mut link = ServerConnection::new(Arc::clone(server));
            tasks.spawn(async move {
                for number in (first..population.sessions.len()).step_by(CONCURRENT_REGISTRATIONS) {
                    population.register_one(number, &headers, &mut link).await?;
                    done();
                }
                anyhow::Ok(())
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.context("a task that registers users")??;
        }
        Ok(())
    }

    async fn register_one(
        &self,
        number: usize,
        headers: &HeaderMap,
        link: &mut ServerConnection,
    ) -> anyhow::Result<()> {
        let mut message = self.registration(number as u64, headers);
        message.headers.insert(HeaderName::from_static("prefer"), HeaderValue::from_static(APPLY_WAIT));
        for _ in 0..ATTEMPTS {
            let sent = tokio::time::timeout(RESPONSE_TIMEOUT, link.send(&message, None, true));
            let response = sent.await.context("a registration before the run got no response")?;
            let response = response
                .map_err(|failure| anyhow::anyhow!("a registration before the run: {}", failure.detail()))?;
            match response.status {
                201 => {
                    return self.log_in(number, link).await;
                }
                202 => bail!(
                    "a registration before the run was not applied in 60 s: check that a consumer is running"
                ),
                503 => {
                    let pause = response.retry_after().unwrap_or(1).min(MAX_PAUSE_SECONDS);
                    tokio::time::sleep(Duration::from_secs(pause)).await;
                }
                status => {
                    let code = response.code().unwrap_or_default();
                    bail!("a registration before the run returned {status} {code}");
                }
            }
        }
        bail!("a registration before the run returned 503 {ATTEMPTS} times")
    }

    async fn log_in(&self, number: usize, link: &mut ServerConnection) -> anyhow::Result<()> {
        let first = tokio::time::timeout(RESPONSE_TIMEOUT, self.sessions[number].bearer(link)).await;
        let first = first.context("a login before the run got no response")?;
        first.map_err(|failure| anyhow::anyhow!("a login before the run: {}", failure.detail()))?;
        Ok(())
    }

    /// The number of users that are registered before the run.
    pub fn size(&self) -> u64 {
        self.sessions.len() as u64
    }

    /// The registration of the next new user.
    pub fn new_user_registration(&self, headers: &HeaderMap) -> OutgoingRequest {
        self.registration(self.next.fetch_add(1, Ordering::Relaxed), headers)
    }

    fn registration(&self, number: u64, headers: &HeaderMap) -> OutgoingRequest {
        let mut headers = headers.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let body = self.users.registration(number).into();
        OutgoingRequest { method: Method::POST, path: Uri::from_static("/v1/users"), headers, body }
    }

    /// A registered user, chosen by the number of the request.
    pub fn user(&self, number: u64) -> (String, Arc<Session>) {
        let index = number % self.sessions.len() as u64;
        (self.users.name(index), Arc::clone(&self.sessions[index as usize]))
    }
}
