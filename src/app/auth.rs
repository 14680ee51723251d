//! Who may call, and how often: keys and tokens, the logins that hand them out, the rate limits.

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

/// Users of whom tokens or passwords are remembered; more than are active in the minute that either is kept.
const MAX_CACHED_USERS: u64 = 200_000;

/// Hides addresses and names in the keys of rate limits from who looks at them by chance. The same on all daemons, or
/// they would count apart; a secret would have to be there before the database is, and four bytes of an address are
/// guessed under any digest that many machines can compute.
const DIGEST_DOMAIN: &[u8; 32] = b"forebay rate limits, version 1  ";

/// What says who calls, with the tasks around it.
pub(super) struct Auth {
    pub(super) authenticator: Authenticator,
    /// None where nobody logs in: without users, or without a key that signs.
    pub(super) login: Option<Login>,
    pub(super) limits: Limits,
    /// What is remembered of users' tokens and passwords.
    pub(super) generations: CacheGenerations,
    // Dropped with it: each ends at its next wait.
    _tasks: Vec<Task>,
}

impl Auth {
    /// Reads the files of `[auth]`; starts what keeps them, what is remembered of users, and the limits true. `shared`: where
    /// the limits are counted.
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
        let login = login.transpose().map_err(io::Error::other).map_err(Failure::system("randomness"))?;
        tasks.extend(login.iter().flat_map(|login| [login.listen(), login.write_behind()]));
        Ok(Self { authenticator, login, limits, generations, _tasks: tasks })
    }

    /// Writes the login times that wait.
    pub(super) async fn flush(&self, within: Duration) {
        if let Some(login) = &self.login {
            login.flush(within).await;
        }
    }
}

/// The rate limits, counted where markers are; without such a store each daemon counts for itself.
fn open_limits(config: &Config, kv: Option<&Kv>, metrics: &ratelimit::Metrics) -> Limits {
    Limits::new(ratelimit::LimitsParts {
        config: &config.rate_limit,
        kv: kv.cloned(),
        timeout: config.redis.timeout.0,
        digest: KeyedDigest::new(DIGEST_DOMAIN),
        metrics,
    })
}
