//! Runs one transaction per batch: read, plan, write, commit. A transaction dropped before its commit changes nothing.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use crate::command::{CommandId, UserKind};
use crate::db::{AuditRow, Database, DbError, DbTransaction, OutcomeRow, ParkedRow};
use crate::telemetry::StepTimer;
use crate::units::Timestamp;

use super::command::Command;
use super::plan;
use super::plan::{CommandOutcome, Lookups, Snapshot, WriteSet};

/// Timeout of a transaction. Each of its statements has its own timeout.
const MAX_TRANSACTION_TIME: Duration = Duration::from_secs(60);

/// The result of a transaction.
pub(super) enum AttemptOutcome {
    /// The transaction is committed.
    Committed(CommittedBatch),
    /// Nothing was written. The dead letters of these commands must reach Kafka first.
    DeadLetters(Vec<(usize, String)>),
}

/// The committed commands of a batch. They are a prefix of it.
pub(super) struct CommittedBatch {
    /// The outcome of each command.
    pub(super) outcomes: Vec<CommandOutcome>,
    /// Names whose rows have changed, or were changed by an earlier transaction whose hooks may not have run.
    pub(super) changed: BTreeSet<String>,
    /// Parked commands that became dead because their records are lost.
    pub(super) lost: Vec<String>,
    /// When the transaction began.
    pub(super) started_at: SystemTime,
    /// Duration of the transaction.
    pub(super) elapsed: Duration,
}

/// Applies batches.
pub(super) struct Applier {
    pub(super) db: Database,
    pub(super) retry_attempts: u32,
    pub(super) slow_step: Duration,
}

impl Applier {
    /// Tries to apply `commands`. `degraded`: writes only the core columns to `users`.
    pub(super) async fn attempt(
        &self,
        commands: &[Command],
        degraded: bool,
    ) -> Result<AttemptOutcome, DbError> {
        let _step = StepTimer::begin("consumer.transaction", self.slow_step);
        let bounded = tokio::time::timeout(MAX_TRANSACTION_TIME, self.transaction(commands, degraded)).await;
        bounded.unwrap_or_else(|_| Err(DbError::Busy("the transaction took too long".to_owned())))
    }

    async fn transaction(&self, commands: &[Command], degraded: bool) -> Result<AttemptOutcome, DbError> {
        let (began, at) = (Instant::now(), SystemTime::now());
        let mut batch = self.db.begin().await?;
        let snapshot = read(&mut batch, &Lookups::for_commands(commands)).await?;
        let plan = plan::plan(commands, snapshot, Timestamp::now(), self.retry_attempts);
        let unsent: Vec<(usize, String)> = plan
            .outcomes
            .iter()
            .enumerate()
            .filter_map(|(at, outcome)| match outcome {
                CommandOutcome::Dead { reason } if !commands[at].dead_letter_sent => {
                    Some((at, reason.clone()))
                }
                _ => None,
            })
            .collect();
        if !unsent.is_empty() {
            return Ok(AttemptOutcome::DeadLetters(unsent));
        }
        let (mut writes, outcomes) = (plan.writes, plan.outcomes);
        let mut changed = writes.changed();
        changed.extend(repeated_names(commands, &outcomes));
        let lost = std::mem::take(&mut writes.lost);
        if !writes.is_empty() {
            write(&mut batch, writes, degraded).await?;
            batch.commit().await?;
        }
        Ok(AttemptOutcome::Committed(CommittedBatch {
            outcomes,
            changed,
            lost,
            started_at: at,
            elapsed: began.elapsed(),
        }))
    }

    /// Removes a command that was settled without an outcome from the queue of its name.
    pub(super) async fn unpark(&self, id: String) -> Result<(), DbError> {
        let mut batch = self.db.begin().await?;
        batch.unpark(&[id]).await?;
        batch.commit().await
    }

