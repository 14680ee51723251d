//! `show`: one record with all its members.

use std::collections::BTreeMap;
use std::io;
use std::io::Write;

use anyhow::{Context, bail};
use data_encoding::BASE64;
use forebay_wal::Lsn;
use forebay_wal::command::{CommandId, Envelope};
use forebay_wal::dead_letters::Removal;
use forebay_wal::inspect::{LogView, SegmentInfo, StoredRecord};
use serde::Serialize;
use serde_json::Value;

use crate::cli::Show;
use crate::log_context::LogContext;
use crate::output::ExitOutcome;
use crate::record::RecordRow;
use crate::{range, text_format};

/// A record with all its members.
#[derive(Serialize)]
struct FullRecord {
    #[serde(flatten)]
    row: RecordRow,
    segment: Option<String>,
    offset: u64,
    lane: u8,
    #[serde(flatten)]
    details: Option<Details>,
}

/// Members of a record that lists do not show.
#[derive(Serialize)]
pub struct Details {
    topic: String,
    content_type: String,
    /// Kafka headers, without those that every record has.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    traceparent: Option<String>,
    idempotency_key: Option<String>,
    principal: Option<String>,
    value_bytes: usize,
    /// Replaces the value if it contains a password that is not hashed yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<HiddenValue>,
    /// Whether Kafka gets no value (a tombstone), which differs from an empty value.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    no_value: bool,
    /// The value, if it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
    /// The value in base64, if it is not text.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

/// Replacement for a value that contains a password.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum HiddenValue {
    Sealed,
}

impl Details {
    /// Decodes the details of a record. Returns `None` if a newer version wrote it.
    pub fn of(record: &[u8], payload: bool) -> Option<Self> {
        let envelope = Envelope::decode(record).ok()?;
        let headers = envelope.headers.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let shown = match envelope.sealed {
            _ if !payload => None,
            true => Some("sealed"),
            false => str::from_utf8(envelope.value).ok(),
        };
        Some(Self {
            topic: envelope.topic.to_owned(),
            content_type: envelope.content_type.to_owned(),
            headers: headers.collect(),
            traceparent: envelope.traceparent.map(str::to_owned),
            idempotency_key: envelope.idempotency_key.map(str::to_owned),
            principal: envelope.principal.map(str::to_owned),
            value_bytes: envelope.value.len(),
            value: envelope.sealed.then_some(HiddenValue::Sealed),
            no_value: envelope.no_value,
            payload: shown.map(str::to_owned),
            payload_base64: (payload && shown.is_none()).then(|| BASE64.encode(envelope.value)),
        })
    }
}

pub fn run(log: &LogContext, args: &Show) -> anyhow::Result<ExitOutcome> {
    let view = log.readable_view()?;
    let stored = find(&view, &args.what)?;
    let whole = FullRecord {
        row: RecordRow::of(&stored),
        segment: view.segment_containing(stored.record.lsn).map(SegmentInfo::name),
        offset: stored.offset,
        lane: stored.record.lane,
        details: Details::of(&stored.record.payload, args.payload),
    };
    print(log.json, &whole)?;
    Ok(ExitOutcome::Fine)
}

/// Prints a document: as JSON, or as one line per member.
pub fn print(json: bool, document: &impl Serialize) -> anyhow::Result<()> {
    if json {
        return Ok(text_format::print_json(document)?);
    }
    let mut members = match serde_json::to_value(document)? {
        Value::Object(members) => members,
        other => bail!("not a document: {other}"),
    };
    // The payload is printed last, outside the table, because it may be long.
    let payload = members.remove("payload").or_else(|| members.remove("payload_base64"));
    let mut shown = text_format::members();
    for (name, value) in &members {
        let value = match value {
            Value::Null => continue,
            Value::String(text) => text_format::without_control_chars(text),
            other => other.to_string(),
        };
        shown.add_row([name.clone(), value]);
    }
    text_format::print(&shown)?;
    if let Some(Value::String(payload)) = payload {
        writeln!(io::stdout(), "\n{}", text_format::without_control_chars(&payload))?;
    }
    Ok(())
}

/// Returns the record with this number, or the newest record of the command with this id.
fn find(view: &LogView, what: &str) -> anyhow::Result<StoredRecord> {
    if let Ok(lsn) = what.parse::<Lsn>() {
        let end = view.next();
        let missing = || format!("record {lsn} is expired, damaged, or not written yet (the next is {end})");
        return view.record(lsn)?.with_context(missing);
    }
    let id: CommandId =
        what.parse().with_context(|| format!("`{what}` is neither an LSN nor a command id"))?;
    let mut lsn = range::of_id(view, id)?;
    // A requeued dead letter continues under another number. Each is larger than the previous one.
    while let Some(Removal::Requeued(next)) = view.dead_letters.as_ref().and_then(|dead| dead.removal(lsn)) {
        lsn = next;
    }
    let stored = view.record(lsn)?.context("no such command, or its record has expired")?;
    let same = Envelope::decode(&stored.record.payload).is_ok_and(|envelope| envelope.id == id);
    if same { Ok(stored) } else { bail!("no such command") }
}
