//! Where a command is, and who may ask.

mod asker;
mod outcomes;
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

use asker::Asker;
use outcomes::Outcomes;
use waiters::Waiters;

/// A dead letter may be requeued, die again, and so on; a chain longer than this is not followed.
const REQUEUES: usize = 64;

const INTERRUPTED: &str = "the look-up was interrupted";

/// Looks commands up by id. Cheap to clone.
#[derive(Clone)]
pub struct Statuses {
    log: Arc<Log>,
    mint: IdGenerator,
    waiters: Arc<Waiters<Lsn>>,
    /// The highest record that a client has waited for.
    last_awaited: Arc<AtomicU64>,
    /// Of commands that a consumer of ours applies.
    outcomes: Option<Arc<Outcomes>>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// Malformed id, no such command, kept neither in the log nor as a dead letter, or not the asker's.
    #[error("no such command")]
    NotFound,
    /// The id carries another log's tag.
    #[error("another log accepted this command: ask the daemon that answered 202")]
    OtherLog,
    /// The disk did not answer.
    #[error("{0}")]
    Unavailable(String),
}

/// Why the log says nothing of a command.
enum Untold {
    /// It does not know the id: it was never the log's, or is not kept any more. The database may know more.
    Unknown(StatusError),
    /// It knows it, and that is the end of it.
    Final(StatusError),
}

impl Statuses {
    /// The statuses of the commands in `log`.
    pub fn new(log: Arc<Log>) -> Self {
        let identity = log.identity();
        let mint = IdGenerator::new(&identity.log_id, &identity.secret);
        Self { mint, waiters: Arc::default(), last_awaited: Arc::default(), log, outcomes: None }
    }

    /// The same, with the final outcomes of the commands that our consumer applies.
    ///
    /// `seal`: by it the ids of all daemons on this database are known.
    pub fn with_outcomes(mut self, db: Database, seal: IdSeal) -> Self {
        self.outcomes = Some(Arc::new(Outcomes::new(db, seal)));
        self
    }

    /// Looks in the database for the outcomes somebody waits for, as long as the task is held.
    pub fn watch_outcomes(&self) -> Option<Task> {
        let outcomes = Arc::clone(self.outcomes.as_ref()?);
        Some(Task::spawn("status-outcomes", async move { outcomes.watch().await }))
    }

    /// Which log this is.
    pub fn log_id(&self) -> [u8; 16] {
        self.log.identity().log_id
    }

