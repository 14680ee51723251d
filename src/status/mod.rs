//! State of commands, and who may see it.

mod outcome_watcher;
mod requester;
mod waiters;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::command::{
    CommandId, CommandState, CommandStatus, Envelope, IdError, IdGenerator, IdSeal, KafkaPosition, Owner,
    USER_TOPIC, has_consumer,
};
use crate::db::{Database, OutcomeRow};
use crate::task::Task;
use crate::wal::{Log, Lsn, RecordState};

use outcome_watcher::OutcomeWatcher;
use requester::Requester;
use waiters::Waiters;

/// Maximum length of a chain of requeued dead letters that is followed. A dead letter may be requeued and dead-lettered
/// again.
const MAX_REQUEUES: usize = 64;

const INTERRUPTED: &str = "the lookup was interrupted";

/// Finds the status of commands by id. Cheap to clone.
#[derive(Clone)]
pub struct Statuses {
    log: Arc<Log>,
    mint: IdGenerator,
    waiters: Arc<Waiters<Lsn>>,
    /// The highest record for which a client has waited.
    last_awaited: Arc<AtomicU64>,
    /// Outcomes of commands that forebay's consumer applies.
    outcomes: Option<Arc<OutcomeWatcher>>,
}

/// Why no status can be returned.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// The id is malformed or unknown, the command is no longer retained, or the caller may not see it.
    #[error("no such command")]
    NotFound,
    /// The id has the tag of another log.
    #[error("another log accepted this command; send the request to the daemon that returned 202")]
    OtherLog,
    /// A read from the disk failed.
    #[error("{0}")]
    Unavailable(String),
}

/// Why the log has no status for a command.
enum LookupError {
    /// The log does not know the id: it is from another log, or no longer retained. The database may know the command.
    Unknown(StatusError),
    /// The log knows the command, and the error is final.
    Final(StatusError),
}

impl Statuses {
    /// Creates the lookup of the commands in `log`.
    pub fn new(log: Arc<Log>) -> Self {
        let identity = log.identity();
        let mint = IdGenerator::new(&identity.log_id, &identity.secret);
        Self { mint, waiters: Arc::default(), last_awaited: Arc::default(), log, outcomes: None }
    }

    /// Adds the final outcomes of the commands that forebay's consumer applies.
    ///
    /// `seal` recognises the ids of all daemons that use this database.
    pub fn with_outcomes(mut self, db: Database, seal: IdSeal) -> Self {
        self.outcomes = Some(Arc::new(OutcomeWatcher::new(db, seal)));
        self
    }

    /// Polls the database for outcomes that clients wait for, until the returned `Task` is dropped.
    pub fn watch_outcomes(&self) -> Option<Task> {
        let outcomes = Arc::clone(self.outcomes.as_ref()?);
        Some(Task::spawn("status-outcomes", async move { outcomes.run().await }))
    }

    /// Id of the log.
    pub fn log_id(&self) -> [u8; 16] {
        self.log.identity().log_id
    }

    /// Status of a command according to the log. Blocks on disk I/O.
    fn look_up_in_log(&self, id: &CommandId, requester: Requester<'_>) -> Result<CommandStatus, LookupError> {
        let mut lsn = self.lsn(id)?;
        let first = self.read(lsn)?;
        let envelope = Envelope::decode(&first.payload).map_err(unavailable)?;
        if envelope.id != *id {
            return Err(LookupError::Unknown(StatusError::NotFound));
        }
        if !requester.may_see(envelope.principal, envelope.registered_at, first.at) {
            return Err(LookupError::Final(StatusError::NotFound));
        }
        let mut status = CommandStatus {
            id: *id,
            kind: envelope.kind.to_owned(),
            key: envelope.key_text(),
            state: CommandState::Accepted,
            accepted_at: first.at,
            sent_at: None,
            kafka: None,
            finished_at: None,
            reason: None,
        };
        for _ in 0..MAX_REQUEUES {
            match self.log.record_state(lsn).map_err(unavailable)? {
                RecordState::Requeued(next) => lsn = next,
                record_state => {
                    apply_record_state(&mut status, record_state, envelope.topic);
                    return Ok(status);
                }
            }
        }
        Err(unavailable("requeued too often to follow"))
    }

