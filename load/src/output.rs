//! Writing to standard output and standard error. A failed write never panics.

use std::io::Write;
use std::{fmt, io};

/// The outcome of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitOutcome {
    /// All service levels are met, or none was given.
    Met,
    /// At least one service level is missed.
    Missed,
    /// The run did not measure what was requested.
    Incomplete,
}

/// Writes a line to stderr.
macro_rules! note {
    ($($text:tt)*) => { $crate::output::note_line(format_args!($($text)*)) };
}
pub(crate) use note;

/// The implementation of [`note!`].
pub fn note_line(text: fmt::Arguments<'_>) {
    // One write per line, so that lines of several processes on one terminal stay whole.
    let _ = io::stderr().write_all(format!("{text}\n").as_bytes());
}

/// Writes bytes to stdout and flushes them.
pub fn write_stdout(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// The result of printing, ignoring the error of a closed pipe.
pub fn unless_closed(printed: io::Result<()>) -> io::Result<()> {
    printed.or_else(|error| if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) })
}
