//! What clients, the one who asks for statuses, and the faults know of each other.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::command::Kind;
use crate::findings::Findings;
use crate::status_observation::StatusObservation;

/// Acknowledged commands one may ask about.
const RECENT: usize = 4_096;

/// An acknowledged command.
#[derive(Clone, Debug)]
pub struct AcknowledgedCommand {
    pub client: u32,
    pub serial: u32,
    pub kind: Kind,
    pub id: Box<str>,
    pub at: Instant,
    pub evictions: u64,
}

/// One storm.
pub struct Shared {
    pub seed: u64,
    pub address: String,
    pub findings: Findings,
    pub stop: AtomicBool,
    /// Between two rounds of faults: little load, so that the backlog can drain.
    pub is_calm: AtomicBool,
    pub requests: AtomicU64,
    pub accepted: AtomicU64,
    pub replays: AtomicU64,
    /// Raised before and after each end of the daemon that it did not choose: what it knew without having flushed it
    /// is forgotten.
    pub crashes: AtomicU64,
    /// Raised when the disk begins and ceases to be full, so odd in between: delivered segments go early then, and
    /// keys and statuses with them.
    pub evictions: AtomicU64,
    pub largest_backlog: AtomicU64,
    /// Statuses that said less after a crash than before.
    pub statuses_lost: AtomicU64,
    pub sightings: Mutex<Vec<StatusObservation>>,
    recent: Mutex<Vec<AcknowledgedCommand>>,
    tally: Mutex<BTreeMap<String, u64>>,
    ack_gap: Mutex<AckGap>,
}

/// How long nothing was acknowledged.
struct AckGap {
    since: Instant,
    longest: Duration,
}

impl Shared {
    pub fn new(seed: u64, address: String) -> Self {
        Self {
            seed,
            address,
            findings: Findings::default(),
            stop: AtomicBool::new(false),
            is_calm: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            replays: AtomicU64::new(0),
            crashes: AtomicU64::new(0),
            evictions: AtomicU64::new(0),
            largest_backlog: AtomicU64::new(0),
            statuses_lost: AtomicU64::new(0),
            sightings: Mutex::default(),
            recent: Mutex::default(),
            tally: Mutex::default(),
            ack_gap: Mutex::new(AckGap { since: Instant::now(), longest: Duration::ZERO }),
        }
    }

    /// Counts a fault, or another thing worth a line in the report.
    pub fn count(&self, what: &str) {
        *lock(&self.tally).entry(what.to_owned()).or_default() += 1;
    }

    pub fn tally(&self) -> BTreeMap<String, u64> {
        lock(&self.tally).clone()
    }

    /// Commands were acknowledged.
    pub fn acknowledged(&self, known: impl IntoIterator<Item = AcknowledgedCommand>) {
        let mut recent = lock(&self.recent);
        for known in known {
            let count = self.accepted.fetch_add(1, Ordering::Relaxed) as usize;
            match recent.get_mut(count % RECENT) {
                Some(oldest) => *oldest = known,
                None => recent.push(known),
            }
        }
        drop(recent);
        let mut quiet = lock(&self.ack_gap);
        let now = Instant::now();
        quiet.longest = quiet.longest.max(now - quiet.since);
        quiet.since = now;
    }

    /// The longest time without an acknowledgement so far.
    pub fn longest_ack_gap(&self) -> Duration {
        lock(&self.ack_gap).longest
    }

    /// One of the recently acknowledged commands.
    pub fn recent(&self, choice: u64) -> Option<AcknowledgedCommand> {
        let recent = lock(&self.recent);
        recent.get(choice as usize % recent.len().max(1)).cloned()
    }

    pub fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::SeqCst)
    }

    /// Whether delivered segments may have gone early since `evictions` was read.
    pub fn may_have_evicted(&self, evictions: u64) -> bool {
        evictions % 2 == 1 || self.evictions() != evictions
    }

    pub fn add_observation(&self, sighting: StatusObservation) {
        lock(&self.sightings).push(sighting);
    }
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
