//! The login service: login, refresh and logout.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::credential_cache::{Account, CredentialCache};
use super::login_limiter::LoginLimiter;
use super::metrics::Metrics;
use super::session::{Session, Sessions};
use super::{Config, LastLogins, LoginError, TokenPair};
use crate::auth::{CacheGenerations, Keyring, Principal, TokenError, password_version};
use crate::command::Secret;
use crate::db::{Database, Rotation, UserRow};
use crate::kv::{Kv, SubscriptionEvent};
use crate::ratelimit::Limits;
use crate::task::Task;
use crate::telemetry::{StepTimer, StepTimers};
use crate::units::Timestamp;
use crate::users::{ChangeNotices, HashPool};
use crate::{auth, ratelimit, users};

/// Maximum time a login waits for its password to be compared.
const COMPARE_TIMEOUT: Duration = Duration::from_secs(5);
/// A client that lost the response to a refresh may repeat it within this time. A later repetition means a stolen
/// token.
const REFRESH_RETRY_WINDOW: Duration = Duration::from_secs(10);
/// A hash that no password matches, so that an unknown name takes as long as a wrong password. The cost is inserted
/// between the halves.
const DUMMY_HASH: [&str; 2] = ["$2b$", "$....................................................."];

/// The dependencies and settings of the service.
pub struct LoginParts {
    /// `[login]`.
    pub config: Config,
    /// Section `[auth]`: lifetimes of tokens.
    pub auth: auth::Config,
    /// The keys that sign tokens.
    pub keyring: Arc<Keyring>,
    /// Cache generations, shared with the verification of tokens.
    pub generations: CacheGenerations,
    /// Database of users and ended sessions.
    pub db: Database,
    /// Store through which daemons receive change notices.
    pub kv: Kv,
    /// Sender of change notices.
    pub notices: ChangeNotices,
    /// Limits of wrong passwords.
    pub limits: Limits,
    /// The pool that compares passwords.
    pub hashing: HashPool,
    /// `[users] password_cost`.
    pub password_cost: u32,
    /// Metrics of the login service.
    pub metrics: Arc<Metrics>,
    /// A longer step is logged.
    pub slow_step: Duration,
}

/// The login service. Cheap to clone.
#[derive(Clone)]
pub struct Login(Arc<Inner>);

struct Inner {
    limiter: LoginLimiter,
    busy_message: String,
    credentials: CredentialCache,
    sessions: Sessions,
    last_logins: LastLogins,
    generations: CacheGenerations,
    db: Database,
    kv: Kv,
    notices: ChangeNotices,
    limits: Limits,
    hashing: HashPool,
    dummy_hash: String,
    metrics: Arc<Metrics>,
    steps: StepTimers,
}

impl Login {
    /// Constructs the service. Fails only if the system has no random numbers.
    pub fn new(parts: LoginParts) -> Result<Self, getrandom::Error> {
        let LoginParts { config, auth, keyring, generations, db, kv, notices, limits, hashing, .. } = parts;
        let (metrics, slow_step) = (parts.metrics, parts.slow_step);
        let (ttl, size) = (config.credential_cache_ttl.0, config.credential_cache_size);
        let [before, after] = DUMMY_HASH;
        Ok(Self(Arc::new(Inner {
            limiter: LoginLimiter::new(config.fast_fail_threshold),
            busy_message: config.fast_fail_message.clone(),
            credentials: CredentialCache::new(ttl, size, generations.clone(), &metrics)?,
            sessions: Sessions { keyring, access_ttl: auth.access_ttl.0, refresh_ttl: auth.refresh_ttl.0 },
            last_logins: LastLogins::new(config.last_logins(), db.clone(), &metrics),
            generations,
            db,
            kv,
            notices,
            limits,
            hashing,
            dummy_hash: format!("{before}{:02}{after}", parts.password_cost),
            steps: StepTimers::new(&metrics.step_seconds, slow_step),
            metrics,
        })))
    }

    /// Issues tokens for a name and its password. `client`: address of the client.
    pub async fn login(&self, name: &str, password: Secret, client: IpAddr) -> Result<TokenPair, LoginError> {
        let result = self.try_login(name, password, client).await;
        let label = match &result {
            Ok(_) => "ok",
            Err(LoginError::WrongCredentials) => "wrong",
            Err(LoginError::Busy(_) | LoginError::Hashing { .. }) => "busy",
            Err(LoginError::Limited(_)) => "limited",
            Err(_) => "failed",
        };
        self.0.metrics.results.with_label_values(&[label]).inc();
        result
    }

    async fn try_login(&self, name: &str, password: Secret, client: IpAddr) -> Result<TokenPair, LoginError> {
        let inner = &*self.0;
        let Some(_seat) = inner.limiter.try_acquire(ratelimit::client_network(client)) else {
            inner.metrics.logins_hit.inc();
            return Err(LoginError::Busy(inner.busy_message.clone()));
        };
        let account = match inner.credentials.get(name, &password) {
            Some(account) => account,
            None => self.verify(name, password, client).await?,
        };
        let now = Timestamp::now();
        let session = Session::begin(name, &account)?;
        let tokens = inner.sessions.issue(&session, &account, now)?;
        inner.last_logins.record(name, now).await;
        Ok(tokens)
    }

