//! What the programs of this workspace share at the command line: output, interruptions, manual pages and completions.

// They panic where nobody reads or the disk is full.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod interrupt;
pub mod manual;
pub mod output;

pub use clap_complete::Shell;
pub use interrupt::Interrupt;
