//! Applies users' commands to the database: reads `user.commands.v1`, decides what becomes of each, writes that in one
//! transaction a batch, with the commands' outcomes, so that a repeated delivery changes nothing.
//!
//! ```text
//! Kafka → intake (due records) → engine: read → plan → write → commit → post_commit (markers, caches, waiting requests)
//!            ▲                                            │
//!            └─────── user.retry.v1 ◄── retry_records ◄───┘──► user.dead.v1
//! ```
//!
//! A command that cannot be applied is *parked*: a row in the database, a record in the retry topic. While a name has
//! a parked command, later ones of that name follow it there, so that their order stays. A command that was tried
//! often enough is dead: a dead letter in Kafka, the outcome `dead` in the database. Nothing is lost: offsets are
//! committed last, and every step before that may be repeated. Nothing goes round for ever: tries are counted in the
//! database.

mod apply;
mod command;
mod command_spans;
mod config;
mod degraded;
mod engine;
mod handle;
mod heartbeat;
mod held_retries;
mod intake;
mod metrics;
mod partition_positions;
mod pending_batch;
mod plan;
mod post_commit;
mod progress;
mod replay;
mod retry_records;
mod run;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime;

use crate::db::Database;
use crate::kafka;
use crate::kafka::Outbox;
use crate::kv::Kv;
use crate::telemetry::trace::Tracer;

pub use config::{Config, Degraded};
pub use engine::OutcomeCounts;
pub use handle::Handle;
pub use metrics::Metrics;
pub use post_commit::{HookFuture, Noop, PostCommit};
pub use replay::{ReplayError, Replayed, replay};
pub use run::Consumer;

use apply::Applier;
use degraded::DegradedMode;
use engine::Engine;
use post_commit::PostCommitRunner;

/// What a consumer is made of.
pub struct ConsumerParts {
    /// Where users are.
    pub db: Database,
    /// Where pending markers are; none: somewhere this process does not reach.
    pub kv: Option<Kv>,
    /// Who wants to know what was applied.
    pub post_commit: Arc<dyn PostCommit>,
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
    /// Who takes the spans of sampled commands.
    pub tracer: Tracer,
}

impl ConsumerParts {
    fn engine(&self) -> Engine {
        let bound_hit = self.metrics.markers_hit.clone();
        Engine {
            applier: Applier {
                db: self.db.clone(),
                retry_attempts: self.config.retry_attempts,
                slow_step: self.slow_step,
            },
            outbox: Outbox::new(&self.kafka, &self.bootstrap),
            post_commit: PostCommitRunner::new(self.kv.clone(), Arc::clone(&self.post_commit), bound_hit),
            degraded_mode: DegradedMode::new(self.config.degraded),
            config: self.config.clone(),
            metrics: Arc::clone(&self.metrics),
            runtime: self.runtime.clone(),
            tracer: self.tracer.clone(),
            window: self.config.batch_size as usize,
            conflicts: 0,
            fruitless: 0,
            counts: OutcomeCounts::default(),
        }
    }
}

#[cfg(test)]
mod tests;
