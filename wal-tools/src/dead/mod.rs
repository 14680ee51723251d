//! `dead`: records the broker would not take, and ranges that could not be read.

mod act;
mod find;

use anyhow::Context;
use forebay_wal::Lsn;
use forebay_wal::command::{CommandId, Envelope};
use forebay_wal::dead::{Damage, Dead, Sealed};
use forebay_wal::inspect::View;
use forebay_wal::units::Timestamp;
use serde::Serialize;

use find::{get, lsns, resolve};

use crate::cli::Show;
use crate::open::Log;
use crate::output::{Outcome, note, unless_closed};
use crate::show::Details;
use crate::{cli, show, table};

/// One entry of the store.
#[derive(Serialize)]
#[serde(untagged)]
enum Row {
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

pub fn run(log: &Log, command: &cli::Dead) -> anyhow::Result<Outcome> {
    match command {
        cli::Dead::List => list(log),
        cli::Dead::Show(args) => show_one(log, args),
        cli::Dead::Requeue(args) => act::run(log, args, act::Action::Requeue),
        cli::Dead::Drop(args) => act::run(log, args, act::Action::Drop),
    }
}

/// Exit 1 when there are some: somebody has to decide about them.
fn list(log: &Log) -> anyhow::Result<Outcome> {
    let view = log.look_inside()?;
    let all = lsns(&view);
    unless_closed(print(log, &view, &all))?;
    if all.is_empty() {
        note!("no dead letters");
        return Ok(Outcome::Fine);
    }
    Ok(Outcome::Findings)
}

fn print(log: &Log, view: &View, lsns: &[Lsn]) -> anyhow::Result<()> {
    let mut shown = table::table(&["#LSN", "DIED", "#ATTEMPTS", "KIND", "KEY", "REASON", "ID"]);
    for &lsn in lsns {
        let Some(dead) = get(view, lsn)? else { continue };
        let row = Row::of(&dead);
        match log.json {
            true => table::print_json(&row)?,
            false => drop(shown.add_row(row.cells())),
        }
    }
    if !log.json && !lsns.is_empty() {
        table::print(&shown)?;
    }
    Ok(())
}

fn show_one(log: &Log, args: &Show) -> anyhow::Result<Outcome> {
    let view = log.look_inside()?;
    let lsn = resolve(&view, &args.what)?;
    let dead =
        get(&view, lsn)?.with_context(|| format!("dead letter {lsn} was requeued or dropped just now"))?;
    let mut row = Row::of(&dead);
    if let (Row::Letter { details, .. }, Dead::Letter(letter)) = (&mut row, &dead) {
        *details = Details::of(&letter.payload, args.payload).map(Box::new);
    }
    show::print(log.json, &row)?;
    Ok(Outcome::Fine)
}

impl Row {
    fn of(dead: &Dead) -> Self {
        match dead {
            Dead::Letter(letter) => {
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
            Dead::Sealed(Sealed { lsn, accepted_at, died_at, attempts }) => Self::Letter {
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
            Dead::Damage(Damage { lsn_from, lsn_to, segment, reason, found_at }) => Self::Damaged {
                kind: "damaged",
                lsn_from: *lsn_from,
                lsn_to: *lsn_to,
                segment: segment.clone(),
                reason: reason.clone(),
                found_at: *found_at,
            },
        }
    }

    fn cells(&self) -> [String; 7] {
        let dash = || "-".to_owned();
        match self {
            Self::Letter { lsn, id, kind, key, reason, died_at, attempts, .. } => [
                lsn.to_string(),
                table::ago(*died_at),
                attempts.to_string(),
                table::plain(kind),
                key.as_deref().map_or_else(dash, table::plain),
                table::plain(reason),
                id.map_or_else(dash, |id| id.to_string()),
            ],
            Self::Damaged { lsn_from, lsn_to, segment, reason, found_at, .. } => [
                format!("{lsn_from}-{lsn_to}"),
                table::ago(*found_at),
                dash(),
                "damaged".to_owned(),
                segment.clone(),
                table::plain(reason),
                dash(),
            ],
        }
    }
}
