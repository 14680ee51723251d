//! `export`: records with their payload, one JSON object per line.

use std::io;
use std::io::{BufWriter, Write};

use data_encoding::BASE64;
use forebay_wal::command::{Envelope, is_json};
use forebay_wal::inspect::{LogView, LostRange, StoredRecord};
use forebay_wal::{FindingKind, Lsn};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::cli::Export;
use crate::log_context::LogContext;
use crate::output::{ExitOutcome, note};
use crate::record::RecordRow;
use crate::show::Details;
use crate::{list, range, text_format};

/// A record with all its members.
#[derive(Serialize)]
struct RecordLine {
    #[serde(flatten)]
    row: RecordRow,
    #[serde(flatten)]
    details: Option<Details>,
    /// The value that Kafka gets, if it is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Box<RawValue>>,
    /// The value in base64, if it is not JSON. Of a record from a newer version, the whole record. Without the key of
    /// an encrypted log, `payload` and `payload_base64` are both absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

/// Line in place of records that cannot be read.
#[derive(Serialize)]
struct DamageLine {
    damaged: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    lsn_from: Option<Lsn>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lsn_to: Option<Lsn>,
    segment: Option<String>,
    offset: u64,
    detail: String,
}

pub fn run(log: &LogContext, args: &Export) -> anyhow::Result<ExitOutcome> {
    let view = log.readable_view()?;
    let mut range = range::resolve(&view, args.from, args.to)?;
    let wanted = |row: &RecordRow| range.contains(&row.lsn) && list::wanted(row, &args.filter);
    if let Some(limit) = args.filter.limit {
        let first = list::newest(&view, limit, wanted)?.front().map(|row| row.lsn);
        range.start = first.unwrap_or(range.end);
    }
    let mut out = BufWriter::new(io::stdout().lock());
    let mut locked = false;
    let mut damaged = lost_segments(&view, &mut out)?;
    let bar = text_format::progress(view.bytes());
    let mut records = view.records(range.clone());
    while let Some(stored) = records.next() {
        let stored = stored?;
        damaged |= report_lost(&view, records.take_lost_ranges(), &mut out)?;
        let row = RecordRow::of(&stored);
        locked |= stored.locked;
        if list::wanted(&row, &args.filter) {
            write(&mut out, &RecordLine::of(&stored, row))?;
        }
        bar.inc(stored.bytes);
    }
    damaged |= report_lost(&view, records.take_lost_ranges(), &mut out)?;
    out.flush()?;
    bar.finish_and_clear();
    Ok(if damaged || locked { ExitOutcome::Findings } else { ExitOutcome::Fine })
}

/// Writes a line for each segment of which nothing can be read. Returns whether one exists.
fn lost_segments(view: &LogView, out: &mut impl Write) -> anyhow::Result<bool> {
    let mut any = false;
    for finding in &view.findings {
        note!("{}: {}", finding.segment, finding.detail);
        let whole = finding.kind == FindingKind::Damaged && finding.offset == 0;
        if !whole && finding.kind != FindingKind::Missing {
            continue;
        }
        any = true;
        let (segment, detail) = (Some(finding.segment.clone()), finding.detail.clone());
        let (damaged, offset) = (true, finding.offset);
        write(out, &DamageLine { damaged, lsn_from: None, lsn_to: None, segment, offset, detail })?;
    }
    Ok(any)
}

/// Reports lost ranges between records: a line on stderr, and a line in place of the records. Returns whether any
/// exist.
fn report_lost(view: &LogView, lost: Vec<LostRange>, out: &mut impl Write) -> anyhow::Result<bool> {
    let any = !lost.is_empty();
    for range in lost {
        let segment = view.segment_containing(range.from).map(|segment| segment.name());
        let detail = range.detail();
        note!("{}: {detail}", segment.as_deref().unwrap_or("?"));
        let (lsn_from, lsn_to) = (Some(range.from), Some(range.to));
        write(out, &DamageLine { damaged: true, lsn_from, lsn_to, segment, offset: range.start, detail })?;
    }
    Ok(any)
}

fn write(out: &mut impl Write, document: &impl Serialize) -> anyhow::Result<()> {
    // Serialised into a buffer first: `serde_json` would wrap the error of a closed pipe in its own.
    let mut line = serde_json::to_vec(document)?;
    line.push(b'\n');
    Ok(out.write_all(&line)?)
}

impl RecordLine {
    fn of(stored: &StoredRecord, row: RecordRow) -> Self {
        let record = &stored.record.payload[..];
        let envelope = Envelope::decode(record).ok();
        if envelope.as_ref().is_some_and(|envelope| envelope.sealed) {
            return Self { row, details: Details::of(record, false), payload: None, payload_base64: None };
        }
        let value = envelope.as_ref().map_or(record, |envelope| envelope.value);
        // A value whose media type is not JSON keeps every byte, even if it looks like JSON.
        let json = envelope.as_ref().filter(|envelope| is_json(envelope.content_type));
        let payload = json.and_then(|_| on_one_line(value));
        let has_value = !stored.locked && envelope.as_ref().is_none_or(|envelope| !envelope.no_value);
        let payload_base64 = (payload.is_none() && has_value).then(|| BASE64.encode(value));
        Self { row, details: Details::of(record, false), payload, payload_base64 }
    }
}

/// Returns the JSON as it was sent, with line ends replaced by blanks. JSON strings cannot contain line ends, and
/// between values they have no meaning.
fn on_one_line(value: &[u8]) -> Option<Box<RawValue>> {
    let text = str::from_utf8(value).ok()?.replace(['\n', '\r'], " ");
    RawValue::from_string(text).ok()
}
