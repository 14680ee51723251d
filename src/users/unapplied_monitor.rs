//! Whether any consumer applies the commands that this daemon sends.
//!
//! The consumer may be another process, on another machine. The daemon sees only its results: the outcomes in the
//! database. So it follows one command at a time until that has an outcome. A command that waits in the retry topic has
//! none for minutes; therefore a later command is followed too, and one of the two with an outcome is enough. It is not
//! the latest at each look: under steady traffic that one never had the time to be applied.
//!
//! At a start the last command that an earlier one accepted is followed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::command::{CommandId, CommandState};
use crate::status::{StatusError, Statuses};
use crate::sync::Mutex;
use crate::task::Task;

/// Between two looks: two statements at most.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// A consumer that keeps up applies a command within a second of its delivery.
const OVERDUE_AFTER: Duration = Duration::from_secs(60);

/// The commands that are followed.
#[derive(Default)]
pub struct UnappliedMonitor(Mutex<TrackedCommands>);

#[derive(Default)]
struct TrackedCommands {
    first: Option<CommandId>,
    /// The later one.
    probe: Option<CommandId>,
    /// The newest, to be followed when one of the two is over.
    latest: Option<CommandId>,
    /// When the first was found in Kafka without an outcome.
    sent: Option<Instant>,
}

/// What is known of one command.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TrackedState {
    /// In the log: Kafka does not have it yet.
    Waiting,
    /// In Kafka, without an outcome.
    Sent,
    /// Decided, or not known any more.
    Decided,
}

impl UnappliedMonitor {
    /// A command was accepted.
    pub(super) fn on_accepted(&self, id: CommandId) {
        let mut followed = self.0.lock();
        if followed.first.is_none() {
            followed.first = Some(id);
        } else {
            followed.latest = Some(id);
        }
    }

    /// An earlier start accepted it. One that came meanwhile is followed already.
    pub fn on_accepted_earlier(&self, id: CommandId) {
        self.0.lock().first.get_or_insert(id);
    }

    /// For how long a command has been in Kafka without an outcome, if that is too long.
    pub fn overdue(&self, now: Instant) -> Option<Duration> {
        let sent = self.0.lock().sent?;
        Some(now.saturating_duration_since(sent)).filter(|waits| *waits >= OVERDUE_AFTER)
    }

    /// Follows commands for as long as the task is held.
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

    /// The two to look at.
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
            // One that came meanwhile is followed next.
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
        assert_eq!(unapplied.overdue(after(1_000)), None, "Kafka does not have it");
        unapplied.update(TrackedState::Sent, None, after(5));
        unapplied.on_accepted(id(2));
        assert_eq!(unapplied.next(), Some((id(1), Some(id(2)))));
        unapplied.update(TrackedState::Sent, Some(TrackedState::Sent), after(60));
        assert_eq!(unapplied.overdue(after(64)), None);
        assert_eq!(unapplied.overdue(after(65)), Some(Duration::from_secs(60)));
        unapplied.on_accepted(id(3));
        assert_eq!(unapplied.next(), Some((id(1), Some(id(2)))), "not the latest, which had no time");
        unapplied.update(TrackedState::Sent, Some(TrackedState::Decided), after(66));
        assert_eq!(unapplied.overdue(after(1_000)), None, "a later command has an outcome");
        assert_eq!(unapplied.next(), Some((id(3), None)));
    }

    #[test]
    fn a_command_of_an_earlier_start_is_followed_until_it_has_an_outcome() {
        let (unapplied, start) = (UnappliedMonitor::default(), Instant::now());
        unapplied.on_accepted_earlier(id(1));
        assert_eq!(unapplied.next(), Some((id(1), None)));
        unapplied.update(TrackedState::Sent, None, start);
        assert_eq!(unapplied.overdue(start + OVERDUE_AFTER), Some(OVERDUE_AFTER));
        unapplied.update(TrackedState::Decided, None, start);
        assert_eq!((unapplied.overdue(start + OVERDUE_AFTER), unapplied.next()), (None, None));
        unapplied.on_accepted(id(2));
        unapplied.on_accepted_earlier(id(1));
        assert_eq!(unapplied.next(), Some((id(2), None)), "found late: a newer one is followed");
    }

    #[test]
    fn after_an_outcome_the_later_command_is_followed() {
        let (unapplied, now) = (UnappliedMonitor::default(), Instant::now());
        unapplied.on_accepted(id(1));
        unapplied.on_accepted(id(2));
        assert_eq!(unapplied.next(), Some((id(1), Some(id(2)))));
        unapplied.on_accepted(id(3));
        unapplied.update(TrackedState::Decided, Some(TrackedState::Sent), now);
        assert_eq!(unapplied.next(), Some((id(2), Some(id(3)))));
    }
}