    /// Finds the status of a command, including the outcome if forebay's consumer applies it. The log is queried first,
    /// on a blocking thread. The database is queried only for a command that the caller may see.
    pub async fn find(
        &self,
        id: CommandId,
        owner: Option<Owner>,
        admin: bool,
    ) -> Result<CommandStatus, StatusError> {
        let (this, own) = (self.clone(), owner.clone());
        let found = tokio::task::spawn_blocking(move || {
            this.look_up_in_log(&id, Requester::new(own.as_ref(), admin))
        });
        let found = found.await.map_err(|_| StatusError::Unavailable(INTERRUPTED.to_owned()))?;
        match (found, &self.outcomes) {
            (Ok(mut status), Some(outcomes)) if has_consumer(&status.kind) => {
                // A requeued command is no longer dead-lettered, so its outcome is final.
                if let Some(outcome) = outcomes.find(&id).await {
                    apply_outcome(&mut status, outcome);
                }
                Ok(status)
            }
            (Ok(status), _) => Ok(status),
            // Every daemon on this database knows the outcome of a user command.
            (Err(LookupError::Unknown(error)), Some(outcomes)) => {
                let outcome = outcomes.find_unlogged(&id, Requester::new(owner.as_ref(), admin)).await;
                outcome.map(|outcome| status_of(id, outcome)).ok_or(error)
            }
            (Err(LookupError::Unknown(error) | LookupError::Final(error)), _) => Err(error),
        }
    }

    /// Whether the command is accepted here and has no final state yet.
    pub async fn is_pending(&self, id: CommandId) -> bool {
        self.find(id, None, true).await.is_ok_and(|status| !status.is_final())
    }

    /// Completes when the command has a final state or `deadline` has passed. Completes at once if it already has one.
    /// `consumed`: forebay's consumer decides the outcome.
    pub async fn wait_until_final(&self, id: &CommandId, consumed: bool, deadline: Instant) {
        match &self.outcomes {
            Some(outcomes) if consumed => {
                tokio::select! {
                    () = outcomes.wait_until_decided(id, deadline) => {}
                    () = self.dead_lettered(id, deadline) => {}
                }
            }
            _ => self.wait_until_sent(id, deadline).await,
        }
    }

    /// Completes when the log has settled the command or `deadline` has passed.
    async fn wait_until_sent(&self, id: &CommandId, deadline: Instant) {
        let Ok(lsn) = self.mint.lsn(id) else { return };
        let waiter = self.waiters.register(lsn);
        let mut woken = std::pin::pin!(waiter.notified());
        woken.as_mut().enable();
        // Register before the check, so that a record settled in between wakes the waiter.
        if !self.log.is_done(lsn) {
            self.last_awaited.fetch_max(lsn.0, Ordering::SeqCst);
            // The drain may be collecting a batch that includes this record.
            self.log.wake_readers();
            let _ = tokio::time::timeout_at(deadline.into(), woken).await;
        }
    }

    /// Whether the log holds the command and it is not dead-lettered. Does not query the database.
    pub async fn is_live(&self, id: CommandId) -> bool {
        self.state(id).await.is_some_and(|state| state != CommandState::Dead)
    }

    /// State of the command according to the log.
    async fn state(&self, id: CommandId) -> Option<CommandState> {
        let this = self.clone();
        let found = tokio::task::spawn_blocking(move || this.look_up_in_log(&id, Requester::Admin).ok());
        found.await.ok().flatten().map(|status| status.state)
    }

    /// Completes when the command was dead-lettered before Kafka confirmed it, or `deadline` has passed.
    async fn dead_lettered(&self, id: &CommandId, deadline: Instant) {
        self.wait_until_sent(id, deadline).await;
        if self.state(*id).await != Some(CommandState::Dead) {
            tokio::time::sleep_until(deadline.into()).await;
        }
    }

