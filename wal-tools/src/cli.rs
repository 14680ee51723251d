//! What can be typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use forebay_wal::units::Span;
use serde::Serialize;

use crate::range::{Bound, Instant};

/// See and repair forebay's log.
///
/// Reading works beside a running daemon and never changes a byte. What changes something only says what it would do,
/// until --apply. Data goes to stdout, everything else to stderr. Exit codes: 0 fine, 1 findings, 2 failure.
#[derive(Parser)]
#[command(name = "wal-tools", version)]
pub struct Cli {
    /// The log's directory [default: ./forebay-data/wal or /var/lib/forebay/wal, whichever exists first]
    #[arg(long, global = true, env = "FOREBAY__WAL__DIR", value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// File of the master key, where the log is encrypted
    #[arg(long, global = true, env = "FOREBAY__WAL__ENCRYPTION_KEY_FILE", value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// File of a master key of before, which still opens what it encrypted; may be given more than once
    #[arg(long, global = true, value_name = "FILE")]
    pub old_key_file: Vec<PathBuf>,
    /// JSON instead of tables: one document for status, show, verify, repair, replay and bench-disk, one object a line
    /// for the rest
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// What waits for delivery: backlog, oldest age, size, per kind and per segment
    ///
    /// Exact when a daemon answers; else as of the last checkpoint, whose age is shown.
    ///
    /// With --watch it looks again after each interval and adds what two looks tell: records accepted and delivered a
    /// second, where the backlog is going, and, while it falls, when it is empty. All figures of a look are one answer of
    /// the daemon; without a daemon they are those of the files, without rates. On a terminal the frame is drawn in place.
    /// Elsewhere each look is a line; with --json it is one JSON object a line. It ends at Ctrl-C, when the daemon stops,
    /// and when the terminal or the reader is gone, with exit code 0.
    Status(Status),
    /// One line a segment; reads every record for the checksum verdict
    Segments,
    /// Records, newest last, without their payload
    List(List),
    /// One record, whole
    Show(Show),
    /// The last records, and with -f those to come
    Tail(Tail),
    /// Read and check every record; exit 1 with findings
    ///
    /// Of an encrypted log the checksums are held against the bytes; with the key every record is authenticated too.
    Verify(Verify),
    /// Mend the log of a stopped daemon: first the plan, with --apply the work
    ///
    /// Cuts a torn tail, sets damaged ranges aside, writes lost footers and the checkpoint again, moves foreign
    /// segments and leftovers away. What was owed and cannot be read becomes a dead letter of kind `damaged`. A copy of
    /// whatever is changed is kept in quarantine/; files that are not the log's are named and left alone. When it is
    /// interrupted, run it again. A start of the daemon does the same, but reads only the last segment.
    ///
    /// Exit codes: 0 nothing to do, or all repaired; 1 there is something to do (without --apply), or something cannot
    /// be repaired; 2 failure, for example because a daemon has the log.
    Repair(Repair),
    /// Records the broker would not take, and ranges that could not be read
    #[command(subcommand)]
    Dead(Dead),
    /// Deliver a range of delivered records again, under the same command ids
    ///
    /// Records go into the log once more, in their order and behind all others, so consumers see each after its key's
    /// later ones and know it by its id. What is not delivered yet is going anyway, and is counted. A command that
    /// was sent stays sent; its idempotency key goes on naming its first record.
    ///
    /// A running daemon is asked over its control socket and admits the records as it would new ones; without one the
    /// tool takes the log's lock and the next start delivers. When it is interrupted it says where to go on; doing
    /// all of it again only costs repeats. Exit code 1: some records of the range cannot be read.
    Replay(Replay),
    /// Records with their payload, one JSON object a line, oldest first
    ///
    /// Bodies that are JSON stand in `payload`, others in `payload_base64`. Where records cannot be read, a line with
    /// `"damaged":true` stands in their place, another is written to stderr, and the exit code is 1.
    Export(Export),
    /// What flush latency and commit rate a directory can do, and what that means for acknowledgements
    ///
    /// Writes and flushes as the log does, in a file of zeros of its own in the directory (at most 64 MiB and a tenth
    /// of what is free), which is removed afterwards. A running daemon feels it.
    BenchDisk(BenchDisk),
    /// Wrap the segments' keys with a new master key; needs the daemon stopped
    ///
    /// The new key is given with --key-file, the one of before with --old-key-file. No payload is written anew, and
    /// interrupted at any moment it is simply done again. Exit 1 when something stays under another key.
    Rekey(Rekey),
    /// Print completions for a shell
    Completions {
        /// Which shell
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
    /// Look again after each interval, until interrupted or the daemon stops
    #[arg(long)]
    pub watch: bool,
    /// Time between two looks of --watch, from 500ms to 1h
    #[arg(long, requires = "watch", default_value = "2s", value_name = "TIME", value_parser = interval)]
    pub interval: Duration,
}

/// Each look costs the daemon a checkpoint, which is a flush.
const SHORTEST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(3_600);

/// `2s`, `500ms`; a bare number is seconds.
fn interval(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map(Duration::from_secs);
    let interval = seconds.or_else(|_| text.parse::<Span>().map(|span| span.0))?;
    match (SHORTEST..=LONGEST).contains(&interval) {
        true => Ok(interval),
        false => Err("an interval is from 500ms to 1h".to_owned()),
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
    /// Accepted at or after this instant, or this long ago
    #[arg(long, value_name = "INSTANT|AGO")]
    pub since: Option<Instant>,
    /// Accepted before this instant, or this long ago
    #[arg(long, value_name = "INSTANT|AGO")]
    pub until: Option<Instant>,
    /// Only records in this state
    #[arg(long)]
    pub state: Option<State>,
    /// At most so many: the newest
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
}

#[derive(Args)]
pub struct Show {
    /// Command id, or LSN
    #[arg(value_name = "ID|LSN")]
    pub what: String,
    /// With the value Kafka gets
    #[arg(long)]
    pub payload: bool,
}

#[derive(Args)]
pub struct Tail {
    /// Go on as records come, until interrupted
    #[arg(short, long)]
    pub follow: bool,
    /// How many to begin with
    #[arg(short = 'n', long, default_value_t = 10, value_name = "N")]
    pub lines: usize,
}

#[derive(Args)]
pub struct Verify {
    /// Also check what the records say: id, lane, envelope
    #[arg(long)]
    pub deep: bool,
}

#[derive(Args)]
pub struct Rekey {
    /// Do it; without this, only say what would be done
    #[arg(long)]
    pub apply: bool,
}

#[derive(Args)]
pub struct Repair {
    /// Do it; without this, only say what would be done
    #[arg(long)]
    pub apply: bool,
}

#[derive(Args)]
pub struct Replay {
    /// The first record: its number, its command id, or the instant from which records were accepted (or how long ago)
    #[arg(long, value_name = "LSN|ID|INSTANT")]
    pub from: Bound,
    /// The last record: its number, its command id, or the instant before which records were accepted [default: the
    /// newest]
    #[arg(long, value_name = "LSN|ID|INSTANT")]
    pub to: Option<Bound>,
    /// Do it; without this, only say what would be done
    #[arg(long)]
    pub apply: bool,
}

#[derive(Args)]
pub struct Export {
    /// How records are written
    #[arg(long, value_enum, default_value_t = Format::Ndjson)]
    pub format: Format,
    /// From this record on: its number, its command id, or an instant
    #[arg(long, value_name = "LSN|ID|INSTANT")]
    pub from: Option<Bound>,
    /// Up to this record, or up to records accepted before this instant
    #[arg(long, value_name = "LSN|ID|INSTANT")]
    pub to: Option<Bound>,
    #[command(flatten)]
    pub filter: List,
}

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON object a line
    Ndjson,
}

#[derive(Args)]
pub struct BenchDisk {
    /// About how long it may take
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=600))]
    pub seconds: u16,
}

#[derive(Subcommand)]
pub enum Dead {
    /// All dead letters; exit 1 when there are some
    List,
    /// One dead letter, whole
    Show(Show),
    /// Put them into the log again, under the same command id; they come after their keys' later records
    Requeue(Letters),
    /// Give them up; a copy is kept in quarantine/
    ///
    /// The copy is a dead-letter store of its own: put as dead/letters into a directory with empty pending/ and acked/, it
    /// is listed and shown. Remove it where what it holds must not be kept.
    Drop(Letters),
}

#[derive(Args)]
pub struct Letters {
    /// Command id, or LSN
    #[arg(value_name = "ID|LSN", required_unless_present = "all", conflicts_with = "all")]
    pub which: Option<String>,
    /// All of them
    #[arg(long)]
    pub all: bool,
    /// Do it; without this, only say what would be done
    #[arg(long)]
    pub apply: bool,
}

/// Where a record has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// On disk, not yet confirmed by Kafka
    Accepted,
    /// Confirmed by Kafka
    Sent,
    /// In the dead-letter store, or dropped from it
    Dead,
    /// A dead letter that lies in the log again
    Requeued,
}
