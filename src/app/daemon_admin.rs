//! What operators see and control over the admin listener and the control socket, and the gauges of a scrape.
//!
//! Values are read when requested, so they are current. This module reads through handles and keeps no component
//! running.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::command::{CommandId, CommandStatus, USER_TOPIC, UserKind};
use crate::consumer;
use crate::control::{Operator, RecordOutcome};
use crate::db::Database;
use crate::drain::Handle;
use crate::http::{AdminService, Catalogue, Overview, Readiness};
use crate::ingest::{Admission, Ingest, ReplayResult, SubmitError};
use crate::problems::{Code, Observation, Problem, Problems};
use crate::status::{StatusError, Statuses};
use crate::units::Timestamp;
use crate::wal::dead_letters::{DeadEntry, Removal};
use crate::wal::{BacklogStats, Log, Lsn, SegmentLocation};

use super::age::{age_of, oldest_age};
use super::dependency_checks::{DATABASE, DependencyChecks};
use super::log_gauges::LogGauges;
use super::problem_sources::ProblemSources;
use super::problems;
use super::problems::Pause;
use super::recorder::Recorder;

/// The running components, as far as operators see them.
pub(super) struct DaemonAdmin {
    pub(super) log: Arc<Log>,
    pub(super) ingest: Ingest,
    pub(super) gauges: LogGauges,
    pub(super) kinds: Catalogue,
    /// Empty until the workers run.
    pub(super) drain: OnceLock<Handle>,
    /// `None` if the embedded database could not be opened.
    pub(super) db: Option<Database>,
    pub(super) dependencies: Arc<DependencyChecks>,
    /// Empty until the consumer runs, or if another process applies user commands.
    pub(super) consumer: OnceLock<consumer::Handle>,
    pub(super) stopping: AtomicBool,
    /// The list of problems.
    pub(super) problems: Problems,
    /// Sources of the list, in addition to the components above.
    pub(super) sources: ProblemSources,
    /// Lookup of command states.
    pub(super) statuses: Statuses,
    /// Current and recent values for the status page: the last hour.
    pub(super) recorder: Recorder,
}

/// Problems that `/readyz` reports as the state of Kafka.
const OF_KAFKA: [Code; 8] = [
    Code::LogRestored,
    Code::KafkaUnreachable,
    Code::KafkaTlsFailed,
    Code::KafkaAuthenticationFailed,
    Code::KafkaAuthorizationFailed,
    Code::KafkaTopicUnavailable,
    Code::DrainStalled,
    Code::RecordsParked,
];

