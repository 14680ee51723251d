//! What the status page shows, all of one moment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::history::HistoryView;
use crate::http::readiness::Readiness;
use crate::units::Timestamp;

/// The daemon, as an operator sees it.
#[derive(Clone, Debug)]
pub struct Overview {
    /// Whether this process accepts commands; if not, it applies them.
    pub accepts: bool,
    /// Whether commands are accepted, and what is wrong.
    pub readiness: Readiness,
    /// What runs.
    pub instance: Arc<Instance>,
    /// Figures of this moment and of the last hour; none where there is no log, and in the first second.
    pub history: Option<HistoryView>,
    /// What each worker does; none before they run, or where there are none.
    pub workers: Vec<WorkerRow>,
    /// What holds records of a topic back, by topic.
    pub held_back: BTreeMap<String, String>,
    /// Dead letters.
    pub dead_letters: DeadLetterSummary,
}

impl Default for Instance {
    fn default() -> Self {
        Self { started: Instant::now(), started_at: Timestamp::now(), facts: Vec::new() }
    }
}

impl Overview {
    /// Of a process without a log.
    pub fn without_log(readiness: Readiness, instance: Arc<Instance>) -> Self {
        Self {
            accepts: false,
            readiness,
            instance,
            history: None,
            workers: Vec::new(),
            held_back: BTreeMap::new(),
            dead_letters: DeadLetterSummary::default(),
        }
    }
}

/// What runs, since when, and how it is configured.
#[derive(Debug)]
pub struct Instance {
    /// The start, for durations.
    pub started: Instant,
    /// The start, by the clock on the wall.
    pub started_at: Timestamp,
    /// Name and value of each fact for an operator: version, configuration, listeners and so on.
    pub facts: Vec<(&'static str, String)>,
}

/// One worker of the drain.
#[derive(Clone, Debug)]
pub struct WorkerRow {
    /// Its number.
    pub index: usize,
    /// `running`, `waiting`, `paused` or `rebuilding`.
    pub state: &'static str,
    /// The lanes that it delivers, for people.
    pub lanes: String,
    /// Records sent and not confirmed.
    pub in_flight: usize,
    /// Records held back.
    pub parked: u64,
    /// For how long there has been something to deliver and Kafka has confirmed nothing.
    pub unconfirmed_for: Duration,
}

/// The dead letters, as far as the page shows them. No keys: they may name persons.
#[derive(Clone, Debug, Default)]
pub struct DeadLetterSummary {
    /// How many are stored.
    pub stored: u64,
    /// How many records became dead letters since the start, by the code of the reason.
    pub since_start: Vec<(String, u64)>,
    /// The newest, newest first.
    pub newest: Arc<[DeadLetterRow]>,
}

/// One dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetterRow {
    /// The number of the record; of a damaged range, of its first.
    pub lsn: u64,
    /// Its kind; none where the record cannot be read.
    pub kind: Option<String>,
    /// When it was given up.
    pub died_at: Timestamp,
    /// Why.
    pub reason: String,
    /// How often it was sent.
    pub attempts: u32,
}
