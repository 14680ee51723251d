//! Pending markers at the door: who asks first for a name, an e-mail address or a phone number gets it.
//!
//! A marker is a hint. Only the log that set one may judge it: a command it does not know, and is not just committing,
//! was never accepted, and its marker is taken over; so is one whose command has come to its end. Another log's
//! marker is believed until its time ends, unless that daemon gives no sign of life, or has died and runs again without
//! having logged the command, and the database knows no such row.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use super::Config;
use super::flights::Flight;
use super::flights::Flights;
use super::left_behind::LeftBehind;
use super::life::Life;
use crate::backoff;
use crate::command::CommandId;
use crate::db::Database;
use crate::ingest::Ingest;
use crate::ingest::Receipt;
use crate::kv::Held;
use crate::kv::Kv;
use crate::kv::KvError;
use crate::kv::Replacement;
use crate::kv::markers;
use crate::kv::markers::Marker;
use crate::metrics::Metrics;
use crate::status::Statuses;

/// A marker that changes hands while it is judged is judged again, so many times.
const JUDGEMENTS: usize = 3;
/// A daemon that was not heard for three beats is taken for dead.
pub(super) const SILENCE: Duration = Duration::from_secs(15);
/// Logs of daemons, dead or alive; more begin anew.
const MOST_SILENT: usize = 1_000;
/// Another daemon writes the id into its marker right after its flush.
const ID_WITHIN: Duration = Duration::from_millis(500);
const ID_LOOK: Duration = Duration::from_millis(10);
/// Markers left behind that are removed with one call.
const REMOVED_AT_ONCE: usize = 1_000;
/// Markers left behind that are judged in a row, one by one.
const JUDGED_AT_ONCE: usize = 100;

/// A key, and the owner whose value may be removed there.
type Owned = (String, Vec<u8>);

/// A marker that a command needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The member at fault when somebody else has it.
    pub field: &'static str,
    /// Its key in the store.
    pub key: String,
    /// Of a name: of the whole body. Of an address or a number: of the name it belongs to.
    pub digest: [u8; 16],
}

impl Wanted {
    /// Names are exclusive; addresses and numbers belong to one user, whose commands keep their order.
    pub fn is_name(&self) -> bool {
        self.field == "name"
    }
}

