//! Standard output, which may be closed or on a full disk.

use std::fmt;

use cli_support::output;

use super::Failure;

/// Prints the requested output. A closed pipe is no error, because the reader has seen enough. Any other error is the
/// failure of the command.
pub fn print(text: impl fmt::Display) -> Result<(), Failure> {
    let printed = output::unless_closed(output::write_stdout(text.to_string().as_bytes()));
    printed.map_err(Failure::system("cannot write to standard output"))
}

/// Prints a report. Errors are only logged, because the exit code also carries the result.
pub(super) fn report(text: impl fmt::Display) {
    if let Err(error) = output::write_stdout(text.to_string().as_bytes()) {
        tracing::warn!(event = "output.failed", %error, "standard output not written");
    }
}
