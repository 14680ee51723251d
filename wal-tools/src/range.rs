//! Ranges of records, given by numbers, command ids or instants.

use std::ops::Range;
use std::str::FromStr;

use anyhow::Context;
use forebay_wal::Lsn;
use forebay_wal::command::{CommandId, IdGenerator};
use forebay_wal::inspect::LogView;
use forebay_wal::units::{Span, Timestamp};

/// An instant, given as such or as a time ago.
#[derive(Clone, Copy, Debug)]
pub struct Instant(pub Timestamp);

impl FromStr for Instant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(at) = text.parse() {
            return Ok(Self(at));
        }
        let ago: Span = text.parse().map_err(|_| {
            "neither an instant such as 2026-11-20T12:00:00Z nor a time ago such as 2h".to_owned()
        })?;
        Ok(Self(Timestamp::now().saturating_sub(ago.0)))
    }
}

/// One end of a range.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    /// The LSN of a record.
    Lsn(Lsn),
    /// The id of a command.
    Id(CommandId),
    /// The time of acceptance.
    At(Timestamp),
}

impl FromStr for Bound {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(lsn) = text.parse() {
            return Ok(Self::Lsn(lsn));
        }
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(id));
        }
        let instant = text.parse::<Instant>();
        instant.map(|at| Self::At(at.0)).map_err(|e| format!("neither an LSN nor a command id, and {e}"))
    }
}

/// Returns the records from `from` to `to`. Numbers and ids are inclusive; the instant `to` is exclusive. A missing
/// bound means the oldest or the newest record.
pub fn resolve(view: &LogView, from: Option<Bound>, to: Option<Bound>) -> anyhow::Result<Range<Lsn>> {
    let start = match from {
        None => Lsn(0),
        Some(Bound::At(at)) => first_at(view, at)?,
        Some(Bound::Lsn(lsn)) => lsn,
        Some(Bound::Id(id)) => of_id(view, id)?,
    };
    let end = match to {
        None => view.next(),
        Some(Bound::At(at)) => first_at(view, at)?,
        Some(Bound::Lsn(lsn)) => Lsn(lsn.0.saturating_add(1)),
        Some(Bound::Id(id)) => of_id(view, id)?.next(),
    };
    let end = end.min(view.next());
    Ok(start.min(end)..end)
}

/// Returns the LSN under which a command was accepted.
pub fn of_id(view: &LogView, id: CommandId) -> anyhow::Result<Lsn> {
    let identity = view.identity().context(match view.missing_keys().is_empty() {
        true => "the log is empty",
        false => "a lookup by id needs the log's key (--key-file); a lookup by LSN does not",
    })?;
    Ok(IdGenerator::new(&identity.log_id, &identity.secret).lsn(&id)?)
}

/// Returns the first record accepted at or after `at`. Times of acceptance increase with the LSN of the record.
fn first_at(view: &LogView, at: Timestamp) -> anyhow::Result<Lsn> {
    let later = |accepted: Option<(Timestamp, Timestamp)>| accepted.is_some_and(|(_, last)| last >= at);
    let Some(segment) = view.segments.iter().find(|segment| later(segment.accepted())) else {
        return Ok(view.next());
    };
    for stored in view.records(segment.first()..segment.next()) {
        let stored = stored?;
        if stored.record.at >= at {
            return Ok(stored.record.lsn);
        }
    }
    Ok(segment.next())
}
