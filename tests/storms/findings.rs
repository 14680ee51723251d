//! Violations that a storm has found.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A broken guarantee.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Violation {
    /// Acknowledged, and not in the topic.
    Lost,
    /// In the topic twice, where that is not allowed.
    Repeated,
    /// In the topic under two ids.
    TwoIds,
    /// The bytes, the key or the headers differ from those sent.
    Altered,
    /// A key's first occurrences are not in the order they were sent in.
    OutOfOrder,
    /// In the topic although no client sent it, or it was rejected.
    Invented,
    /// Only part of a batch is in the topic.
    HalfBatch,
    /// A status contradicts the topic or another status.
    Status,
    /// A repeated key got a different response than the first time.
    Key,
    /// A response that no client should get.
    Answer,
    /// The daemon ended by itself, does not start, or does not stop.
    Daemon,
    /// The backlog does not drain, or the topic's end cannot be read.
    Stuck,
    /// The storm itself failed.
    Storm,
}

/// Number of occurrences per violation that are described in words.
const MAX_DETAILS: usize = 10;

/// All violations found.
#[derive(Debug, Default)]
pub struct Findings(Mutex<BTreeMap<Violation, (u64, Vec<String>)>>);

impl Findings {
    pub fn add(&self, violation: Violation, what: impl fmt::Display) {
        let mut found = self.lock();
        let (count, told) = found.entry(violation).or_default();
        *count += 1;
        if told.len() < MAX_DETAILS {
            let what = what.to_string();
            eprintln!("storm: {violation:?}: {what}");
            told.push(what);
        }
    }

    pub fn count(&self, violation: Violation) -> u64 {
        self.lock().get(&violation).map_or(0, |(count, _)| *count)
    }

    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Violation, (u64, Vec<String>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (violation, (count, told)) in &*self.lock() {
            writeln!(f, "{violation:?}: {count}")?;
            for what in told {
                writeln!(f, "  - {what}")?;
            }
        }
        Ok(())
    }
}
