//! Sends the daemon's heartbeat, refreshes the reservations of commands not yet applied, and cleans up orphaned
//! reservations.
//!
//! Reservations have a time to live. A backlog may last longer, and a restarted store has lost all reservations.
//! Therefore a task repeatedly reads the claims in the log. It stores or refreshes the reservations of unapplied
//! commands, and removes those of completed commands. It does not read the log below the first unapplied command again.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior};

use super::super::{UserError, Users};
use super::Reservations;
use super::conflict::HEARTBEAT_TIMEOUT;
use super::key::ReservationKey;
use crate::command::UserValue;
use crate::ingest::ClaimedCommand;
use crate::kv::reservation_marker::ReservationMarker;
use crate::kv::{KvError, Replacement, SetOutcome, SubscriptionEvent, reservation_marker};
use crate::task::Task;
use crate::units::Lsn;

/// Three missed heartbeats mean that the daemon is considered dead.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);
/// Interval of cleanup runs.
const CLEANUP_INTERVAL: Duration = Duration::from_secs(5);
/// Delay after a pass that failed because of the store or the database.
const RETRY_DELAY: Duration = Duration::from_secs(5);
/// Claims processed together, with one query each to the database and the store.
const CLAIMS_PER_PAGE: usize = 500;
/// Subscribed only to detect a lost connection to the store, which may have lost all reservations.
const CHANNEL: &str = "forebay:keeper";

/// The maintenance tasks; they end when this is dropped.
pub struct ReservationMaintenance {
    _secret: Task,
    _heartbeat: Task,
    _cleanup: Task,
    _refresh: Task,
}

impl Users {
    /// Starts the maintenance of this daemon's reservations.
    pub fn start_maintenance(&self) -> ReservationMaintenance {
        let users = self.clone();
        let (heartbeat, cleanup) = (Arc::clone(&self.reservations), Arc::clone(&self.reservations));
        let (secret, db, seal) = (Arc::clone(&self.secret), self.db.clone(), self.ingest.seal().clone());
        ReservationMaintenance {
            _secret: Task::spawn("users-secret", async move { secret.fetch(&db, &seal).await }),
            _heartbeat: Task::spawn("users-heartbeat", async move { run_heartbeat(&heartbeat).await }),
            _cleanup: Task::spawn("users-cleanup", async move { run_cleanup(&cleanup).await }),
            _refresh: Task::spawn("users-reservations", async move { users.refresh_forever().await }),
        }
    }

    async fn refresh_forever(&self) {
        let mut subscription = self.reservations.kv.subscribe(CHANNEL);
        let mut settled = Lsn::default();
        loop {
            let pause = match self.refresh_from(settled).await {
                Ok(now) => {
                    settled = now;
                    self.reservations.instance.mark_caught_up();
                    self.config.pending_ttl.0 / 3
                }
                Err(error) => {
                    tracing::debug!(%error, "reservations not refreshed; retrying");
                    RETRY_DELAY
                }
            };
            let woken =
                async { while !matches!(subscription.next().await, SubscriptionEvent::MessagesMissed) {} };
            let _ = tokio::time::timeout(pause, woken).await;
        }
    }

    /// Processes all claims from `from` on; returns the LSN of the first unapplied command.
    async fn refresh_from(&self, from: Lsn) -> Result<Lsn, UserError> {
        let (mut settled, mut at, mut unbroken) = (from, from, true);
        loop {
            let (claims, next) = self.ingest.claimed_commands(at, CLAIMS_PER_PAGE).await?;
            unbroken &= !self.refresh_page(&claims).await?;
            if unbroken {
                settled = next;
            }
            if next == at {
                return Ok(settled);
            }
            at = next;
        }
    }

    /// Processes one page; returns whether a command is unapplied.
    async fn refresh_page(&self, claims: &[ClaimedCommand]) -> Result<bool, UserError> {
        let known = self.finished_commands(claims.iter()).await?;
        let (mut waiting, mut over) = (Vec::new(), Vec::new());
        for claimed in claims {
            let Ok(value) = UserValue::parse(&claimed.value) else { continue };
            let (email, phone) = (value.email.as_deref(), value.phone.as_deref());
            let wanted = self.reservation_keys(&value.name, claimed.fingerprint, email, phone).await;
            match !known.contains(&claimed.id.to_string())
                && self.reservations.statuses.is_live(claimed.id).await
            {
                true => waiting.push((claimed, wanted)),
                false => over.push((claimed, wanted)),
            }
        }
        self.reservations.remove_finished(&over).await?;
        self.reservations.keep(&waiting).await?;
        // The reservations of commands applied meanwhile were removed before these were stored.
        let known = self.finished_commands(waiting.iter().map(|(claimed, _)| *claimed)).await?;
        let waited = waiting.len();
        waiting.retain(|(claimed, _)| known.contains(&claimed.id.to_string()));
        self.reservations.remove_finished(&waiting).await?;
        Ok(waited > waiting.len())
    }

    /// The commands that have completed.
    async fn finished_commands(
        &self,
        claims: impl Iterator<Item = &ClaimedCommand>,
    ) -> Result<HashSet<String>, UserError> {
        let ids: Vec<String> = claims.map(|claimed| claimed.id.to_string()).collect();
        Ok(self.db.decided(&ids).await?)
    }
}

impl Reservations {
    /// Removes the reservations of completed commands.
    async fn remove_finished(&self, over: &[(&ClaimedCommand, Vec<ReservationKey>)]) -> Result<(), KvError> {
        let owned = over.iter().flat_map(|(claimed, wanted)| self.owned_markers(wanted, &claimed.claim));
        let markers: Vec<_> = owned.collect();
        self.kv.remove_all(&markers).await.map(drop)
    }

    /// Stores missing reservations of unapplied commands, and refreshes existing ones.
    async fn keep(&self, waiting: &[(&ClaimedCommand, Vec<ReservationKey>)]) -> Result<(), KvError> {
        let (mut markers, mut entries) = (Vec::new(), Vec::new());
        for (claimed, wanted) in waiting {
            let id = claimed.id.to_string();
            for one in wanted {
                let marker = self.marker(one, claimed.claim, Some(&id));
                entries.push((one.key.clone(), marker.encode(), self.time_to_live()));
                markers.push(marker);
            }
        }
        let held = self.kv.set_if_absent_all(&entries).await?;
        let mut refreshed = Vec::new();
        for ((ours, (key, ..)), held) in markers.into_iter().zip(entries).zip(held) {
            let SetOutcome::Taken(value) = held else { continue };
            let owner = ours.owner();
            if let Some(there) = ReservationMarker::decode(&value).filter(|there| there.owner() == owner) {
                let value = ReservationMarker { id: ours.id, ..there }.encode();
                refreshed.push(Replacement { key, owner, value, ttl: self.time_to_live() });
            }
        }
        self.kv.replace_all(&refreshed).await.map(drop)
    }
}

async fn run_heartbeat(reservations: &Reservations) {
    let key = reservation_marker::heartbeat_key(&reservations.log);
    let mut beats = interval(HEARTBEAT_INTERVAL);
    loop {
        beats.tick().await;
        if let Err(error) =
            reservations.kv.set(&key, &reservations.instance.heartbeat_value(), HEARTBEAT_TIMEOUT).await
        {
            tracing::debug!(%error, "heartbeat not written");
        }
    }
}

/// Cleans up in its own task, because the heartbeat must not wait for it.
async fn run_cleanup(reservations: &Reservations) {
    let mut rounds = interval(CLEANUP_INTERVAL);
    loop {
        rounds.tick().await;
        reservations.run_cleanup().await;
    }
}

fn interval(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