    /// Whether the database accepts writes at all. Executes the same statements with harmless values and rolls them
    /// back. An error here is caused by the database, not by a command.
    pub(super) async fn probe(&self) -> Result<(), DbError> {
        let probe = tokio::time::timeout(MAX_TRANSACTION_TIME, async {
            let mut batch = self.db.begin().await?;
            let asked = |text: &str| vec![text.to_owned()];
            let questions = Lookups {
                ids: asked(CANARY),
                names: asked(CANARY),
                emails: asked(CANARY),
                phones: asked("0"),
            };
            read(&mut batch, &questions).await?;
            match write(&mut batch, probe_writes(), false).await {
                // Another consumer runs its probe.
                Err(DbError::Conflict) => Ok(()),
                other => other,
            }
        });
        probe.await.unwrap_or_else(|_| Err(DbError::Busy("the transaction took too long".to_owned())))
    }
}

/// The names of commands that were applied before. Their caches may be stale: the reply to that commit may have been
/// lost, or the process killed after it. A second notification costs one more read.
fn repeated_names<'a>(
    commands: &'a [Command],
    outcomes: &'a [CommandOutcome],
) -> impl Iterator<Item = String> + 'a {
    let is_valid = |command: &&Command| command.value().is_some();
    let repeats =
        commands.iter().zip(outcomes).filter(|(_, outcome)| **outcome == CommandOutcome::AlreadyDecided);
    repeats.map(|(command, _)| command).filter(is_valid).map(|command| command.name.clone())
}

/// Reads the snapshot. The order matters while others write: a command that is no longer parked was applied, and its
/// outcome must be visible.
async fn read(batch: &mut DbTransaction, questions: &Lookups) -> Result<Snapshot, DbError> {
    Ok(Snapshot {
        parked: batch.parked(&questions.names).await?,
        decided: batch.decided(&questions.ids).await?,
        users: batch.users_for_update(&questions.names).await?,
        tombstones: batch.tombstones(&questions.names).await?,
        holders: match questions.emails.is_empty() && questions.phones.is_empty() {
            true => Vec::new(),
            false => batch.holders_of(&questions.emails, &questions.phones).await?,
        },
    })
}

async fn write(batch: &mut DbTransaction, mut writes: WriteSet, degraded: bool) -> Result<(), DbError> {
    let extras = if degraded { writes.take_deferred_columns() } else { Vec::new() };
    // Empty lists cost nothing.
    if !writes.deletes.is_empty() {
        batch.delete_users(&writes.deletes).await?;
    }
    if !writes.updates.is_empty() {
        batch.update_users(&writes.updates).await?;
    }
    if !writes.inserts.is_empty() {
        batch.insert_users(&writes.inserts).await?;
    }
    if !writes.tombstones.is_empty() {
        batch.put_tombstones(&writes.tombstones).await?;
    }
    if !extras.is_empty() {
        batch.put_extras(&extras).await?;
    }
    if !writes.outcomes.is_empty() {
        batch.insert_outcomes(&writes.outcomes).await?;
    }
    if !writes.audit.is_empty() {
        batch.insert_audit(&writes.audit).await?;
    }
    if !writes.unpark.is_empty() {
        batch.unpark(&writes.unpark).await?;
    }
    if !writes.park.is_empty() {
        batch.park(&writes.park).await?;
    }
    Ok(())
}

const CANARY: &str = "canary";

fn probe_writes() -> WriteSet {
    let now = Timestamp::now();
    // The id differs from that of every other consumer running now.
    let id = CommandId::from_bytes(std::array::from_fn(|_| getrandom::u32().unwrap_or_default() as u8));
    let action = UserKind::Delete.as_str().to_owned();
    let text = CANARY.to_owned();
    WriteSet {
        outcomes: vec![OutcomeRow {
            id: id.to_string(),
            kind: action.clone(),
            name: text.clone(),
            state: "applied".to_owned(),
            field: None,
            reason: None,
            actor: None,
            accepted_at: now,
            finished_at: now,
            partition: -1,
            offset: -1,
        }],
        audit: vec![AuditRow {
            id: id.to_string(),
            actor: None,
            action,
            target: text.clone(),
            outcome: "applied".to_owned(),
            reason: None,
            at: now,
        }],
        park: vec![ParkedRow { id: id.to_string(), name: text, seq: 1, attempts: 0 }],
        ..WriteSet::default()
    }
}
