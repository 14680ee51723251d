//! wal-tools: see and repair forebay's log from a shell.
//!
//! Data goes to stdout, everything else to stderr. Exit codes: 0 fine, 1 findings, 2 failure.

// They panic where nobody reads or the disk is full.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod bench_disk;
mod cli;
mod dead;
mod export;
mod list;
mod open;
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
mod store;
mod table;
mod tail;
mod verify;

use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, Parser};
use cli_support::manual;

use cli::{Cli, Command};
use open::Log;
use output::{Outcome, note};

fn main() -> ExitCode {
    let outcome = match Cli::try_parse() {
        Ok(cli) => run(cli),
        Err(mistake) if mistake.use_stderr() => {
            let _ = mistake.print();
            return ExitCode::from(2);
        }
        Err(help) => help.print().map(|()| Outcome::Fine).map_err(Into::into),
    };
    match outcome {
        Ok(Outcome::Fine) => ExitCode::SUCCESS,
        Ok(Outcome::Findings) => ExitCode::from(1),
        Err(error) if output::is_closed(&error) => ExitCode::SUCCESS,
        Err(error) => {
            note!("wal-tools: {}", told(&error));
            ExitCode::from(2)
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<Outcome> {
    let log = || Log::find(&cli);
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
            output::all(manual::completions(*shell, Cli::command()).as_bytes())?;
            Ok(Outcome::Fine)
        }
        Command::Man { directory: None } => {
            output::all(manual::pages(Cli::command())?.as_bytes())?;
            Ok(Outcome::Fine)
        }
        Command::Man { directory: Some(directory) } => {
            manual::write(Cli::command(), directory).with_context(|| directory.display().to_string())?;
            Ok(Outcome::Fine)
        }
    }
}

/// The error and its causes, each once: the log's own errors say their cause themselves.
fn told(error: &anyhow::Error) -> String {
    let mut causes = error.chain().map(ToString::to_string);
    let first = causes.next().unwrap_or_default();
    causes.fold(first, |text, cause| if text.ends_with(&cause) { text } else { format!("{text}: {cause}") })
}
