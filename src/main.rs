//! The life of the process: what was typed → configuration → build → ready → wait → stop within its deadlines.

mod cli;

use std::process::ExitCode;

use clap::Parser;
use forebay::app;
use forebay::app::Failure;
use forebay::config;
use forebay::config::Config;

use cli::Cli;
use cli::Command;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => {
            let code = if usage.use_stderr() { app::EXIT_USAGE } else { 0 };
            let _ = usage.print();
            return code.into();
        }
    };
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("forebay: {failure}");
            failure.exit_code().into()
        }
    }
}

fn run(cli: &Cli) -> Result<(), Failure> {
    let mut overrides = config::environment(std::env::vars_os());
    overrides.extend(cli.overrides());
    let config = Config::load(cli.config.as_deref(), overrides)?;
    match cli.command {
        Command::Serve => app::serve(&config),
        Command::Drain { dry_run: true } => app::show(&config),
        Command::Drain { dry_run: false } => app::drain(&config),
        Command::CheckConfig => app::check(&config),
    }
}
