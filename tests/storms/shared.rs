//! State shared by the clients, the status poller and the faults.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::command::Kind;
use crate::findings::Findings;
use crate::status_observation::StatusObservation;

/// Number of acknowledged commands whose status may be polled.
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
    /// Set between two rounds of faults: a low load, so that the backlog can drain.
    pub is_calm: AtomicBool,
    pub requests: AtomicU64,
    pub accepted: AtomicU64,
    pub replays: AtomicU64,
    /// Increased before and after each forced end of the daemon. The daemon loses state that it had not flushed.
    pub crashes: AtomicU64,
    /// Increased when the disk becomes full and when it is freed, so it is odd in between. Delivered segments are
    /// then deleted early, and keys and statuses with them.
    pub evictions: AtomicU64,
    pub largest_backlog: AtomicU64,
    /// Statuses that contained less information after a crash than before.
    pub statuses_lost: AtomicU64,
    pub observations: Mutex<Vec<StatusObservation>>,
    recent: Mutex<Vec<AcknowledgedCommand>>,
    tally: Mutex<BTreeMap<String, u64>>,
    ack_gap: Mutex<AckGap>,
}

/// Measures the time without an acknowledgement.
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
            observations: Mutex::default(),
            recent: Mutex::default(),
            tally: Mutex::default(),
            ack_gap: Mutex::new(AckGap { since: Instant::now(), longest: Duration::ZERO }),
        }
    }

    /// Counts a fault, or another event that the report lists.
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

    /// Whether delivered segments may have been deleted early since `evictions` was read.
    pub fn may_have_evicted(&self, evictions: u64) -> bool {
        evictions % 2 == 1 || self.evictions() != evictions
    }

    pub fn add_observation(&self, observation: StatusObservation) {
        lock(&self.observations).push(observation);
    }
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
