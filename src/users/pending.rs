//! Pending markers at the door: who asks first for a name, an e-mail address or a phone number gets it.
//!
//! They are set, confirmed, given back and cleared up here; whether one that is there counts is judged in `judge`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

use super::Config;
use super::flights::Flight;
use super::flights::Flights;
use super::judge::Standing;
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

/// The markers of one log.
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
    pub silent: Mutex<HashMap<[u8; 16], Instant>>,
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
}
