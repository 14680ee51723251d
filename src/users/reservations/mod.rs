//! Reservations: the first command that asks for a name, an e-mail address or a phone number gets it.
//!
//! A reservation is a marker in the store that daemons share, with a time to live. Here markers are set, confirmed, given
//! back and cleared up.
//!
//! - `in_flight`: requests of this process between their checks and the flush; `guard`: what happens to the markers of one;
//! - `conflict`: whether another command's marker counts; `instance`: which run of a daemon set it;
//! - `maintenance`: heartbeat, markers of commands that still wait; `cleanup`: markers that could not be removed yet.

mod cleanup;
mod conflict;
mod guard;
mod in_flight;
mod instance;
mod key;
mod maintenance;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Config;
use super::metrics::Metrics;
use crate::backoff;
use crate::command::CommandId;
use crate::db::Database;
use crate::ingest::{Ingest, Receipt};
use crate::kv::reservation_marker::ReservationMarker;
use crate::kv::{Kv, KvError, Replacement, SetOutcome, reservation_marker};
use crate::status::Statuses;
use crate::sync::Mutex;

pub use maintenance::ReservationMaintenance;

pub(super) use guard::{ReservationGuard, StoredReservations};
pub(super) use in_flight::InFlightRequest;
pub(super) use key::ReservationKey;

use cleanup::CleanupQueue;
use in_flight::InFlightRequests;
use instance::InstanceId;

/// Markers left behind that are removed with one call.
const MAX_REMOVED_PER_CALL: usize = 1_000;
/// Markers left behind that are judged in a row, one by one.
const MAX_RESOLVED_PER_RUN: usize = 100;

/// A key, and the owner whose value may be removed there.
type OwnedMarker = (String, Vec<u8>);

