//! The services behind the two listeners, as far as the listeners need to know them.

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

/// Takes commands in and says what became of them. [`DurableCommands`] is the real one; a bench may answer without a
/// log.
pub trait CommandService: Send + Sync + 'static {
    /// Returns once the request is on stable storage. A dropped future means "maybe".
    fn submit(&self, request: Request) -> impl Future<Output = Result<Receipt, SubmitError>> + Send;

    /// For `Retry-After`.
    fn retry_after(&self, error: &SubmitError) -> Duration;

    /// Where a command is, if the caller may know.
    fn find(
        &self,
        id: CommandId,
        caller: &Caller,
    ) -> impl Future<Output = Result<CommandStatus, StatusError>> + Send;

    /// Completes when the command is final or `deadline` has come. Registered at its first poll. `consumed`: a
    /// consumer of ours decides, so that `sent` is not the end.
    fn final_state(
        &self,
        id: CommandId,
        consumed: bool,
        deadline: Instant,
    ) -> impl Future<Output = ()> + Send;
}

/// The log and the statuses read from it.
pub struct DurableCommands {
    /// The way in.
    pub ingest: Ingest,
    /// The look-up.
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

/// What the operator's listener shows and steers.
pub trait AdminService: Send + Sync + 'static {
    /// What `wal-tools status --json` prints. Reads the log: blocks for the disk.
    fn backlog_json(&self) -> serde_json::Value;

    /// Whether creates are accepted now. Returns at once.
    fn readiness(&self) -> Readiness;

    /// What the status page shows. Reads no disk: returns at once. By default that of a process without a log.
    fn overview(&self) -> Overview {
        Overview::without_log(self.readiness(), Arc::default())
    }

    /// Where a command is; for an operator, who may know of every command. By default that of a process without a log.
    fn find_command(
        &self,
        _: CommandId,
    ) -> Pin<Box<dyn Future<Output = Result<CommandStatus, StatusError>> + Send + '_>> {
        let nothing = "this process has no log; ask the daemon that accepted the command";
        Box::pin(std::future::ready(Err(StatusError::Unavailable(nothing.to_owned()))))
    }

    /// The same with the problems of the last look, a second ago: for the public listener, where strangers may ask as
    /// often as they like.
    fn cached_readiness(&self) -> Readiness {
        self.readiness()
    }

    /// Pauses delivery. `origin`: the operator's address, for the log and the list of problems.
    fn pause(&self, origin: &str);

    /// Workers go on.
    fn resume(&self, origin: &str);

    /// An operator changed a rate limit.
    fn rate_limit_changed(&self);

    /// Sets the gauges that describe the log, right before a scrape is rendered. Reads the log: blocks for the disk.
    fn refresh_gauges(&self);
}
