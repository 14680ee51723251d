//! A limiter: its setting, and its known clients.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use data_encoding::HEXLOWER;
use moka::future::Cache;
use moka::notification::RemovalCause;
use prometheus::IntCounter;
use tokio::sync::watch;

use crate::command::KeyedDigest;
use crate::kv::Rate;
use crate::sync::Mutex;
use crate::units::Timestamp;

use super::address;
use super::client_permits::ClientPermits;
use super::limited::Limited;
use super::metrics::Metrics;
use super::settings::{Change, Setting, TimestampedSetting};
use super::shared_store::SharedStore;

/// Maximum number of known clients, about 500 bytes each. A forgotten client costs one more request to the store.
const MAX_CLIENTS: u64 = 50_000;
/// A client without requests for this long is forgotten here; the shared bucket still counts its permits.
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// A limited client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Client {
    /// An IPv4 address, or an IPv6 network.
    Address(IpAddr),
    /// A principal, or an account.
    Name(Box<str>),
}

impl Client {
    pub fn address(address: IpAddr) -> Self {
        Self::Address(address::client_network(address))
    }

    /// Digest of the client: keys of the store contain no address or name.
    fn digest(&self, digest: &KeyedDigest) -> [u8; 16] {
        match self {
            Self::Address(IpAddr::V4(address)) => digest.of(&[b"address", &address.octets()]),
            Self::Address(IpAddr::V6(address)) => digest.of(&[b"address", &address.octets()]),
            Self::Name(name) => digest.of(&[b"name", name.as_bytes()]),
        }
    }
}

/// Counts requests of clients against one setting.
pub(super) struct Limiter {
    name: &'static str,
    /// The configuration's switch. It turns every limit off, whatever was set at run time.
    is_on: Arc<AtomicBool>,
    setting: watch::Sender<TimestampedSetting>,
    /// The configured setting.
    configured: Mutex<Setting>,
    clients: Cache<Client, Arc<ClientPermits>>,
    digest: KeyedDigest,
    store: Arc<SharedStore>,
    rejected: IntCounter,
}

impl Limiter {
    pub fn new(
        name: &'static str,
        (is_on, setting): (Arc<AtomicBool>, Setting),
        digest: KeyedDigest,
        store: Arc<SharedStore>,
        metrics: &Metrics,
    ) -> Self {
        let full = metrics.clients_hit.clone();
        let clients = Cache::builder()
            .max_capacity(MAX_CLIENTS)
            .time_to_idle(FORGET_AFTER)
            .eviction_listener(move |_, _, cause| {
                if cause == RemovalCause::Size {
                    full.inc();
                }
            });
        Self {
            name,
            is_on,
            setting: watch::Sender::new(TimestampedSetting::configured(setting)),
            configured: Mutex::new(setting),
            clients: clients.build(),
            digest,
            store,
            rejected: metrics.rejected.with_label_values(&[name]),
        }
    }

    /// The most recent setting.
    pub fn latest_setting(&self) -> TimestampedSetting {
        *self.setting.borrow()
    }

    /// Applies a setting, unless a later one has been applied meanwhile.
    pub fn apply_if_newer(&self, dated: TimestampedSetting) {
        self.setting.send_if_modified(|said| {
            let is_later = dated.since >= said.since;
            if is_later {
                *said = dated;
            }
            is_later
        });
    }

    /// Sets the configured setting. It applies unless a change was made at run time.
    pub fn configure(&self, setting: Setting) {
        *self.configured.lock() = setting;
        self.apply_if_newer(TimestampedSetting::configured(setting));
    }

    /// The change made at run time, if it differs from the configuration.
    pub fn change(&self) -> Option<Change> {
        let (dated, configured) = (self.latest_setting(), *self.configured.lock());
        let is_changed = dated.since > 0 && dated.setting != configured;
        let (limiter, since, setting) = (self.name, Timestamp(dated.since), dated.setting);
        is_changed.then_some(Change { limiter, since, setting, configured })
    }

    /// The setting in effect.
    pub fn setting(&self) -> Setting {
        let said = self.latest_setting().setting;
        Setting { enabled: said.enabled && self.is_on.load(Ordering::Relaxed), ..said }
    }

    /// The rate in effect. `None` if requests are not limited.
    pub fn rate(&self) -> Option<Rate> {
        let setting = self.setting();
        setting.enabled.then(|| setting.rate())
    }

    /// Takes permits, from a lease if possible.
    pub async fn take(&self, client: Client, count: u64) -> Result<(), Limited> {
        let Some(rate) = self.rate() else { return Ok(()) };
        let entry = self.entry(client, rate).await;
        self.counted(entry.take(&self.store, || self.rate(), count).await)
    }

    /// Takes one permit, without a lease.
    pub async fn take_exactly(&self, client: Client, rate: Rate) -> Result<TakenPermit, Limited> {
        let entry = self.entry(client, rate).await;
        let is_shared = self.counted(entry.take_exactly(&self.store, rate).await)?;
        Ok(TakenPermit { entry, store: Arc::clone(&self.store), rate, is_shared })
    }

    async fn entry(&self, client: Client, rate: Rate) -> Arc<ClientPermits> {
        if let Some(entry) = self.clients.get(&client).await {
            return entry;
        }
        let key =
            format!("forebay:ratelimit:{}:{}", self.name, HEXLOWER.encode(&client.digest(&self.digest)));
        self.clients.get_with(client, async { Arc::new(ClientPermits::new(key, rate)) }).await
    }

    fn counted<T>(&self, decided: Result<T, Limited>) -> Result<T, Limited> {
        decided.inspect_err(|_| self.rejected.inc())
    }
}

/// A permit that may be returned.
pub(super) struct TakenPermit {
    entry: Arc<ClientPermits>,
    store: Arc<SharedStore>,
    rate: Rate,
    is_shared: bool,
}

impl TakenPermit {
    pub async fn give_back(self) {
        self.entry.give_back(&self.store, self.rate, self.is_shared).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_per_client_and_contain_no_names() {
        let digest = KeyedDigest::new(&[7; 32]);
        let of = |client: Client| client.digest(&digest);
        let address = |text: &str| Client::address(text.parse().unwrap());
        assert_eq!(of(address("2001:db8::1")), of(address("2001:db8::2")));
        assert_ne!(of(address("192.0.2.1")), of(address("192.0.2.2")));
        assert_ne!(of(address("97.100.97.33")), of(Client::Name("ada!".into())), "the same four bytes");
    }
}
