//! Detects a command that would be superseded because another daemon's clock is ahead.
//!
//! Among daemons, the command with the later time of acceptance wins. If a row has a later time than this daemon's
//! clock, a change accepted now would be `superseded`, although the client sent it later. The daemon then waits until
//! its clock has passed the row's time. It rejects the request if the wait exceeds the timeout of the other checks
//! (`check_timeout`); synchronised clocks differ by less.
//!
//! A change that another daemon has accepted, but that is not yet applied, cannot be detected here. The outcome then
//! shows the conflict.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::{UserError, Users};
use crate::db::UserRow;
use crate::units::Timestamp;

impl Users {
    /// Waits until a change accepted now is newer than the row.
    pub(super) async fn wait_until_newer(&self, row: &Option<UserRow>) -> Result<(), UserError> {
        match row {
            Some(row) => self.wait_past(row.version.at).await,
            None => Ok(()),
        }
    }

    /// Waits until a deletion accepted now is newer than the registration, if its time is known. Deletions are accepted
    /// without the database too.
    pub(super) async fn wait_until_newer_than_registration(&self, name: &str) -> Result<(), UserError> {
        match self.registered_at(name).await {
            Some(at) => self.wait_past(at).await,
            None => Ok(()),
        }
    }

    /// The user's registration time, if the database responds in time.
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
                    "change rejected: an earlier change has a later time"
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

/// The time until a new command is newer than one accepted at `at`.
fn time_until_past(at: Timestamp, now: Timestamp) -> Option<Duration> {
    (at >= now).then(|| at.since(now) + Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_newer_row_delays_a_command() {
        let millis = |count| Some(Duration::from_millis(count));
        assert_eq!(time_until_past(Timestamp(999), Timestamp(1_000)), None);
        assert_eq!(
            time_until_past(Timestamp(1_000), Timestamp(1_000)),
            millis(1),
            "at equal times either may be newer"
        );
        assert_eq!(time_until_past(Timestamp(1_030), Timestamp(1_000)), millis(31));
    }
}
