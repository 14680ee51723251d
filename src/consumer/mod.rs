//! Applies users' commands to the database: reads `user.commands.v1`, decides what becomes of each, writes that in one
//! transaction a batch, with the commands' outcomes, so that a repeated delivery changes nothing.
//!
//! ```text
//! Kafka → intake (due records) → engine: read → judge → write → commit → after (markers, caches, who waits)
//!            ▲                                             │
//!            └────────── user.retry.v1 ◄── letters ◄───────┘──► user.dead.v1
//! ```
//!
//! A command that cannot be applied is *parked*: a row in the database, a record in the retry topic. While a name has
//! a parked command, later ones of that name follow it there, so that their order stays. A command that was tried
//! often enough is dead: a dead letter in Kafka, the outcome `dead` in the database. Nothing is lost: offsets are
//! committed last, and every step before that may be repeated. Nothing goes round for ever: tries are counted in the
//! database.

mod after;
mod apply;
mod command;
mod config;
mod engine;
mod held;
mod intake;
mod judge;
mod letters;
mod mode;
mod pending;
mod positions;
mod progress;
mod pulse;
mod replay;
mod run;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use tokio::runtime;

use crate::db::Database;
use crate::kafka;
use crate::kafka::Outbox;
use crate::kv::Kv;
use crate::metrics::Metrics;
use crate::task::Alarm;
use crate::task::OnFailure;
use crate::task::Thread;

pub use after::AfterApplied;
pub use after::Nobody;
pub use after::Work;
pub use config::Config;
pub use config::Degraded;
pub use engine::Counts;
pub use replay::ReplayError;
pub use replay::Replayed;
pub use replay::replay;

use after::After;
use apply::Applier;
use engine::Engine;
use mode::Mode;
use run::Shared;

/// What a consumer is made of.
pub struct ConsumerParts {
    /// Where users are.
    pub db: Database,
    /// Where pending markers are; none: somewhere this process does not reach.
    pub kv: Option<Kv>,
    /// Who wants to know what was applied.
    pub after: Arc<dyn AfterApplied>,
    /// Its section.
    pub config: Config,
    /// How to speak to Kafka.
    pub kafka: kafka::Config,
    /// The brokers to ask first.
    pub bootstrap: String,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// Where database and store are waited for. It must outlive the consumer.
    pub runtime: runtime::Handle,
    /// A transaction that takes longer is logged.
    pub slow_step: Duration,
}

impl ConsumerParts {
    fn engine(&self) -> Engine {
        let bound_hit = self.metrics.bound_hit.with_label_values(&["consumer_markers"]);
        Engine {
            applier: Applier {
                db: self.db.clone(),
                retry_attempts: self.config.retry_attempts,
                slow_step: self.slow_step,
            },
            outbox: Outbox::new(&self.kafka, &self.bootstrap),
            after: After::new(self.kv.clone(), Arc::clone(&self.after), bound_hit),
            mode: Mode::new(self.config.degraded),
            config: self.config.clone(),
            metrics: Arc::clone(&self.metrics),
            runtime: self.runtime.clone(),
            window: self.config.batch_size as usize,
            conflicts: 0,
            fruitless: 0,
            counts: Counts::default(),
        }
    }
}

/// A running consumer.
pub struct Consumer {
    thread: Thread,
    shared: Arc<Shared>,
}

impl Consumer {
    /// Starts its thread; waits for nobody. `alarm`: it ended by itself, which it should not.
    pub fn start(parts: ConsumerParts, alarm: Alarm) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let own = Arc::clone(&shared);
        let thread =
            Thread::spawn("consumer", OnFailure::Raise(alarm), move |stop| run::run(&parts, &own, stop));
        Ok(Self { thread: thread?, shared })
    }

    /// What may be seen of it while it runs.
    pub fn handle(&self) -> Handle {
        Handle { shared: Arc::clone(&self.shared) }
    }

    /// Lets what is under way come to its end, leaves the group, and stops. Blocks until then, or until `deadline`.
    pub fn stop(self, deadline: Instant) {
        if let Err(late) = self.thread.stop(deadline.saturating_duration_since(Instant::now())) {
            tracing::warn!(%late, "what the consumer has not settled comes again");
        }
    }
}

/// A view of a running consumer.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    /// A number that changes while the thread is alive, also while it waits.
    pub fn heartbeat(&self) -> u64 {
        self.shared.beats.load(Ordering::Relaxed)
    }

    /// Why nothing is applied now, if so: what the database says, or that commands are pending and none was settled for
    /// half a minute.
    pub fn trouble(&self) -> Option<String> {
        self.blocked().or_else(|| self.shared.progress.stalled(Instant::now()))
    }

    /// What the database says while it cannot be written.
    pub fn blocked(&self) -> Option<String> {
        self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where `user.commands.v1` is settled up to, by partition, as far as this process has come across it: everything
    /// before these offsets has an outcome or is parked.
    pub fn settled(&self) -> BTreeMap<i32, i64> {
        self.shared.settled.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets the gauges, for whoever renders a scrape.
    pub fn observe(&self, metrics: &Metrics) {
        // The client's figure is some seconds old: what was read is known now.
        let pending = i64::try_from(self.shared.progress.pending()).unwrap_or(i64::MAX);
        metrics.consumer_lag.set(self.shared.lag.load(Ordering::Relaxed).max(pending));
        metrics.consumer_blocked.set(self.trouble().is_some().into());
    }
}

#[cfg(test)]
mod tests;
