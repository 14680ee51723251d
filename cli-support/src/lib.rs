//! Command-line code that the programs of this workspace share: output, interruptions, manual pages and completions.

// `println!` and `eprintln!` panic if the reader has closed the pipe or the disk is full.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod interrupt;
pub mod manual;
pub mod output;

pub use clap_complete::Shell;
pub use interrupt::Interrupt;
