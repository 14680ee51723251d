//! `dead`: records that Kafka rejected, and ranges that could not be read.

mod apply;
mod lookup;

use anyhow::Context;
use forebay_wal::Lsn;
use forebay_wal::command::{CommandId, Envelope};
use forebay_wal::dead_letters::{DamagedRange, DeadEntry, SealedLetter};
use forebay_wal::inspect::LogView;
use forebay_wal::units::Timestamp;
use serde::Serialize;

use lookup::{entry_lsns, get, resolve};

use crate::cli::Show;
use crate::log_context::LogContext;
use crate::output::{ExitOutcome, note, unless_closed};
use crate::show::Details;
use crate::{cli, show, text_format};

/// One entry of the store.
#[derive(Serialize)]
#[serde(untagged)]
enum EntryRow {
    Letter {
        lsn: Lsn,
        id: Option<CommandId>,
        kind: String,
        key: Option<String>,
        reason: String,
        died_at: Timestamp,
        attempts: u32,
        accepted_at: Timestamp,
        #[serde(flatten)]
        details: Option<Box<Details>>,
    },
    Damaged {
        kind: &'static str,
        lsn_from: u64,
        lsn_to: u64,
        segment: String,
        reason: String,
        found_at: Timestamp,
    },
}

pub fn run(log: &LogContext, command: &cli::Dead) -> anyhow::Result<ExitOutcome> {
    match command {
        cli::Dead::List => list(log),
        cli::Dead::Show(args) => show_one(log, args),
        cli::Dead::Requeue(args) => apply::run(log, args, apply::Action::Requeue),
        cli::Dead::Drop(args) => apply::run(log, args, apply::Action::Drop),
    }
}

/// Reports findings if dead letters exist, because an operator must decide about them.
fn list(log: &LogContext) -> anyhow::Result<ExitOutcome> {
    let view = log.readable_view()?;
    let all = entry_lsns(&view);
    unless_closed(print(log, &view, &all))?;
    if all.is_empty() {
        note!("no dead letters");
        return Ok(ExitOutcome::Fine);
    }
    Ok(ExitOutcome::Findings)
}

fn print(log: &LogContext, view: &LogView, lsns: &[Lsn]) -> anyhow::Result<()> {
    let mut shown = text_format::table(&["#LSN", "DIED", "#ATTEMPTS", "KIND", "KEY", "REASON", "ID"]);
    for &lsn in lsns {
        let Some(dead) = get(view, lsn)? else { continue };
        let row = EntryRow::of(&dead);
        match log.json {
            true => text_format::print_json(&row)?,
            false => drop(shown.add_row(row.cells())),
        }
    }
    if !log.json && !lsns.is_empty() {
        text_format::print(&shown)?;
    }
    Ok(())
}

fn show_one(log: &LogContext, args: &Show) -> anyhow::Result<ExitOutcome> {
    let view = log.readable_view()?;
    let lsn = resolve(&view, &args.what)?;
    let dead = get(&view, lsn)?
        .with_context(|| format!("dead letter {lsn} was requeued or dropped in the meantime"))?;
    let mut row = EntryRow::of(&dead);
    if let (EntryRow::Letter { details, .. }, DeadEntry::Letter(letter)) = (&mut row, &dead) {
        *details = Details::of(&letter.payload, args.payload).map(Box::new);
    }
    show::print(log.json, &row)?;
    Ok(ExitOutcome::Fine)
}

impl EntryRow {
    fn of(dead: &DeadEntry) -> Self {
        match dead {
            DeadEntry::Letter(letter) => {
                let envelope = Envelope::decode(&letter.payload).ok();
                Self::Letter {
                    lsn: letter.lsn,
                    id: envelope.as_ref().map(|envelope| envelope.id),
                    kind: envelope.as_ref().map_or("unreadable", |envelope| envelope.kind).to_owned(),
                    key: envelope.as_ref().and_then(Envelope::key_text),
                    reason: letter.reason.clone(),
                    died_at: letter.died_at,
                    attempts: letter.attempts,
                    accepted_at: letter.accepted_at,
                    details: None,
                }
            }
            DeadEntry::Sealed(SealedLetter { lsn, accepted_at, died_at, attempts }) => Self::Letter {
                lsn: *lsn,
                id: None,
                kind: "encrypted".to_owned(),
                key: None,
                reason: "encrypted".to_owned(),
                died_at: *died_at,
                attempts: *attempts,
                accepted_at: *accepted_at,
                details: None,
            },
            DeadEntry::Damage(DamagedRange { lsn_from, lsn_to, segment, reason, found_at }) => {
                Self::Damaged {
                    kind: "damaged",
                    lsn_from: *lsn_from,
                    lsn_to: *lsn_to,
                    segment: segment.clone(),
                    reason: reason.clone(),
                    found_at: *found_at,
                }
            }
        }
    }

    fn cells(&self) -> [String; 7] {
        let dash = || "-".to_owned();
        match self {
            Self::Letter { lsn, id, kind, key, reason, died_at, attempts, .. } => [
                lsn.to_string(),
                text_format::ago(*died_at),
                attempts.to_string(),
                text_format::without_control_chars(kind),
                key.as_deref().map_or_else(dash, text_format::without_control_chars),
                text_format::without_control_chars(reason),
                id.map_or_else(dash, |id| id.to_string()),
            ],
            Self::Damaged { lsn_from, lsn_to, segment, reason, found_at, .. } => [
                format!("{lsn_from}-{lsn_to}"),
                text_format::ago(*found_at),
                dash(),
                "damaged".to_owned(),
                segment.clone(),
                text_format::without_control_chars(reason),
                dash(),
            ],
        }
    }
}
