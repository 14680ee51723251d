//! Decides the outcome of each command of a batch, in memory, without a clock, a database or Kafka.
//!
//! The batch's transaction reads the affected rows ([`Snapshot`]). The commands are decided one after another, as if
//! each had its own transaction. The net result ([`WriteSet`]) is then written. Rules:
//!
//! - A command with an outcome is a repeat and changes nothing. Outcome rows expire; afterwards the audit row of the
//!   same command shows that it was decided.
//! - While a name has commands in the retry topic, its later commands follow them there. Only the first of them is
//!   tried, and an old copy of it does not count as an attempt (see [`newest_copies`]).
//! - Create: rejected when the name, the e-mail address or the phone number is taken (`taken`), and when a newer
//!   command deleted the name (`superseded`).
//! - Update and password: rejected if the user does not exist (`not_found`), if the row holds the content of a newer
//!   command (`superseded`), or if another user has the address or number (`taken`).
//! - Delete: applied, even if the user does not exist; rejected if the user was registered after the command
//!   (`superseded`).
//!
//! The time of acceptance decides which command is newer, then the id. Within one log, delivery order decides between
//! equal times.

#[cfg(test)]
mod model;
mod newest_copies;
mod outcome;
mod rules;
mod snapshot;
mod user_state;
mod version;
mod write_set;

use std::collections::HashSet;

use crate::db::{AuditRow, OutcomeRow};
use crate::units::Timestamp;

use super::command::Command;

pub(super) use outcome::CommandOutcome;
pub(super) use snapshot::{Lookups, Snapshot};
pub(super) use write_set::WriteSet;

use newest_copies::NewestCopies;
use rules::RuleOutcome;
use snapshot::BatchState;

/// The outcomes of the first commands, and the rows to write for them. If there are fewer outcomes than commands, the
/// other commands need another transaction.
pub(super) struct Plan {
    pub(super) outcomes: Vec<CommandOutcome>,
    pub(super) writes: WriteSet,
}

/// Decides the outcomes of `commands`. `most_attempts`: how often a command is retried.
pub(super) fn plan(commands: &[Command], mut snapshot: Snapshot, now: Timestamp, most_attempts: u32) -> Plan {
    let mut planner = Planner {
        decided: std::mem::take(&mut snapshot.decided),
        state: BatchState::new(snapshot),
        writes: WriteSet::default(),
        now,
        most_attempts: i32::try_from(most_attempts).unwrap_or(i32::MAX),
    };
    let mut outcomes = Vec::with_capacity(commands.len());
    let newest = NewestCopies::from_commands(commands);
    for (at, command) in commands.iter().enumerate() {
        match planner.decide(command, newest.supersedes(command, at)) {
            Some(outcome) => outcomes.push(outcome),
            None => break,
        }
    }
    let mut writes = planner.writes;
    planner.state.finish(&mut writes);
    Plan { outcomes, writes }
}

struct Planner {
    /// Commands that were decided before.
    decided: HashSet<String>,
    state: BatchState,
    writes: WriteSet,
    now: Timestamp,
    most_attempts: i32,
}

impl Planner {
    /// Decides one command. `None`: this command and the following ones need another transaction. `superseded`: the
    /// batch has a newer copy of the command.
    fn decide(&mut self, command: &Command, superseded: bool) -> Option<CommandOutcome> {
        if self.decided.contains(&command.id) {
            self.state.unpark(&command.name, &command.id);
            return Some(CommandOutcome::AlreadyDecided);
        }
        if let Some(lost) = &command.lost_predecessor {
            self.give_up(command, lost);
        }
        if command.skip_retries {
            return self.attempt(command, self.most_attempts);
        }
        let queue = self.state.queue(&command.name);
        let place = queue.iter().position(|row| row.id == command.id);
        match (command.from_retry, place) {
            (true, Some(_)) if superseded => Some(CommandOutcome::StaleCopy),
            (true, Some(0)) => {
                let attempts = queue[0].attempts;
                self.decide_next(command, attempts)
            }
            (true, Some(at)) => Some(CommandOutcome::NotFirst {
                first: queue[0].id.clone(),
                first_attempts: queue[0].attempts,
                attempts: queue[at].attempts,
            }),
            (true, None) => Some(CommandOutcome::NotParked),
            (false, Some(at)) => Some(CommandOutcome::Reparked { attempts: queue[at].attempts }),
            (false, None) if !queue.is_empty() => {
                self.state.park(&command.name, &command.id, 0);
                Some(CommandOutcome::ParkedBehind)
            }
            (false, None) => self.attempt(command, 0),
        }
    }

