//! Finds dead letters by number or command id.

use anyhow::{Context, bail};
use forebay_wal::Lsn;
use forebay_wal::command::{CommandId, Envelope};
use forebay_wal::dead_letters::DeadEntry;
use forebay_wal::inspect::LogView;

/// Returns the numbers of all entries.
pub fn entry_lsns(view: &LogView) -> Vec<Lsn> {
    view.dead_letters.as_ref().map(|store| store.lsns()).unwrap_or_default()
}

/// Returns the entry with this number.
pub fn get(view: &LogView, lsn: Lsn) -> anyhow::Result<Option<DeadEntry>> {
    match &view.dead_letters {
        Some(store) => Ok(store.get(lsn)?),
        None => Ok(None),
    }
}

/// Returns the number of the entry that is given by its number or by the id of its command.
pub fn resolve(view: &LogView, what: &str) -> anyhow::Result<Lsn> {
    if let Ok(lsn) = what.parse::<Lsn>() {
        let exists = entry_lsns(view).contains(&lsn);
        return if exists { Ok(lsn) } else { bail!("record {lsn} is not a dead letter") };
    }
    let id: CommandId = what
        .parse()
        .with_context(|| format!("`{what}` is neither the first LSN of a dead letter nor a command id"))?;
    for lsn in entry_lsns(view) {
        if let Some(DeadEntry::Letter(letter)) = get(view, lsn)?
            && Envelope::decode(&letter.payload).is_ok_and(|envelope| envelope.id == id)
        {
            return Ok(lsn);
        }
    }
    bail!("command {id} is not a dead letter")
}
