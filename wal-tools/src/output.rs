//! What a command found, and how its output fails.
//!
//! Data goes to stdout, and a failed write ends the command: exit 2, but quietly with 0 where the reader has closed the
//! pipe. Commands whose exit code says what they found or did go on without a reader ([`unless_closed`]). Notes go to
//! stderr, best effort: there is no place to report that they could not be written.

use std::io;

pub use cli_support::note;
pub use cli_support::output::write_stdout;

/// What a command found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitOutcome {
    /// Nothing to worry about.
    Fine,
    /// Something an operator should look at.
    Findings,
}

/// The result of printing, without the error of a reader that has closed the pipe.
pub fn unless_closed(printed: anyhow::Result<()>) -> anyhow::Result<()> {
    printed.or_else(|error| if is_closed(&error) { Ok(()) } else { Err(error) })
}

/// Whether the reader of stdout has closed the pipe.
pub fn is_closed(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(cli_support::output::is_closed)
}
