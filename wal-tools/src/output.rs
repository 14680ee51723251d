//! Standard output and standard error. A failed write is never a panic.
//!
//! Data goes to stdout, and a failed write ends the command: exit 2, but quietly with 0 where the reader has closed the
//! pipe. Commands whose exit code says what they found or did go on without a reader ([`unless_closed`]). Notes go to
//! stderr, best effort: there is no place to report that they could not be written.

use std::io::Write;
use std::{fmt, io};

/// What a command found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitOutcome {
    /// Nothing to worry about.
    Fine,
    /// Something an operator should look at.
    Findings,
}

/// Writes a line to stderr.
macro_rules! note {
    ($($text:tt)*) => { $crate::output::note_line(format_args!($($text)*)) };
}
pub(crate) use note;

/// What [`note!`] does.
pub fn note_line(text: fmt::Arguments<'_>) {
    // One write for the line: lines of several processes that share a terminal stay whole.
    let _ = io::stderr().write_all(format!("{text}\n").as_bytes());
}

/// Writes bytes to stdout and flushes them.
pub fn write_stdout(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// The result of printing, without the error of a reader that has closed the pipe.
pub fn unless_closed(printed: anyhow::Result<()>) -> anyhow::Result<()> {
    printed.or_else(|error| if is_closed(&error) { Ok(()) } else { Err(error) })
}

/// Whether the reader of stdout has closed the pipe.
pub fn is_closed(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
