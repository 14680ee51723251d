//! The thread that keeps the index: reads gaps from the log, writes down what is in memory, merges and removes parts.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::part::name_of;
use super::view::MemTable;
use super::{IndexPart, IndexState, merge};
use crate::task::StopSignal;

/// Between two looks at what is to be done.
const TURN_INTERVAL: Duration = Duration::from_millis(500);
/// After a failure of the disk.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// The map in memory becomes a part when it has so many keys, or covers so many records: more than one part in a
/// second costs more flushes, and a start reads what is in no part.
const FLUSH_KEYS: usize = 1 << 15;
const FLUSH_RECORDS: u64 = 1 << 16;

impl IndexState {
    /// Until the thread is to stop; then what is in memory is written down.
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

    /// Says once when it begins to fail, and once when it works again.
    fn log_state_change(&self, done: Result<(), Box<dyn Error>>, failing: &mut bool) {
        match (&done, *failing) {
            (Err(error), false) => tracing::warn!(
                event = "index.upkeep_failed", path = %self.dir.display(), %error,
                "the idempotency index cannot be maintained; it is tried again every second"
            ),
            (Ok(()), true) => {
                tracing::info!(event = "index.upkeep_resumed", "the idempotency index is maintained again")
            }
            _ => {}
        }
        *failing = done.is_err();
    }

    /// Everything that is to be done now.
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

    /// Writes the map in memory as a part, if it is due, or the one whose writing failed.
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
        // The index may have been given up meanwhile.
        let current = view.frozen.take_if(|frozen| Arc::ptr_eq(frozen, &run)).is_some();
        if current {
            view.insert(part);
            return Ok(());
        }
        drop(view);
        self.remove_stale_files();
        Ok(())
    }

    /// Removes parts of which nothing is kept, and merges the others.
    fn compact(&self, stop: &dyn Fn() -> bool) -> io::Result<()> {
        while !stop() {
            // Before the gaps are filled, neighbours may not be neighbours.
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
        // One that could not be read was dropped meanwhile, or all were.
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
