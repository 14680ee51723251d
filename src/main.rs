//! Entry point: parses the command line, loads the configuration, runs one subcommand, and maps its result to an exit code.

// These macros panic if standard output is closed or the disk is full.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod cli;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use cli_support::manual;
use forebay::app::{Failure, ReplaySpan};
use forebay::config::Source;
use forebay::{app, config, telemetry};

use cli::{CheckArgs, Cli, Command, ConfigCommand};

/// jemalloc, because it can profile allocations for `/debug/pprof/heap`.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // Applies to every file the process creates, including the database and the reservation store: they hold personal
    // data.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let outcome = match Cli::try_parse() {
        Ok(cli) => run_cli_command(&cli.command).unwrap_or_else(|| run(&cli)),
        Err(error) if error.use_stderr() => {
            telemetry::write_final_message(format_args!("{}", error.render()));
            return app::EXIT_USAGE.into();
        }
        Err(help) => app::print(help.render()),
    };
    match outcome {
        Ok(()) => {
            telemetry::flush();
            ExitCode::SUCCESS
        }
        Err(failure) => {
            telemetry::write_final_message(format_args!("forebay: {failure}"));
            failure.exit_code().into()
        }
    }
}

/// Runs a command that prints completions, manual pages or the default configuration. It ignores the configuration, and
/// errors in it. `None` for other commands.
fn run_cli_command(command: &Command) -> Option<Result<(), Failure>> {
    match command {
        Command::Completions { shell } => Some(app::print(manual::completions(*shell, Cli::command()))),
        Command::Man { directory: None } => {
            let pages = manual::pages(Cli::command());
            Some(pages.map_err(Failure::system("cannot write the manual pages")).and_then(app::print))
        }
        Command::Man { directory: Some(directory) } => {
            let written = manual::write(Cli::command(), directory);
            Some(written.map_err(Failure::system("cannot write the manual pages")))
        }
        Command::Config { show: ConfigCommand::Default } => Some(app::print(config::DEFAULTS)),
        _ => None,
    }
}

fn run(cli: &Cli) -> Result<(), Failure> {
    app::ignore_user_signals().map_err(Failure::system("signals"))?;
    if matches!(cli.command, Command::Serve | Command::Consume { replay: false, .. }) {
        // Until the handler for reloads exists, SIGHUP must not end the process.
        app::ignore_hangup().map_err(Failure::system("signals"))?;
    }
    let mut overrides = config::environment(std::env::vars_os());
    overrides.extend(cli.overrides());
    let source = Source { file: cli.config.clone(), overrides };
    let config = source.load()?;
    match &cli.command {
        Command::Serve => app::serve(&config, &source),
        Command::Drain { dry_run: true } => app::print_backlog(&config),
        Command::Drain { dry_run: false } => app::drain(&config),
        Command::Migrate { create_admin, password_file } => {
            app::migrate(&config, create_admin.as_deref(), password_file.as_deref())
        }
        Command::Consume { replay: false, .. } => app::consume(&config, &source),
        Command::Consume { replay: true, range } => app::replay(
            &config,
            ReplaySpan {
                partition: range.partition,
                from_offset: range.from_offset,
                to_offset: range.to_offset,
                from: range.from,
                to: range.to,
            },
        ),
        Command::CheckConfig(CheckArgs { connect: true, json, .. }) => app::check_connections(&config, *json),
        Command::CheckConfig(CheckArgs { kind: Some(kind), body: Some(body), json, .. }) => {
            app::check_body(&config, kind, body, *json)
        }
        Command::CheckConfig(CheckArgs { json, .. }) => app::check(&config, *json),
        // Handled by `run_cli_command`.
        Command::Completions { .. } | Command::Man { .. } | Command::Config { .. } => Ok(()),
    }
}
