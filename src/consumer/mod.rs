//! Applies commands about users to the database. The consumer reads `user.commands.v1` and decides the outcome of each
//! command. One transaction per batch writes the changed rows and the outcomes. A repeated delivery therefore changes
//! nothing.
//!
//! ```text
//! Kafka → intake (due records) → engine: read → plan → write → commit → post_commit (reservations, caches, clients)
//!            ▲                                            │
//!            └─────── user.retry.v1 ◄── retry_records ◄───┘──► user.dead.v1
//! ```
//!
//! A command that cannot be applied is *parked*: it gets a row in the database and a record in the retry topic. While a
//! user has a parked command, later commands of this user are parked behind it. This keeps their order. After the
//! configured number of attempts a command is dead: it becomes a dead letter in Kafka and has the outcome `dead` in the
//! database.
//!
//! No command is lost, because offsets are committed last and every earlier step may be repeated. No command is retried
//! indefinitely, because the database counts attempts.

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

/// The dependencies and settings of a consumer.
pub struct ConsumerParts {
    /// The database of the users.
    pub db: Database,
    /// The reservation store; `None` if this process has no access to it.
    pub kv: Option<Kv>,
    /// The hooks called after a commit.
    pub post_commit: Arc<dyn PostCommit>,
    /// Section `[consumer]`.
    pub config: Config,
    /// Settings of the Kafka client.
    pub kafka: kafka::Config,
    /// Bootstrap brokers.
    pub bootstrap: String,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// The runtime for calls of database and reservation store. It must outlive the consumer.
    pub runtime: runtime::Handle,
    /// Transactions that take longer are logged.
    pub slow_step: Duration,
    /// Receives the spans of sampled commands.
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
            batch_limit: self.config.batch_size as usize,
            conflicts: 0,
            steps_without_progress: 0,
            counts: OutcomeCounts::default(),
        }
    }
}

#[cfg(test)]
mod tests;
