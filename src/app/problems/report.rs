//! Other forms of the list of problems: the state of a dependency, the last error, and systemd's status line.

use std::io;
use std::time::{Duration, Instant};

use crate::problems::{Code, Problem, summary};
use crate::systemd;
use crate::task::{FatalSignal, OnFailure, Thread};
use crate::units::Timestamp;

/// Interval at which the list is refreshed while no client requests it.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);
/// Minimum interval between two changes of systemd's status line.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);

/// State of a dependency: `ok`, or the cause of the first problem among `codes`.
pub(in crate::app) fn dependency(problems: &[Problem], codes: &[Code]) -> String {
    let found = problems.iter().find(|problem| codes.contains(&problem.code));
    found.map_or("ok", Problem::cause).to_owned()
}

/// Last error of the most important problem that has one.
pub(in crate::app) fn last_error(problems: &[Problem]) -> Option<&str> {
    problems.iter().find_map(|problem| problem.last_error.as_deref())
}

/// Refreshes the list every second and reports it to systemd. `observe` builds the list, and returns it with the number
/// of waiting records, or `None` while the process is stopping, which sets its own status. This is a separate thread,
/// because systemd may be slow to read the message.
pub(in crate::app) fn report(
    observe: impl Fn() -> Option<(u64, Vec<Problem>)> + Send + 'static,
    fatal: FatalSignal,
) -> io::Result<Thread> {
    Thread::spawn("problems", OnFailure::Raise(fatal), move |stop| {
        let (mut last_line, mut reported_at) = (String::new(), None::<Instant>);
        while let Some((waiting, problems)) = observe() {
            let line = summary(waiting, &problems, Timestamp::now());
            let is_due = reported_at.is_none_or(|at| at.elapsed() >= STATUS_INTERVAL);
            if is_due && line != last_line {
                systemd::status(&line);
                (last_line, reported_at) = (line, Some(Instant::now()));
            }
            if stop.wait(REFRESH_INTERVAL) {
                break;
            }
        }
        Ok(())
    })
}