    /// Decides the first command of its name. Its row counts `attempts` attempts.
    fn decide_next(&mut self, command: &Command, attempts: i32) -> Option<CommandOutcome> {
        match command.attempts.map(|tries| attempts.saturating_sub(tries)) {
            None | Some(..=0) => self.attempt(command, attempts),
            Some(1) => Some(CommandOutcome::Reparked { attempts }),
            Some(2..) => Some(CommandOutcome::StaleCopy),
        }
    }

    /// Tries the command after `attempts` attempts.
    fn attempt(&mut self, command: &Command, attempts: i32) -> Option<CommandOutcome> {
        if let Some(fault) = &command.fault {
            return Some(self.park_or_give_up(command, attempts, fault));
        }
        let (kind, value) = command.request.as_ref()?;
        // Only a command with an id has a request.
        let id = command.parsed?;
        let outcome = match rules::apply(&mut self.state, *kind, value, &id) {
            RuleOutcome::NextTransaction => return None,
            RuleOutcome::Applied => {
                self.record_outcome(command, "applied", None, None);
                CommandOutcome::Applied
            }
            RuleOutcome::Rejected { field, reason } => {
                self.record_outcome(command, "rejected", field, Some(reason.to_owned()));
                CommandOutcome::Rejected
            }
        };
        Some(outcome)
    }

    /// Parks a command that cannot be applied, or dead-letters it after too many attempts.
    fn park_or_give_up(&mut self, command: &Command, attempts: i32, fault: &str) -> CommandOutcome {
        if command.skip_retries || attempts >= self.most_attempts {
            self.record_outcome(command, "dead", None, Some(fault.to_owned()));
            return CommandOutcome::Dead { reason: fault.to_owned() };
        }
        let attempts = attempts.saturating_add(1);
        self.state.park(&command.name, &command.id, attempts);
        CommandOutcome::Parked { attempts }
    }

    /// Records the final outcome.
    fn record_outcome(
        &mut self,
        command: &Command,
        state: &str,
        field: Option<&str>,
        reason: Option<String>,
    ) {
        self.decided.insert(command.id.clone());
        self.state.unpark(&command.name, &command.id);
        let audited = match (field, &reason) {
            (Some(field), Some(reason)) => Some(format!("{reason}: {field}")),
            _ => reason.clone(),
        };
        self.writes.outcomes.push(OutcomeRow {
            id: command.id.clone(),
            kind: command.kind.clone(),
            name: command.name.clone(),
            state: state.to_owned(),
            field: field.map(str::to_owned),
            reason,
            actor: command.actor(),
            accepted_at: command.accepted_at,
            finished_at: self.now,
            partition: command.origin.0,
            offset: command.origin.1,
        });
        self.writes.audit.push(AuditRow {
            id: command.id.clone(),
            actor: command.actor(),
            action: command.kind.clone(),
            target: command.name.clone(),
            outcome: state.to_owned(),
            reason: audited,
            at: self.now,
        });
    }

    /// Makes the first command of a name dead when its record is lost, so that the name is no longer blocked.
    fn give_up(&mut self, waiting: &Command, lost: &str) {
        if self.state.queue(&waiting.name).first().is_none_or(|row| row.id != lost) {
            return;
        }
        if self.decided.contains(lost) {
            self.state.unpark(&waiting.name, lost);
            return;
        }
        let parsed: Option<crate::command::CommandId> = lost.parse().ok();
        let dead = Command {
            id: lost.to_owned(),
            parsed,
            kind: "unknown".to_owned(),
            name: waiting.name.clone(),
            request: None,
            fault: Some(LOST_REASON.to_owned()),
            accepted_at: parsed.map_or(self.now, |id| id.accepted_at()),
            origin: (-1, -1),
            from_retry: true,
            attempts: None,
            dead_letter_sent: true,
            skip_retries: true,
            lost_predecessor: None,
            received: waiting.received,
        };
        self.record_outcome(&dead, "dead", None, Some(LOST_REASON.to_owned()));
        self.writes.lost.push(lost.to_owned());
    }
}

const LOST_REASON: &str = "the command's record is no longer in the retry topic";