    /// Verifies the password and returns the account. Only a wrong password counts against the account's limits, not a
    /// rejection by the daemon. A password found in the cache was not guessed and is not counted.
    async fn verify(&self, name: &str, password: Secret, client: IpAddr) -> Result<Account, LoginError> {
        let tried = self.0.limits.password_attempt(name, client).await?;
        let compared = self.compare(name, password, client).await;
        if !matches!(compared, Err(LoginError::WrongCredentials)) {
            tried.give_back().await;
        }
        compared
    }

    /// Verifies without limits. An unknown name takes as long as a known one.
    async fn compare(&self, name: &str, password: Secret, client: IpAddr) -> Result<Account, LoginError> {
        let inner = &*self.0;
        let generation = inner.generations.current(name);
        let row = self.row(name).await?;
        let hash = row.as_ref().map_or(&inner.dummy_hash, |row| &row.password_hash);
        let _step = self.step("login.compare");
        let deadline = Instant::now() + COMPARE_TIMEOUT;
        let right =
            inner.hashing.verify(password.clone(), hash, ratelimit::client_network(client), deadline).await?;
        let Some(row) = row.filter(|_| right) else { return Err(LoginError::WrongCredentials) };
        let account = account(&row);
        inner.credentials.insert(name, &password, account.clone(), generation);
        Ok(account)
    }

    async fn row(&self, name: &str) -> Result<Option<UserRow>, LoginError> {
        let _step = self.step("login.database");
        // An invalid name belongs to no user; the request takes as long anyway.
        Ok(self.0.db.user(name).await?)
    }

    /// Issues the next tokens of a session. A refresh token is valid once. A later second use means that the token was
    /// stolen, and ends the session (RFC 9700, section 4.14.2).
    pub async fn refresh(&self, token: &str) -> Result<TokenPair, LoginError> {
        let inner = &*self.0;
        let session = inner.sessions.read(token)?;
        let row = self.row(&session.name).await?.ok_or(TokenError::Invalid)?;
        let account = account(&row);
        if account.password_version != session.password_version {
            return Err(TokenError::Invalid.into());
        }
        let _step = self.step("login.rotate");
        let now = Timestamp::now();
        let ends = inner.sessions.last_expiry(now);
        let rotation =
            inner.db.rotate_session(&session.id, session.generation, now, ends, REFRESH_RETRY_WINDOW);
        match rotation.await? {
            Rotation::Rotated | Rotation::Repeated => {
                let next = Session { generation: session.generation + 1, ..session };
                inner.sessions.issue(&next, &account, now)
            }
            Rotation::Ended => Err(TokenError::Invalid.into()),
            Rotation::Reused => {
                tracing::warn!(
                    event = "login.refresh_token_reused",
                    "refresh token was used twice; its session has ended"
                );
                inner.metrics.results.with_label_values(&["reused"]).inc();
                self.publish_change(&session.name).await;
                Err(TokenError::Invalid.into())
            }
        }
    }

    /// Ends the session of a refresh token.
    pub async fn logout_by_refresh_token(&self, token: &str) -> Result<(), LoginError> {
        let session = self.0.sessions.read(token)?;
        self.end_session(&session.name, &session.id).await
    }

    /// Ends the session that an access token came from.
    pub async fn logout(&self, principal: &Principal) -> Result<(), LoginError> {
        let session = principal.session.as_ref().ok_or(TokenError::Invalid)?;
        self.end_session(&principal.name, session).await
    }

    async fn end_session(&self, name: &str, session: &str) -> Result<(), LoginError> {
        let _step = self.step("login.end");
        let now = Timestamp::now();
        let ended = self.0.db.end_session(session, now, self.0.sessions.last_expiry(now)).await;
        // Also after an error: the session may have ended and only the reply been lost.
        self.publish_change(name).await;
        ended?;
        Ok(())
    }

    /// Makes every daemon discard its cached data of a user.
    async fn publish_change(&self, name: &str) {
        self.0.generations.invalidate(name);
        self.0.notices.publish(std::iter::once(name)).await;
    }

    /// Receives change notices until the returned task is dropped.
    pub fn listen(&self) -> Task {
        let generations = self.0.generations.clone();
        let mut changes = self.0.kv.subscribe(users::CHANNEL);
        Task::spawn("login-changes", async move {
            loop {
                match changes.next().await {
                    SubscriptionEvent::Message(names) if names != users::ALL_USERS => {
                        names.split(' ').for_each(|name| generations.invalidate(name));
                    }
                    // Notices may have been lost meanwhile, or the notice is for all users.
                    SubscriptionEvent::Message(_) | SubscriptionEvent::MessagesMissed => {
                        generations.invalidate_all()
                    }
                }
            }
        })
    }

    /// Writes login times until the returned task is dropped.
    pub fn write_behind(&self) -> Task {
        self.0.last_logins.run()
    }

    /// Writes the waiting login times, at shutdown.
    pub async fn flush(&self, within: Duration) {
        self.0.last_logins.flush(within).await;
    }

    fn step(&self, name: &'static str) -> StepTimer {
        self.0.steps.begin(name)
    }
}

fn account(row: &UserRow) -> Account {
    Account {
        admin: row.is_admin,
        password_version: password_version(&row.password_hash),
        registered_at: row.created_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dummy_hash_is_valid_at_every_cost() {
        for cost in [4_u32, 10, 15] {
            let [before, after] = DUMMY_HASH;
            let hash = format!("{before}{cost:02}{after}");
            let parts: bcrypt::HashParts = hash.parse().unwrap();
            assert_eq!(parts.get_cost(), cost);
            assert_eq!(hash.len(), 60);
        }
    }
}
