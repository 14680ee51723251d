//! What operators see and steer, over the admin listener and over the control socket, and the gauges of a scrape: looked
//! up when somebody asks, so that they are true at that moment. It reads through handles and keeps nothing running.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::json;

use crate::command::{USER_TOPIC, UserKind};
use crate::consumer;
use crate::control::{Operator, Outcome};
use crate::db::Database;
use crate::drain::Handle;
use crate::http::{AdminService, Catalogue, Readiness};
use crate::ingest::{Admission, Again, Ingest, SubmitError};
use crate::units::Timestamp;
use crate::wal::dead::{Dead, Removal};
use crate::wal::{Figures, Log, Lsn, Place};

use super::dependencies::Dependencies;
use super::log_gauges::LogGauges;

/// The running parts, as far as an operator sees them.
pub(super) struct Backend {
    pub(super) log: Arc<Log>,
    pub(super) ingest: Ingest,
    pub(super) gauges: LogGauges,
    pub(super) kinds: Catalogue,
    /// None until the workers run.
    pub(super) drain: OnceLock<Handle>,
    /// None when what is embedded could not be opened.
    pub(super) db: Option<Database>,
    pub(super) dependencies: Arc<Dependencies>,
    /// None until it runs, or where another process applies users' commands.
    pub(super) consumer: OnceLock<consumer::Handle>,
    pub(super) stopping: AtomicBool,
}

impl Backend {
    /// Records that were accepted before the start, by the topics that their kinds have now.
    fn older_by_topic(&self) -> BTreeMap<String, u64> {
        let mut topics: BTreeMap<String, u64> = BTreeMap::new();
        for (kind, records) in self.log.untouched_labels() {
            let is_user = UserKind::ALL.iter().any(|known| known.as_str() == kind);
            let topic = if is_user { Some(Arc::from(USER_TOPIC)) } else { self.kinds.topic_of(&kind) };
            if let Some(topic) = topic {
                *topics.entry(topic.to_string()).or_default() += records;
            }
        }
        topics
    }

    fn kafka(&self) -> String {
        let Some(drain) = self.drain.get() else { return "starting".to_owned() };
        if let Some(notice) = drain.notice() {
            return notice;
        }
        let parked: u64 = drain.parked().values().sum();
        if parked > 0 {
            return format!("{parked} records are held back");
        }
        let workers = drain.workers();
        if workers.iter().all(|worker| worker.state == "rebuilding") {
            return "no worker has a producer".to_owned();
        }
        if workers.iter().any(|worker| worker.stalled) {
            return "nothing is confirmed".to_owned();
        }
        "ok".to_owned()
    }
}

impl AdminService for Backend {
    fn backlog_json(&self) -> serde_json::Value {
        let figures = self.log.figures();
        json!({
            "backlog": figures.backlog,
            "oldest_age_seconds": oldest_age(&self.log, &figures).as_secs_f64(),
            "backlog_bytes": figures.backlog_bytes,
            "dead": figures.dead,
            "poisoned": self.log.poisoned().is_some(),
            "watermark_lsn": figures.watermark,
            "segments": self.log.segments().len(),
        })
    }

    fn ready(&self) -> Readiness {
        let reason = match self.ingest.admission() {
            _ if self.stopping.load(Ordering::Relaxed) => Some("stopping"),
            Admission::Open => None,
            Admission::Closed(SubmitError::BacklogFull { .. }) => Some("backlog_full"),
            Admission::Closed(SubmitError::DiskFull) => Some("disk_full"),
            Admission::Closed(SubmitError::SegmentNotReady) => Some("overloaded"),
            Admission::Closed(SubmitError::Poisoned) => Some("poisoned"),
            Admission::Closed(_) => Some("stopping"),
        };
        let mut dependencies = self.dependencies.states();
        dependencies.insert("kafka", self.kafka());
        if self.db.is_none() {
            dependencies.insert("users", "not served: see the log".to_owned());
        }
        if let Some(consumer) = self.consumer.get() {
            dependencies.insert("consumer", consumer.trouble().unwrap_or_else(|| "ok".to_owned()));
        }
        Readiness { ready: reason.is_none(), reason, dependencies }
    }

    fn pause(&self) {
        self.drain.get().inspect(|drain| drain.pause());
    }

    fn resume(&self) {
        self.drain.get().inspect(|drain| drain.resume());
    }

