//! wal-tools: inspect and repair forebay's log from a shell.
//!
//! Data goes to stdout, everything else to stderr. Exit codes: 0 success, 1 findings, 2 failure.

// `println!` and `eprintln!` panic if the reader has closed the pipe or the disk is full.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod bench_disk;
mod cli;
mod dead;
mod export;
mod list;
mod log_context;
mod offline_log;
mod output;
mod problems;
mod range;
mod record;
mod rekey;
mod repair;
mod replay;
mod segments;
mod show;
mod status;
mod tail;
mod text_format;
mod verify;

use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, Parser};
use cli_support::manual;

use cli::{Cli, Command};
use log_context::LogContext;
use output::{ExitOutcome, note};

fn main() -> ExitCode {
    let outcome = match Cli::try_parse() {
        Ok(cli) => run(cli),
        Err(mistake) if mistake.use_stderr() => {
            let _ = mistake.print();
            return ExitCode::from(2);
        }
        Err(help) => help.print().map(|()| ExitOutcome::Fine).map_err(Into::into),
    };
    match outcome {
        Ok(ExitOutcome::Fine) => ExitCode::SUCCESS,
        Ok(ExitOutcome::Findings) => ExitCode::from(1),
        Err(error) if output::is_closed(&error) => ExitCode::SUCCESS,
        Err(error) => {
            note!("wal-tools: {}", error_message(&error));
            ExitCode::from(2)
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitOutcome> {
    let log = || LogContext::find(&cli);
    match &cli.command {
        Command::Status(args) => status::run(&log()?, args),
        Command::Segments => segments::run(&log()?),
        Command::List(args) => list::run(&log()?, args),
        Command::Show(args) => show::run(&log()?, args),
        Command::Tail(args) => tail::run(&log()?, args),
        Command::Verify(args) => verify::run(&log()?, args),
        Command::Repair(args) => repair::run(&log()?, args),
        Command::Dead(command) => dead::run(&log()?, command),
        Command::Replay(args) => replay::run(&log()?, args),
        Command::Export(args) => export::run(&log()?, args),
        Command::BenchDisk(args) => bench_disk::run(cli.dir.as_deref(), cli.json, args),
        Command::Rekey(args) => rekey::run(&log()?, args),
        Command::Completions { shell } => {
            output::write_stdout(manual::completions(*shell, Cli::command()).as_bytes())?;
            Ok(ExitOutcome::Fine)
        }
        Command::Man { directory: None } => {
            output::write_stdout(manual::pages(Cli::command())?.as_bytes())?;
            Ok(ExitOutcome::Fine)
        }
        Command::Man { directory: Some(directory) } => {
            manual::write(Cli::command(), directory).with_context(|| directory.display().to_string())?;
            Ok(ExitOutcome::Fine)
        }
    }
}

/// The error and its causes, each once. Errors of the log already contain the text of their cause.
fn error_message(error: &anyhow::Error) -> String {
    let mut causes = error.chain().map(ToString::to_string);
    let first = causes.next().unwrap_or_default();
    causes.fold(first, |text, cause| if text.ends_with(&cause) { text } else { format!("{text}: {cause}") })
}
