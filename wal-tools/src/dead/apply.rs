//! `dead requeue` and `dead drop`: print the plan, or carry it out with `--apply`.
//!
//! A running daemon carries out the plan. Without a daemon, this process does.

use anyhow::bail;
use forebay_wal::control::{ControlResponse, MAX_DEAD_LETTERS, Request, RequestError};
use forebay_wal::dead_letters::DeadEntry;
use forebay_wal::inspect::LogView;
use forebay_wal::{Lsn, control, layout};
use serde::Serialize;

use super::lookup::{entry_lsns, get, resolve};
use crate::cli::Letters;
use crate::log_context::LogContext;
use crate::offline_log::OfflineLog;
use crate::output::{ExitOutcome, note, unless_closed};
use crate::text_format;

/// Action on dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Append the record to the log again.
    Requeue,
    /// Remove the dead letter.
    Drop,
}

/// Planned or completed action on one dead letter.
#[derive(Serialize)]
struct ActionRow {
    lsn: Lsn,
    action: Action,
    applied: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    requeued_as: Option<Lsn>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

pub fn run(log: &LogContext, args: &Letters, action: Action) -> anyhow::Result<ExitOutcome> {
    let view = log.view()?;
    let chosen = choose(&view, args, action)?;
    if action == Action::Requeue && !chosen.is_empty() {
        note!("consumers receive a requeued record after later records of its key");
    }
    let rows = match args.apply {
        true => apply(log, &view, &chosen, action)?,
        false => chosen.iter().map(|&lsn| ActionRow::planned(lsn, action)).collect(),
    };
    unless_closed(print(log, &rows))?;
    if !args.apply && !rows.is_empty() {
        note!("nothing was changed; use --apply to carry out the plan");
    }
    match rows.iter().filter(|row| row.error.is_some()).count() {
        0 => Ok(ExitOutcome::Fine),
        failed => bail!("{failed} of {} dead letters were not changed: see their results above", rows.len()),
    }
}

fn choose(view: &LogView, args: &Letters, action: Action) -> anyhow::Result<Vec<Lsn>> {
    let mut chosen = match &args.which {
        Some(which) => vec![resolve(view, which)?],
        None => entry_lsns(view),
    };
    if action == Action::Drop {
        return Ok(chosen);
    }
    let all = chosen.len();
    let mut failed = None;
    chosen.retain(|&lsn| match get(view, lsn) {
        Ok(dead) => !matches!(dead, Some(DeadEntry::Damage(_))),
        Err(error) => {
            failed = Some(error);
            false
        }
    });
    if let Some(error) = failed {
        return Err(error);
    }
    match (all - chosen.len(), args.all) {
        (0, _) => {}
        (_, false) => bail!("a damaged range holds no record to requeue: drop it with `wal-tools dead drop`"),
        (left, true) => {
            note!(
                "{left} damaged ranges were skipped: they hold no record to requeue; `wal-tools dead drop` removes them"
            )
        }
    }
    Ok(chosen)
}

fn apply(log: &LogContext, view: &LogView, chosen: &[Lsn], action: Action) -> anyhow::Result<Vec<ActionRow>> {
    let mut rows = Vec::new();
    if action == Action::Drop
        && !chosen.is_empty()
        && let Some(store) = &view.dead_letters
    {
        layout::check_owner(&log.dir)?;
        note!("a copy was kept in quarantine/{}", store.copy_to_quarantine(chosen)?);
    }
    for lsns in chosen.chunks(MAX_DEAD_LETTERS) {
        let lsns = lsns.to_vec();
        let request = match action {
            Action::Requeue => Request::Requeue { lsns },
            Action::Drop => Request::Drop { lsns },
        };
        match control::send_request(&log.dir, &request) {
            Ok(ControlResponse::Done(outcomes)) => {
                rows.extend(outcomes.into_iter().map(|outcome| ActionRow {
                    lsn: outcome.lsn,
                    action,
                    applied: outcome.error.is_none(),
                    requeued_as: outcome.requeued_as,
                    error: outcome.error,
                }))
            }
            Ok(ControlResponse::Error(error)) => bail!("the daemon refused: {error}"),
            Ok(ControlResponse::Status(_)) => {
                bail!("the daemon sent a response to another request: use the wal-tools of the same package")
            }
            // No daemon runs. A daemon that stops after the first response is an error.
            Err(RequestError::NotRunning(_)) if rows.is_empty() => {
                return apply_offline(log, view, chosen, action);
            }
            Err(error) => bail!("{error}"),
        }
    }
    Ok(rows)
}

/// Carries out the plan without a daemon, under the log's lock.
fn apply_offline(
    log: &LogContext,
    view: &LogView,
    chosen: &[Lsn],
    action: Action,
) -> anyhow::Result<Vec<ActionRow>> {
    let mut store = OfflineLog::open(log, view)?;
    let mut rows = Vec::new();
    for &lsn in chosen {
        let done = match action {
            Action::Requeue => store.requeue(lsn).map(Some),
            Action::Drop => store.drop_letter(lsn).map(|()| None),
        };
        let mut row = ActionRow::planned(lsn, action);
        match done {
            Ok(requeued_as) => (row.applied, row.requeued_as) = (true, requeued_as),
            Err(error) => row.error = Some(format!("{error:#}")),
        }
        rows.push(row);
    }
    store.close()?;
    if action == Action::Requeue && !rows.is_empty() {
        note!("the next start of the daemon delivers them");
    }
    Ok(rows)
}

impl ActionRow {
    fn planned(lsn: Lsn, action: Action) -> Self {
        Self { lsn, action, applied: false, requeued_as: None, error: None }
    }
}

fn print(log: &LogContext, rows: &[ActionRow]) -> anyhow::Result<()> {
    if log.json {
        for row in rows {
            text_format::print_json(row)?;
        }
        return Ok(());
    }
    if rows.is_empty() {
        note!("no dead letters");
        return Ok(());
    }
    let mut shown = text_format::table(&["#LSN", "ACTION", "RESULT"]);
    for row in rows {
        let result = match (&row.error, row.requeued_as) {
            (Some(error), _) => format!("failed: {}", text_format::without_control_chars(error)),
            (None, Some(lsn)) => format!("now record {lsn}"),
            (None, None) if row.applied => "done".to_owned(),
            (None, None) => "planned".to_owned(),
        };
        let action = if row.action == Action::Requeue { "requeue" } else { "drop" };
        shown.add_row([row.lsn.to_string(), action.to_owned(), result]);
    }
    Ok(text_format::print(&shown)?)
}
