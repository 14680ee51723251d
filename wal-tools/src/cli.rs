//! Commands, arguments and help texts.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use forebay_wal::units::Span;
use serde::Serialize;

use crate::range::{Bound, Instant};

/// Inspect and repair forebay's log.
///
/// Commands that read work while the daemon runs, and never change a byte. Commands that change something only print a
/// plan; --apply carries it out. Data goes to stdout, everything else to stderr. Exit codes: 0 success, 1 findings, 2
/// failure.
#[derive(Parser)]
#[command(name = "wal-tools", version)]
pub struct Cli {
    /// Directory of the log [default: the first that exists of ./forebay-data/wal and /var/lib/forebay/wal]
    #[arg(long, global = true, env = "FOREBAY__WAL__DIR", value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// File of the master key, if the log is encrypted
    #[arg(long, global = true, env = "FOREBAY__WAL__ENCRYPTION_KEY_FILE", value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// File of a previous master key, to read what it encrypted; may be repeated
    #[arg(long, global = true, value_name = "FILE")]
    pub old_key_file: Vec<PathBuf>,
    /// Print JSON instead of tables: one document for status, show, verify, repair, replay and bench-disk, one object
    /// per line for the other commands
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Show the backlog: records, oldest age and size, per kind and per segment
    ///
    /// The figures are exact if a daemon responds. Otherwise they are as of the last checkpoint, whose age is shown.
    ///
    /// With --watch, the command takes a sample after each interval and compares it with earlier samples. It adds the
    /// records accepted and delivered per second, the trend of the backlog, and, while the backlog falls, the time
    /// until it is empty. All figures of a sample come from one response of the daemon. Without a daemon they come
    /// from the files, without rates. On a terminal each sample replaces the previous one. Elsewhere each sample is
    /// one line; with --json it is one JSON object per line. The command ends with exit code 0 at Ctrl-C, when the
    /// daemon stops, and when the terminal or the reader of its output closes.
    Status(Status),
    /// List segments, one per line; reads every record to verify its checksum
    Segments,
    /// List records, newest last, without their payload
    List(List),
    /// Show one record with all its members
    Show(Show),
    /// Show the last records, and new ones with -f
    Tail(Tail),
    /// Read and check every record; exit 1 with findings
    ///
    /// In an encrypted log, the checksums are verified without the key. With the key, every record is also
    /// authenticated.
    Verify(Verify),
    /// Repair the log of a stopped daemon; without --apply, print the plan
    ///
    /// Cuts a torn tail, and rewrites lost footers and the checkpoint. Moves foreign segments and leftover files to
    /// quarantine/. Undelivered records that cannot be read become a dead letter of kind `damaged`. A copy of
    /// everything that is changed or damaged goes to quarantine/. Files that do not belong to the log are reported and
    /// not changed. After an interruption, run the command again. The daemon makes the same repairs when it starts,
    /// but it reads only the last segment.
    ///
    /// Exit codes: 0 if there is nothing to repair or everything is repaired; 1 if there is something to repair
    /// (without --apply) or something cannot be repaired; 2 for a failure, for example if a daemon uses the log.
    Repair(Repair),
    /// List, show, requeue or drop dead letters: records that Kafka rejected, and ranges that cannot be read
    #[command(subcommand)]
    Dead(Dead),
    /// Deliver a range of delivered records again, under the same command ids
    ///
    /// Appends the records to the log again, in their order. Consumers therefore receive each after the later records
    /// of its key, and recognise it by its id. Records that are not delivered yet are not appended, only counted. A
    /// replayed command keeps the state `sent`, and its idempotency key still refers to its first record.
    ///
    /// A running daemon is called over its control socket, and admits the records like new ones. Without a daemon, the
    /// tool takes the log's lock, and the next start of the daemon delivers the records. After an interruption, the
    /// tool reports where to continue. Running the whole replay again is safe, but delivers records once more. Exit
    /// code 1: some records of the range cannot be read.
    Replay(Replay),
    /// Print records with their payload, one JSON object per line, oldest first
    ///
    /// JSON bodies are printed as `payload`, others as `payload_base64`. Records that cannot be read are replaced by a
    /// line with `"damaged":true`. In that case a message also goes to stderr, and the exit code is 1.
    Export(Export),
    /// Measure the flush latency and commit rate of a directory, and the resulting rate of acknowledgements
    ///
    /// Writes and flushes like the log, to a temporary file of zeros in the directory. The file has at most 64 MiB,
    /// and at most a tenth of the free space. The measurement slows down a running daemon.
    BenchDisk(BenchDisk),
    /// Wrap the segments' keys with a new master key; needs the daemon stopped
    ///
    /// Give the new key with --key-file, and the previous one with --old-key-file. No payload is rewritten. After an
    /// interruption, run the command again. Exit code 1: some files remain under another key.
    Rekey(Rekey),
    /// Print completions for a shell
    Completions {
        /// Shell
        shell: cli_support::Shell,
    },
    /// Print the manual pages, or write each to a file
    Man {
        /// Directory for one file per page, such as wal-tools-status.1
        directory: Option<PathBuf>,
    },
}

