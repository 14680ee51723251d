//! Notifies every daemon of changed users: their entries in the shared cache are removed, then their names are
//! published.
//!
//! A notice that the store does not accept is sent again, with growing delays, until it does. Otherwise another daemon
//! would accept a deleted user until its caches expire. Both steps may be repeated and may be late: a daemon that
//! receives a notice only reads the user once more.
//!
//! When too many names wait, they are replaced by one notice for all users. Entries are not removed for it: daemons
//! bypass the shared cache until its entries have expired. For the same time, a key in the store tells daemons that
//! were not subscribed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use prometheus::IntCounter;
use tokio::sync::Notify;

use super::metrics::Metrics;
use crate::backoff::Backoff;
use crate::kv::{Kv, KvError};
use crate::sync::{Mutex, MutexGuard};
use crate::task::Task;

/// Channel of the notices between daemons. A message contains changed names, separated by spaces.
pub const CHANNEL: &str = "forebay:users";
/// Stands for all users. It is not a valid name. A daemon of an earlier version treats it as a name.
pub const ALL_USERS: &str = "*";
/// Maximum number of names per message.
const NAMES_PER_MESSAGE: usize = 500;
/// Maximum number of waiting names, some megabytes. Above it, a notice for all users replaces them.
const MAX_WAITING: usize = 50_000;
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Key of a user in the shared cache.
pub(super) fn shared_key(name: &str) -> String {
    format!("user:profile:{name}")
}

/// The sender of change notices. Clones share the queue.
#[derive(Clone)]
pub struct ChangeNotices(Arc<Inner>);

struct Inner {
    kv: Kv,
    /// Time to live of entries in the shared cache.
    entries_live: Duration,
    waiting: Mutex<UnpublishedNames>,
    /// Wakes the task that retries unsent notices.
    pending: Notify,
    bound_hit: IntCounter,
}

/// Names that are not yet published.
#[derive(Default)]
struct UnpublishedNames {
    /// Number of the latest change.
    last: u64,
    /// The latest change of each name.
    names: HashMap<String, u64>,
    /// Set if too many names waited: the latest of their changes.
    all_users: Option<u64>,
    /// Whether the failure of the store was logged.
    is_failure_logged: bool,
}

impl ChangeNotices {
    /// A sender for the daemons that share `kv`, whose cached users live for `entries_live`.
    pub fn new(kv: Kv, entries_live: Duration, metrics: &Metrics) -> Self {
        let bound_hit = metrics.notices_hit.clone();
        Self(Arc::new(Inner {
            kv,
            entries_live,
            waiting: Mutex::default(),
            pending: Notify::new(),
            bound_hit,
        }))
    }

    /// Publishes these names. Names that the store does not accept are retried later (see
    /// [`ChangeNotices::retry_unpublished`]), also if this future is dropped.
    pub async fn publish<'a>(&self, names: impl Iterator<Item = &'a str>) {
        let names: Vec<String> = names.map(str::to_owned).collect();
        let change = self.0.add(&names);
        let _rest = WakeOnDrop(&self.0);
        for names in names.chunks(NAMES_PER_MESSAGE) {
            if self.0.send(names, change).await.is_err() {
                return;
            }
        }
    }

    /// Publishes waiting names until the returned task is dropped.
    pub fn retry_unpublished(&self) -> Task {
        let inner = Arc::clone(&self.0);
        Task::spawn("users-notices", async move {
            let mut delays = Backoff::new(RETRY_MIN, RETRY_MAX);
            loop {
                let Some((names, change)) = inner.table().next_batch() else {
                    inner.pending.notified().await;
                    continue;
                };
                match inner.send(&names, change).await {
                    Ok(()) => delays.reset(),
                    Err(_) => tokio::time::sleep(delays.delay()).await,
                }
            }
        })
    }
}

impl Inner {
    fn add(&self, names: &[String]) -> u64 {
        let mut waiting = self.table();
        let (change, is_too_much) = waiting.add(names);
        if is_too_much {
            self.bound_hit.inc();
        }
        change
    }

