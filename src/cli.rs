//! Definition of the command line: subcommands, arguments and their help texts.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use forebay::config::Override;
use forebay::units::Timestamp;

/// The text after the options in the long help and in the manual page.
const NOTES: &str = "\
Configuration is read from the file of --config, then the environment (FOREBAY__SECTION__KEY), then options; later \
ones override earlier ones. The packaged service uses /etc/forebay/forebay.toml and keeps its log in /var/lib/forebay.

Exit codes: 0 orderly stop; 1 a failure that a restart may fix, or a failed check of check-config --connect; \
64 wrong configuration, command line or body; 73 the data directory is unusable or locked; 74 I/O error on the log; \
78 the log cannot be opened.";

/// Store commands durably on local disk, acknowledge them, then drain them to Kafka.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, after_long_help = NOTES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// Configuration file (TOML); without it, everything runs embedded in this process
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory of the log; overrides `wal.dir`
    #[arg(long, global = true, value_name = "DIR")]
    pub dir: Option<String>,
}

/// The subcommands.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Accept commands over HTTP, log them, drain them to Kafka
    Serve,
    /// Deliver the remaining records of a log directory, then exit; accepts no commands
    Drain {
        /// Only print what the log holds
        #[arg(long)]
        dry_run: bool,
    },
    /// Create or update the database schema
    Migrate {
        /// Create an administrator with this name; the password is read from --password-file or standard input
        #[arg(long, value_name = "NAME")]
        create_admin: Option<String>,
        /// File with the administrator's password
        #[arg(long, value_name = "FILE", requires = "create_admin")]
        password_file: Option<PathBuf>,
    },
    /// Apply user commands from Kafka to the database; runs the consumer alone, to scale it out
    Consume {
        /// Apply a range again and exit; safe, because commands that have an outcome are skipped
        #[arg(long)]
        replay: bool,
        #[command(flatten)]
        range: ReplayArgs,
    },
    /// Report every error in the configuration, or print the effective configuration with secrets masked
    CheckConfig(CheckArgs),
    /// Show the built-in configuration
    Config {
        #[command(subcommand)]
        show: ConfigCommand,
    },
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: cli_support::Shell,
    },
    /// Print the manual pages, or write each to a file
    Man {
        /// Directory for one file per page, such as forebay-serve.1
        directory: Option<PathBuf>,
    },
}

/// Range of commands to apply again. Without bounds: everything that Kafka still retains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Args)]
pub struct ReplayArgs {
    /// Start at the first record of this time, such as 2026-11-20T12:00:00Z
    #[arg(long, requires = "replay", value_name = "TIME")]
    pub from: Option<Timestamp>,
    /// Stop before the first record of this time
    #[arg(long, requires = "replay", value_name = "TIME")]
    pub to: Option<Timestamp>,
    /// Only this partition
    #[arg(long, requires = "replay", value_name = "NUMBER")]
    pub partition: Option<i32>,
    /// Start at this offset
    #[arg(long, requires = "partition", conflicts_with = "from", value_name = "OFFSET")]
    pub from_offset: Option<i64>,
    /// Stop before this offset
    #[arg(long, requires = "partition", conflicts_with = "to", value_name = "OFFSET")]
    pub to_offset: Option<i64>,
}

/// Additional checks of `check-config`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct CheckArgs {
    /// Show how a body of this kind is handled: its key, topic and size, or the problem document
    #[arg(long, requires = "body", conflicts_with = "connect", value_name = "KIND")]
    pub kind: Option<String>,
    /// File with the body; `-` is standard input
    #[arg(long, requires = "kind", value_name = "FILE")]
    pub body: Option<PathBuf>,
    /// Check that the brokers, the database and Redis support what the daemon needs
    #[arg(long)]
    pub connect: bool,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// What `config` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum ConfigCommand {
    /// Print every key with its unit, default and description, as a starting point for a file
    Default,
}

impl Cli {
    /// The configuration keys that command-line options set.
    pub fn overrides(&self) -> Vec<Override> {
        let dir = self.dir.iter().map(|dir| Override {
            section: "wal".to_owned(),
            key: "dir".to_owned(),
            text: dir.clone(),
            origin: "--dir".to_owned(),
        });
        dir.collect()
    }
}