impl DaemonAdmin {
    /// Number of records accepted before the start, by the current topic of their kind.
    fn previous_by_topic(&self) -> BTreeMap<String, u64> {
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

    /// Updates the gauges of the topics.
    pub(super) fn observe_topics(&self, stats: &BacklogStats) {
        let is_any_older = stats.watermark < self.log.start_lsn();
        self.gauges.topics.observe(stats.backlog, is_any_older.then(|| self.previous_by_topic()));
    }

    /// The current problems, the most important first. Does not block.
    pub(super) fn problems(&self) -> Vec<Problem> {
        self.problems.refresh(|| self.observe())
    }

    fn observe(&self) -> Vec<Observation> {
        let (sources, watched) = (&self.sources, self.sources.watched.last());
        let mut observed = problems::log(&self.log, &sources.damage, &watched);
        observed.extend(problems::admission(&self.ingest.admission(), &self.log));
        let expired = watched.end_of("kafka.ssl_cert_file");
        let of_kafka = |health| problems::kafka(health, &sources.cluster, expired);
        let of_kafka = sources.kafka.get().map(of_kafka).unwrap_or_default();
        observed.extend(sources.pause.lock().as_ref().map(problems::paused));
        if let Some(drain) = self.drain.get() {
            let is_reachable =
                sources.kafka.get().is_none_or(|health| !matches!(health.last(), Some(Err(_))));
            observed.extend(problems::delivery(drain, is_reachable));
        }
        observed.extend(of_kafka);
        observed.extend(self.dependencies.observe());
        if let Some(reason) = &sources.users_not_served {
            let detail = "users are not served, because an embedded store cannot be opened; fix the cause and \
                 restart the daemon";
            observed.push(Observation::new(Code::UsersNotServed, detail).with_error(reason));
        }
        observed.extend(self.consumer.get().map(problems::consumer).unwrap_or_default());
        observed.extend(self.not_applied());
        observed.extend(problems::certificates(sources.tls.as_ref(), Some(&sources.authenticator), &watched));
        observed.extend(problems::limits(&sources.limits));
        observed
    }

    /// Reports user commands that no consumer applies. A consumer in this process reports its own state. While the
    /// database is unavailable, the state is unknown.
    fn not_applied(&self) -> Option<Observation> {
        if self.consumer.get().is_some() || self.dependencies.is_failing(DATABASE) {
            return None;
        }
        let waits = self.sources.unapplied.as_ref()?.overdue(Instant::now())?;
        let detail = "Kafka has user commands, and no consumer has applied one for 1 minute or more";
        Some(Observation::new(Code::UsersNotApplied, detail).since(Timestamp::now().saturating_sub(waits)))
    }

    /// Pauses the workers if an operator paused delivery, possibly before they were started. Called after each of the
    /// two.
    pub(super) fn apply_pause(&self) {
        // Locked over both steps: a resume between them would leave the workers paused, with no problem shown.
        let pause = self.sources.pause.lock();
        self.drain.get().filter(|_| pause.is_some()).inspect(|drain| drain.pause());
    }

    /// Resumes the workers. Locked over both steps, as above.
    fn clear_pause(&self) {
        let mut pause = self.sources.pause.lock();
        *pause = None;
        self.drain.get().inspect(|drain| drain.resume());
    }

    fn readiness(&self, problems: Vec<Problem>) -> Readiness {
        let reason = match self.ingest.admission() {
            _ if self.stopping.load(Ordering::Relaxed) => Some("stopping"),
            Admission::Open => None,
            Admission::Closed(SubmitError::BacklogFull { .. }) => Some("backlog_full"),
            Admission::Closed(SubmitError::DiskFull) => Some("disk_full"),
            Admission::Closed(SubmitError::SegmentNotReady) => Some("overloaded"),
            Admission::Closed(SubmitError::Poisoned) => Some("poisoned"),
            Admission::Closed(_) => Some("stopping"),
        };
        let mut dependencies = self.dependencies.dependency_states(&problems);
        let kafka = match self.drain.get() {
            Some(_) => problems::dependency(&problems, &OF_KAFKA),
            None => "starting".to_owned(),
        };
        dependencies.insert("kafka", kafka);
        if self.sources.users_not_served.is_some() {
            dependencies.insert("users", problems::dependency(&problems, &[Code::UsersNotServed]));
        }
        if self.consumer.get().is_some() {
            dependencies.insert("consumer", problems::dependency(&problems, &[Code::ConsumerStalled]));
        }
        Readiness { ready: reason.is_none(), reason, dependencies, problems }
    }

    /// Status line for systemd. `None` once the daemon is stopping.
    pub(super) fn status_line(&self) -> Option<(u64, Vec<Problem>)> {
        let problems = self.problems();
        (!self.stopping.load(Ordering::Relaxed)).then(|| (self.log.backlog_stats().backlog, problems))
    }
}

impl AdminService for DaemonAdmin {
    fn backlog_json(&self) -> serde_json::Value {
        let (stats, problems) = (self.log.backlog_stats(), self.problems());
        let (accepted, delivered) = self.recorder.totals();
        let instance = &self.recorder.instance;
        json!({
            "at": Timestamp::now(),
            "started_at": instance.started_at,
            "uptime_seconds": instance.started.elapsed().as_secs_f64(),
            "accepted_total": accepted,
            "delivered_total": delivered,
            "backlog": stats.backlog,
            "oldest_age_seconds": oldest_age(&self.log, &stats).as_secs_f64(),
            "backlog_bytes": stats.backlog_bytes,
            "dead": stats.dead,
            "poisoned": self.log.poisoned().is_some(),
            "watermark_lsn": stats.watermark,
            "segments": self.log.segments().len(),
            "last_error": problems::last_error(&problems),
            "problems": problems,
        })
    }

    fn readiness(&self) -> Readiness {
        self.readiness(self.problems())
    }

    fn cached_readiness(&self) -> Readiness {
        self.readiness(self.problems.list())
    }

    fn overview(&self) -> Overview {
        self.build_overview()
    }

    fn find_command(
        &self,
        id: CommandId,
    ) -> Pin<Box<dyn Future<Output = Result<CommandStatus, StatusError>> + Send + '_>> {
        Box::pin(self.statuses.find(id, None, true))
    }

    fn pause(&self, origin: &str) {
        let pause = Pause { since: Timestamp::now(), origin: origin.to_owned() };
        self.sources.pause.lock().get_or_insert(pause);
        self.apply_pause();
        tracing::info!(event = "operator.drain_paused", origin, "operator paused delivery");
        self.problems();
    }

    fn resume(&self, origin: &str) {
        self.clear_pause();
        tracing::info!(event = "operator.drain_resumed", origin, "operator resumed delivery");
        self.problems();
    }

    fn rate_limit_changed(&self) {
        self.problems();
    }