    fn refresh_gauges(&self) {
        let (log, gauges) = (&self.log, &self.gauges);
        let figures = log.figures();
        let age = oldest_age(log, &figures);
        gauges.backlog.set(signed(figures.backlog));
        gauges.backlog_bytes.set(signed(figures.backlog_bytes));
        let is_any_older = figures.watermark < log.began();
        gauges.topics.observe(figures.backlog, is_any_older.then(|| self.older_by_topic()));
        gauges.dead_letters.set(signed(figures.dead));
        gauges.oldest_age.set(age.as_secs_f64());
        // Everything before the oldest that waits is over; when none waits, everything is.
        let over = Timestamp::now().0 as f64 / 1e3 - age.as_secs_f64();
        gauges.watermark_timestamp.set(over);
        gauges.poisoned.set(log.poisoned().is_some().into());
        match log.free_space() {
            Ok(bytes) => gauges.free_bytes.set(signed(bytes)),
            Err(error) => tracing::warn!(%error, "the free space of the log's file system is not known"),
        }
        segments(log, gauges);
        gauges.idempotency_window.set(self.ingest.idempotency_window().as_secs_f64());
        if let Some(db) = &self.db {
            db.observe();
        }
        if let Some(consumer) = self.consumer.get() {
            consumer.observe();
        }
        if let Some(drain) = self.drain.get() {
            drain.observe();
            let waiting = drain.oldest_waiting().map_or(Duration::ZERO, |lsn| age_of(log, lsn));
            gauges.oldest_waiting_age.set(waiting.as_secs_f64());
        }
    }
}

impl Operator for Backend {
    /// With a checkpoint taken before, so that what the tool reads beside it is as new.
    fn status(&self) -> serde_json::Value {
        if let Err(error) = self.log.checkpoint(Timestamp::now()) {
            tracing::warn!(%error, "checkpoint.failed: what a tool reads from the files is older");
        }
        self.backlog_json()
    }

    fn requeue(&self, lsn: Lsn) -> Result<Lsn, String> {
        match self.log.dead().get(lsn) {
            Ok(Some(Dead::Letter(letter))) => self.ingest.requeue(&letter),
            Ok(Some(Dead::Sealed(_))) => {
                Err("the letter is encrypted under a key that is not given".to_owned())
            }
            Ok(Some(Dead::Damage(_))) => {
                Err("the record was lost to damage: there is nothing to send".to_owned())
            }
            Ok(None) => Err(format!("no dead letter {lsn}")),
            Err(error) => Err(error.to_string()),
        }
    }

    fn replay(&self, lsns: &[Lsn]) -> Vec<Outcome> {
        let outcome =
            |(lsn, now): Again| Outcome { lsn, requeued_as: now.as_ref().ok().copied(), error: now.err() };
        self.ingest.replay(lsns).into_iter().map(outcome).collect()
    }

    fn drop_letter(&self, lsn: Lsn) -> Result<(), String> {
        match self.log.remove_letter(lsn, Removal::Dropped) {
            Ok(true) => Ok(()),
            Ok(false) => Err(format!("no dead letter {lsn}")),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Age of the oldest record that is neither confirmed nor dead; zero when there is none.
pub(super) fn oldest_age(log: &Arc<Log>, figures: &Figures) -> Duration {
    if figures.backlog == 0 { Duration::ZERO } else { age_of(log, figures.watermark) }
}

fn age_of(log: &Arc<Log>, lsn: Lsn) -> Duration {
    match log.accepted_at(lsn) {
        Ok(at) => at.map_or(Duration::ZERO, |at| Timestamp::now().since(at)),
        // Too large rather than unknown: an alert on it must fire.
        Err(error) => {
            tracing::warn!(event = "wal.oldest_age_unknown", %error, "oldest record unreadable; its segment's age is shown");
            log.began_at(lsn).map_or(Duration::ZERO, |at| Timestamp::now().since(at))
        }
    }
}

fn segments(log: &Log, gauges: &LogGauges) {
    let (mut open, mut pending, mut acked) = (0, 0, 0);
    for segment in log.segments() {
        let state = segment.state();
        match (state.place, state.sealed) {
            (Place::Acked, _) => acked += 1,
            (Place::Pending, true) => pending += 1,
            (Place::Pending, false) => open += 1,
        }
    }
    for (state, count) in [("open", open), ("pending", pending), ("acked", acked)] {
        gauges.segments.with_label_values(&[state]).set(count);
    }
}

/// Gauges are signed; no quantity of ours comes near the limit.
fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