/// What came of asking for markers.
pub(in crate::users) enum ReserveOutcome {
    /// All are ours.
    Reserved,
    /// The same request is under way in this process.
    InFlight(Arc<InFlightRequest>),
    /// The same request was accepted before and is not yet applied; the owner of its markers.
    Repeat(Receipt, Vec<u8>),
    /// Somebody else's request for this is under way in this process.
    InFlightConflict(Arc<InFlightRequest>, &'static str),
    /// Somebody else has this.
    Taken(&'static str),
    /// A request for this is under way, the same or somebody else's, and its id not known yet: at another daemon, or while
    /// the index is rebuilding. Whether it is accepted is still to be seen.
    Undecided,
}

/// How the command behind a marker of our own log stands.
pub(in crate::users) enum OwnerState {
    Pending(CommandId),
    /// Never accepted, or at its end.
    Ended,
    /// The index is rebuilding.
    Undecided,
}

/// The markers of one log.
pub(in crate::users) struct Reservations {
    pub kv: Kv,
    pub db: Database,
    pub ingest: Ingest,
    pub statuses: Statuses,
    pub in_flight: Arc<InFlightRequests>,
    pub log: [u8; 16],
    pub instance: InstanceId,
    pub ttl: Duration,
    pub jitter: Duration,
    cleanup: CleanupQueue<OwnedMarker>,
    /// Keys of markers that a crash may have left.
    unresolved: CleanupQueue<String>,
    /// Daemons that gave no sign of life when they were looked for, and since when.
    pub silent: Mutex<HashMap<[u8; 16], Instant>>,
}

impl Reservations {
    pub fn new(
        config: &Config,
        kv: Kv,
        db: Database,
        ingest: Ingest,
        statuses: Statuses,
        metrics: &Metrics,
    ) -> Self {
        let log = statuses.log_id();
        let in_flight = Arc::default();
        let (ttl, jitter) = (config.pending_ttl.0, config.pending_jitter.0);
        let bound_hit = metrics.markers_hit.clone();
        Self {
            kv,
            db,
            ingest,
            statuses,
            in_flight,
            log,
            instance: InstanceId::new(),
            ttl,
            jitter,
            cleanup: CleanupQueue::new(bound_hit.clone()),
            unresolved: CleanupQueue::new(bound_hit),
            silent: Mutex::default(),
        }
    }

    /// Asks for all markers of a command side by side. What was set before a refusal or an error is given back.
    pub async fn reserve(
        &self,
        wanted: &[ReservationKey],
        claim: [u8; 16],
    ) -> Result<ReserveOutcome, KvError> {
        let claimed = self.try_reserve(wanted, claim).await;
        if claimed.is_err() {
            // They may have been set although nobody said so.
            self.release(wanted, claim).await;
        }
        claimed
    }

    async fn try_reserve(
        &self,
        wanted: &[ReservationKey],
        claim: [u8; 16],
    ) -> Result<ReserveOutcome, KvError> {
        let entries: Vec<_> = wanted
            .iter()
            .map(|one| (one.key.clone(), self.marker(one, claim, None).encode(), self.time_to_live()))
            .collect();
        let held = self.kv.set_if_absent_all(&entries).await?;
        let mut outcome = ReserveOutcome::Reserved;
        // The name first: it tells a repetition from somebody else's wish.
        for (one, held) in wanted.iter().zip(held) {
            let SetOutcome::Taken(value) = held else { continue };
            match outcome {
                ReserveOutcome::Reserved => outcome = self.resolve_conflict(one, claim, value).await?,
                // Refused already; what a crash has left behind is not left to its time.
                _ => self.remove_orphan(&one.key, &value).await?,
            }
        }
        match &outcome {
            ReserveOutcome::Reserved => {}
            ReserveOutcome::Repeat(_, owner) => {
                self.release(wanted, claim).await;
                let theirs = |one: &ReservationKey| (one.key.clone(), owner.clone(), self.time_to_live());
                let theirs: Vec<_> = wanted.iter().map(theirs).collect();
                self.kv.refresh_all(&theirs).await?;
            }
            _ => self.release(wanted, claim).await,
        }
        Ok(outcome)
    }

    /// Writes the command's id into its markers; the flush has covered it.
    pub async fn confirm(&self, wanted: &[ReservationKey], claim: [u8; 16], id: CommandId) {
        let owner = reservation_marker::owner(&self.log, &claim).into_bytes();
        let id = id.to_string();
        let entries: Vec<_> = wanted
            .iter()
            .map(|one| {
                let value = self.marker(one, claim, Some(&id)).encode();
                let (key, owner, ttl) = (one.key.clone(), owner.clone(), self.time_to_live());
                Replacement { key, owner, value, ttl }
            })
            .collect();
        // What is not confirmed now is when the keeper comes by; until then the log knows its claim.
        if let Err(error) = self.kv.replace_all(&entries).await {
            tracing::debug!(%error, "reservations without a command id");
        }
    }

    /// Takes markers back that no command stands behind.
    pub async fn release(&self, wanted: &[ReservationKey], claim: [u8; 16]) {
        self.remove(self.owned_markers(wanted, &claim)).await;
    }

    /// The markers of a claim, for whoever removes them.
    pub fn owned_markers(&self, wanted: &[ReservationKey], claim: &[u8; 16]) -> Vec<OwnedMarker> {
        let owner = reservation_marker::owner(&self.log, claim).into_bytes();
        wanted.iter().map(|one| (one.key.clone(), owner.clone())).collect()
    }

    /// Removes some of what could not be removed before, and judges some of what could not be judged.
    pub async fn run_cleanup(&self) {
        let left = self.cleanup.take(MAX_REMOVED_PER_CALL);
        if !left.is_empty() {
            self.remove(left).await;
        }
        let unjudged = self.unresolved.take(MAX_RESOLVED_PER_RUN);
        if !unjudged.is_empty() {
            self.remove_orphans(unjudged).await;
        }
    }

    /// What stays behind is judged by its claim meanwhile, and ends with its time.
    async fn remove(&self, entries: Vec<OwnedMarker>) {
        if let Err(error) = self.kv.remove_all(&entries).await {
            tracing::debug!(%error, "reservations not released");
            self.cleanup.add(entries);
        }
    }

    /// Whether a command for this name is accepted and not yet applied, as far as the markers tell.
    pub async fn is_pending(&self, name: &str) -> Result<bool, KvError> {
        let Some(value) = self.kv.get(&reservation_marker::name_key(name)).await? else { return Ok(false) };
        let Some(marker) = ReservationMarker::decode(&value) else { return Ok(false) };
        if marker.log != self.log {
            return Ok(true);
        }
        Ok(!matches!(self.owner_state(&marker).await, OwnerState::Ended))
    }

    pub(in crate::users) async fn owner_state(&self, marker: &ReservationMarker) -> OwnerState {
        let id = match marker.id.as_deref().map(str::parse) {
            Some(Ok(id)) => Some(id),
            _ => match self.ingest.find_claimed(&marker.claim).await {
                Ok(found) => found,
                Err(_) => return OwnerState::Undecided,
            },
        };
        match id {
            Some(id) if self.statuses.is_pending(id).await => OwnerState::Pending(id),
            _ => OwnerState::Ended,
        }
    }

    pub fn marker(&self, one: &ReservationKey, claim: [u8; 16], id: Option<&str>) -> ReservationMarker {
        ReservationMarker { log: self.log, claim, digest: one.digest, id: id.map(str::to_owned) }
    }

    /// Spread, so that a burst's markers do not end together.
    pub fn time_to_live(&self) -> Duration {
        self.ttl + self.jitter.mul_f64(backoff::random_fraction())
    }

    /// Removes those of these markers that a crash has left. What the store does not answer about is looked at later.
    pub async fn remove_orphans(&self, keys: Vec<String>) {
        let swept = async {
            for (key, value) in keys.iter().zip(self.kv.get_all(&keys).await?) {
                if let Some(value) = value {
                    self.remove_orphan(key, &value).await?;
                }
            }
            Ok::<_, KvError>(())
        };
        if let Err(error) = swept.await {
            tracing::debug!(%error, "conflicting reservations not resolved; tried again");
            self.unresolved.add(keys);
        }
    }

    /// Removes a marker of our own log that no command stands behind. Later, while the log does not know that yet.
    async fn remove_orphan(&self, key: &str, value: &[u8]) -> Result<(), KvError> {
        let Some(marker) = ReservationMarker::decode(value).filter(|marker| marker.log == self.log) else {
            return Ok(());
        };
        if self.in_flight.find(key, &marker.claim).is_some() {
            return Ok(());
        }
        match self.owner_state(&marker).await {
            OwnerState::Ended => self.kv.remove(key, &marker.owner()).await.map(drop),
            OwnerState::Undecided => {
                self.unresolved.add([key.to_owned()]);
                Ok(())
            }
            OwnerState::Pending(_) => Ok(()),
        }
    }
}
