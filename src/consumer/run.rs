//! The consumer's thread.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::backoff::Backoff;
use crate::command::{USER_DEAD_TOPIC, USER_RETRY_TOPIC, USER_TOPIC};
use crate::kafka::{Interrupted, Source, Topics, TopicsError};
use crate::task::{Alarm, OnFailure, Outcome as Ended, Stop, Thread};

use super::ConsumerParts;
use super::engine::{Engine, Outcome};
use super::handle::{Handle, Shared};
use super::heartbeat::{Heartbeat, drive};
use super::intake::Intake;
use super::metrics::Metrics;
use super::pending::Pending;

/// Between two looks at the group while the database is away.
const LISTEN: Duration = Duration::from_millis(50);
/// Between two looks at what was put off.
const TIDY: Duration = Duration::from_secs(5);
/// Users completed at once.
const MERGE: u32 = 500;
/// Between two clients, when one broke.
const REBUILD: Duration = Duration::from_secs(1);

/// A running consumer.
pub struct Consumer {
    thread: Thread,
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
}

impl Consumer {
    /// Starts its thread; waits for nobody. `alarm`: it ended by itself, which it should not.
    pub fn start(parts: ConsumerParts, alarm: Alarm) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let (own, metrics) = (Arc::clone(&shared), Arc::clone(&parts.metrics));
        let thread = Thread::spawn("consumer", OnFailure::Raise(alarm), move |stop| run(&parts, &own, stop));
        Ok(Self { thread: thread?, shared, metrics })
    }

    /// What may be seen of it while it runs.
    pub fn handle(&self) -> Handle {
        Handle { shared: Arc::clone(&self.shared), metrics: Arc::clone(&self.metrics) }
    }

    /// Lets what is under way come to its end, leaves the group, and stops. Blocks until then, or until `deadline`.
    pub fn stop(self, deadline: Instant) {
        if let Err(late) = self.thread.stop(deadline.saturating_duration_since(Instant::now())) {
            tracing::warn!(event = "task.thread_left", error = %late, "thread still running after its deadline");
        }
    }
}

fn run(parts: &ConsumerParts, shared: &Shared, stop: &Stop) -> Ended {
    let heartbeat = Heartbeat::new(stop, &shared.beats);
    let mut engine = parts.engine();
    // The owner's wish to stop is no failure.
    let _ = prepare(parts, shared, &heartbeat);
    while heartbeat.beat() {
        let topics = [USER_TOPIC, USER_RETRY_TOPIC];
        let source = Source::new(&parts.kafka, &parts.bootstrap, &parts.config.group, &topics)?;
        let worker = Worker {
            parts,
            shared,
            heartbeat: &heartbeat,
            intake: Intake::new(source),
            pending: Pending::default(),
        };
        if let Some(broken) = worker.work(&mut engine) {
            tracing::error!(
                event = "consumer.client_failed",
                reason = broken,
                "Kafka client failed; another one replaces it"
            );
            heartbeat.rest(REBUILD);
        }
    }
    Ok(())
}

/// Waits for the schema, and makes the topics.
fn prepare(parts: &ConsumerParts, shared: &Shared, heartbeat: &Heartbeat<'_>) -> Result<(), Interrupted> {
    let mut backoff = Backoff::new(parts.config.retry_backoff_min.0, parts.config.retry_backoff_max.0);
    let mut last = String::new();
    loop {
        let trouble = match drive(&parts.runtime, heartbeat, parts.db.lacks())? {
            Ok(None) => break,
            Ok(Some(trouble)) => trouble,
            Err(error) => error.to_string(),
        };
        if trouble != last {
            tracing::warn!(event = "consumer.database_not_ready", reason = trouble, "database is not ready");
            last.clone_from(&trouble);
        }
        shared.say(Some(trouble));
        if !heartbeat.rest(backoff.delay()) {
            return Err(Interrupted);
        }
    }
    shared.say(None);
    make_topics(parts, heartbeat)
}

fn make_topics(parts: &ConsumerParts, heartbeat: &Heartbeat<'_>) -> Result<(), Interrupted> {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    let mut said = false;
    while heartbeat.beat() {
        let topics = Topics::new(&parts.kafka, &parts.bootstrap).map_err(TopicsError::from);
        match topics.and_then(|topics| topics.ensure(&[USER_TOPIC, USER_RETRY_TOPIC, USER_DEAD_TOPIC])) {
            Ok(()) => return Ok(()),
            // Somebody else may make them; until then nothing comes, or nothing can be retried.
            Err(
                error @ (TopicsError::Refused { .. } | TopicsError::NoToken { .. } | TopicsError::Client(_)),
            ) => {
                tracing::error!(
                    event = "consumer.topic_refused",
                    %error,
                    "required topic not created"
                );
                return Ok(());
            }
            Err(error @ TopicsError::Away(_)) if !said => {
                tracing::warn!(
                    event = "consumer.topics_delayed",
                    %error,
                    "required topics are created when Kafka answers"
                );
                said = true;
            }
            Err(TopicsError::Away(_)) => {}
        }
        heartbeat.rest(backoff.delay());
    }
    Err(Interrupted)
}

