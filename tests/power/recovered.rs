//! Compares a recovered log after a power cut with the commands that were sent and acknowledged.

use std::collections::BTreeMap;
use std::path::Path;

use forebay::command::Envelope;
use forebay::wal::inspect::{LogDirectory, LogView};
use forebay::wal::{Finding, FindingKind, Lsn};

use crate::image;
use support::http::Client;
use support::load::SentCommands;
use support::process::Forebay;
use support::{load, scratch};

/// Bytes of filling in each body. Every record spans several sectors, and a run fills one or two segments.
pub const FILLER_BYTES: usize = 2_500;

/// Known commands at an instant.
#[derive(Clone, Copy)]
pub struct ExpectedCommands<'a> {
    /// Commands acknowledged before the instant, which must exist.
    pub required: &'a SentCommands,
    /// Commands sent at any time, which may exist.
    pub sent: &'a SentCommands,
}

/// Starts the daemon on the log in `image`, requests the status of every acknowledged command, and kills the daemon.
/// Then it checks the log: every acknowledged record exists with its content; no record was not sent; the numbers have
/// no gap; the records of each key are in order; `verify` has no findings. Returns the number of acknowledged records.
/// The error describes a violation.
pub fn check(binary: &Path, image: &[u8], known: ExpectedCommands<'_>) -> Result<usize, String> {
    let dir = scratch::dir("cut");
    let log = image::extract_log(image, dir.path())?;
    let mut forebay = Forebay::new(binary)
        .set("wal.dir", log.display().to_string())
        // No broker listens there, so records stay in the log.
        .set("kafka.brokers", "127.0.0.1:1")
        .set("wal.segment_size", "1MiB")
        .set("wal.reserve_space", "1MiB");
    forebay.launch();
    forebay.try_await_ready()?;
    let acknowledged = check_acknowledged(&forebay.address(), known.required, usize::MAX)?;
    // With an unavailable broker, an orderly stop takes a second. It would also hide the state that the start left.
    forebay.kill();
    check_log(&log, known).map_err(|wrong| format!("{wrong}\n{}", forebay.log()))?;
    Ok(acknowledged)
}

/// Requests the status of at most `limit` acknowledged commands, evenly chosen, from the daemon at `address`. Returns
/// their number.
pub fn check_acknowledged(address: &str, required: &SentCommands, limit: usize) -> Result<usize, String> {
    let mut http = Client::new(address);
    let mut asked = 0;
    let mut lost = Vec::new();
    let stride = acknowledged(required).count() / limit + 1;
    for (key, number, id) in acknowledged(required).step_by(stride) {
        let answer = http.get(&format!("/v1/commands/{id}")).map_err(|e| format!("request of {id}: {e}"))?;
        asked += 1;
        match answer.status {
            200 if matches!(answer.json()["state"].as_str(), Some("accepted" | "sent")) => {}
            _ => lost.push(format!("{key} {number} ({id}): {} {}", answer.status, answer.text())),
        }
    }
    match lost.first() {
        None => Ok(asked),
        Some(first) => {
            Err(format!("{} of {asked} acknowledged commands are lost, first {first}", lost.len()))
        }
    }
}

fn acknowledged(sent: &SentCommands) -> impl Iterator<Item = (&String, usize, &String)> {
    sent.iter().flat_map(|(key, answers)| {
        let numbered = answers.iter().enumerate();
        numbered.filter_map(move |(number, id)| Some((key, number, id.as_ref()?)))
    })
}

fn check_log(log: &Path, known: ExpectedCommands<'_>) -> Result<(), String> {
    let label = |payload: &[u8]| forebay::command::kind_of(payload);
    let view = LogDirectory::open(log).and_then(|directory| directory.snapshot(label));
    let view = view.map_err(|error| error.to_string())?;
    let report = view.verify(&mut |_| None, &mut |_| {}).map_err(|error| error.to_string())?;
    // A log without records may have no checkpoint if its first start was killed.
    let is_new = |finding: &&Finding| finding.kind == FindingKind::Checkpoint && view.next() == Lsn(1);
    if let Some(finding) = report.findings.iter().find(|finding| !is_new(finding)) {
        return Err(format!("verify finds {finding:?}"));
    }
    let ids = ids(&view, known.sent)?;
    let of = |key: &String, number: usize| ids.get(&(key.clone(), number));
    let wrong = acknowledged(known.required).find(|(key, number, id)| of(key, *number) != Some(*id));
    match wrong {
        None => Ok(()),
        Some((key, number, id)) => {
            Err(format!("{key} {number} was acknowledged as {id}; the log has {:?}", of(key, number)))
        }
    }
}

/// Checks each record of the log. Returns their ids by key and number.
fn ids(view: &LogView, sent: &SentCommands) -> Result<BTreeMap<(String, usize), String>, String> {
    let mut ids = BTreeMap::new();
    let mut last: BTreeMap<String, usize> = BTreeMap::new();
    let mut expected = Lsn(1);
    for stored in view.records(Lsn(1)..view.next()) {
        let record = stored.map_err(|error| error.to_string())?.record;
        if record.lsn != expected {
            return Err(format!("record {} follows instead of {expected}", record.lsn));
        }
        expected = record.lsn.next();
        let envelope = Envelope::decode(&record.payload).map_err(|error| error.to_string())?;
        let key = envelope.key_text().unwrap_or_default();
        let body: serde_json::Value = serde_json::from_slice(envelope.value).map_err(|e| e.to_string())?;
        let number = body["amount"].as_u64().unwrap_or(u64::MAX) as usize;
        let value = String::from_utf8_lossy(envelope.value);
        let was_sent = sent.get(&key).is_some_and(|answers| number < answers.len());
        if !was_sent || value != load::body(&key, number, FILLER_BYTES) {
            return Err(format!("record {} was never sent: {value}", record.lsn));
        }
        if last.insert(key.clone(), number).is_some_and(|last| last >= number) {
            return Err(format!("record {} ({key} {number}) is out of order", record.lsn));
        }
        ids.insert((key, number), envelope.id.to_string());
    }
    match expected == view.next() {
        true => Ok(ids),
        false => Err(format!("the log ends at {expected}, not at {}", view.next())),
    }
}
