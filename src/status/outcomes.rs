//! What the database says became of commands, and who waits for it.
//!
//! One question for all who wait, a few dozen times a second while somebody does. A consumer in the same process
//! shortens the wait by saying what it has decided.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::asker::Asker;
use super::waiters::Waiters;
use crate::command::{CommandId, IdSeal};
use crate::db::{Database, OutcomeRow};

/// Between two questions. Short beside a batch of the consumer's, long beside the question.
const INTERVAL: Duration = Duration::from_millis(25);
/// After a question that failed.
const PATIENCE: Duration = Duration::from_secs(1);
/// Commands in one question.
const TOGETHER: usize = 512;

pub(super) struct Outcomes {
    db: Database,
    /// On the ids that the daemons on this database make.
    seal: IdSeal,
    waiters: Arc<Waiters<CommandId>>,
    somebody_waits: Notify,
}

impl Outcomes {
    pub fn new(db: Database, seal: IdSeal) -> Self {
        Self { db, seal, waiters: Arc::default(), somebody_waits: Notify::new() }
    }

    /// None when there is none yet, or the database does not answer: the log's word is true all the same.
    pub async fn find(&self, id: &CommandId) -> Option<OutcomeRow> {
        match self.db.outcome(&id.to_string()).await {
            Ok(outcome) => outcome,
            Err(error) => {
                tracing::debug!(%error, "outcome not known");
                None
            }
        }
    }

    /// The same for a command that the log here does not know. Who shows no credentials is heard only with an id that one
    /// of the daemons has made: any other would cost the database a question at no cost of theirs.
    pub async fn find_elsewhere(&self, id: &CommandId, asker: Asker<'_>) -> Option<OutcomeRow> {
        if matches!(asker, Asker::Principal(None)) && !id.has_seal(&self.seal) {
            return None;
        }
        let outcome = self.find(id).await?;
        asker.may_see(outcome.actor.as_deref(), None, outcome.accepted_at).then_some(outcome)
    }

    /// Completes when the command is decided, or `deadline` has come.
    pub async fn decided(&self, id: &CommandId, deadline: Instant) {
        let waiter = self.waiters.register(*id);
        let mut woken = std::pin::pin!(waiter.woken());
        woken.as_mut().enable();
        self.somebody_waits.notify_one();
        let _ = tokio::time::timeout_at(deadline.into(), woken).await;
    }

    pub fn wake(&self, ids: &[CommandId]) {
        self.waiters.wake(ids);
    }

    /// Asks for those who wait.
    pub async fn watch(&self) {
        loop {
            let waiting = self.waiters.keys();
            if waiting.is_empty() {
                self.somebody_waits.notified().await;
                continue;
            }
            let mut pause = INTERVAL;
            for some in waiting.chunks(TOGETHER) {
                let ids: Vec<String> = some.iter().map(CommandId::to_string).collect();
                match self.db.outcomes(&ids).await {
                    Ok(found) => {
                        let decided = found.iter().filter_map(|outcome| outcome.id.parse().ok());
                        self.wake(&decided.collect::<Vec<CommandId>>());
                    }
                    Err(error) => {
                        tracing::debug!(%error, "outcomes not known");
                        pause = PATIENCE;
                    }
                }
            }
            tokio::time::sleep(pause).await;
        }
    }
}
