//! Sharing run-time changes of limits between daemons. Changes are in the store, and a message announces each. Of two
//! changes the later one applies.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::kv::{Kv, KvError};
use crate::task::Task;

use super::limiter::Limiter;
use super::settings::{Setting, TimestampedSetting};
use super::{AdjustableLimiter, Limits};

/// Channel on which daemons announce changed limits.
const CHANNEL: &str = "forebay:ratelimit";
/// Time to live of a change. The store needs one for every value.
const NO_EXPIRY: Duration = Duration::MAX;
/// Minimum time between attempts while the store is unavailable.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_millis(500);

/// The change applies on this daemon; the other daemons learn it when the store is available again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the change applies on this daemon but was not shared yet")]
pub struct NotShared;

impl Limits {
    /// The setting in effect.
    pub fn setting(&self, which: AdjustableLimiter) -> Setting {
        self.limiter(which).setting()
    }

    /// Changes a limit: on this daemon at once, on every daemon within a second.
    pub async fn change(&self, which: AdjustableLimiter, setting: Setting) -> Result<(), NotShared> {
        let limiter = self.limiter(which);
        let changed = TimestampedSetting::changed(setting, &limiter.latest_setting());
        self.apply_if_newer(which, changed);
        let shared = match self.0.store.kv() {
            Some(kv) => share(kv, which, &changed).await,
            None => return Err(NotShared),
        };
        shared.map_err(|error| {
            tracing::warn!(
                event = "ratelimit.change_not_shared",
                %error,
                limiter = which.name(),
                "changed rate limit not shared with other daemons yet; retrying"
            );
            self.0.unsynced.notify_one();
            NotShared
        })
    }

    /// Follows other daemons' changes, until the returned task is dropped.
    pub(super) fn sync_changes(&self, kv: Kv) -> Task {
        let this = self.clone();
        Task::spawn("ratelimit-settings", async move {
            let mut messages = kv.subscribe(CHANNEL);
            let mut delays = Backoff::new(RETRY_MIN, RETRY_MAX);
            loop {
                // Whatever message arrived or was missed, the value in the store counts.
                let retry = match this.reconcile(&kv).await {
                    Ok(()) => {
                        delays.reset();
                        None
                    }
                    Err(error) => {
                        tracing::debug!(%error, "shared rate limits could not be read yet");
                        Some(delays.delay())
                    }
                };
                let retried = async {
                    match retry {
                        Some(delay) => tokio::time::sleep(delay).await,
                        None => this.0.unsynced.notified().await,
                    }
                };
                tokio::select! {
                    _ = messages.next() => {}
                    () = retried => {}
                }
            }
        })
    }

    /// Applies the later of the local and the stored setting to both.
    async fn reconcile(&self, kv: &Kv) -> Result<(), KvError> {
        for which in AdjustableLimiter::ALL {
            let ours = self.limiter(which).latest_setting();
            let stored = kv.get(&key(which)).await?.as_deref().and_then(TimestampedSetting::decode);
            match stored {
                Some(stored) if stored.since >= ours.since => self.apply_if_newer(which, stored),
                None if ours.since == 0 => {}
                // A change that was not shared, or a store that has lost it.
                _ => share(kv, which, &ours).await?,
            }
        }
        Ok(())
    }

    fn apply_if_newer(&self, which: AdjustableLimiter, dated: TimestampedSetting) {
        let limiter = self.limiter(which);
        if limiter.latest_setting().setting != dated.setting {
            let Setting { enabled, limit, window } = dated.setting;
            tracing::info!(
                event = "ratelimit.changed",
                limiter = which.name(),
                enabled,
                limit,
                %window,
                "rate limit changed"
            );
        }
        limiter.apply_if_newer(dated);
    }

    fn limiter(&self, which: AdjustableLimiter) -> &Limiter {
        match which {
            AdjustableLimiter::Login => &self.0.login,
            AdjustableLimiter::Write => &self.0.write,
        }
    }
}

async fn share(kv: &Kv, which: AdjustableLimiter, dated: &TimestampedSetting) -> Result<(), KvError> {
    kv.set(&key(which), &dated.encode(), NO_EXPIRY).await?;
    kv.publish(CHANNEL, which.name()).await
}

fn key(which: AdjustableLimiter) -> String {
    format!("forebay:ratelimit:{}", which.name())
}
