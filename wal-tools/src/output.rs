//! The result of a command, and the handling of failed output.
//!
//! Data goes to stdout. A failed write ends the command with exit code 2, or silently with 0 if the reader has closed the
//! pipe. Commands whose exit code contains their result continue without a reader ([`unless_closed`]). Notes go to stderr.
//! A failed write there is ignored, because no other place could report it.

use std::io;

pub use cli_support::note;
pub use cli_support::output::write_stdout;

/// The result of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitOutcome {
    /// No findings.
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
