//! Whether another command's marker counts.
//!
//! A marker is a hint. Only the log whose command set a marker can decide about it. The log takes the marker over if it
//! does not know the command and is not committing it, because then the command was never accepted, and if the command
//! has reached its end.
//!
//! The marker of another log is believed until its time to live ends, with two exceptions. It may be taken over if that
//! daemon sends no heartbeat, or if that daemon was restarted and its log does not hold the command. In both cases the
//! database must not have the row either.
use std::time::{Duration, Instant};

use super::instance::InstanceId;
use super::key::ReservationKey;
use super::{OwnerState, Reservations, ReserveOutcome};
use crate::command::CommandId;
use crate::ingest::Receipt;
use crate::kv::reservation_marker::ReservationMarker;
use crate::kv::{KvError, SetOutcome, reservation_marker};

/// A marker that changes hands while it is judged is judged again, so many times.
const MAX_ATTEMPTS: usize = 3;
/// A daemon that was not heard for three beats is taken for dead.
pub(in crate::users) const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(15);
/// Logs of daemons, dead or alive; more begin anew.
const MAX_TRACKED_OWNERS: usize = 1_000;
/// Another daemon writes the id into its marker right after its flush.
const ID_TIMEOUT: Duration = Duration::from_millis(500);
const ID_POLL_INTERVAL: Duration = Duration::from_millis(10);

/// What is to be done about one marker that is not ours.
enum Resolution {
    TakeOver(ReservationMarker),
    Final(ReserveOutcome),
    /// It is gone meanwhile.
    Retry,
}

impl Reservations {
    /// Whether a marker that somebody has set is ours to take.
    pub(in crate::users) async fn resolve_conflict(
        &self,
        one: &ReservationKey,
        claim: [u8; 16],
        mut value: Vec<u8>,
    ) -> Result<ReserveOutcome, KvError> {
        for _ in 0..MAX_ATTEMPTS {
            // Another program's value is nothing of ours to judge.
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
        // It changes hands all the time: whoever keeps it is still to be seen.
        Ok(ReserveOutcome::Undecided)
    }

    async fn resolve(&self, one: &ReservationKey, marker: ReservationMarker) -> Result<Resolution, KvError> {
        let same = marker.digest == one.digest;
        if same && !one.is_name() {
            // The same user's other command, of whatever log: order decides, not the marker.
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

    /// Whether nobody stands behind another log's marker: its daemon is silent, or died and runs again and its log does
    /// not hold the command; and the database knows no such row.
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
        // Without the database's word the marker is believed.
        Ok(holders.is_ok_and(|holders| holders.is_empty()))
    }

    /// Whether a daemon was not heard for as long as its sign of life lasts: a store that was restarted has forgotten
    /// those of the living, too.
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

    /// The same request at another daemon: its id, which comes into the marker right after the flush.
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

/// What the first request was answered.
fn repeat_receipt(id: CommandId) -> Receipt {
    Receipt { ids: vec![id], accepted_at: id.accepted_at(), replayed: true }
}
