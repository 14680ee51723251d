//! forebay-load: open-loop load scenarios.
//!
//! The report goes to stdout, everything else to stderr. Exit codes: 0 service levels met, 1 missed, 2 the run failed.

// The macros panic if the reader has closed the pipe or the disk is full.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod admin;
mod arrivals;
mod cli;
mod clock;
mod dispatch;
mod dispatch_thread;
mod drive;
mod file_descriptors;
mod http;
mod levels;
mod operation;
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

use cli::{Cli, Command, ScenarioPlan};
use plan::RunPlan;
use report::Document;
use run::FinishedRun;

/// The outcome of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ExitOutcome {
    /// All service levels are met, or none was given.
    Met,
    /// At least one service level is missed.
    Missed,
    /// The run did not measure what was requested.
    Incomplete,
}

fn main() -> ExitCode {
    let outcome = match Cli::try_parse() {
        Ok(cli) => execute(&cli.command),
        Err(mistake) if mistake.use_stderr() => {
            let _ = mistake.print();
            return ExitCode::from(2);
        }
        Err(help) => unless_closed(help.print()).map(|()| ExitOutcome::Met).map_err(Into::into),
    };
    match outcome {
        Ok(ExitOutcome::Met) => ExitCode::SUCCESS,
        Ok(ExitOutcome::Missed) => ExitCode::from(1),
        Ok(ExitOutcome::Incomplete) => ExitCode::from(2),
        Err(error) => {
            note!("forebay-load: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn execute(command: &Command) -> anyhow::Result<ExitOutcome> {
    let printed = match command {
        Command::Completions { shell } => {
            output::write_stdout(manual::completions(*shell, Cli::command()).as_bytes())
        }
        Command::Man { directory: None } => output::write_stdout(manual::pages(Cli::command())?.as_bytes()),
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
    Ok(ExitOutcome::Met)
}

/// Runs a scenario, writes its report, and returns the outcome.
fn load(planned: &ScenarioPlan<'_>) -> anyhow::Result<ExitOutcome> {
    let plan = RunPlan::new(planned)?;
    file_descriptors::raise_limit(plan.connections)?;
    let options = &planned.common.report;
    // Before the run: a file that cannot be written must not be noticed only after an hour.
    let report = options.report.as_deref().map(create).transpose()?;
    let html = options.html.as_deref().map(create).transpose()?;
    let interrupt = Interrupt::listen()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let made = runtime.block_on(run::run(&plan, &interrupt));
    // After a failed run the dispatch thread may still sleep.
    runtime.shutdown_background();
    let FinishedRun { document, missing } = made?;

    let json = serde_json::to_string_pretty(&document)? + "\n";
    if let Some(file) = report {
        write(file, &json)?;
    }
    if let Some(file) = html {
        write(file, &report::page(&document))?;
    }
    let text = if options.json { json } else { report::print(&document) };
    // The exit code shows the outcome, even if no process reads the output.
    unless_closed(output::write_stdout(text.as_bytes()))?;
    let outcome = outcome(&document);
    let Some(error) = missing else { return Ok(outcome) };
    note!("forebay-load: the report lacks the delivery to Kafka: {error:#}");
    Ok(ExitOutcome::Incomplete)
}

/// Opens a file for a report. Its content stays until the report is written, because the run may fail.
fn create(path: &Path) -> anyhow::Result<(File, &Path)> {
    let file = File::options().write(true).create(true).truncate(false).open(path);
    Ok((file.with_context(|| format!("cannot write {}", path.display()))?, path))
}

/// Replaces the content of a file.
fn write((mut file, path): (File, &Path), text: &str) -> anyhow::Result<()> {
    let name = || path.display().to_string();
    // Only a regular file can be truncated: /dev/stderr, for example, cannot.
    if file.metadata().with_context(name)?.is_file() {
        file.set_len(0).with_context(name)?;
    }
    file.write_all(text.as_bytes()).with_context(name)
}

fn outcome(document: &Document) -> ExitOutcome {
    if document.interrupted {
        note!("forebay-load: interrupted; the report covers the requests until then");
        return ExitOutcome::Incomplete;
    }
    match &document.levels {
        Some(levels) if levels.met => ExitOutcome::Met,
        Some(_) => ExitOutcome::Missed,
        None if document.total.good == 0 => {
            note!("forebay-load: no request had an expected response");
            ExitOutcome::Incomplete
        }
        None => ExitOutcome::Met,
    }
}
