//! Rate limits: logins by address, commands by principal or address, failed logins by account and by address.
//!
//! ```text
//! address        the client's address, seen through proxies
//! settings       limits that change at run time
//! setting_sync   sharing these changes between daemons
//! limiter        one limiter and its clients
//! client_permits   one client: requests waiting for permits
//! permit_lease       permits taken ahead of need, so that most requests need no call to the store
//! refill_queue   requests of many clients, combined into one call
//! shared_store   the shared buckets (`kv`) and their availability; without them each daemon counts alone
//! ```
//!
//! A limiter never fails a request: it grants permits, or returns the time until a retry. It waits only for a call to
//! the store, at most for that call's timeout, and not at all while the store is known to be unavailable.

mod address;
mod client_permits;
mod config;
mod limited;
mod limiter;
mod metrics;
mod permit_lease;
mod refill_queue;
mod setting_sync;
mod settings;
mod shared_store;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::command::KeyedDigest;
use crate::kv::Kv;
use crate::task::Task;

pub use address::{TrustedProxies, client_network};
pub use config::Config;
pub use limited::Limited;
pub use metrics::Metrics;
pub use setting_sync::NotShared;
pub use settings::{Change, Setting, SettingError};

use limiter::{Client, Limiter, TakenPermit};
use shared_store::SharedStore;

/// A limiter whose setting can be changed at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdjustableLimiter {
    /// Logins.
    Login,
    /// Commands.
    Write,
}

impl AdjustableLimiter {
    const ALL: [Self; 2] = [Self::Login, Self::Write];

    /// The limiter with this name in paths and metrics.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|which| which.name() == name)
    }

    /// The limiter's name in paths and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Write => "write",
        }
    }
}

/// Settings and dependencies of the limiters.
pub struct LimitsParts<'a> {
    /// The `[rate_limit]` section.
    pub config: &'a Config,
    /// The store in which daemons count together. `None`: each daemon counts alone.
    pub kv: Option<Kv>,
    /// Timeout of a call to the store.
    pub timeout: Duration,
    /// Hides addresses and names in keys. It must be the same on all daemons; otherwise they count separately.
    pub digest: KeyedDigest,
    /// Counts refusals.
    pub metrics: &'a Metrics,
}

/// All limiters. Clones share them.
#[derive(Clone)]
pub struct Limits(Arc<Inner>);

struct Inner {
    /// The configuration's switch.
    is_on: Arc<AtomicBool>,
    login: Limiter,
    write: Limiter,
    account: Limiter,
    address: Limiter,
    store: Arc<SharedStore>,
    /// Notified when a change could not be shared.
    unsynced: Notify,
}

impl Limits {
    /// Creates the limiters with the configured limits.
    pub fn new(parts: LimitsParts<'_>) -> Self {
        let LimitsParts { config, kv, timeout, digest, metrics } = parts;
        let store = Arc::new(SharedStore::new(kv, timeout, metrics));
        let is_on = Arc::new(AtomicBool::new(config.enabled));
        let limiter = |name, limit, window| {
            let setting = Setting { enabled: true, limit, window };
            Limiter::new(name, (Arc::clone(&is_on), setting), digest.clone(), Arc::clone(&store), metrics)
        };
        Self(Arc::new(Inner {
            login: limiter(AdjustableLimiter::Login.name(), config.login_limit, config.login_window),
            write: limiter(AdjustableLimiter::Write.name(), config.write_limit, config.write_window),
            account: limiter("account", config.account_failures, config.account_window),
            address: limiter("address", config.address_failures, config.address_window),
            is_on: Arc::clone(&is_on),
            store: Arc::clone(&store),
            unsynced: Notify::new(),
        }))
    }