    fn refresh_gauges(&self) {
        self.problems();
        let (log, gauges) = (&self.log, &self.gauges);
        let stats = log.backlog_stats();
        let age = oldest_age(log, &stats);
        gauges.backlog.set(to_gauge(stats.backlog));
        gauges.backlog_bytes.set(to_gauge(stats.backlog_bytes));
        self.observe_topics(&stats);
        gauges.dead_letters.set(to_gauge(stats.dead));
        gauges.oldest_age.set(age.as_secs_f64());
        // Every record before the oldest waiting one is finished. If none waits, all are.
        let over = Timestamp::now().0 as f64 / 1e3 - age.as_secs_f64();
        gauges.watermark_timestamp.set(over);
        gauges.poisoned.set(log.poisoned().is_some().into());
        match log.free_space() {
            Ok(bytes) => gauges.free_bytes.set(to_gauge(bytes)),
            Err(error) => {
                tracing::warn!(event = "wal.free_space_unknown", %error, "free space of the log's disk is unknown")
            }
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

impl Operator for DaemonAdmin {
    /// Writes a checkpoint first, so that the files the tool also reads are up to date.
    fn status(&self) -> serde_json::Value {
        if let Err(error) = self.log.checkpoint(Timestamp::now()) {
            tracing::warn!(
                event = "wal.checkpoint_failed",
                %error,
                "checkpoint not written; a restart would redeliver the records delivered since the last one"
            );
        }
        self.backlog_json()
    }

    fn requeue(&self, lsn: Lsn, origin: &str) -> Result<Lsn, String> {
        let requeued = match self.log.dead_letters().get(lsn) {
            Ok(Some(DeadEntry::Letter(letter))) => self.ingest.requeue(&letter),
            Ok(Some(DeadEntry::Sealed(_))) => {
                Err("the dead letter is encrypted with a key that is not configured".to_owned())
            }
            Ok(Some(DeadEntry::Damage(_))) => {
                Err("the record was lost to damage; there is nothing to send".to_owned())
            }
            Ok(None) => Err(format!("no dead letter {lsn}")),
            Err(error) => Err(error.to_string()),
        };
        match &requeued {
            Ok(now) => tracing::info!(
                event = "operator.dead_letter_requeued",
                origin,
                wal.lsn = lsn.0,
                wal.requeued_as = now.0,
                "operator requeued a dead letter"
            ),
            Err(error) => tracing::warn!(
                event = "operator.requeue_failed",
                origin,
                wal.lsn = lsn.0,
                error,
                "dead letter not requeued"
            ),
        }
        requeued
    }

    fn replay(&self, lsns: &[Lsn], origin: &str) -> Vec<RecordOutcome> {
        let outcome = |(lsn, now): ReplayResult| RecordOutcome {
            lsn,
            requeued_as: now.as_ref().ok().copied(),
            error: now.err(),
        };
        let outcomes: Vec<RecordOutcome> = self.ingest.replay(lsns).into_iter().map(outcome).collect();
        tracing::info!(
            event = "operator.records_replayed",
            origin,
            wal.first = lsns.first().map(|lsn| lsn.0),
            wal.last = lsns.last().map(|lsn| lsn.0),
            wal.records = outcomes.iter().filter(|outcome| outcome.error.is_none()).count(),
            error = outcomes.iter().find_map(|outcome| outcome.error.as_deref()),
            "operator replayed delivered records"
        );
        outcomes
    }

    fn drop_dead_letter(&self, lsn: Lsn, origin: &str) -> Result<(), String> {
        let dropped = match self.log.remove_dead_letter(lsn, Removal::Dropped) {
            Ok(true) => Ok(()),
            Ok(false) => Err(format!("no dead letter {lsn}")),
            Err(error) => Err(error.to_string()),
        };
        match &dropped {
            Ok(()) => tracing::info!(
                event = "operator.dead_letter_dropped",
                origin,
                wal.lsn = lsn.0,
                "operator dropped a dead letter"
            ),
            Err(error) => tracing::warn!(
                event = "operator.drop_failed",
                origin,
                wal.lsn = lsn.0,
                error,
                "dead letter not dropped"
            ),
        }
        dropped
    }
}

fn segments(log: &Log, gauges: &LogGauges) {
    let (mut open, mut pending, mut acked) = (0, 0, 0);
    for segment in log.segments() {
        let state = segment.state();
        match (state.location, state.sealed) {
            (SegmentLocation::Acked, _) => acked += 1,
            (SegmentLocation::Pending, true) => pending += 1,
            (SegmentLocation::Pending, false) => open += 1,
        }
    }
    for (state, count) in [("open", open), ("pending", pending), ("acked", acked)] {
        gauges.segments.with_label_values(&[state]).set(count);
    }
}

/// Converts to the signed type of gauges. No value of this process comes near its limit.
fn to_gauge(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
