//! The command line: what was typed, not yet what it means.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use forebay::config::Override;
use forebay::units::Timestamp;

/// What the manual page says beside the options.
const NOTES: &str = "\
Configuration: the file of --config, then the environment (FOREBAY__SECTION__KEY), then options. \
/etc/forebay/forebay.toml is the file of the packaged service, /var/lib/forebay the directory of its log.

Exit codes: 0 orderly stop; 1 a failure that a restart may fix, or a dependency that check-config --connect finds \
unfit; 64 wrong configuration, command line or body; 73 the data \
directory is unusable or locked; 74 I/O error on the log; 78 the log cannot be opened.";

/// Durable on local disk before it acknowledges, then drained to Kafka.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, after_long_help = NOTES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// Configuration file (TOML); without it everything runs embedded in this process
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The log's directory, instead of `wal.dir`
    #[arg(long, global = true, value_name = "DIR")]
    pub dir: Option<String>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Accept commands over HTTP, log them, drain them to Kafka
    Serve,
    /// Deliver what a log directory still holds, then exit; nothing is accepted meanwhile
    Drain {
        /// Only say what there is
        #[arg(long)]
        dry_run: bool,
    },
    /// Bring the database up to date
    Migrate {
        /// Make an administrator of this name; the password is read from --password-file or standard input
        #[arg(long, value_name = "NAME")]
        create_admin: Option<String>,
        /// File with the administrator's password
        #[arg(long, value_name = "FILE", requires = "create_admin")]
        password_file: Option<PathBuf>,
    },
    /// Apply users' commands from Kafka to the database: the consumer alone, to scale it out
    Consume {
        /// Apply a range again and exit; harmless, because what has an outcome is left alone
        #[arg(long)]
        replay: bool,
        #[command(flatten)]
        range: Range,
    },
    /// Name every mistake in the configuration, or print the effective result with secrets masked
    CheckConfig(Check),
    /// Show the configuration that is compiled in
    Config {
        #[command(subcommand)]
        show: Show,
    },
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: cli_support::Shell,
    },
    /// Print the manual pages, or write each to a file
    Man {
        /// Directory for one file per page, such as forebay-serve.1
        directory: Option<PathBuf>,
    },
}

/// Which commands to apply again; without bounds all that Kafka still has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Args)]
pub struct Range {
    /// From the first record of this time on, such as 2026-11-20T12:00:00Z
    #[arg(long, requires = "replay", value_name = "TIME")]
    pub from: Option<Timestamp>,
    /// Before the first record of this time
    #[arg(long, requires = "replay", value_name = "TIME")]
    pub to: Option<Timestamp>,
    /// Only this partition
    #[arg(long, requires = "replay", value_name = "NUMBER")]
    pub partition: Option<i32>,
    /// From this offset on
    #[arg(long, requires = "partition", conflicts_with = "from", value_name = "OFFSET")]
    pub from_offset: Option<i64>,
    /// Before this offset
    #[arg(long, requires = "partition", conflicts_with = "to", value_name = "OFFSET")]
    pub to_offset: Option<i64>,
}

/// What to check beside the configuration itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct Check {
    /// Say what would happen to a body of this kind: its key, topic and size, or the problem document
    #[arg(long, requires = "body", conflicts_with = "connect", value_name = "KIND")]
    pub kind: Option<String>,
    /// File with the body; `-` is standard input
    #[arg(long, requires = "kind", value_name = "FILE")]
    pub body: Option<PathBuf>,
    /// Ask brokers, database and Redis whether they do what the daemon needs
    #[arg(long)]
    pub connect: bool,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// What to show of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum Show {
    /// Print every key with its unit, default and meaning, as a file to start from
    Default,
}

impl Cli {
    /// The keys that flags set.
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