#[derive(Args)]
pub struct Status {
    /// Take a sample after each interval, until Ctrl-C or until the daemon stops
    #[arg(long)]
    pub watch: bool,
    /// Time between two samples of --watch, from 500ms to 1h
    #[arg(long, requires = "watch", default_value = "2s", value_name = "TIME", value_parser = interval)]
    pub interval: Duration,
}

/// Each sample costs the daemon a checkpoint, which is a flush.
const MIN_INTERVAL: Duration = Duration::from_millis(500);
const MAX_INTERVAL: Duration = Duration::from_secs(3_600);

/// Parses `2s` or `500ms`. A bare number is in seconds.
fn interval(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map(Duration::from_secs);
    let interval = seconds.or_else(|_| text.parse::<Span>().map(|span| span.0))?;
    match (MIN_INTERVAL..=MAX_INTERVAL).contains(&interval) {
        true => Ok(interval),
        false => Err("the interval must be from 500ms to 1h".to_owned()),
    }
}

#[derive(Args)]
pub struct List {
    /// Only this kind of command
    #[arg(long)]
    pub kind: Option<String>,
    /// Only this key
    #[arg(long)]
    pub key: Option<String>,
    /// Only records accepted at or after this instant, or within this time
    #[arg(long, value_name = "INSTANT|AGO")]
    pub since: Option<Instant>,
    /// Only records accepted before this instant, or longer ago than this time
    #[arg(long, value_name = "INSTANT|AGO")]
    pub until: Option<Instant>,
    /// Only records in this state
    #[arg(long)]
    pub state: Option<State>,
    /// Only the newest N records
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
}

#[derive(Args)]
pub struct Show {
    /// Command id, or LSN
    #[arg(value_name = "ID|LSN")]
    pub what: String,
    /// Include the value that Kafka gets
    #[arg(long)]
    pub payload: bool,
}

#[derive(Args)]
pub struct Tail {
    /// Show new records as they arrive, until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
    /// Records to begin with
    #[arg(short = 'n', long, default_value_t = 10, value_name = "N")]
    pub lines: usize,
}

#[derive(Args)]
pub struct Verify {
    /// Also check the contents of each record: id, lane, envelope
    #[arg(long)]
    pub deep: bool,
}

#[derive(Args)]
pub struct Rekey {
    /// Carry out the plan; otherwise only print it
    #[arg(long)]
    pub apply: bool,
}

#[derive(Args)]
pub struct Repair {
    /// Carry out the plan; otherwise only print it
    #[arg(long)]
    pub apply: bool,
}

#[derive(Args)]
pub struct Replay {
    /// First record: its number, its command id, or the instant (or time ago) from which records were accepted
    #[arg(long, value_name = "LSN|ID|INSTANT")]
    pub from: Bound,
    /// Last record: its number, its command id, or the instant (or time ago) before which records were accepted
    /// [default: the newest]
    #[arg(long, value_name = "LSN|ID|INSTANT")]
    pub to: Option<Bound>,
    /// Carry out the plan; otherwise only print it
    #[arg(long)]
    pub apply: bool,
}

#[derive(Args)]
pub struct Export {
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Ndjson)]
    pub format: Format,
    /// First record: its number, its command id, or the instant (or time ago) from which records were accepted
    #[arg(long, value_name = "LSN|ID|INSTANT")]
    pub from: Option<Bound>,
    /// Last record: its number, its command id, or the instant (or time ago) before which records were accepted
    #[arg(long, value_name = "LSN|ID|INSTANT")]
    pub to: Option<Bound>,
    #[command(flatten)]
    pub filter: List,
}

/// Output format of `export`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON object per line
    Ndjson,
}

#[derive(Args)]
pub struct BenchDisk {
    /// Approximate duration of the measurement, in seconds
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=600))]
    pub seconds: u16,
}

#[derive(Subcommand)]
pub enum Dead {
    /// List all dead letters; exit 1 if any exist
    List,
    /// Show one dead letter with all its members
    Show(Show),
    /// Append dead letters to the log again, under the same command ids, after later records of their keys
    Requeue(Letters),
    /// Remove dead letters; a copy is kept in quarantine/
    ///
    /// The copy is a complete dead-letter store. To read it, copy it to dead/letters in a directory with empty
    /// pending/ and acked/, and pass that directory with --dir. Delete the copy if its contents must not be retained.
    Drop(Letters),
}

#[derive(Args)]
pub struct Letters {
    /// Command id, or LSN
    #[arg(value_name = "ID|LSN", required_unless_present = "all", conflicts_with = "all")]
    pub which: Option<String>,
    /// All dead letters
    #[arg(long)]
    pub all: bool,
    /// Carry out the plan; otherwise only print it
    #[arg(long)]
    pub apply: bool,
}

/// State of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// On disk, not yet confirmed by Kafka
    Accepted,
    /// Confirmed by Kafka
    Sent,
    /// In the dead-letter store, or dropped from it
    Dead,
    /// A dead letter that was appended to the log again
    Requeued,
}
