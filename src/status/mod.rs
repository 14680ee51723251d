//! Where a command is, and who may ask.

mod waiters;

use std::sync::Arc;
use std::time::Instant;

use crate::command::CommandId;
use crate::command::Envelope;
use crate::command::IdError;
use crate::command::IdMint;
use crate::command::Placement;
use crate::command::State;
use crate::command::Status;
use crate::wal::Fate;
use crate::wal::Log;
use crate::wal::Lsn;

use waiters::Waiters;

/// A dead letter may be requeued, die again, and so on; a chain longer than this is not followed.
const REQUEUES: usize = 64;

/// Looks commands up by id. Cheap to clone.
#[derive(Clone)]
pub struct Statuses {
    log: Arc<Log>,
    mint: IdMint,
    waiters: Arc<Waiters>,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub enum Asker<'a> {
    /// May see everything (`mode = "open"` counts every caller as this).
    Admin,
    /// May see what it sent.
    Principal(&'a str),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// Malformed id, no such command, no longer kept, or not the asker's.
    #[error("no such command")]
    NotFound,
    /// The id carries another log's tag.
    #[error("another log accepted this command: ask the daemon that answered 202")]
    OtherLog,
    /// The disk did not answer.
    #[error("{0}")]
    Unavailable(String),
}

impl Statuses {
    /// The statuses of the commands in `log`.
    pub fn new(log: Arc<Log>) -> Self {
        let identity = log.identity();
        let mint = IdMint::new(&identity.log_id, &identity.secret);
        Self { mint, waiters: Arc::default(), log }
    }

    /// The status of a command. Reads files: for a thread that may block.
    pub fn look_up(&self, id: &CommandId, asker: Asker<'_>) -> Result<Status, StatusError> {
        let mut lsn = self.lsn(id)?;
        let first = self.read(lsn)?;
        let envelope =
            Envelope::decode(&first.payload).map_err(|e| StatusError::Unavailable(e.to_string()))?;
        if envelope.id != *id || !may_see(asker, &envelope) {
            return Err(StatusError::NotFound);
        }
        let mut status = Status {
            id: *id,
            kind: envelope.kind.to_owned(),
            key: envelope.key_text(),
            state: State::Accepted,
            accepted_at: first.at,
            sent_at: None,
            kafka: None,
            finished_at: None,
            reason: None,
        };
        for _ in 0..REQUEUES {
            let fate = self.log.fate(lsn).map_err(|e| StatusError::Unavailable(e.to_string()))?;
            match fate {
                Fate::Requeued(next) => lsn = next,
                fate => {
                    settle(&mut status, fate, envelope.topic);
                    return Ok(status);
                }
            }
        }
        Err(StatusError::Unavailable("requeued too often to follow".to_owned()))
    }

    /// The same, off the runtime's threads.
    pub async fn find(
        &self,
        id: CommandId,
        principal: Option<String>,
        admin: bool,
    ) -> Result<Status, StatusError> {
        let this = self.clone();
        let looked = tokio::task::spawn_blocking(move || match (admin, &principal) {
            (false, Some(principal)) => this.look_up(&id, Asker::Principal(principal)),
            (false, None) => Err(StatusError::NotFound),
            (true, _) => this.look_up(&id, Asker::Admin),
        });
        looked.await.map_err(|_| StatusError::Unavailable("the look-up was interrupted".to_owned()))?
    }

    /// Completes when the command has reached a final state, or `deadline` has come. At once when it had.
    pub async fn final_state(&self, id: &CommandId, deadline: Instant) {
        let Ok(lsn) = self.mint.lsn(id) else { return };
        let waiter = self.waiters.register(lsn);
        let mut woken = std::pin::pin!(waiter.woken());
        woken.as_mut().enable();
        // Listening first: what is done in between wakes the waiter.
        if !self.log.is_done(lsn) {
            let _ = tokio::time::timeout_at(deadline.into(), woken).await;
        }
    }

    /// Called by the drain after these records were confirmed or buried: wakes those who wait for them.
    pub fn finished(&self, lsns: &[Lsn]) {
        self.waiters.wake(lsns);
    }

    fn lsn(&self, id: &CommandId) -> Result<Lsn, StatusError> {
        self.mint.lsn(id).map_err(|error| match error {
            IdError::OtherLog => StatusError::OtherLog,
            IdError::Malformed => StatusError::NotFound,
        })
    }

    fn read(&self, lsn: Lsn) -> Result<crate::wal::Record, StatusError> {
        match self.log.read(lsn) {
            Ok(Some(record)) => Ok(record),
            Ok(None) => Err(StatusError::NotFound),
            Err(error) => Err(StatusError::Unavailable(error.to_string())),
        }
    }
}

fn may_see(asker: Asker<'_>, envelope: &Envelope<'_>) -> bool {
    match asker {
        Asker::Admin => true,
        Asker::Principal(name) => envelope.principal == Some(name),
    }
}

fn settle(status: &mut Status, fate: Fate, topic: &str) {
    match fate {
        Fate::Waiting | Fate::Unknown | Fate::Requeued(_) => {}
        Fate::Sent(confirmation) => {
            status.state = State::Sent;
            status.sent_at = confirmation.map(|c| c.at);
            status.finished_at = status.sent_at;
            status.kafka = confirmation.map(|c| Placement {
                topic: topic.to_owned(),
                partition: c.partition,
                offset: c.offset,
            });
        }
        Fate::Dead { reason, at } => {
            status.state = State::Dead;
            status.finished_at = Some(at);
            status.reason = Some(reason);
        }
        Fate::Dropped => {
            status.state = State::Dead;
            status.reason = Some("dropped by an operator".to_owned());
        }
    }
}
