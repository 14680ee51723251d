//! Records the values of the status page once per second: counters, gauges, and the newest dead letters.
//!
//! A separate thread, because the age of the oldest record and the dead letters are read from the disk. A disk that
//! hangs stops only the recording. The page shows the time of its values.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::IntCounterVec;

use crate::command::kind_of;
use crate::drain;
use crate::history::{History, MetricsSample, TopicSample};
use crate::http::{DeadLetterRow, Instance};
use crate::metrics;
use crate::metrics::TopicMetrics;
use crate::sync::Mutex;
use crate::task::{OnFailure, Thread};
use crate::units::Timestamp;
use crate::wal::dead_letters::DeadEntry;
use crate::wal::{Log, Lsn};

use super::age::oldest_age;
use super::log_metrics::LogMetrics;

const INTERVAL: Duration = Duration::from_secs(1);
/// Number of dead letters on the page. They are read from the disk when the number of dead letters changes.
const NEWEST: usize = 5;

/// The recorded values and their sources.
pub(super) struct Recorder {
    pub(super) history: History,
    pub(super) instance: Arc<Instance>,
    log_metrics: Arc<LogMetrics>,
    drain_metrics: Arc<drain::Metrics>,
    dead_letters: Mutex<RecentDeadLetters>,
}

/// The newest dead letters, and the state for which they were read.
#[derive(Default)]
struct RecentDeadLetters {
    read_for: Option<(u64, Option<(Lsn, Lsn)>)>,
    newest: Arc<[DeadLetterRow]>,
}

impl Recorder {
    pub(super) fn new(
        instance: Instance,
        log_metrics: Arc<LogMetrics>,
        drain_metrics: Arc<drain::Metrics>,
    ) -> Self {
        let (history, letters) = (History::default(), Mutex::default());
        Self { history, instance: Arc::new(instance), log_metrics, drain_metrics, dead_letters: letters }
    }

    /// Number of records appended to the log, and of records confirmed by Kafka, since the start.
    pub(super) fn totals(&self) -> (u64, u64) {
        (self.log_metrics.appended.get(), counts(&self.drain_metrics.sent).values().sum())
    }

    /// The newest dead letters at the last recording.
    pub(super) fn recent_dead_letters(&self) -> Arc<[DeadLetterRow]> {
        Arc::clone(&self.dead_letters.lock().newest)
    }

    /// Number of records dead-lettered since the start, by reason code.
    pub(super) fn dead_since_start(&self) -> Vec<(String, u64)> {
        counts(&self.drain_metrics.dead).into_iter().collect()
    }

    /// Records the current values of the log. Blocks on disk I/O.
    pub(super) fn record(&self, log: &Arc<Log>, topics: &TopicMetrics, problems: usize) {
        self.refresh_dead_letters(log);
        let stats = log.backlog_stats();
        let flush = &self.log_metrics.flush_seconds;
        let delivered = counts(&self.drain_metrics.sent);
        let reading = MetricsSample {
            oldest_age: oldest_age(log, &stats),
            at: Instant::now(),
            accepted: self.log_metrics.appended.get(),
            delivered: delivered.values().sum(),
            flushes: flush.get_sample_count(),
            flush_seconds: flush.get_sample_sum(),
            backlog: stats.backlog,
            backlog_bytes: stats.backlog_bytes,
            dead: stats.dead,
            problems,
            topics: by_topic(topics, &delivered),
        };
        self.history.record(reading, Timestamp::now());
    }

    /// Blocks on disk I/O if the number of dead letters has changed.
    fn refresh_dead_letters(&self, log: &Log) {
        let dead = log.dead_letters();
        let current = Some((dead.len(), dead.first_and_last()));
        if self.dead_letters.lock().read_for == current {
            return;
        }
        let newest =
            dead.lsns().into_iter().rev().take(NEWEST).filter_map(|lsn| read_dead_letter(log, lsn)).collect();
        *self.dead_letters.lock() = RecentDeadLetters { read_for: current, newest };
    }
}

/// Starts the thread. If it fails, the page has no current values; the daemon is not affected.
pub(super) fn start(record: impl Fn() + Send + 'static) -> io::Result<Thread> {
    let failed = |cause| {
        tracing::error!(
            event = "history.failed",
            error = cause,
            "values of the status page are no longer recorded"
        );
    };
    Thread::spawn("history", OnFailure::Report(Box::new(failed)), move |stop| {
        loop {
            record();
            if stop.wait(INTERVAL) {
                return Ok(());
            }
        }
    })
}

fn by_topic(counted: &TopicMetrics, delivered: &BTreeMap<String, u64>) -> BTreeMap<String, TopicSample> {
    let mut topics: BTreeMap<String, TopicSample> = BTreeMap::new();
    for (topic, counted) in counted.counted() {
        let reading = topics.entry(topic).or_default();
        (reading.accepted, reading.backlog) = (counted.accepted, counted.backlog);
    }
    for (topic, delivered) in delivered {
        topics.entry(topic.clone()).or_default().delivered = *delivered;
    }
    topics
}

fn counts(counters: &IntCounterVec) -> BTreeMap<String, u64> {
    metrics::by_label(counters).into_iter().map(|(label, value)| (label, value as u64)).collect()
}

fn read_dead_letter(log: &Log, lsn: Lsn) -> Option<DeadLetterRow> {
    let unread =
        |died_at, reason, attempts| DeadLetterRow { lsn: lsn.0, kind: None, died_at, reason, attempts };
    match log.dead_letters().get(lsn) {
        Ok(Some(DeadEntry::Letter(letter))) => {
            let kind = kind_of(&letter.payload);
            Some(DeadLetterRow { kind, ..unread(letter.died_at, letter.reason, letter.attempts) })
        }
        Ok(Some(DeadEntry::Sealed(letter))) => {
            Some(unread(letter.died_at, "the dead letter is encrypted".to_owned(), letter.attempts))
        }
        Ok(Some(DeadEntry::Damage(damage))) => Some(unread(damage.found_at, damage.reason, 0)),
        Ok(None) => None,
        Err(error) => Some(unread(Timestamp::now(), format!("the dead letter cannot be read: {error}"), 0)),
    }
}
