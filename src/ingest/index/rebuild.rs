//! Rebuilds parts of the index from the log.

use std::io;
use std::sync::Arc;

use super::layout::{MAX_SPAN, PartRange};
use super::part::IndexPart;
use super::view::MemTable;
use super::writer::PartWriter;
use super::{IndexState, scopes};
use crate::command::Envelope;
use crate::wal::{Lsn, ReadError};

/// Maximum keys read into one part, about 15 MiB in memory.
const MAX_KEYS_PER_PART: usize = 1 << 18;

impl IndexState {
    /// Reads the keys of the records from `from` up to `to`, or up to the memory limit. `None`: stopped.
    pub fn read_log(
        &self,
        from: Lsn,
        to: Lsn,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<MemTable>, ReadError> {
        let to = to.min(from.plus(MAX_SPAN));
        let mut run = MemTable { to, ..MemTable::empty(from) };
        let mut cursor = self.log.cursor(from);
        while let Some(frame) = cursor.next_retained()?.filter(|frame| frame.lsn < to) {
            let lsn = frame.lsn;
            // A record of another version that this version cannot decode has no key here.
            if let Ok(envelope) = Envelope::decode(frame.payload) {
                run.keys.extend(scopes(&envelope, &self.digests).map(|scope| (scope, lsn)));
            }
            if run.keys.len() >= MAX_KEYS_PER_PART {
                run.to = lsn.next();
                break;
            }
            if lsn.0.is_multiple_of(1024) && stop() {
                return Ok(None);
            }
        }
        Ok(Some(run))
    }

    /// Writes the keys of a range to a part.
    pub fn write_part(&self, run: &MemTable) -> io::Result<Arc<IndexPart>> {
        let range = PartRange { log_id: self.log.identity().log_id, from: run.from, to: run.to };
        let mut keys: Vec<_> = run.keys.iter().collect();
        keys.sort_unstable();
        let mut writer = PartWriter::new(&**self.log.fs(), &self.dir, range, keys.len() as u64)?;
        for (scope, lsn) in keys {
            writer.push(scope, *lsn)?;
        }
        let kept = self.log.count_retained(run.from, run.to);
        writer.finish(kept, self.anchor(run.to), &self.budget).map(Arc::new)
    }
}