/// One membership of the group.
struct Worker<'a> {
    parts: &'a ConsumerParts,
    shared: &'a Shared,
    heartbeat: &'a Heartbeat<'a>,
    intake: Intake,
    pending: Pending,
}

impl Worker<'_> {
    /// Works until it is asked to stop; or says why it cannot.
    fn work(mut self, engine: &mut Engine) -> Option<String> {
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
            // What was taken away before it was pending is not in there.
            self.intake.take_revoked();
            // An error: asked to stop. What is not settled comes again.
            if self.apply(engine).is_err() {
                break;
            }
            if tidied.elapsed() >= TIDY {
                match self.tidy(engine) {
                    Err(Interrupted) => break,
                    // The rest in turn with the next commands: as many may have been put off in the time of one look.
                    Ok(true) => {}
                    Ok(false) => tidied = Instant::now(),
                }
            }
        }
        None
    }

    /// Applies what is pending, whatever it takes.
    fn apply(&mut self, engine: &mut Engine) -> Result<(), Interrupted> {
        let config = &self.parts.config;
        let mut backoff = Backoff::new(config.retry_backoff_min.0, config.retry_backoff_max.0);
        let mut blocked = false;
        self.note_progress(false);
        while !self.pending.is_empty() {
            let (intake, heartbeat) = (&mut self.intake, self.heartbeat);
            let mut tick = || {
                intake.listen(Duration::ZERO);
                heartbeat.beat()
            };
            let outcome = engine.step(&mut self.pending, heartbeat, &mut tick)?;
            let waits = matches!(outcome, Outcome::Wait(_));
            self.note_progress(outcome.settles());
            match outcome {
                Outcome::Settled(records) => self.settled(&records),
                Outcome::Again => {}
                Outcome::Wait(why) => self.wait_out(why, blocked, backoff.delay())?,
            }
            if blocked && !waits {
                tracing::info!(event = "consumer.database_writable", "database can be written again");
                self.unblock();
                backoff.reset();
            }
            blocked = waits;
            self.pending.forget(&self.intake.take_revoked());
            self.shared.lag.store(self.intake.lag(), Ordering::Relaxed);
            if self.heartbeat.beat() { Ok(()) } else { Err(Interrupted) }?;
        }
        if blocked {
            self.unblock();
        }
        // What was pending may have been taken away.
        self.note_progress(true);
        Ok(())
    }

    fn note_progress(&self, settled: bool) {
        self.shared.progress.note(self.pending.len(), settled, Instant::now());
    }

    fn settled(&mut self, records: &[crate::kafka::Record]) {
        let offsets = self.intake.settled(records);
        let mut settled = self.shared.settled.lock();
        for ((topic, partition), offset) in offsets {
            if *topic == *USER_TOPIC {
                settled.insert(partition, offset);
            }
        }
    }

    /// Stays a member of the group while the database is away.
    fn wait_out(&mut self, why: String, blocked: bool, delay: Duration) -> Result<(), Interrupted> {
        if !blocked {
            tracing::warn!(
                event = "consumer.database_unwritable",
                reason = why,
                "database cannot be written; the consumer tries again"
            );
        }
        self.shared.say(Some(why));
        self.intake.pause();
        let until = Instant::now() + delay;
        while Instant::now() < until {
            self.intake.listen(LISTEN.min(until.saturating_duration_since(Instant::now())));
            if !self.heartbeat.beat() {
                return Err(Interrupted);
            }
        }
        Ok(())
    }

    fn unblock(&self) {
        self.shared.say(None);
    }

    /// What was left for later; says whether there is more of it.
    fn tidy(&mut self, engine: &mut Engine) -> Result<bool, Interrupted> {
        drive(&self.parts.runtime, self.heartbeat, engine.after.remove_markers())?;
        if !engine.mode.is_on() {
            match drive(&self.parts.runtime, self.heartbeat, self.parts.db.merge_extras(MERGE))? {
                Ok(0) => {}
                Ok(users) => {
                    tracing::info!(
                        event = "consumer.users_completed",
                        users,
                        "users completed with values deferred by degraded mode"
                    );
                    return Ok(users >= u64::from(MERGE));
                }
                Err(error) => tracing::debug!(%error, "users not completed; tried again"),
            }
        }
        Ok(false)
    }
}