/// What came of asking for markers.
pub(super) enum Claim {
    /// All are ours.
    Ours,
    /// The same request is under way in this process.
    UnderWay(Arc<Flight>),
    /// The same request was accepted before and is not yet applied; the owner of its markers.
    Repeat(Receipt, Vec<u8>),
    /// Somebody else's request for this is under way in this process.
    Behind(Arc<Flight>, &'static str),
    /// Somebody else has this.
    Taken(&'static str),
    /// A request for this is under way, the same or somebody else's, and its id not known yet: at another daemon, or while
    /// the index is rebuilding. Whether it is accepted is still to be seen.
    Undecided,
}

/// How the command behind a marker of our own log stands.
enum Standing {
    Waiting(CommandId),
    /// Never accepted, or at its end.
    Over,
    /// The index is rebuilding.
    Undecided,
}

/// What is to be done about one marker that is not ours.
enum Verdict {
    TakeOver(Marker),
    Final(Claim),
    /// It is gone meanwhile.
    Again,
}

/// Sets, judges and removes markers for one log.
pub(super) struct Pending {
    pub kv: Kv,
    pub db: Database,
    pub ingest: Ingest,
    pub statuses: Statuses,
    pub flights: Arc<Flights>,
    pub log: [u8; 16],
    pub life: Life,
    pub ttl: Duration,
    pub jitter: Duration,
    left_behind: LeftBehind<Owned>,
    /// Keys of markers that a crash may have left.
    unjudged: LeftBehind<String>,
    /// Daemons that gave no sign of life when they were looked for, and since when.
    silent: Mutex<HashMap<[u8; 16], Instant>>,
}

impl Pending {
    pub fn new(
        config: &Config,
        kv: Kv,
        db: Database,
        ingest: Ingest,
        statuses: Statuses,
        metrics: &Metrics,
    ) -> Self {
        let log = statuses.log_id();
        let flights = Arc::default();
        let (ttl, jitter) = (config.pending_ttl.0, config.pending_jitter.0);
        let bound_hit = metrics.bound_hit.with_label_values(&["pending_markers"]);
        Self {
            kv,
            db,
            ingest,
            statuses,
            flights,
            log,
            life: Life::new(),
            ttl,
            jitter,
            left_behind: LeftBehind::new(bound_hit.clone()),
            unjudged: LeftBehind::new(bound_hit),
            silent: Mutex::default(),
        }
    }

    /// Asks for all markers of a command side by side. What was set before a refusal or an error is given back.
    pub async fn claim(&self, wanted: &[Wanted], claim: [u8; 16]) -> Result<Claim, KvError> {
        let claimed = self.try_claim(wanted, claim).await;
        if claimed.is_err() {
            // They may have been set although nobody said so.
            self.release(wanted, claim).await;
        }
        claimed
    }

    async fn try_claim(&self, wanted: &[Wanted], claim: [u8; 16]) -> Result<Claim, KvError> {
        let entries: Vec<_> = wanted
            .iter()
            .map(|one| (one.key.clone(), self.marker(one, claim, None).encode(), self.time_to_live()))
            .collect();
        let held = self.kv.set_if_absent_all(&entries).await?;
        let mut outcome = Claim::Ours;
        // The name first: it tells a repetition from somebody else's wish.
        for (one, held) in wanted.iter().zip(held) {
            let Held::Other(value) = held else { continue };
            match outcome {
                Claim::Ours => outcome = self.contend(one, claim, value).await?,
                // Refused already; what a crash has left behind is not left to its time.
                _ => self.sweep(&one.key, &value).await?,
            }
        }
        match &outcome {
            Claim::Ours => {}
            Claim::Repeat(_, owner) => {
                self.release(wanted, claim).await;
                let theirs = |one: &Wanted| (one.key.clone(), owner.clone(), self.time_to_live());
                let theirs: Vec<_> = wanted.iter().map(theirs).collect();
                self.kv.refresh_all(&theirs).await?;
            }
            _ => self.release(wanted, claim).await,
        }
        Ok(outcome)
    }

    /// Writes the command's id into its markers; the flush has covered it.
    pub async fn confirm(&self, wanted: &[Wanted], claim: [u8; 16], id: CommandId) {
        let owner = markers::owner(&self.log, &claim).into_bytes();
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
            tracing::debug!(%error, "markers without an id");
        }
    }

    /// Takes markers back that no command stands behind.
    pub async fn release(&self, wanted: &[Wanted], claim: [u8; 16]) {
        self.remove(self.owned(wanted, &claim)).await;
    }

    /// The markers of a claim, for whoever removes them.
    pub fn owned(&self, wanted: &[Wanted], claim: &[u8; 16]) -> Vec<Owned> {
        let owner = markers::owner(&self.log, claim).into_bytes();
        wanted.iter().map(|one| (one.key.clone(), owner.clone())).collect()
    }

    /// Removes some of what could not be removed before, and judges some of what could not be judged.
    pub async fn clear_up(&self) {
        let left = self.left_behind.take(REMOVED_AT_ONCE);
        if !left.is_empty() {
            self.remove(left).await;
        }
        let unjudged = self.unjudged.take(JUDGED_AT_ONCE);
        if !unjudged.is_empty() {
            self.sweep_all(unjudged).await;
        }
    }

    /// What stays behind is judged by its claim meanwhile, and ends with its time.
    async fn remove(&self, entries: Vec<Owned>) {
        if let Err(error) = self.kv.remove_all(&entries).await {
            tracing::debug!(%error, "markers are left behind");
            self.left_behind.add(entries);
        }
    }

    /// Whether a command for this name is accepted and not yet applied, as far as the markers tell.
    pub async fn is_pending(&self, name: &str) -> Result<bool, KvError> {
        let Some(value) = self.kv.get(&markers::name_key(name)).await? else { return Ok(false) };
        let Some(marker) = Marker::decode(&value) else { return Ok(false) };
        if marker.log != self.log {
            return Ok(true);
        }
        Ok(!matches!(self.standing(&marker).await, Standing::Over))
    }

    pub fn marker(&self, one: &Wanted, claim: [u8; 16], id: Option<&str>) -> Marker {
        Marker { log: self.log, claim, digest: one.digest, id: id.map(str::to_owned) }
    }

    /// Spread, so that a burst's markers do not end together.
    pub fn time_to_live(&self) -> Duration {
        self.ttl + self.jitter.mul_f64(backoff::spread())
    }

    async fn contend(&self, one: &Wanted, claim: [u8; 16], mut value: Vec<u8>) -> Result<Claim, KvError> {
        for _ in 0..JUDGEMENTS {
            // Another program's value is nothing of ours to judge.
            let Some(marker) = Marker::decode(&value) else { return Ok(Claim::Taken(one.field)) };
            match self.judge(one, marker).await? {
                Verdict::Final(outcome) => return Ok(outcome),
                Verdict::TakeOver(old) => {
                    let ours = self.marker(one, claim, None).encode();
                    if self.kv.replace(&one.key, &old.encode(), &ours, self.time_to_live()).await? {
                        return Ok(Claim::Ours);
                    }
                }
                Verdict::Again => {}
            }
            let ours = self.marker(one, claim, None).encode();
            match self.kv.set_if_absent(&one.key, &ours, self.time_to_live()).await? {
                Held::Ours => return Ok(Claim::Ours),
                Held::Other(now) => value = now,
            }
        }
        // It changes hands all the time: whoever keeps it is still to be seen.
        Ok(Claim::Undecided)
    }

    /// Removes those of these markers that a crash has left. What the store does not answer about is looked at later.
    pub async fn sweep_all(&self, keys: Vec<String>) {
        let swept = async {
            for (key, value) in keys.iter().zip(self.kv.get_all(&keys).await?) {
                if let Some(value) = value {
                    self.sweep(key, &value).await?;
                }
            }
            Ok::<_, KvError>(())
        };
        if let Err(error) = swept.await {
            tracing::debug!(%error, "markers are judged later");
            self.unjudged.add(keys);
        }
    }

    /// Removes a marker of our own log that no command stands behind. Later, while the log does not know that yet.
    async fn sweep(&self, key: &str, value: &[u8]) -> Result<(), KvError> {
        let Some(marker) = Marker::decode(value).filter(|marker| marker.log == self.log) else {
            return Ok(());
        };
        if self.flights.find(key, &marker.claim).is_some() {
            return Ok(());
        }
        match self.standing(&marker).await {
            Standing::Over => self.kv.remove(key, &marker.owner()).await.map(drop),
            Standing::Undecided => {
                self.unjudged.add([key.to_owned()]);
                Ok(())
            }
            Standing::Waiting(_) => Ok(()),
        }
    }

    async fn judge(&self, one: &Wanted, marker: Marker) -> Result<Verdict, KvError> {
        let same = marker.digest == one.digest;
        if same && !one.is_name() {
            // The same user's other command, of whatever log: order decides, not the marker.
            return Ok(Verdict::TakeOver(marker));
        }
        if marker.log == self.log {
            return Ok(self.judge_own(one, marker, same).await);
        }
        if self.is_orphan(one, &marker).await? {
            return Ok(Verdict::TakeOver(marker));
        }
        if !same {
            let accepted = marker.id.is_some();
            return Ok(Verdict::Final(if accepted { Claim::Taken(one.field) } else { Claim::Undecided }));
        }
        self.first_elsewhere(one, marker).await
    }

    async fn judge_own(&self, one: &Wanted, marker: Marker, same: bool) -> Verdict {
        if let Some(flight) = self.flights.find(&one.key, &marker.claim) {
            return Verdict::Final(match same {
                true => Claim::UnderWay(flight),
                false => Claim::Behind(flight, one.field),
            });
        }
        match self.standing(&marker).await {
            Standing::Over => Verdict::TakeOver(marker),
            Standing::Waiting(id) if same => Verdict::Final(Claim::Repeat(repeat_of(id), marker.owner())),
            Standing::Waiting(_) => Verdict::Final(Claim::Taken(one.field)),
            Standing::Undecided => Verdict::Final(Claim::Undecided),
        }
    }

    async fn standing(&self, marker: &Marker) -> Standing {
        let id = match marker.id.as_deref().map(str::parse) {
            Some(Ok(id)) => Some(id),
            _ => match self.ingest.claimed(&marker.claim).await {
                Ok(found) => found,
                Err(_) => return Standing::Undecided,
            },
        };
        match id {
            Some(id) if self.statuses.is_waiting(id).await => Standing::Waiting(id),
            _ => Standing::Over,
        }
    }

    /// Whether nobody stands behind another log's marker: its daemon is silent, or died and runs again and its log does
    /// not hold the command; and the database knows no such row.
    async fn is_orphan(&self, one: &Wanted, marker: &Marker) -> Result<bool, KvError> {
        let sign = self.kv.get(&markers::heartbeat_key(&marker.log)).await?;
        let never_logged =
            marker.id.is_none() && sign.as_ref().is_some_and(|sign| Life::is_over(sign, &marker.claim));
        if !self.is_silent(marker.log, sign.is_some(), Instant::now()) && !never_logged {
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
    fn is_silent(&self, log: [u8; 16], alive: bool, now: Instant) -> bool {
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        if alive {
            silent.remove(&log);
            return false;
        }
        if silent.len() >= MOST_SILENT {
            silent.clear();
        }
        now.duration_since(*silent.entry(log).or_insert(now)) >= SILENCE
    }

    /// The same request at another daemon: its id, which comes into the marker right after the flush.
    async fn first_elsewhere(&self, one: &Wanted, mut marker: Marker) -> Result<Verdict, KvError> {
        let deadline = Instant::now() + ID_WITHIN;
        loop {
            if let Some(Ok(id)) = marker.id.as_deref().map(str::parse) {
                return Ok(Verdict::Final(Claim::Repeat(repeat_of(id), marker.owner())));
            }
            if Instant::now() >= deadline {
                return Ok(Verdict::Final(Claim::Undecided));
            }
            tokio::time::sleep(ID_LOOK).await;
            let now = self.kv.get(&one.key).await?.and_then(|value| Marker::decode(&value));
            match now {
                Some(now) if now.claim == marker.claim => marker = now,
                _ => return Ok(Verdict::Again),
            }
        }
    }
}

/// What the first request was answered.
fn repeat_of(id: CommandId) -> Receipt {
    Receipt { ids: vec![id], accepted_at: id.accepted_at(), replayed: true }
}
