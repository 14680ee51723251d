//! Standard output, where nobody may be reading any more, and the disk may be full.

use std::fmt;

use cli_support::output;

use super::Failure;

/// Writes what a command was asked for. A reader that has closed the pipe has seen enough; any other error is the
/// command's failure.
pub fn print(text: impl fmt::Display) -> Result<(), Failure> {
    let printed = output::unless_closed(output::all(text.to_string().as_bytes()));
    printed.map_err(Failure::system("cannot write to standard output"))
}

/// Writes a report on work whose result the exit code tells as well.
pub(super) fn report(text: impl fmt::Display) {
    if let Err(error) = output::all(text.to_string().as_bytes()) {
        tracing::warn!(event = "output.failed", %error, "standard output not written");
    }
}
