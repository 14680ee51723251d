//! Interfaces of the services that the two listeners use.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::admin::overview::Overview;
use super::readiness::Readiness;
use crate::auth::Caller;
use crate::command::{CommandId, CommandStatus};
use crate::ingest::{Ingest, Receipt, Request, SubmitError};
use crate::status::{StatusError, Statuses};

/// Accepts commands and reports their status. [`DurableCommands`] is the implementation with a log. Benchmarks have
/// implementations without a log.
pub trait CommandService: Send + Sync + 'static {
    /// Stores the commands of a request. Returns when they are on stable storage. If the future is dropped, the
    /// commands may or may not be stored.
    fn submit(&self, request: Request) -> impl Future<Output = Result<Receipt, SubmitError>> + Send;

    /// The value of `Retry-After` for this error.
    fn retry_after(&self, error: &SubmitError) -> Duration;

    /// The status of a command. Error: the command does not exist, or the caller may not read its status.
    fn find(
        &self,
        id: CommandId,
        caller: &Caller,
    ) -> impl Future<Output = Result<CommandStatus, StatusError>> + Send;

    /// Completes when the command is final or `deadline` has passed. The first poll registers the wait. `consumed`:
    /// forebay's consumer applies the command, so `sent` is not a final state.
    fn final_state(
        &self,
        id: CommandId,
        consumed: bool,
        deadline: Instant,
    ) -> impl Future<Output = ()> + Send;
}

/// The command service with the log.
pub struct DurableCommands {
    /// Writes commands to the log.
    pub ingest: Ingest,
    /// Reads statuses.
    pub statuses: Statuses,
}

impl CommandService for DurableCommands {
    async fn submit(&self, request: Request) -> Result<Receipt, SubmitError> {
        self.ingest.submit(request).await
    }

    fn retry_after(&self, error: &SubmitError) -> Duration {
        self.ingest.retry_after(error)
    }

    async fn find(&self, id: CommandId, caller: &Caller) -> Result<CommandStatus, StatusError> {
        self.statuses.find(id, caller.owner(), caller.is_admin()).await
    }

    async fn final_state(&self, id: CommandId, consumed: bool, deadline: Instant) {
        self.statuses.wait_until_final(&id, consumed, deadline).await;
    }
}

/// What the operator's listener shows and controls.
pub trait AdminService: Send + Sync + 'static {
    /// The document of `wal-tools status --json`. Reads the log: blocks on disk I/O.
    fn backlog_json(&self) -> serde_json::Value;

    /// Whether commands are accepted now. Does not block.
    fn readiness(&self) -> Readiness;

    /// The data of the status page. Does not read the disk and does not block. Default: that of a process without a
    /// log.
    fn overview(&self) -> Overview {
        Overview::without_log(self.readiness(), Arc::default())
    }

    /// The status of a command, for an operator, who may read every status. Default: that of a process without a log.
    fn find_command(
        &self,
        _: CommandId,
    ) -> Pin<Box<dyn Future<Output = Result<CommandStatus, StatusError>> + Send + '_>> {
        let no_log = "this process has no log; look the command up at the daemon that accepted it";
        Box::pin(std::future::ready(Err(StatusError::Unavailable(no_log.to_owned()))))
    }

    /// The readiness with the problems of the last check, which is up to a second old. For the public listener, because
    /// unauthenticated clients can send any number of requests.
    fn cached_readiness(&self) -> Readiness {
        self.readiness()
    }

    /// Pauses delivery. `origin`: the operator's address, for the log and the list of problems.
    fn pause(&self, origin: &str);

    /// Resumes delivery. `origin`: as for [`Self::pause`].
    fn resume(&self, origin: &str);

    /// Called after an operator has changed a rate limit.
    fn rate_limit_changed(&self);

    /// Updates the gauges of the log before a scrape is rendered. Reads the log: blocks on disk I/O.
    fn refresh_gauges(&self);
}
