//! The consumer's thread.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::backoff::Backoff;
use crate::command::{USER_DEAD_TOPIC, USER_RETRY_TOPIC, USER_TOPIC};
use crate::kafka::{GroupConsumer, Interrupted, TopicAdmin, TopicAdminError};
use crate::task::{FatalSignal, OnFailure, Outcome as Ended, StopSignal, Thread};

use super::ConsumerParts;
use super::engine::{Engine, StepOutcome};
use super::handle::{ConsumerState, Handle};
use super::heartbeat::{Heartbeat, block_on};
use super::intake::Intake;
use super::metrics::Metrics;
use super::pending_batch::PendingBatch;

/// Interval of group polls while the database is unavailable.
const GROUP_POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Interval of checks for deferred columns.
const MERGE_INTERVAL: Duration = Duration::from_secs(5);
/// Number of users completed per transaction.
const MERGE_BATCH: u32 = 500;
/// Delay before a failed client is replaced.
const REBUILD_DELAY: Duration = Duration::from_secs(1);

/// A running consumer.
pub struct Consumer {
    thread: Thread,
    shared: Arc<ConsumerState>,
    metrics: Arc<Metrics>,
}

impl Consumer {
    /// Starts the consumer's thread without waiting for other systems. `fatal` is raised if the thread ends by itself.
    pub fn start(parts: ConsumerParts, fatal: FatalSignal) -> io::Result<Self> {
        let shared = Arc::<ConsumerState>::default();
        let (own, metrics) = (Arc::clone(&shared), Arc::clone(&parts.metrics));
        let thread = Thread::spawn("consumer", OnFailure::Raise(fatal), move |stop| run(&parts, &own, stop));
        Ok(Self { thread: thread?, shared, metrics })
    }

    /// A view of the running consumer.
    pub fn handle(&self) -> Handle {
        Handle { shared: Arc::clone(&self.shared), metrics: Arc::clone(&self.metrics) }
    }

    /// Completes work in progress, leaves the group, and stops. Blocks until then, or until `deadline`.
    pub fn stop(self, deadline: Instant) {
        if let Err(late) = self.thread.stop(deadline.saturating_duration_since(Instant::now())) {
            tracing::warn!(event = "task.thread_left", error = %late, "thread still running after its deadline");
        }
    }
}

fn run(parts: &ConsumerParts, shared: &ConsumerState, stop: &StopSignal) -> Ended {
    let heartbeat = Heartbeat::new(stop, &shared.heartbeat);
    let mut engine = parts.engine();
    // An interrupt by the owner is not an error.
    let _ = prepare(parts, shared, &heartbeat);
    while heartbeat.beat() {
        let topics = [USER_TOPIC, USER_RETRY_TOPIC];
        let source = GroupConsumer::new(&parts.kafka, &parts.bootstrap, &parts.config.group, &topics)?;
        let worker = GroupMembership {
            parts,
            shared,
            heartbeat: &heartbeat,
            intake: Intake::new(source),
            pending: PendingBatch::default(),
        };
        if let Some(broken) = worker.run_until_stopped(&mut engine) {
            tracing::error!(
                event = "consumer.client_failed",
                reason = broken,
                "Kafka client failed and is being replaced"
            );
            heartbeat.sleep(REBUILD_DELAY);
        }
    }
    Ok(())
}

/// Waits for the schema and creates the topics.
fn prepare(
    parts: &ConsumerParts,
    shared: &ConsumerState,
    heartbeat: &Heartbeat<'_>,
) -> Result<(), Interrupted> {
    let mut backoff = Backoff::new(parts.config.retry_backoff_min.0, parts.config.retry_backoff_max.0);
    let mut last = String::new();
    loop {
        let trouble = match block_on(&parts.runtime, heartbeat, parts.db.missing_requirement())? {
            Ok(None) => break,
            Ok(Some(trouble)) => trouble,
            Err(error) => error.to_string(),
        };
        if trouble != last {
            tracing::warn!(event = "consumer.database_not_ready", reason = trouble, "database is not ready");
            last.clone_from(&trouble);
        }
        shared.set_trouble(Some(trouble));
        if !heartbeat.sleep(backoff.delay()) {
            return Err(Interrupted);
        }
    }
    shared.set_trouble(None);
    create_topics(parts, heartbeat)
}

fn create_topics(parts: &ConsumerParts, heartbeat: &Heartbeat<'_>) -> Result<(), Interrupted> {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    let mut said = false;
    while heartbeat.beat() {
        let topics = TopicAdmin::new(&parts.kafka, &parts.bootstrap).map_err(TopicAdminError::from);
        match topics.and_then(|topics| topics.ensure(&[USER_TOPIC, USER_RETRY_TOPIC, USER_DEAD_TOPIC])) {
            Ok(()) => return Ok(()),
            // Another party may create the topics. Until then no records arrive, or nothing can be retried.
            Err(
                error @ (TopicAdminError::Refused { .. }
                | TopicAdminError::NoToken { .. }
                | TopicAdminError::Client(_)),
            ) => {
                tracing::error!(
                    event = "consumer.topic_refused",
                    %error,
                    "required topic not created"
                );
                return Ok(());
            }
            Err(error @ TopicAdminError::Unavailable(_)) if !said => {
                tracing::warn!(
                    event = "consumer.topics_delayed",
                    %error,
                    "required topics will be created when Kafka is available"
                );
                said = true;
            }
            Err(TopicAdminError::Unavailable(_)) => {}
        }
        heartbeat.sleep(backoff.delay());
    }
    Err(Interrupted)
}

