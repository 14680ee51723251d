//! What must not be, and was seen.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A promise that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Violation {
    /// Acknowledged, and not in the topic.
    Lost,
    /// In the topic twice, where that must not be.
    Repeated,
    /// In the topic under two ids.
    TwoIds,
    /// Not the bytes, the key or the headers that were sent.
    Altered,
    /// A key's first occurrences are not in the order they were sent in.
    OutOfOrder,
    /// In the topic although nobody sent it, or it was refused.
    Invented,
    /// Some of a batch, and not the rest.
    HalfBatch,
    /// A status that the topic, or another status, contradicts.
    Status,
    /// A repeated key that got another answer than the first time.
    Key,
    /// An answer that no client should see.
    Answer,
    /// The daemon ended by itself, does not start, or does not stop.
    Daemon,
    /// The backlog does not drain, or the topic's end cannot be read.
    Stuck,
    /// The storm itself failed.
    Storm,
}

/// Of each violation this many are told in words.
const MAX_DETAILS: usize = 10;

/// All that was found.
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