    /// Publishes these names, and marks their changes up to `change` as published.
    async fn send(&self, names: &[String], change: u64) -> Result<(), KvError> {
        let sent = self.try_send(names).await;
        let mut waiting = self.table();
        match &sent {
            Ok(()) => {
                waiting.on_published(names, change);
                if waiting.is_empty() && std::mem::take(&mut waiting.is_failure_logged) {
                    tracing::info!(
                        event = "users.notices_sent",
                        "other daemons are notified of every changed user again"
                    );
                }
            }
            Err(error) if !std::mem::replace(&mut waiting.is_failure_logged, true) => {
                tracing::warn!(
                    event = "users.notices_delayed",
                    %error,
                    "other daemons may use old data of changed users until the store is available or their caches expire"
                );
            }
            Err(error) => {
                tracing::debug!(event = "users.notices_delayed", %error, "notice not sent; retrying")
            }
        }
        sent
    }

    async fn try_send(&self, names: &[String]) -> Result<(), KvError> {
        let keys: Vec<String> = names.iter().map(|name| shared_key(name)).collect();
        let removed = self.kv.delete_all(&keys).await;
        let noted = match names.iter().any(|name| name == ALL_USERS) {
            // Removed by the step above, so the key gets its full time to live.
            true => self.kv.set_if_absent(&shared_key(ALL_USERS), b"1", self.entries_live).await.map(drop),
            false => Ok(()),
        };
        // Also if the shared cache failed: daemons do not read their caches of logins and tokens from there.
        let published = self.kv.publish(CHANNEL, &names.join(" ")).await;
        removed.and(noted).and(published)
    }

    fn table(&self) -> MutexGuard<'_, UnpublishedNames> {
        self.waiting.lock()
    }
}

impl UnpublishedNames {
    /// Adds a change of these names. Returns the number of the change, and whether it replaced the names by all users.
    fn add(&mut self, names: &[String]) -> (u64, bool) {
        self.last += 1;
        for name in names {
            self.names.insert(name.clone(), self.last);
        }
        let is_too_much = self.names.len() > MAX_WAITING;
        if is_too_much {
            self.names.clear();
            self.all_users = Some(self.last);
        }
        (self.last, is_too_much)
    }

    /// A batch of waiting names, with the latest change.
    fn next_batch(&self) -> Option<(Vec<String>, u64)> {
        let names: Vec<String> = match self.all_users {
            Some(_) => vec![ALL_USERS.to_owned()],
            None => self.names.keys().take(NAMES_PER_MESSAGE).cloned().collect(),
        };
        (!names.is_empty()).then_some((names, self.last))
    }

    /// Removes published names, up to this change. A name that changed later stays.
    fn on_published(&mut self, names: &[String], change: u64) {
        for name in names {
            if self.names.get(name).is_some_and(|newest| *newest <= change) {
                self.names.remove(name);
            }
        }
        if names.iter().any(|name| name == ALL_USERS) {
            self.all_users = self.all_users.filter(|newest| *newest > change);
        }
    }

    fn is_empty(&self) -> bool {
        self.names.is_empty() && self.all_users.is_none()
    }
}

/// Wakes the retrying task, however the publishing ended.
struct WakeOnDrop<'a>(&'a Inner);

impl Drop for WakeOnDrop<'_> {
    fn drop(&mut self) {
        if !self.0.table().is_empty() {
            self.0.pending.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_change_during_a_publication_is_published_later() {
        let mut waiting = UnpublishedNames::default();
        let (first, _) = waiting.add(&names(&["ada", "bob"]));
        let (second, _) = waiting.add(&names(&["ada"]));
        waiting.on_published(&names(&["ada", "bob"]), first);
        assert_eq!(waiting.next_batch(), Some((names(&["ada"]), second)));
        waiting.on_published(&names(&["ada"]), second);
        assert!(waiting.is_empty() && waiting.next_batch().is_none());
    }

    #[test]
    fn too_many_names_become_all_users_without_loss() {
        let mut waiting = UnpublishedNames::default();
        let many: Vec<String> = (0..MAX_WAITING).map(|number| format!("user{number}")).collect();
        assert!(!waiting.add(&many).1);
        let (change, is_too_much) = waiting.add(&names(&["one more"]));
        assert!(is_too_much && waiting.names.is_empty());
        let (later, _) = waiting.add(&names(&["ada"]));
        assert_eq!(waiting.next_batch(), Some((names(&[ALL_USERS]), later)));
        waiting.on_published(&names(&[ALL_USERS]), change);
        assert_eq!(waiting.next_batch(), Some((names(&["ada"]), later)), "a later change is sent by name");
    }
}