    /// Applies a new configuration, except for limits that were changed at run time.
    pub fn configure(&self, config: &Config) {
        self.0.is_on.store(config.enabled, Ordering::Relaxed);
        for (limiter, limit, window) in [
            (&self.0.login, config.login_limit, config.login_window),
            (&self.0.write, config.write_limit, config.write_window),
            (&self.0.account, config.account_failures, config.account_window),
            (&self.0.address, config.address_failures, config.address_window),
        ] {
            limiter.configure(Setting { enabled: true, limit, window });
        }
    }

    /// Sends requests to the store and follows other daemons' changes, until the returned tasks are dropped. Without
    /// these tasks each daemon counts alone.
    pub fn watch(&self) -> Vec<Task> {
        let Some(kv) = self.0.store.kv().cloned() else { return Vec::new() };
        let (refilling_store, watched_store) = (Arc::clone(&self.0.store), Arc::clone(&self.0.store));
        let refill = Task::spawn("ratelimit-refill", async move { refilling_store.run_refills().await });
        let watch = Task::spawn("ratelimit-store", async move { watched_store.watch().await });
        vec![refill, watch, self.sync_changes(kv)]
    }

    /// Whether limits can be on at all: the configuration's switch.
    pub fn is_on(&self) -> bool {
        self.0.is_on.load(Ordering::Relaxed)
    }

    /// The limits that were changed at run time and differ from the configuration.
    pub fn changes(&self) -> Vec<Change> {
        [&self.0.login, &self.0.write].into_iter().filter_map(Limiter::change).collect()
    }

    /// Counts a login from this address, whatever its result.
    pub async fn login(&self, client: IpAddr) -> Result<(), Limited> {
        self.0.login.take(Client::address(client), 1).await
    }

    /// Counts one command of this principal or, without a principal, of this address.
    pub async fn write(&self, principal: Option<&str>, client: IpAddr) -> Result<(), Limited> {
        self.writes(principal, client, 1).await
    }

    /// Counts the commands of a batch except the first, which was counted already: all of them or none.
    pub async fn write_rest(
        &self,
        principal: Option<&str>,
        client: IpAddr,
        commands: u64,
    ) -> Result<(), Limited> {
        let limit = self.0.write.setting().limit;
        let taken = self.writes(principal, client, commands.saturating_sub(1)).await;
        taken.map_err(|limited| Limited { is_too_large: commands > limit, ..limited })
    }

    async fn writes(&self, principal: Option<&str>, client: IpAddr, count: u64) -> Result<(), Limited> {
        if count == 0 {
            return Ok(());
        }
        let client = match principal {
            Some(name) => Client::Name(name.into()),
            None => Client::address(client),
        };
        self.0.write.take(client, count).await
    }

    /// Counts one attempt of this address at this account, before a password is compared. The attempt counts as a
    /// failure of both until it is given back, so an address cannot have more attempts in progress than its allowed
    /// failures.
    pub async fn password_attempt(&self, name: &str, client: IpAddr) -> Result<PasswordAttempt, Limited> {
        // The address first: an attempt that it refuses does not count for the account.
        let of_address = take(&self.0.address, Client::address(client)).await?;
        match take(&self.0.account, Client::Name(name.into())).await {
            Ok(of_account) => Ok(PasswordAttempt([of_address, of_account])),
            Err(limited) => {
                // No password was compared.
                PasswordAttempt([of_address, None]).give_back().await;
                Err(limited)
            }
        }
    }
}

/// `None` if the client is not limited.
async fn take(limiter: &Limiter, client: Client) -> Result<Option<TakenPermit>, Limited> {
    match limiter.rate() {
        Some(rate) => limiter.take_exactly(client, rate).await.map(Some),
        None => Ok(None),
    }
}

/// A password comparison in progress. Dropping it counts a failure: the password was wrong, or the client disconnected.
#[must_use = "a try that is dropped counts as a failed login"]
pub struct PasswordAttempt([Option<TakenPermit>; 2]);

impl PasswordAttempt {
    /// Does not count the attempt: the password was right, or the daemon refused the request before the comparison.
    pub async fn give_back(self) {
        for taken in self.0.into_iter().flatten() {
            taken.give_back().await;
        }
    }
}