    /// Wakes the clients that wait for these commands. Called by a consumer in this process after it has decided them.
    pub fn on_decided(&self, ids: &[CommandId]) {
        if let Some(outcomes) = &self.outcomes {
            outcomes.wake(ids);
        }
    }

    /// Wakes the clients that wait for these records. Called by the drain after they were confirmed or dead-lettered.
    pub fn on_finished(&self, lsns: &[Lsn]) {
        self.waiters.wake(lsns);
    }

    /// The highest record for which a client has waited. The drain does not delay it to batch it with later ones.
    pub fn last_awaited(&self) -> Lsn {
        Lsn(self.last_awaited.load(Ordering::SeqCst))
    }

    fn lsn(&self, id: &CommandId) -> Result<Lsn, LookupError> {
        self.mint.lsn(id).map_err(|error| {
            LookupError::Unknown(match error {
                IdError::OtherLog => StatusError::OtherLog,
                IdError::Malformed => StatusError::NotFound,
            })
        })
    }

    fn read(&self, lsn: Lsn) -> Result<crate::wal::Record, LookupError> {
        let record = self.log.read_or_dead_letter(lsn).map_err(unavailable)?;
        record.ok_or(LookupError::Unknown(StatusError::NotFound))
    }
}

fn unavailable(why: impl std::fmt::Display) -> LookupError {
    LookupError::Final(StatusError::Unavailable(why.to_string()))
}

/// Applies the outcome in the database, which takes precedence over the log.
fn apply_outcome(status: &mut CommandStatus, outcome: OutcomeRow) {
    status.state = match outcome.state.as_str() {
        "applied" => CommandState::Applied,
        "rejected" => CommandState::Rejected,
        _ => CommandState::Dead,
    };
    status.finished_at = Some(outcome.finished_at);
    status.reason = reason(&outcome);
    if status.kafka.is_none() && outcome.partition >= 0 {
        let (topic, partition, offset) = (USER_TOPIC.to_owned(), outcome.partition, outcome.offset);
        status.kafka = Some(KafkaPosition { topic, partition, offset });
    }
}

/// Formats the reason, for example `taken: email`.
fn reason(outcome: &OutcomeRow) -> Option<String> {
    let reason = outcome.reason.clone()?;
    Some(match &outcome.field {
        Some(field) => format!("{reason}: {field}"),
        None => reason,
    })
}

/// Status of a command that another daemon has accepted, or that the log no longer retains.
fn status_of(id: CommandId, outcome: OutcomeRow) -> CommandStatus {
    let mut status = CommandStatus {
        id,
        kind: outcome.kind.clone(),
        key: Some(outcome.name.clone()),
        state: CommandState::Sent,
        accepted_at: outcome.accepted_at,
        sent_at: None,
        kafka: None,
        finished_at: None,
        reason: None,
    };
    apply_outcome(&mut status, outcome);
    status
}

fn apply_record_state(status: &mut CommandStatus, record_state: RecordState, topic: &str) {
    match record_state {
        RecordState::Accepted | RecordState::Unknown | RecordState::Requeued(_) => {}
        RecordState::Sent(confirmation) => {
            status.state = CommandState::Sent;
            status.sent_at = confirmation.map(|c| c.at);
            // If forebay's consumer decides the outcome, delivery is not the final state.
            status.finished_at = status.sent_at.filter(|_| !has_consumer(&status.kind));
            status.kafka = confirmation.map(|c| KafkaPosition {
                topic: topic.to_owned(),
                partition: c.partition,
                offset: c.offset,
            });
        }
        RecordState::Dead { reason, at } => {
            status.state = CommandState::Dead;
            status.finished_at = Some(at);
            status.reason = Some(reason);
        }
        RecordState::Dropped => {
            status.state = CommandState::Dead;
            status.reason = Some("dropped by an operator".to_owned());
        }
    }
}
