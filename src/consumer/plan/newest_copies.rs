//! Selects the newest copy of a parked command. The retry topic holds one copy per attempt. After a rebalance, a
//! consumer reads again the copies behind a delayed one. Without this check each old copy would count as an attempt at
//! once, although the command is not due.
//!
//! A copy contains the number of attempts when it was sent. The command's row contains the current number. The row
//! counts an attempt before the next copy is sent, and the offset of the tried copy is committed after that. So:
//!
//! - two or more attempts behind the row: a newer copy is in the topic;
//! - one attempt behind: the process may have ended before it sent the newer copy. The command is sent again, with the
//!   same delay;
//! - of several copies in one batch, only the newest counts.

use std::collections::HashMap;

use crate::consumer::command::Command;

/// The newest copy in a batch of each command from the retry topic.
pub(super) struct NewestCopies(HashMap<String, (Option<i32>, usize)>);

impl NewestCopies {
    pub(super) fn from_commands(commands: &[Command]) -> Self {
        let mut newest: HashMap<String, (Option<i32>, usize)> = HashMap::new();
        for (at, command) in commands.iter().enumerate().filter(|(_, command)| command.from_retry) {
            let known = newest.entry(command.id.clone()).or_insert((command.attempts, at));
            if known.0 < command.attempts {
                *known = (command.attempts, at);
            }
        }
        Self(newest)
    }

    /// Whether the batch has a newer copy of `command` than the one at index `at`.
    pub(super) fn supersedes(&self, command: &Command, at: usize) -> bool {
        command.from_retry && self.0.get(&command.id).is_some_and(|(_, newest)| *newest != at)
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::{command, plain};
    use super::super::{CommandOutcome, Snapshot, plan};
    use super::*;
    use crate::command::UserKind;
    use crate::db::ParkedRow;
    use crate::units::Timestamp;

    #[test]
    fn an_old_copy_does_not_count_as_an_attempt() {
        const MANY: u32 = 8;
        let copy = |random, tries| {
            let mut poison = plain(random, UserKind::Delete);
            poison.poison = true;
            Command { attempts: tries, ..command(&poison, true) }
        };
        let row = |seq: i64, random, attempts| {
            let Command { id, name, .. } = copy(random, None);
            ParkedRow { id, name, seq, attempts }
        };
        let judged = |copies: &[(u8, i32)]| {
            let parked = vec![row(1, 1, 6), row(2, 2, 0)];
            let copies: Vec<_> = copies.iter().map(|(random, tries)| copy(*random, Some(*tries))).collect();
            plan(&copies, Snapshot { parked, ..Snapshot::default() }, Timestamp(9), MANY)
        };
        let (stale, again) = (CommandOutcome::StaleCopy, CommandOutcome::Reparked { attempts: 6 });
        let plan = judged(&[(1, 1), (1, 2), (1, 3)]);
        assert_eq!(
            plan.outcomes,
            [const { CommandOutcome::StaleCopy }; 3],
            "number 5 is not committed yet, or 6 was sent"
        );
        assert!(plan.writes.park.is_empty(), "no attempt is counted");
        let plan = judged(&[(1, 4), (1, 5)]);
        assert_eq!(plan.outcomes, [stale.clone(), again], "number 6 was perhaps not sent before a crash");
        assert!(plan.writes.park.is_empty(), "no attempt is counted");
        let outcomes = judged(&[(1, 5), (1, 6), (1, 6)]).outcomes;
        assert_eq!(
            outcomes,
            [stale.clone(), CommandOutcome::Parked { attempts: 7 }, stale.clone()],
            "one attempt"
        );
        let CommandOutcome::NotFirst { attempts: 0, .. } = judged(&[(2, 0)]).outcomes[0] else {
            panic!("it is the second attempt")
        };
        assert_eq!(judged(&[(2, 0), (2, 0)]).outcomes[1], stale, "sent back only once");
    }
}
