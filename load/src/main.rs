//! forebay-load: open-loop load scenarios.
//!
//! The report goes to stdout, everything else to stderr. Exit codes: 0 service levels met, 1 missed, 2 the run could not
//! be made.

// They panic where nobody reads or the disk is full.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod admin;
mod arrivals;
mod cli;
mod clock;
mod descriptors;
mod drive;
mod http;
mod levels;
mod operation;
mod pacer;
mod pacing;
mod plan;
mod profile;
mod progress;
mod queue;
mod record;
mod report;
mod requests;
mod run;
mod session;
mod template;
mod users;
mod worker;

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, Parser};
use cli_support::output::unless_closed;
use cli_support::{Interrupt, manual, note, output};

use cli::{Cli, Command, Planned};
use plan::Plan;
use report::Document;
use run::Finished;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// All service levels are met, or none was given.
    Met,
    /// At least one service level is missed.
    Missed,
    /// The run did not measure what it should.
    Incomplete,
}

fn main() -> ExitCode {
    let outcome = match Cli::try_parse() {
        Ok(cli) => execute(&cli.command),
        Err(mistake) if mistake.use_stderr() => {
            let _ = mistake.print();
            return ExitCode::from(2);
        }
        Err(help) => unless_closed(help.print()).map(|()| Outcome::Met).map_err(Into::into),
    };
    match outcome {
        Ok(Outcome::Met) => ExitCode::SUCCESS,
        Ok(Outcome::Missed) => ExitCode::from(1),
        Ok(Outcome::Incomplete) => ExitCode::from(2),
        Err(error) => {
            note!("forebay-load: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn execute(command: &Command) -> anyhow::Result<Outcome> {
    let printed = match command {
        Command::Completions { shell } => output::all(manual::completions(*shell, Cli::command()).as_bytes()),
        Command::Man { directory: None } => output::all(manual::pages(Cli::command())?.as_bytes()),
        Command::Man { directory: Some(directory) } => {
            manual::write(Cli::command(), directory).with_context(|| directory.display().to_string())?;
            Ok(())
        }
        command => match command.scenario() {
            Some(planned) => return load(&planned),
            None => Ok(()),
        },
    };
    unless_closed(printed)?;
    Ok(Outcome::Met)
}

/// Makes the run of a scenario, reports it, and says how it ended.
fn load(planned: &Planned<'_>) -> anyhow::Result<Outcome> {
    let plan = Plan::new(planned)?;
    descriptors::raise(plan.connections)?;
    let options = &planned.common.report;
    // Before the run: after an hour it is too late to learn that a file cannot be written.
    let report = options.report.as_deref().map(create).transpose()?;
    let html = options.html.as_deref().map(create).transpose()?;
    let interrupt = Interrupt::listen()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let made = runtime.block_on(run::run(&plan, &interrupt));
    // After a failed run the thread that hands requests over may still sleep.
    runtime.shutdown_background();
    let Finished { document, missing } = made?;

    let json = serde_json::to_string_pretty(&document)? + "\n";
    if let Some(file) = report {
        write(file, &json)?;
    }
    if let Some(file) = html {
        write(file, &report::page(&document))?;
    }
    let text = if options.json { json } else { report::print(&document) };
    // The exit code says what was found, with or without a reader.
    unless_closed(output::all(text.as_bytes()))?;
    let outcome = outcome(&document);
    let Some(error) = missing else { return Ok(outcome) };
    note!("forebay-load: the report does not say what had reached Kafka: {error:#}");
    Ok(Outcome::Incomplete)
}

/// Opens a file for a report. What it holds stays until the report is written: the run may fail.
fn create(path: &Path) -> anyhow::Result<(File, &Path)> {
    let file = File::options().write(true).create(true).truncate(false).open(path);
    Ok((file.with_context(|| format!("cannot write {}", path.display()))?, path))
}

/// Replaces what a file holds.
fn write((mut file, path): (File, &Path), text: &str) -> anyhow::Result<()> {
    let name = || path.display().to_string();
    // Only a regular file has a length: /dev/stderr, say, has none.
    if file.metadata().with_context(name)?.is_file() {
        file.set_len(0).with_context(name)?;
    }
    file.write_all(text.as_bytes()).with_context(name)
}

fn outcome(document: &Document) -> Outcome {
    if document.interrupted {
        note!("forebay-load: interrupted; the report is about the requests until then");
        return Outcome::Incomplete;
    }
    match &document.levels {
        Some(levels) if levels.met => Outcome::Met,
        Some(_) => Outcome::Missed,
        None if document.total.good == 0 => {
            note!("forebay-load: no request had an expected answer");
            Outcome::Incomplete
        }
        None => Outcome::Met,
    }
}
