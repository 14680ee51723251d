//! Decides whether another command's reservation is valid.
//!
//! A reservation is a hint. Only the log whose command made a reservation can decide about it. The log takes the
//! reservation over in two cases: the command reached its end; or the log does not know the command and is not
//! committing it, so the command was never accepted.
//!
//! The reservation of another log is valid until its time to live ends, with two exceptions. It may be taken over if
//! that daemon sends no heartbeat, or if that daemon was restarted and its log does not hold the command. In both cases
//! the row must also be absent from the database.
use std::time::{Duration, Instant};

use super::instance::InstanceId;
use super::key::ReservationKey;
use super::{OwnerState, Reservations, ReserveOutcome};
use crate::command::CommandId;
use crate::ingest::Receipt;
use crate::kv::reservation_marker::ReservationMarker;
use crate::kv::{KvError, SetOutcome, reservation_marker};

/// A reservation that changes its owner during the resolution is resolved again, at most this many times.
const MAX_ATTEMPTS: usize = 3;
/// A daemon that missed three heartbeats is considered dead.
pub(in crate::users) const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(15);
/// Maximum number of tracked daemon logs. Above it, tracking starts again.
const MAX_TRACKED_OWNERS: usize = 1_000;
/// Another daemon writes the id into its reservation right after its flush.
const ID_TIMEOUT: Duration = Duration::from_millis(500);
const ID_POLL_INTERVAL: Duration = Duration::from_millis(10);

/// How to proceed with another command's reservation.
enum Resolution {
    TakeOver(ReservationMarker),
    Final(ReserveOutcome),
    /// The reservation was removed meanwhile.
    Retry,
}

impl Reservations {
    /// Decides whether an existing reservation may be taken over.
    pub(in crate::users) async fn resolve_conflict(
        &self,
        one: &ReservationKey,
        claim: [u8; 16],
        mut value: Vec<u8>,
    ) -> Result<ReserveOutcome, KvError> {
        for _ in 0..MAX_ATTEMPTS {
            // The value of another program cannot be interpreted.
            let Some(marker) = ReservationMarker::decode(&value) else {
                return Ok(ReserveOutcome::Taken(one.field));
            };
            match self.resolve(one, marker).await? {
                Resolution::Final(outcome) => return Ok(outcome),
                Resolution::TakeOver(old) => {
                    let ours = self.marker(one, claim, None).encode();
                    if self.kv.replace(&one.key, &old.encode(), &ours, self.time_to_live()).await? {
                        return Ok(ReserveOutcome::Reserved);
                    }
                }
                Resolution::Retry => {}
            }
            let ours = self.marker(one, claim, None).encode();
            match self.kv.set_if_absent(&one.key, &ours, self.time_to_live()).await? {
                SetOutcome::Owned => return Ok(ReserveOutcome::Reserved),
                SetOutcome::Taken(now) => value = now,
            }
        }
        // The owner changes repeatedly, so the final owner is unknown.
        Ok(ReserveOutcome::Undecided)
    }

    async fn resolve(&self, one: &ReservationKey, marker: ReservationMarker) -> Result<Resolution, KvError> {
        let same = marker.digest == one.digest;
        if same && !one.is_name() {
            // Another command of the same user, in any log: the order of the commands decides, not the reservation.
            return Ok(Resolution::TakeOver(marker));
        }
        if marker.log == self.log {
            return Ok(self.resolve_own(one, marker, same).await);
        }
        if self.is_orphan(one, &marker).await? {
            return Ok(Resolution::TakeOver(marker));
        }
        if !same {
            let accepted = marker.id.is_some();
            return Ok(Resolution::Final(if accepted {
                ReserveOutcome::Taken(one.field)
            } else {
                ReserveOutcome::Undecided
            }));
        }
        self.await_remote_id(one, marker).await
    }

    async fn resolve_own(&self, one: &ReservationKey, marker: ReservationMarker, same: bool) -> Resolution {
        if let Some(request) = self.in_flight.find(&one.key, &marker.claim) {
            return Resolution::Final(match same {
                true => ReserveOutcome::InFlight(request),
                false => ReserveOutcome::InFlightConflict(request, one.field),
            });
        }
        match self.owner_state(&marker).await {
            OwnerState::Ended => Resolution::TakeOver(marker),
            OwnerState::Pending(id) if same => {
                Resolution::Final(ReserveOutcome::Repeat(repeat_receipt(id), marker.owner()))
            }
            OwnerState::Pending(_) => Resolution::Final(ReserveOutcome::Taken(one.field)),
            OwnerState::Undecided => Resolution::Final(ReserveOutcome::Undecided),
        }
    }

    /// Whether another log's reservation is orphaned. Its daemon has no heartbeat, or was restarted without the command
    /// in its log; and the database does not have the row.
    async fn is_orphan(&self, one: &ReservationKey, marker: &ReservationMarker) -> Result<bool, KvError> {
        let sign = self.kv.get(&reservation_marker::heartbeat_key(&marker.log)).await?;
        let never_logged = marker.id.is_none()
            && sign.as_ref().is_some_and(|sign| InstanceId::is_of_ended_run(sign, &marker.claim));
        if !self.is_owner_dead(marker.log, sign.is_some(), Instant::now()) && !never_logged {
            return Ok(false);
        }
        let (_, value) = one.key.rsplit_once(':').unwrap_or_default();
        let holders = match one.field {
            "email" => self.db.holders(None, Some(value), None).await,
            "phone" => self.db.holders(None, None, Some(value)).await,
            _ => self.db.holders(Some(value), None, None).await,
        };
        // If the database is unavailable, the reservation is considered valid.
        Ok(holders.is_ok_and(|holders| holders.is_empty()))
    }

    /// Whether a daemon has had no heartbeat for the whole timeout. A restarted store has lost the heartbeats of
    /// running daemons too.
    fn is_owner_dead(&self, log: [u8; 16], alive: bool, now: Instant) -> bool {
        let mut silent = self.silent.lock();
        if alive {
            silent.remove(&log);
            return false;
        }
        if silent.len() >= MAX_TRACKED_OWNERS {
            silent.clear();
        }
        now.duration_since(*silent.entry(log).or_insert(now)) >= HEARTBEAT_TIMEOUT
    }

    /// Waits for the id of the same request at another daemon. That daemon writes the id right after its flush.
    async fn await_remote_id(
        &self,
        one: &ReservationKey,
        mut marker: ReservationMarker,
    ) -> Result<Resolution, KvError> {
        let deadline = Instant::now() + ID_TIMEOUT;
        loop {
            if let Some(Ok(id)) = marker.id.as_deref().map(str::parse) {
                return Ok(Resolution::Final(ReserveOutcome::Repeat(repeat_receipt(id), marker.owner())));
            }
            if Instant::now() >= deadline {
                return Ok(Resolution::Final(ReserveOutcome::Undecided));
            }
            tokio::time::sleep(ID_POLL_INTERVAL).await;
            let now = self.kv.get(&one.key).await?.and_then(|value| ReservationMarker::decode(&value));
            match now {
                Some(now) if now.claim == marker.claim => marker = now,
                _ => return Ok(Resolution::Retry),
            }
        }
    }
}

/// The receipt of the first request.
fn repeat_receipt(id: CommandId) -> Receipt {
    Receipt { ids: vec![id], accepted_at: id.accepted_at(), replayed: true }
}
