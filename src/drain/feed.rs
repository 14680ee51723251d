//! A cursor one can give a record back to.

use std::sync::Arc;

use crate::wal::Cursor;
use crate::wal::Frame;
use crate::wal::Log;
use crate::wal::Lsn;
use crate::wal::ReadError;
use crate::wal::Record;

/// What was done with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Sent, buried, or left to the catch-up side.
    Done,
    /// It cannot go now, and nothing behind it may pass.
    Wait,
}

/// Reads a worker's lanes in order.
pub(super) struct Feed {
    log: Arc<Log>,
    cursor: Cursor,
    // Read, and not yet done with. At most one record.
    held: Option<(Record, u32)>,
}

impl Feed {
    /// From this record on.
    pub(super) fn new(log: &Arc<Log>, from: Lsn) -> Self {
        Self { log: Arc::clone(log), cursor: log.cursor(from), held: None }
    }

    /// Everything below was offered.
    pub(super) fn position(&self) -> Lsn {
        self.held.as_ref().map_or_else(|| self.cursor.position(), |(record, _)| record.lsn)
    }

    /// Whether a record was read and could not go.
    pub(super) fn is_waiting(&self) -> bool {
        self.held.is_some()
    }

    /// Offers the next record of the wanted lanes; `None` when there is none.
    pub(super) fn advance(
        &mut self,
        wanted: impl Fn(u8) -> bool,
        mut handle: impl FnMut(Frame<'_>) -> Step,
    ) -> Result<Option<Step>, ReadError> {
        if let Some((record, bytes)) = &self.held {
            let Record { lsn, at, lane, payload } = record;
            let frame = Frame { lsn: *lsn, at: *at, lane: *lane, bytes: *bytes, payload };
            // An operator may have dropped it meanwhile.
            let step = if self.log.is_done(*lsn) { Step::Done } else { handle(frame) };
            if step == Step::Done {
                self.held = None;
            }
            return Ok(Some(step));
        }
        let Some(frame) = self.cursor.next(|_, lane| wanted(lane))? else { return Ok(None) };
        let step = handle(frame);
        if step == Step::Wait {
            self.held = Some((owned(frame), frame.bytes));
        }
        Ok(Some(step))
    }
}

/// The record itself.
pub(super) fn owned(frame: Frame<'_>) -> Record {
    let Frame { lsn, at, lane, payload, .. } = frame;
    Record { lsn, at, lane, payload: payload.to_vec() }
}