    /// What the log says of a command. Reads files: for a thread that may block.
    fn look_up(&self, id: &CommandId, asker: Asker<'_>) -> Result<CommandStatus, Untold> {
        let mut lsn = self.lsn(id)?;
        let first = self.read(lsn)?;
        let envelope = Envelope::decode(&first.payload).map_err(unavailable)?;
        if envelope.id != *id {
            return Err(Untold::Unknown(StatusError::NotFound));
        }
        if !asker.may_see(envelope.principal, envelope.registered_at, first.at) {
            return Err(Untold::Final(StatusError::NotFound));
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
        for _ in 0..REQUEUES {
            match self.log.record_state(lsn).map_err(unavailable)? {
                RecordState::Requeued(next) => lsn = next,
                fate => {
                    settle(&mut status, fate, envelope.topic);
                    return Ok(status);
                }
            }
        }
        Err(unavailable("requeued too often to follow"))
    }

    /// The status of a command, with the outcome where a consumer of ours decides. The log is asked first, off the
    /// runtime's threads, and the database only for a command that the asker may see.
    pub async fn find(
        &self,
        id: CommandId,
        owner: Option<Owner>,
        admin: bool,
    ) -> Result<CommandStatus, StatusError> {
        let (this, own) = (self.clone(), owner.clone());
        let looked = tokio::task::spawn_blocking(move || this.look_up(&id, Asker::new(own.as_ref(), admin)));
        let looked = looked.await.map_err(|_| StatusError::Unavailable(INTERRUPTED.to_owned()))?;
        match (looked, &self.outcomes) {
            (Ok(mut status), Some(outcomes)) if has_consumer(&status.kind) => {
                // A requeued command is dead no longer, and its outcome the last word.
                if let Some(outcome) = outcomes.find(&id).await {
                    conclude(&mut status, outcome);
                }
                Ok(status)
            }
            (Ok(status), _) => Ok(status),
            // Any daemon on this database knows what became of a user's command.
            (Err(Untold::Unknown(error)), Some(outcomes)) => {
                let outcome = outcomes.find_elsewhere(&id, Asker::new(owner.as_ref(), admin)).await;
                outcome.map(|outcome| status_of(id, outcome)).ok_or(error)
            }
            (Err(Untold::Unknown(error) | Untold::Final(error)), _) => Err(error),
        }
    }

    /// Whether the command is accepted here and has not come to its end.
    pub async fn is_waiting(&self, id: CommandId) -> bool {
        self.find(id, None, true).await.is_ok_and(|status| !status.is_final())
    }

    /// Completes when the command has reached a final state, or `deadline` has come. At once when it had. `consumed`:
    /// a consumer of ours decides.
    pub async fn final_state(&self, id: &CommandId, consumed: bool, deadline: Instant) {
        match &self.outcomes {
            Some(outcomes) if consumed => {
                tokio::select! {
                    () = outcomes.decided(id, deadline) => {}
                    () = self.buried(id, deadline) => {}
                }
            }
            _ => self.sent(id, deadline).await,
        }
    }

    /// Completes when the log is done with the command, or `deadline` has come.
    async fn sent(&self, id: &CommandId, deadline: Instant) {
        let Ok(lsn) = self.mint.lsn(id) else { return };
        let waiter = self.waiters.register(lsn);
        let mut woken = std::pin::pin!(waiter.woken());
        woken.as_mut().enable();
        // Listening first: what is done in between wakes the waiter.
        if !self.log.is_done(lsn) {
            self.last_awaited.fetch_max(lsn.0, Ordering::SeqCst);
            // The drain may be gathering records, this one among them.
            self.log.wake_readers();
            let _ = tokio::time::timeout_at(deadline.into(), woken).await;
        }
    }

    /// Whether the log has the command and no dead letter is made of it. The database is not asked.
    pub async fn is_alive(&self, id: CommandId) -> bool {
        self.state(id).await.is_some_and(|state| state != CommandState::Dead)
    }

    /// How far the log knows the command to have come.
    async fn state(&self, id: CommandId) -> Option<CommandState> {
        let this = self.clone();
        let looked = tokio::task::spawn_blocking(move || this.look_up(&id, Asker::Admin).ok());
        looked.await.ok().flatten().map(|status| status.state)
    }

    /// Completes when the command has died before Kafka had it, or `deadline` has come.
    async fn buried(&self, id: &CommandId, deadline: Instant) {
        self.sent(id, deadline).await;
        if self.state(*id).await != Some(CommandState::Dead) {
            tokio::time::sleep_until(deadline.into()).await;
        }
    }

    /// Called by a consumer in this process after these commands were decided: wakes those who wait for them.
    pub fn decided(&self, ids: &[CommandId]) {
        if let Some(outcomes) = &self.outcomes {
            outcomes.wake(ids);
        }
    }

    /// Called by the drain after these records were confirmed or buried: wakes those who wait for them.
    pub fn finished(&self, lsns: &[Lsn]) {
        self.waiters.wake(lsns);
    }

    /// The highest record for whose outcome a client has waited. The drain does not gather it with later ones.
    pub fn last_awaited(&self) -> Lsn {
        Lsn(self.last_awaited.load(Ordering::SeqCst))
    }

    fn lsn(&self, id: &CommandId) -> Result<Lsn, Untold> {
        self.mint.lsn(id).map_err(|error| {
            Untold::Unknown(match error {
                IdError::OtherLog => StatusError::OtherLog,
                IdError::Malformed => StatusError::NotFound,
            })
        })
    }

    fn read(&self, lsn: Lsn) -> Result<crate::wal::Record, Untold> {
        let record = self.log.read_or_dead_letter(lsn).map_err(unavailable)?;
        record.ok_or(Untold::Unknown(StatusError::NotFound))
    }
}

fn unavailable(why: impl std::fmt::Display) -> Untold {
    Untold::Final(StatusError::Unavailable(why.to_string()))
}

/// The database's word over the log's.
fn conclude(status: &mut CommandStatus, outcome: OutcomeRow) {
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

/// `taken: email`, for example.
fn reason(outcome: &OutcomeRow) -> Option<String> {
    let reason = outcome.reason.clone()?;
    Some(match &outcome.field {
        Some(field) => format!("{reason}: {field}"),
        None => reason,
    })
}

/// Of a command that another daemon has accepted, or that the log no longer keeps.
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
    conclude(&mut status, outcome);
    status
}

fn settle(status: &mut CommandStatus, fate: RecordState, topic: &str) {
    match fate {
        RecordState::Waiting | RecordState::Unknown | RecordState::Requeued(_) => {}
        RecordState::Sent(confirmation) => {
            status.state = CommandState::Sent;
            status.sent_at = confirmation.map(|c| c.at);
            // Where a consumer of ours decides, this is not the end.
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
