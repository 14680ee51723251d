//! Whether a command would be superseded because another daemon's clock is ahead.
//!
//! Among daemons the newer command stays, and newer is what was accepted later by its daemon's clock. A daemon that sees
//! a row of a later instant than its own present knows that a change accepted now would be `superseded`, although the
//! client asks for it after what stands there. It waits until it would not, and refuses where that takes longer than the
//! other checks may take (`check_timeout`): clocks that are synchronised differ by less. What another daemon has accepted
//! and nobody has applied yet cannot be seen here: the outcome says it then.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::{UserError, Users};
use crate::db::UserRow;
use crate::units::Timestamp;

impl Users {
    /// Returns when a change that is accepted now is newer than the row.
    pub(super) async fn wait_until_newer(&self, row: &Option<UserRow>) -> Result<(), UserError> {
        match row {
            Some(row) => self.wait_past(row.version.at).await,
            None => Ok(()),
        }
    }

    /// Returns when a deletion that is accepted now is newer than the registration, as far as that is known: the daemon
    /// accepts it without the database, too.
    pub(super) async fn wait_until_newer_than_registration(&self, name: &str) -> Result<(), UserError> {
        match self.registered_at(name).await {
            Some(at) => self.wait_past(at).await,
            None => Ok(()),
        }
    }

    /// When the user was registered, if that is heard in time.
    async fn registered_at(&self, name: &str) -> Option<Timestamp> {
        let asked = async {
            let permit = Arc::clone(&self.query_permits).acquire_owned().await.ok()?;
            let (profiles, name) = (self.profiles.clone(), name.to_owned());
            let profile = self.run_to_completion(permit, async move { profiles.get(&name).await }).await?;
            Some(profile.ok()??.created_at)
        };
        timeout(self.config.check_timeout.0, asked).await.ok()?
    }

    async fn wait_past(&self, at: Timestamp) -> Result<(), UserError> {
        match time_until_past(at, self.ingest.next_accept_time()) {
            Some(wait) if wait > self.config.check_timeout.0 => {
                tracing::debug!(
                    event = "users.clock_behind",
                    wait_ms = wait.as_millis() as u64,
                    "change refused: an earlier change has a later time"
                );
                Err(UserError::ClockBehind { retry_after: wait })
            }
            Some(wait) => {
                tokio::time::sleep(wait).await;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// How long it takes until what is accepted is newer than what was accepted `at`.
fn time_until_past(at: Timestamp, now: Timestamp) -> Option<Duration> {
    (at >= now).then(|| at.since(now) + Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_newer_than_now_is_waited_for_and_what_is_older_is_not() {
        let millis = |count| Some(Duration::from_millis(count));
        assert_eq!(time_until_past(Timestamp(999), Timestamp(1_000)), None);
        assert_eq!(
            time_until_past(Timestamp(1_000), Timestamp(1_000)),
            millis(1),
            "of one instant either may be newer"
        );
        assert_eq!(time_until_past(Timestamp(1_030), Timestamp(1_000)), millis(31));
    }
}
