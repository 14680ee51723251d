//! Outcomes of commands in the database, for clients that wait for them.
//!
//! A single query serves all waiting clients. It runs a few dozen times per second while any client waits. A consumer
//! in the same process shortens the wait by reporting the commands it has decided.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::requester::Requester;
use super::waiters::Waiters;
use crate::command::{CommandId, IdSeal};
use crate::db::{Database, OutcomeRow};

/// Interval between two queries. Short compared with a batch of the consumer, long compared with a query.
const INTERVAL: Duration = Duration::from_millis(25);
/// Delay after a failed query.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Maximum number of commands per query.
const MAX_QUERY_IDS: usize = 512;

pub(super) struct OutcomeWatcher {
    db: Database,
    /// Recognises the ids that daemons on this database create.
    seal: IdSeal,
    waiters: Arc<Waiters<CommandId>>,
    waiter_added: Notify,
}

impl OutcomeWatcher {
    pub fn new(db: Database, seal: IdSeal) -> Self {
        Self { db, seal, waiters: Arc::default(), waiter_added: Notify::new() }
    }

    /// The outcome of a command. `None` if it has none yet or the database is unavailable; the state in the log is
    /// still valid.
    pub async fn find(&self, id: &CommandId) -> Option<OutcomeRow> {
        match self.db.outcome(&id.to_string()).await {
            Ok(outcome) => outcome,
            Err(error) => {
                tracing::debug!(%error, "outcome is unknown");
                None
            }
        }
    }

    /// The outcome of a command that this log does not know. For a client without credentials, only ids created by one
    /// of the daemons are looked up: made-up ids would cost database queries at no cost to the client.
    pub async fn find_unlogged(&self, id: &CommandId, requester: Requester<'_>) -> Option<OutcomeRow> {
        if matches!(requester, Requester::Principal(None)) && !id.has_seal(&self.seal) {
            return None;
        }
        let outcome = self.find(id).await?;
        requester.may_see(outcome.actor.as_deref(), None, outcome.accepted_at).then_some(outcome)
    }

    /// Completes when the command is decided, or `deadline` has passed.
    pub async fn wait_until_decided(&self, id: &CommandId, deadline: Instant) {
        let waiter = self.waiters.register(*id);
        let mut woken = std::pin::pin!(waiter.notified());
        woken.as_mut().enable();
        self.waiter_added.notify_one();
        let _ = tokio::time::timeout_at(deadline.into(), woken).await;
    }

    pub fn wake(&self, ids: &[CommandId]) {
        self.waiters.wake(ids);
    }

    /// Polls the database for all waiting clients.
    pub async fn run(&self) {
        loop {
            let waiting = self.waiters.keys();
            if waiting.is_empty() {
                self.waiter_added.notified().await;
                continue;
            }
            let mut pause = INTERVAL;
            for some in waiting.chunks(MAX_QUERY_IDS) {
                let ids: Vec<String> = some.iter().map(CommandId::to_string).collect();
                match self.db.outcomes(&ids).await {
                    Ok(found) => {
                        let decided = found.iter().filter_map(|outcome| outcome.id.parse().ok());
                        self.wake(&decided.collect::<Vec<CommandId>>());
                    }
                    Err(error) => {
                        tracing::debug!(%error, "outcomes are unknown");
                        pause = RETRY_DELAY;
                    }
                }
            }
            tokio::time::sleep(pause).await;
        }
    }
}
