//! Appends delivered records to the log again.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use super::commit_queue::CommitJob;
use super::request::SubmitError;
use super::{Admission, Ingest};
use crate::wal::{Cursor, Log, Lsn};

/// The LSN of a replayed record, and its new LSN or the reason of the failure.
pub type ReplayResult = (Lsn, Result<Lsn, String>);

/// Replayed records in flight at once. The bound leaves room in the commit queue for requests.
const MAX_IN_FLIGHT: usize = 256;
/// Bytes of replayed records in flight, equal to the maximum group of the commit thread.
const MAX_IN_FLIGHT_BYTES: usize = 4 << 20;

type ReplayReply = oneshot::Receiver<Result<Lsn, SubmitError>>;

impl Ingest {
    /// Appends delivered records again, in this order, each under its own command id and a new LSN. They are admitted
    /// like new records, but without a check for repetitions, and their delivery status does not change. Stops at the
    /// first failure; the records before it are durable. Blocks.
    pub fn replay(&self, lsns: &[Lsn]) -> Vec<ReplayResult> {
        let mut done = Vec::new();
        let mut in_flight = InFlightReplays::default();
        let log = &self.shared.log;
        let mut cursor = log.cursor(lsns.first().copied().unwrap_or_default());
        for &lsn in lsns {
            let pushed =
                read_delivered(&mut cursor, log, lsn).and_then(|payload| self.push_replay(lsn, payload));
            match pushed {
                Ok((answer, bytes)) => in_flight.add(lsn, answer, bytes),
                Err(error) => {
                    if in_flight.finish(0, &mut done) {
                        done.push((lsn, Err(error)));
                    }
                    return done;
                }
            }
            if !in_flight.finish(MAX_IN_FLIGHT, &mut done) {
                return done;
            }
        }
        in_flight.finish(0, &mut done);
        done
    }

    fn push_replay(&self, lsn: Lsn, payload: Vec<u8>) -> Result<(ReplayReply, usize), String> {
        if let Admission::Closed(error) = self.admission() {
            return Err(error.to_string());
        }
        let (reply, answer) = oneshot::channel();
        let bytes = payload.len();
        let work = CommitJob::Requeue { payload, from: lsn, reply };
        self.shared.queue.push(work, bytes).map_err(|error| error.to_string())?;
        Ok((answer, bytes))
    }
}

/// Reads the record `lsn`, if it was delivered. The cursor must be at or before it.
fn read_delivered(cursor: &mut Cursor, log: &Log, lsn: Lsn) -> Result<Vec<u8>, String> {
    if !log.is_done(lsn) {
        return Err("the record is not delivered yet".to_owned());
    }
    if log.dead_letters().contains(lsn) || log.dead_letters().removal(lsn).is_some() {
        return Err("the record is, or was, a dead letter".to_owned());
    }
    loop {
        match cursor.next_retained() {
            Ok(Some(frame)) if frame.lsn < lsn => {}
            Ok(Some(frame)) if frame.lsn == lsn => return Ok(frame.payload.to_vec()),
            Ok(_) => return Err("the record is damaged or no longer retained".to_owned()),
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Replayed records that the commit thread has not yet answered, oldest first.
#[derive(Default)]
struct InFlightReplays {
    waiting: VecDeque<(Lsn, ReplayReply, usize)>,
    bytes: usize,
}

impl InFlightReplays {
    fn add(&mut self, lsn: Lsn, answer: ReplayReply, bytes: usize) {
        self.bytes += bytes;
        self.waiting.push_back((lsn, answer, bytes));
    }

    /// Waits until at most `left` records remain. Returns `false` at the first failure. Later records fail in the same
    /// way, or are appended and not reported.
    fn finish(&mut self, left: usize, done: &mut Vec<ReplayResult>) -> bool {
        while self.waiting.len() > left || (left > 0 && self.bytes > MAX_IN_FLIGHT_BYTES) {
            let Some((lsn, answer, bytes)) = self.waiting.pop_front() else { break };
            self.bytes -= bytes;
            match answer.blocking_recv().unwrap_or(Err(SubmitError::Poisoned)) {
                Ok(now) => done.push((lsn, Ok(now))),
                Err(error) => {
                    done.push((lsn, Err(error.to_string())));
                    return false;
                }
            }
        }
        true
    }
}
