//! Builds authentication and its limits: keys and tokens, logins, and rate limits.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::auth::{Authenticator, AuthenticatorParts, CacheGenerations, Keyring};
use crate::command::KeyedDigest;
use crate::config::Config;
use crate::kv::Kv;
use crate::login::{Login, LoginParts};
use crate::ratelimit::Limits;
use crate::task::Task;
use crate::users::HashPool;
use crate::{auth, login, ratelimit};

use super::Failure;
use super::user_service::UserStores;
use super::wiring::Wiring;

/// Maximum number of users with a cached token or password. More than are active in the minute for which either is
/// kept.
const MAX_CACHED_USERS: u64 = 200_000;

/// Domain of the digest that hides addresses and names in the keys of rate limits from a casual reader. All daemons use
/// the same domain, because they count together. It is not a secret: a secret would have to exist before the database
/// does, and any digest that many machines can compute lets an attacker guess the four bytes of an address.
const DIGEST_DOMAIN: &[u8; 32] = b"forebay rate limits, version 1  ";

/// Authentication, with its background tasks.
pub(super) struct Auth {
    pub(super) authenticator: Authenticator,
    /// `None` if logins are disabled: the daemon has no users, or no signing key.
    pub(super) login: Option<Login>,
    pub(super) limits: Limits,
    /// Cached data of users' tokens and passwords.
    pub(super) generations: CacheGenerations,
    // Dropping a task stops it at its next await point.
    _tasks: Vec<Task>,
}

impl Auth {
    /// Reads the files of `[auth]`. Starts the tasks that keep keys, cached users and limits current. `shared` is the
    /// store in which the limits are counted.
    pub(super) fn open(
        wiring: &Wiring<'_>,
        stores: Option<&UserStores>,
        shared: Option<&Kv>,
        hashing: HashPool,
    ) -> Result<Self, Failure> {
        let config = wiring.config;
        let unreadable = Failure::system("keys and tokens");
        let keyring = Arc::new(Keyring::open(&config.auth).map_err(io::Error::other).map_err(unreadable)?);
        let metrics = wiring.metrics(ratelimit::Metrics::register)?;
        let limits = open_limits(config, shared, &metrics);
        let generations = CacheGenerations::new(MAX_CACHED_USERS);
        let metrics = wiring.metrics(auth::Metrics::register)?;
        let authenticator = Authenticator::new(AuthenticatorParts {
            config: config.auth.clone(),
            keyring: Arc::clone(&keyring),
            generations: generations.clone(),
            db: stores.map(|stores| stores.db.clone()),
            metrics: &metrics,
        });
        let mut tasks = limits.watch();
        tasks.push(authenticator.reload_on_change());
        let with_keys = stores.filter(|_| keyring.keys().is_some());
        let metrics = wiring.metrics(login::Metrics::register)?;
        let login = with_keys.map(|stores| {
            Login::new(LoginParts {
                config: config.login.clone(),
                auth: config.auth.clone(),
                keyring,
                generations: generations.clone(),
                db: stores.db.clone(),
                kv: stores.kv.clone(),
                notices: stores.profiles.notices().clone(),
                limits: limits.clone(),
                hashing,
                password_cost: config.users.password_cost,
                metrics,
                slow_step: config.telemetry.slow_step.0,
            })
        });
        let login = login
            .transpose()
            .map_err(io::Error::other)
            .map_err(Failure::system("random number generator"))?;
        tasks.extend(login.iter().flat_map(|login| [login.listen(), login.write_behind()]));
        Ok(Self { authenticator, login, limits, generations, _tasks: tasks })
    }

    /// Writes the pending login times to the database.
    pub(super) async fn flush(&self, within: Duration) {
        if let Some(login) = &self.login {
            login.flush(within).await;
        }
    }
}

/// Opens the rate limits. They are counted in the reservation store; without one, each daemon counts on its own.
fn open_limits(config: &Config, kv: Option<&Kv>, metrics: &ratelimit::Metrics) -> Limits {
    Limits::new(ratelimit::LimitsParts {
        config: &config.rate_limit,
        kv: kv.cloned(),
        timeout: config.redis.timeout.0,
        digest: KeyedDigest::new(DIGEST_DOMAIN),
        metrics,
    })
}
