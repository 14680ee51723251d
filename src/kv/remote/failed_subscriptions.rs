//! Subscriptions that fail. Each is logged once, and health checks report it as long as it fails. Until it succeeds,
//! this daemon misses messages of other daemons, including revocations.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sync::{Mutex, MutexGuard};

use super::super::KvError;

/// By subscriber: its channel, and the reason.
#[derive(Default)]
pub(super) struct FailedSubscriptions {
    failing: Mutex<BTreeMap<u64, (String, KvError)>>,
    next: AtomicU64,
}

impl FailedSubscriptions {
    /// A number for a new subscriber.
    pub fn next_id(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Records that a subscriber could not subscribe.
    pub fn failed(&self, subscriber: u64, channel: &str, why: KvError) {
        let before = self.failing().insert(subscriber, (channel.to_owned(), why.clone()));
        if before.is_some_and(|(_, before)| before == why) {
            return;
        }
        match why {
            KvError::Denied => tracing::error!(
                event = "kv.subscription_failed",
                channel,
                error = %why,
                "subscription failed; changes by other daemons are missed until it succeeds"
            ),
            _ => tracing::warn!(
                event = "kv.subscription_failed",
                channel,
                error = %why,
                "subscription failed; changes by other daemons are missed until it succeeds"
            ),
        }
    }

    /// Records that a subscriber has subscribed, or has ended.
    pub fn clear(&self, subscriber: u64) {
        self.failing().remove(&subscriber);
    }

    /// An error that names the first failing channel.
    pub fn check(&self) -> Result<(), KvError> {
        match self.failing().first_key_value() {
            Some((_, (channel, why))) => {
                Err(KvError::NotSubscribed { channel: channel.clone(), why: Box::new(why.clone()) })
            }
            None => Ok(()),
        }
    }

    fn failing(&self) -> MutexGuard<'_, BTreeMap<u64, (String, KvError)>> {
        self.failing.lock()
    }
}