/// One membership in the group.
struct GroupMembership<'a> {
    parts: &'a ConsumerParts,
    shared: &'a ConsumerState,
    heartbeat: &'a Heartbeat<'a>,
    intake: Intake,
    pending: PendingBatch,
}

impl GroupMembership<'_> {
    /// Works until the stop signal, or returns why it cannot continue.
    fn run_until_stopped(mut self, engine: &mut Engine) -> Option<String> {
        let config = &self.parts.config;
        let mut tidied = Instant::now();
        while self.heartbeat.beat() {
            self.shared.lag.store(self.intake.lag(), Ordering::Relaxed);
            *self.shared.read_error.lock() = self.intake.read_error();
            for record in self.intake.gather(config.batch_size as usize, config.batch_wait.0) {
                self.pending.push(record);
            }
            if let Some(broken) = self.intake.broken() {
                return Some(broken.to_owned());
            }
            // Partitions revoked before their records were pending are not in the batch.
            self.intake.take_revoked();
            // An error means that the owner stops the thread. Unsettled records are delivered again.
            if self.apply(engine).is_err() {
                break;
            }
            if tidied.elapsed() >= MERGE_INTERVAL {
                match self.merge_deferred(engine) {
                    Err(Interrupted) => break,
                    // Continue after the next commands: as many columns may have been deferred during one check.
                    Ok(true) => {}
                    Ok(false) => tidied = Instant::now(),
                }
            }
        }
        None
    }

    /// Applies the pending commands until all are settled.
    fn apply(&mut self, engine: &mut Engine) -> Result<(), Interrupted> {
        let config = &self.parts.config;
        let mut backoff = Backoff::new(config.retry_backoff_min.0, config.retry_backoff_max.0);
        let mut blocked = false;
        self.note_progress(false);
        while !self.pending.is_empty() {
            let (intake, heartbeat) = (&mut self.intake, self.heartbeat);
            let mut tick = || {
                intake.poll_group(Duration::ZERO);
                heartbeat.beat()
            };
            let outcome = engine.step(&mut self.pending, heartbeat, &mut tick)?;
            let waits = matches!(outcome, StepOutcome::Wait(_));
            self.note_progress(outcome.made_progress());
            match outcome {
                StepOutcome::Settled(records) => self.settled(&records),
                StepOutcome::Retry => {}
                StepOutcome::Wait(why) => self.wait_for_database(why, blocked, backoff.delay())?,
            }
            if blocked && !waits {
                tracing::info!(event = "consumer.database_writable", "the database can be written again");
                self.clear_blocked();
                backoff.reset();
            }
            blocked = waits;
            self.pending.remove_partitions(&self.intake.take_revoked());
            self.shared.lag.store(self.intake.lag(), Ordering::Relaxed);
            if self.heartbeat.beat() { Ok(()) } else { Err(Interrupted) }?;
        }
        if blocked {
            self.clear_blocked();
        }
        // The partitions of the pending records may have been revoked.
        self.note_progress(true);
        Ok(())
    }

    fn note_progress(&self, settled: bool) {
        self.shared.progress.record(self.pending.len(), settled, Instant::now());
    }

    fn settled(&mut self, records: &[crate::kafka::Record]) {
        let offsets = self.intake.on_settled(records);
        let mut settled = self.shared.settled.lock();
        for ((topic, partition), offset) in offsets {
            if *topic == *USER_TOPIC {
                settled.insert(partition, offset);
            }
        }
    }

    /// Stays a member of the group while the database is unavailable.
    fn wait_for_database(&mut self, why: String, blocked: bool, delay: Duration) -> Result<(), Interrupted> {
        if !blocked {
            tracing::warn!(
                event = "consumer.database_unwritable",
                reason = why,
                "database cannot be written; retrying"
            );
        }
        self.shared.set_trouble(Some(why));
        self.intake.pause();
        let until = Instant::now() + delay;
        while Instant::now() < until {
            self.intake.poll_group(GROUP_POLL_INTERVAL.min(until.saturating_duration_since(Instant::now())));
            if !self.heartbeat.beat() {
                return Err(Interrupted);
            }
        }
        Ok(())
    }

    fn clear_blocked(&self) {
        self.shared.set_trouble(None);
    }

    /// Merges deferred columns; returns whether more remain.
    fn merge_deferred(&mut self, engine: &mut Engine) -> Result<bool, Interrupted> {
        block_on(&self.parts.runtime, self.heartbeat, engine.post_commit.remove_reservations())?;
        if !engine.degraded_mode.is_on() {
            match block_on(&self.parts.runtime, self.heartbeat, self.parts.db.merge_extras(MERGE_BATCH))? {
                Ok(0) => {}
                Ok(users) => {
                    tracing::info!(
                        event = "consumer.users_completed",
                        users,
                        "users completed with values deferred by degraded mode"
                    );
                    return Ok(users >= u64::from(MERGE_BATCH));
                }
                Err(error) => tracing::debug!(%error, "users not completed; retrying"),
            }
        }
        Ok(false)
    }
}
