//! wal-tools: see and repair forebay's log from a shell.
//!
//! Data goes to stdout, everything else to stderr. Exit codes: 0 fine, 1 findings, 2 failure.

mod bench_disk;
mod cli;
mod dead;
mod export;
mod interrupt;
mod list;
mod open;
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

use std::io;
use std::process::ExitCode;

use clap::CommandFactory;
use clap::Parser;

use cli::Cli;
use cli::Command;
use open::Log;

/// What a command found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing to worry about.
    Fine,
    /// Something an operator should look at.
    Findings,
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(Outcome::Fine) => ExitCode::SUCCESS,
        Ok(Outcome::Findings) => ExitCode::from(1),
        // Whoever reads our output has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wal-tools: {}", told(&error));
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
            clap_complete::generate(*shell, &mut Cli::command(), "wal-tools", &mut io::stdout());
            Ok(Outcome::Fine)
        }
        Command::Man => {
            print_manual()?;
            Ok(Outcome::Fine)
        }
    }
}

/// The page of the tool, then one of each command.
fn print_manual() -> io::Result<()> {
    let mut command = Cli::command();
    command.build();
    clap_mangen::Man::new(command.clone()).render(&mut io::stdout())?;
    for command in command.get_subcommands().filter(|command| command.get_name() != "help") {
        clap_mangen::Man::new(command.clone()).render(&mut io::stdout())?;
    }
    Ok(())
}

/// The error and its causes, each once: the log's own errors say their cause themselves.
fn told(error: &anyhow::Error) -> String {
    let mut causes = error.chain().map(ToString::to_string);
    let first = causes.next().unwrap_or_default();
    causes.fold(first, |text, cause| if text.ends_with(&cause) { text } else { format!("{text}: {cause}") })
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}
