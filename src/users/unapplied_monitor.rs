//! Detects that no consumer applies the commands of this daemon.
//!
//! The consumer may be another process on another machine. The daemon sees only its results: the outcomes in the
//! database. So it tracks one command at a time until the command has an outcome. A command in the retry topic has none
//! for minutes. Therefore a later command is tracked too, and an outcome of either is enough. The second is not the
//! latest at each check: under steady traffic, the latest command has not had time to be applied.
//!
//! At start, the last command accepted by an earlier start is tracked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::command::{CommandId, CommandState};
use crate::status::{StatusError, Statuses};
use crate::sync::Mutex;
use crate::task::Task;

/// Interval of checks. A check executes at most two statements.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// A consumer without lag applies a command within a second of its delivery.
const OVERDUE_AFTER: Duration = Duration::from_secs(60);

/// The tracked commands.
#[derive(Default)]
pub struct UnappliedMonitor(Mutex<TrackedCommands>);

#[derive(Default)]
struct TrackedCommands {
    first: Option<CommandId>,
    /// The later tracked command.
    probe: Option<CommandId>,
    /// The newest command, to be tracked when one of the two is decided.
    latest: Option<CommandId>,
    /// When the first command was found in Kafka without an outcome.
    sent: Option<Instant>,
}

/// State of a tracked command.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TrackedState {
    /// In the log, not yet in Kafka.
    Waiting,
    /// In Kafka, without an outcome.
    Sent,
    /// Decided, or no longer known.
    Decided,
}

impl UnappliedMonitor {
    /// Records an accepted command.
    pub(super) fn on_accepted(&self, id: CommandId) {
        let mut followed = self.0.lock();
        if followed.first.is_none() {
            followed.first = Some(id);
        } else {
            followed.latest = Some(id);
        }
    }

    /// Records a command accepted by an earlier start, unless a newer one is tracked already.
    pub fn on_accepted_earlier(&self, id: CommandId) {
        self.0.lock().first.get_or_insert(id);
    }

    /// For how long a command has been in Kafka without an outcome, if at least 60 s.
    pub fn overdue(&self, now: Instant) -> Option<Duration> {
        let sent = self.0.lock().sent?;
        Some(now.saturating_duration_since(sent)).filter(|waits| *waits >= OVERDUE_AFTER)
    }

    /// Tracks commands until the returned task is dropped.
    pub fn track(self: Arc<Self>, statuses: Statuses) -> Task {
        Task::spawn("users-outcomes", async move {
            loop {
                tokio::time::sleep(CHECK_INTERVAL).await;
                let Some((first, probe)) = self.next() else { continue };
                let first = tracked_state(&statuses, first).await;
                let probe = match probe {
                    Some(id) => Some(tracked_state(&statuses, id).await),
                    None => None,
                };
                self.update(first, probe, Instant::now());
            }
        })
    }

    /// The two commands to be checked.
    fn next(&self) -> Option<(CommandId, Option<CommandId>)> {
        let mut followed = self.0.lock();
        let first = followed.first?;
        if followed.probe.is_none() {
            followed.probe = followed.latest.take();
        }
        Some((first, followed.probe))
    }

    fn update(&self, first: TrackedState, probe: Option<TrackedState>, now: Instant) {
        let mut followed = self.0.lock();
        match first {
            // A command accepted meanwhile is tracked next.
            _ if probe == Some(TrackedState::Decided) => {
                *followed = TrackedCommands { first: followed.latest, ..TrackedCommands::default() };
            }
            TrackedState::Decided => {
                let (first, latest) = (followed.probe.or(followed.latest), followed.latest);
                let latest = latest.filter(|_| followed.probe.is_some());
                *followed = TrackedCommands { first, latest, ..TrackedCommands::default() };
            }
            TrackedState::Waiting => followed.sent = None,
            TrackedState::Sent => {
                followed.sent.get_or_insert(now);
            }
        }
    }
}

async fn tracked_state(statuses: &Statuses, id: CommandId) -> TrackedState {
    match statuses.find(id, None, true).await.map(|status| status.state) {
        Ok(CommandState::Accepted) | Err(StatusError::Unavailable(_)) => TrackedState::Waiting,
        Ok(CommandState::Sent) => TrackedState::Sent,
        _ => TrackedState::Decided,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::IdGenerator;
    use crate::units::{Lsn, Timestamp};

    fn id(n: u64) -> CommandId {
        let mint = IdGenerator::new(&[1; 16], &[2; 32]);
        mint.generate(Timestamp(n), Lsn(n), [0; 9])
    }

    #[test]
    fn two_commands_without_an_outcome_are_overdue() {
        let (unapplied, start) = (UnappliedMonitor::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        unapplied.on_accepted(id(1));
        assert_eq!(unapplied.next(), Some((id(1), None)));
        unapplied.update(TrackedState::Waiting, None, start);
        assert_eq!(unapplied.overdue(after(1_000)), None, "the command is not in Kafka");
        unapplied.update(TrackedState::Sent, None, after(5));
        unapplied.on_accepted(id(2));
        assert_eq!(unapplied.next(), Some((id(1), Some(id(2)))));
        unapplied.update(TrackedState::Sent, Some(TrackedState::Sent), after(60));
        assert_eq!(unapplied.overdue(after(64)), None);
        assert_eq!(unapplied.overdue(after(65)), Some(Duration::from_secs(60)));
        unapplied.on_accepted(id(3));
        assert_eq!(unapplied.next(), Some((id(1), Some(id(2)))), "not the latest, which has had no time");
        unapplied.update(TrackedState::Sent, Some(TrackedState::Decided), after(66));
        assert_eq!(unapplied.overdue(after(1_000)), None, "a later command has an outcome");
        assert_eq!(unapplied.next(), Some((id(3), None)));
    }

    #[test]
    fn a_command_of_an_earlier_start_is_tracked() {
        let (unapplied, start) = (UnappliedMonitor::default(), Instant::now());
        unapplied.on_accepted_earlier(id(1));
        assert_eq!(unapplied.next(), Some((id(1), None)));
        unapplied.update(TrackedState::Sent, None, start);
        assert_eq!(unapplied.overdue(start + OVERDUE_AFTER), Some(OVERDUE_AFTER));
        unapplied.update(TrackedState::Decided, None, start);
        assert_eq!((unapplied.overdue(start + OVERDUE_AFTER), unapplied.next()), (None, None));
        unapplied.on_accepted(id(2));
        unapplied.on_accepted_earlier(id(1));
        assert_eq!(unapplied.next(), Some((id(2), None)), "reported late: a newer command is tracked");
    }

    #[test]
    fn after_an_outcome_the_later_command_is_tracked() {
        let (unapplied, now) = (UnappliedMonitor::default(), Instant::now());
        unapplied.on_accepted(id(1));
        unapplied.on_accepted(id(2));
        assert_eq!(unapplied.next(), Some((id(1), Some(id(2)))));
        unapplied.on_accepted(id(3));
        unapplied.update(TrackedState::Decided, Some(TrackedState::Sent), now);
        assert_eq!(unapplied.next(), Some((id(2), Some(id(3)))));
    }
}
