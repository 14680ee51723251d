//! Rate limits: logins by address, commands by principal or address, failed logins by account and by address.
//!
//! ```text
//! address    who the client is, seen through proxies
//! settings   limits that change at run time; sharing: every daemon knows them
//! limiter    one limiter and its clients
//! entry        one client: who waits for permits
//! lease          permits taken ahead of need, so that most requests ask nobody
//! refill     the questions of many clients, gathered into one call
//! store      the shared buckets (`kv`), and whether they answer; if not, each daemon counts for itself
//! ```
//!
//! A limiter never fails a request: it grants or it says when to come again. What it waits for is a call to the store,
//! no longer than that may take, and nothing while the store is known to be away.

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

    /// By its name in paths and metrics.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|which| which.name() == name)
    }

    /// Its name in paths and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Write => "write",
        }
    }
}

/// What the limiters are made of.
pub struct LimitsParts<'a> {
    /// The section.
    pub config: &'a Config,
    /// Where daemons count together; none: each counts for itself.
    pub kv: Option<Kv>,
    /// How long a call to that may take.
    pub timeout: Duration,
    /// Hides addresses and names in keys. The same on all daemons, or they count apart.
    pub digest: KeyedDigest,
    /// Where refusals are counted.
    pub metrics: &'a Metrics,
}

/// All limiters. Clones share them.
#[derive(Clone)]
pub struct Limits(Arc<Inner>);

struct Inner {
    /// The switch of the configuration.
    is_on: Arc<AtomicBool>,
    login: Limiter,
    write: Limiter,
    account: Limiter,
    address: Limiter,
    store: Arc<SharedStore>,
    /// A change could not be shared.
    unsynced: Notify,
}

impl Limits {
    /// As the configuration says.
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

    /// From now on as this configuration says, but for limits that were changed at run time.
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

    /// Asks the store and keeps up with other daemons, for as long as the tasks are held. Without them each daemon
    /// counts for itself.
    pub fn watch(&self) -> Vec<Task> {
        let Some(kv) = self.0.store.kv().cloned() else { return Vec::new() };
        let (asked, watched) = (Arc::clone(&self.0.store), Arc::clone(&self.0.store));
        let ask = Task::spawn("ratelimit-refill", async move { asked.run_refills().await });
        let watch = Task::spawn("ratelimit-store", async move { watched.watch().await });
        vec![ask, watch, self.sync_changes(kv)]
    }

    /// Whether limits can be on at all: the configuration's switch.
    pub fn is_on(&self) -> bool {
        self.0.is_on.load(Ordering::Relaxed)
    }

    /// The limits that were changed at run time and differ from the configuration.
    pub fn changes(&self) -> Vec<Change> {
        [&self.0.login, &self.0.write].into_iter().filter_map(Limiter::change).collect()
    }

    /// A login from this address, whatever comes of it.
    pub async fn login(&self, client: IpAddr) -> Result<(), Limited> {
        self.0.login.take(Client::address(client), 1).await
    }

    /// One command of this principal, or if there is none of this address.
    pub async fn write(&self, principal: Option<&str>, client: IpAddr) -> Result<(), Limited> {
        self.writes(principal, client, 1).await
    }

    /// What a batch of so many commands costs beside the first, which was counted already: all of it or nothing.
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

    /// Before a password is compared: one try of this address at this account. It counts as a failure of both until it is
    /// given back, so an address has no more under way than it may fail.
    pub async fn password_attempt(&self, name: &str, client: IpAddr) -> Result<PasswordAttempt, Limited> {
        // The address first: what it may not try any more does not reach the account.
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

/// None: it is not limited.
async fn take(limiter: &Limiter, client: Client) -> Result<Option<TakenPermit>, Limited> {
    match limiter.rate() {
        Some(rate) => limiter.take_exactly(client, rate).await.map(Some),
        None => Ok(None),
    }
}

/// A password that is being tried. Dropped, it was wrong, or whoever sent it hung up.
#[must_use = "a try that is dropped counts as a failed login"]
pub struct PasswordAttempt([Option<TakenPermit>; 2]);

impl PasswordAttempt {
    /// It does not count: the password was right, or the daemon refused before it was compared.
    pub async fn give_back(self) {
        for taken in self.0.into_iter().flatten() {
            taken.give_back().await;
        }
    }
}
