//! Tells every daemon which users have changed: their entries in the shared level of the cache are removed, then their
//! names are published.
//!
//! What the store does not take is told again, with growing delays, until it does: otherwise another daemon would let a
//! deleted user in for as long as it remembers them. Both steps may be repeated, and may come late: a daemon that hears
//! of a change only reads the user once more.
//!
//! When too many names wait, they are given up for a notice to all users. No entry is removed for it: daemons do without
//! the shared level until the entries of that time have expired. A key in the store says the same, for as long, to daemons
//! that were not listening.

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

/// Over which daemons tell one another who has changed: names, with a blank between them.
pub const CHANNEL: &str = "forebay:users";
/// Stands for all users; none is called so. A daemon of an earlier version takes it for a name.
pub const ALL_USERS: &str = "*";
/// Names told at once.
const NAMES_PER_MESSAGE: usize = 500;
/// Names that wait, some megabytes. Above it all users may have changed.
const MAX_WAITING: usize = 50_000;
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Where a user stands in the shared level.
pub(super) fn shared_key(name: &str) -> String {
    format!("user:profile:{name}")
}

/// Changes that daemons are told. Clones share what waits.
#[derive(Clone)]
pub struct ChangeNotices(Arc<Inner>);

struct Inner {
    kv: Kv,
    /// How long entries of the shared level live.
    entries_live: Duration,
    waiting: Mutex<UnpublishedNames>,
    /// Something waits, and the task that repeats is to tell it.
    pending: Notify,
    bound_hit: IntCounter,
}

/// What was not told yet.
#[derive(Default)]
struct UnpublishedNames {
    /// Grows with every change.
    last: u64,
    /// The newest change of each name.
    names: HashMap<String, u64>,
    /// Too many names waited; the newest of their changes.
    all_users: Option<u64>,
    /// Whether that the store does not answer was logged.
    is_failure_logged: bool,
}

impl ChangeNotices {
    /// For the daemons that share `kv`, whose entries of users live for `entries_live`.
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

    /// Tells of these names. What the store does not take now it is told later (see [`ChangeNotices::retry_unpublished`]), also when this
    /// future is dropped.
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

    /// Tells what could not be told, for as long as the task is held.
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

    /// Tells of these names, as they are after this change.
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
                    "other daemons may use old data of changed users until the store answers or their caches expire"
                );
            }
            Err(error) => {
                tracing::debug!(event = "users.notices_delayed", %error, "notice not sent; tried again")
            }
        }
        sent
    }

    async fn try_send(&self, names: &[String]) -> Result<(), KvError> {
        let keys: Vec<String> = names.iter().map(|name| shared_key(name)).collect();
        let removed = self.kv.delete_all(&keys).await;
        let noted = match names.iter().any(|name| name == ALL_USERS) {
            // Removed above: it lives from now on.
            true => self.kv.set_if_absent(&shared_key(ALL_USERS), b"1", self.entries_live).await.map(drop),
            false => Ok(()),
        };
        // Also where the shared level failed: what others remember of logins and tokens is not taken from there.
        let published = self.kv.publish(CHANNEL, &names.join(" ")).await;
        removed.and(noted).and(published)
    }

    fn table(&self) -> MutexGuard<'_, UnpublishedNames> {
        self.waiting.lock()
    }
}

impl UnpublishedNames {
    /// Adds a change of these names. Returns its number, and whether names were given up for it.
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

    /// Some that wait, with the newest change there is.
    fn next_batch(&self) -> Option<(Vec<String>, u64)> {
        let names: Vec<String> = match self.all_users {
            Some(_) => vec![ALL_USERS.to_owned()],
            None => self.names.keys().take(NAMES_PER_MESSAGE).cloned().collect(),
        };
        (!names.is_empty()).then_some((names, self.last))
    }

    /// These were told, up to this change. One that came meanwhile waits on.
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

/// Wakes the task that tells the rest, however telling ended.
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
    fn a_change_that_comes_while_an_earlier_one_is_told_waits_on() {
        let mut waiting = UnpublishedNames::default();
        let (first, _) = waiting.add(&names(&["ada", "bob"]));
        let (second, _) = waiting.add(&names(&["ada"]));
        waiting.on_published(&names(&["ada", "bob"]), first);
        assert_eq!(waiting.next_batch(), Some((names(&["ada"]), second)));
        waiting.on_published(&names(&["ada"]), second);
        assert!(waiting.is_empty() && waiting.next_batch().is_none());
    }

    #[test]
    fn too_many_names_are_all_users_and_no_change_is_lost() {
        let mut waiting = UnpublishedNames::default();
        let many: Vec<String> = (0..MAX_WAITING).map(|number| format!("user{number}")).collect();
        assert!(!waiting.add(&many).1);
        let (change, is_too_much) = waiting.add(&names(&["one more"]));
        assert!(is_too_much && waiting.names.is_empty());
        let (later, _) = waiting.add(&names(&["ada"]));
        assert_eq!(waiting.next_batch(), Some((names(&[ALL_USERS]), later)));
        waiting.on_published(&names(&[ALL_USERS]), change);
        assert_eq!(
            waiting.next_batch(),
            Some((names(&["ada"]), later)),
            "what came later is told by its name"
        );
    }
}
