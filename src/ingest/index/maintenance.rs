//! The maintenance thread of the index: reads gaps from the log, flushes the map in memory, and merges and removes
//! parts.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::part::name_of;
use super::view::MemTable;
use super::{IndexPart, IndexState, merge};
use crate::task::StopSignal;

/// Interval between two maintenance runs.
const TURN_INTERVAL: Duration = Duration::from_millis(500);
/// Delay after a disk error.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// The map in memory is flushed to a part at this many keys or covered records. More than one part per second would
/// cost more flushes; and a start must read all records that are in no part.
const FLUSH_KEYS: usize = 1 << 15;
const FLUSH_RECORDS: u64 = 1 << 16;

impl IndexState {
    /// Runs until the stop signal, then flushes the map in memory.
    pub fn run_maintenance(&self, stop: &StopSignal) {
        let now = || stop.wait(Duration::ZERO);
        let (mut pause, mut failing) = (Duration::ZERO, false);
        while !stop.wait(pause) {
            let done = self.run_once(&now);
            pause = if done.is_ok() { TURN_INTERVAL } else { RETRY_DELAY };
            self.log_state_change(done, &mut failing);
        }
        let written = self.flush_recent(|run| run.from < run.to);
        self.log_state_change(written.map_err(Into::into), &mut false);
    }

    /// Logs the first failure, and the first success after it.
    fn log_state_change(&self, done: Result<(), Box<dyn Error>>, failing: &mut bool) {
        match (&done, *failing) {
            (Err(error), false) => tracing::warn!(
                event = "index.upkeep_failed", path = %self.dir.display(), %error,
                "the idempotency index cannot be maintained; retrying every second"
            ),
            (Ok(()), true) => {
                tracing::info!(event = "index.upkeep_resumed", "the idempotency index is maintained again")
            }
            _ => {}
        }
        *failing = done.is_err();
    }

    /// Performs all maintenance that is due.
    pub fn run_once(&self, stop: &dyn Fn() -> bool) -> Result<(), Box<dyn Error>> {
        self.fill_gaps(stop)?;
        self.flush_recent(is_due)?;
        self.compact(stop)?;
        Ok(())
    }

    fn fill_gaps(&self, stop: &dyn Fn() -> bool) -> Result<(), Box<dyn Error>> {
        loop {
            let mut view = self.write();
            let Some((from, to)) = view.gap(&self.log) else {
                if !std::mem::replace(&mut view.ready, true) {
                    drop(view);
                    tracing::info!(event = "index.rebuilt", "the idempotency index is complete");
                    self.remove_stale_files();
                }
                return Ok(());
            };
            drop(view);
            let Some(run) = self.read_log(from, to, stop)? else { return Ok(()) };
            let part = self.write_part(&run)?;
            self.write().insert(part);
        }
    }

    /// Flushes the map in memory to a part if it is due, or retries the previous failed flush.
    pub fn flush_recent(&self, due: impl Fn(&MemTable) -> bool) -> io::Result<()> {
        let mut view = self.write();
        if view.frozen.is_none() && due(&view.recent) {
            let following = MemTable::empty(view.recent.to);
            view.frozen = Some(Arc::new(std::mem::replace(&mut view.recent, following)));
        }
        let frozen = view.frozen.clone();
        drop(view);
        let Some(run) = frozen else { return Ok(()) };
        let part = self.write_part(&run)?;
        let mut view = self.write();
        // The index may have been cleared meanwhile.
        let current = view.frozen.take_if(|frozen| Arc::ptr_eq(frozen, &run)).is_some();
        if current {
            view.insert(part);
            return Ok(());
        }
        drop(view);
        self.remove_stale_files();
        Ok(())
    }

    /// Removes parts without retained records, and merges others.
    fn compact(&self, stop: &dyn Fn() -> bool) -> io::Result<()> {
        while !stop() {
            // Until the gaps are filled, adjacent parts may not be adjacent in the log.
            let Ok(view) = self.read() else { return Ok(()) };
            let parts = view.parts.clone();
            drop(view);
            let weights: Vec<_> = parts.iter().map(|part| self.weight(part)).collect();
            if let Some(gone) = weights.iter().position(|weight| weight.kept_now == 0) {
                self.write().remove(&parts[gone]);
                self.remove_file(&name_of(&parts[gone].header.range));
            } else if let Some(range) = merge::choose_merge(&weights) {
                let inputs = &parts[range];
                let Some(merged) = self.merge(inputs, stop)? else { return Ok(()) };
                self.replace(inputs, merged);
            } else {
                return Ok(());
            }
        }
        Ok(())
    }

    fn replace(&self, inputs: &[Arc<IndexPart>], merged: Arc<IndexPart>) {
        let mut view = self.write();
        // A part that could not be read, or the whole index, was dropped meanwhile.
        let all = inputs.iter().filter(|part| view.remove(part)).count() == inputs.len();
        if all {
            view.insert(merged);
        } else {
            view.ready = false;
        }
        drop(view);
        self.remove_stale_files();
    }
}

fn is_due(run: &MemTable) -> bool {
    run.keys.len() >= FLUSH_KEYS || run.to.0 - run.from.0 >= FLUSH_RECORDS
}
