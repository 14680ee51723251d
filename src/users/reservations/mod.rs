//! Reservations: the first command that requests a name, an e-mail address or a phone number gets it.
//!
//! A reservation is a key with a time to live in the store shared by the daemons. This module stores, confirms,
//! releases and cleans up reservations.
//!
//! - `in_flight`: requests of this process between their checks and the flush; `guard`: the reservations of one
//!   request;
//! - `conflict`: whether another command's reservation is valid; `instance`: the daemon run that made it;
//! - `maintenance`: heartbeat, and reservations of commands not yet applied; `cleanup`: reservations that could not be
//!   removed.

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

/// Maximum number of orphaned reservations removed per call.
const MAX_REMOVED_PER_CALL: usize = 1_000;
/// Maximum number of orphaned reservations resolved per run, one by one.
const MAX_RESOLVED_PER_RUN: usize = 100;

/// A key, and the owner whose value may be removed there.
type OwnedMarker = (String, Vec<u8>);

/// The result of a reservation request.
pub(in crate::users) enum ReserveOutcome {
    /// All values are reserved for this command.
    Reserved,
    /// The same request is in flight in this process.
    InFlight(Arc<InFlightRequest>),
    /// The same request was accepted before and is not yet applied. Contains the owner of its reservations.
    Repeat(Receipt, Vec<u8>),
    /// Another user's request for this field is in flight in this process.
    InFlightConflict(Arc<InFlightRequest>, &'static str),
    /// Another user has reserved this field's value.
    Taken(&'static str),
    /// A request for the same value is in progress, from this or another user, and its id is not yet known: at another
    /// daemon, or while the index is rebuilding. It may still be rejected.
    Undecided,
}

/// State of the command that owns a reservation of this log.
pub(in crate::users) enum OwnerState {
    Pending(CommandId),
    /// Never accepted, or completed.
    Ended,
    /// Not known: the index is rebuilding.
    Undecided,
}

/// The reservations of one log.
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
    /// Keys of reservations that may be left over from a crash.
    unresolved: CleanupQueue<String>,
    /// Daemons without a heartbeat at the last check, and since when.
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

    /// Requests all reservations of a command concurrently. After a conflict or an error, those already stored are
    /// released.
    pub async fn reserve(
        &self,
        wanted: &[ReservationKey],
        claim: [u8; 16],
    ) -> Result<ReserveOutcome, KvError> {
        let claimed = self.try_reserve(wanted, claim).await;
        if claimed.is_err() {
            // They may have been stored although the reply was lost.
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
        // The name first: it distinguishes a repetition from another user's request.
        for (one, held) in wanted.iter().zip(held) {
            let SetOutcome::Taken(value) = held else { continue };
            match outcome {
                ReserveOutcome::Reserved => outcome = self.resolve_conflict(one, claim, value).await?,
                // Already rejected; reservations left over from a crash are removed now rather than at their expiry.
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

    /// Writes the command's id into its reservations, after the flush.
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
        // Unconfirmed reservations are confirmed by the maintenance task; until then the log knows their claim.
        if let Err(error) = self.kv.replace_all(&entries).await {
            tracing::debug!(%error, "reservations without a command id");
        }
    }

    /// Releases reservations without an accepted command.
    pub async fn release(&self, wanted: &[ReservationKey], claim: [u8; 16]) {
        self.remove(self.owned_markers(wanted, &claim)).await;
    }

    /// The reservations of a claim, for removal.
    pub fn owned_markers(&self, wanted: &[ReservationKey], claim: &[u8; 16]) -> Vec<OwnedMarker> {
        let owner = reservation_marker::owner(&self.log, claim).into_bytes();
        wanted.iter().map(|one| (one.key.clone(), owner.clone())).collect()
    }

    /// Removes some reservations that could not be removed before, and resolves some that could not be resolved.
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

    /// Removes reservations. Those that remain are resolved by their claim, or expire.
    async fn remove(&self, entries: Vec<OwnedMarker>) {
        if let Err(error) = self.kv.remove_all(&entries).await {
            tracing::debug!(%error, "reservations not released");
            self.cleanup.add(entries);
        }
    }

    /// Whether a command for this name is accepted and not yet applied, according to the reservations.
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

    /// Randomised, so that the reservations of a burst do not expire together.
    pub fn time_to_live(&self) -> Duration {
        self.ttl + self.jitter.mul_f64(backoff::random_fraction())
    }

    /// Removes those of these reservations that are left over from a crash. Those that the store cannot report are
    /// retried later.
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
            tracing::debug!(%error, "conflicting reservations not resolved; retrying");
            self.unresolved.add(keys);
        }
    }

    /// Removes an orphaned reservation of this log, or queues it while the log cannot tell.
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
