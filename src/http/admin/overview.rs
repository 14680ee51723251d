//! The data of the status page, taken at one moment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::history::HistoryView;
use crate::http::readiness::Readiness;
use crate::units::Timestamp;

/// State of the daemon for an operator.
#[derive(Clone, Debug)]
pub struct Overview {
    /// Whether this process accepts commands. If not, it is a consumer, which applies them.
    pub accepts: bool,
    /// Readiness and current problems.
    pub readiness: Readiness,
    /// The running process.
    pub instance: Arc<Instance>,
    /// Current figures and those of the last hour. `None` without a log, and during the first second.
    pub history: Option<HistoryView>,
    /// State of each drain worker. Empty before the workers run and in processes without workers.
    pub workers: Vec<WorkerRow>,
    /// Why records are parked, by topic.
    pub held_back: BTreeMap<String, String>,
    /// Summary of the dead letters.
    pub dead_letters: DeadLetterSummary,
}

impl Default for Instance {
    fn default() -> Self {
        Self { started: Instant::now(), started_at: Timestamp::now(), facts: Vec::new() }
    }
}

impl Overview {
    /// The overview of a process without a log.
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

/// The running process: its start and its configuration.
#[derive(Debug)]
pub struct Instance {
    /// Start of the process, to calculate durations.
    pub started: Instant,
    /// Start of the process in wall-clock time.
    pub started_at: Timestamp,
    /// Facts for an operator, each with name and value: version, configuration, listeners and so on.
    pub facts: Vec<(&'static str, String)>,
}

/// One worker of the drain.
#[derive(Clone, Debug)]
pub struct WorkerRow {
    /// Number of the worker.
    pub index: usize,
    /// `running`, `waiting`, `paused` or `rebuilding`.
    pub state: &'static str,
    /// The worker's lanes, as text.
    pub lanes: String,
    /// Records that were sent and are not confirmed.
    pub in_flight: usize,
    /// Parked records.
    pub parked: u64,
    /// For how long Kafka has confirmed nothing although records are undelivered.
    pub unconfirmed_for: Duration,
}

/// Summary of the dead letters. It has no keys, because they may contain personal data.
#[derive(Clone, Debug, Default)]
pub struct DeadLetterSummary {
    /// Number of stored dead letters.
    pub stored: u64,
    /// Number of records that became dead letters since the start, by the code of the reason.
    pub since_start: Vec<(String, u64)>,
    /// The newest dead letters, newest first.
    pub newest: Arc<[DeadLetterRow]>,
}

/// One dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetterRow {
    /// LSN of the record. For a damaged range, the LSN of its first record.
    pub lsn: u64,
    /// Kind of the command. `None` if the record is unreadable.
    pub kind: Option<String>,
    /// When the record was dead-lettered.
    pub died_at: Timestamp,
    /// Reason.
    pub reason: String,
    /// Number of delivery attempts.
    pub attempts: u32,
}
