//! The command line: what was typed, not yet what it means.

use std::path::PathBuf;

use clap::Parser;
use clap::Subcommand;
use forebay::config::Override;

/// Durable on local disk before it acknowledges, then drained to Kafka.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Accept commands over HTTP, log them, drain them to Kafka
    Serve,
    /// Deliver what a log directory still holds, then exit; nothing is accepted meanwhile
    Drain {
        /// Only say what there is
        #[arg(long)]
        dry_run: bool,
    },
    /// Name every mistake in the configuration, or print the effective result with secrets masked
    CheckConfig,
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
