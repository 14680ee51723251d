//! The list in other shapes: one word for each dependency, the last error, systemd's status.

use std::io;
use std::time::{Duration, Instant};

use crate::problems::{Code, Problem, summary};
use crate::systemd;
use crate::task::{FatalSignal, OnFailure, Thread};
use crate::units::Timestamp;

/// How often the list is made anew while nobody asks.
const EVERY: Duration = Duration::from_secs(1);
/// systemd's status changes no more often than this.
const STATUS_EVERY: Duration = Duration::from_secs(5);

/// `ok`, or the cause of the first problem among these.
pub(in crate::app) fn dependency(problems: &[Problem], codes: &[Code]) -> String {
    let found = problems.iter().find(|problem| codes.contains(&problem.code));
    found.map_or("ok", Problem::cause).to_owned()
}

/// The last error of the most important problem that has one.
pub(in crate::app) fn last_error(problems: &[Problem]) -> Option<&str> {
    problems.iter().find_map(|problem| problem.last_error.as_deref())
}

/// Makes the list anew every second, and tells systemd. `look`: makes it, and returns it with the number of records that
/// wait; none when the process is stopping, whose status systemd has then. A thread, because systemd may be slow to take
/// what it is told.
pub(in crate::app) fn report(
    look: impl Fn() -> Option<(u64, Vec<Problem>)> + Send + 'static,
    alarm: FatalSignal,
) -> io::Result<Thread> {
    Thread::spawn("problems", OnFailure::Raise(alarm), move |stop| {
        let (mut told, mut told_at) = (String::new(), None::<Instant>);
        while let Some((waiting, problems)) = look() {
            let line = summary(waiting, &problems, Timestamp::now());
            let is_due = told_at.is_none_or(|at| at.elapsed() >= STATUS_EVERY);
            if is_due && line != told {
                systemd::status(&line);
                (told, told_at) = (line, Some(Instant::now()));
            }
            if stop.wait(EVERY) {
                break;
            }
        }
        Ok(())
    })
}
