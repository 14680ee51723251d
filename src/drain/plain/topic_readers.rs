//! Separate catch-up readers of single topics.
//!
//! A topic that rejected a record, or accepts only small batches, must repeatedly wait for its own records. It does
//! so on its own cursor, so that it delays no other topic of its worker. There are at most as many of these readers
//! as topics in the configuration, and each holds one record.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::plain_sender::PlainSender;
use crate::backoff::Backoff;
use crate::drain::dispatcher::Dispatcher;
use crate::drain::lane_reader::{Disposition, ReadSide, owned};
use crate::drain::lanes::Lanes;
use crate::wal::{Cursor, Log, Lsn, ReadError, Record, RecordRef};

/// Records of one topic processed before the others are checked.
const RECORDS_PER_TURN: usize = 64;

/// The reader of one topic.
struct TopicReader {
    cursor: Cursor,
    /// Read and not processed yet.
    pending: Option<(Record, u32)>,
}

impl TopicReader {
    fn position(&self) -> Lsn {
        self.pending.as_ref().map_or_else(|| self.cursor.position(), |(record, _)| record.lsn)
    }
}

/// The topic readers of one worker.
pub(super) struct TopicReaders {
    log: Arc<Log>,
    lanes: Lanes,
    topics: BTreeMap<usize, TopicReader>,
    retry_at: Instant,
    backoff: Backoff,
}

impl TopicReaders {
    pub(super) fn new(log: &Arc<Log>, lanes: Lanes, backoff: Backoff) -> Self {
        Self { log: Arc::clone(log), lanes, topics: BTreeMap::new(), retry_at: Instant::now(), backoff }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// The first record that one of the readers has not offered.
    pub(super) fn position(&self) -> Option<Lsn> {
        self.topics.values().map(TopicReader::position).min()
    }

    /// Makes this topic's reader begin no later than at this record.
    pub(super) fn rewind(&mut self, topic: usize, first: Lsn) {
        if self.topics.get(&topic).is_none_or(|aside| first < aside.position()) {
            self.topics.insert(topic, TopicReader { cursor: self.log.cursor(first), pending: None });
        }
    }

    /// Makes every reader begin no later than at this record.
    pub(super) fn rewind_all(&mut self, first: Lsn) {
        let topics: Vec<usize> = self.topics.keys().copied().collect();
        topics.into_iter().for_each(|topic| self.rewind(topic, first));
    }

    /// Offers records below `head` to the dispatcher. Returns whether more work is available immediately.
    pub(super) fn advance(
        &mut self,
        dispatcher: &mut Dispatcher<PlainSender>,
        head: Lsn,
        now: Instant,
    ) -> bool {
        if self.topics.is_empty() || now < self.retry_at {
            return false;
        }
        let topics: Vec<usize> = self.topics.keys().copied().collect();
        let mut more = false;
        for topic in topics {
            match self.advance_one(topic, dispatcher, head) {
                Ok(moves) => more |= moves,
                Err(error) => {
                    let delay = self.backoff.delay();
                    self.retry_at = now + delay;
                    let (worker, delay) = (self.lanes.index, delay.as_millis() as u64);
                    tracing::error!(
                        event = "drain.read_failed",
                        %error,
                        drain.worker = worker,
                        drain.delay_ms = delay,
                        "log could not be read; will retry"
                    );
                    return false;
                }
            }
        }
        self.backoff.reset();
        more
    }

    fn advance_one(
        &mut self,
        topic: usize,
        dispatcher: &mut Dispatcher<PlainSender>,
        head: Lsn,
    ) -> Result<bool, ReadError> {
        for _ in 0..RECORDS_PER_TURN {
            let Some(aside) = self.topics.get_mut(&topic) else { return Ok(false) };
            let step = if aside.position() < head {
                aside.offer_next(topic, &self.log, self.lanes, dispatcher)?
            } else {
                None
            };
            match step {
                Some(Disposition::Processed) => {}
                Some(Disposition::Wait) => return Ok(false),
                None => {
                    self.topics.remove(&topic);
                    dispatcher.on_caught_up(ReadSide::Topic(topic), head);
                    return Ok(true);
                }
            }
        }
        Ok(true)
    }
}

impl TopicReader {
    /// Offers one record. Returns `None` if there is none.
    fn offer_next(
        &mut self,
        topic: usize,
        log: &Log,
        lanes: Lanes,
        dispatcher: &mut Dispatcher<PlainSender>,
    ) -> Result<Option<Disposition>, ReadError> {
        if let Some((record, bytes)) = &self.pending {
            let &Record { lsn, at, lane, ref payload } = record;
            let frame = RecordRef { lsn, at, lane, bytes: *bytes, payload };
            // An operator may have dropped it since it was read.
            let step = if log.is_done(lsn) {
                Disposition::Processed
            } else {
                dispatcher.dispatch(ReadSide::Topic(topic), frame)
            };
            if step == Disposition::Processed {
                self.pending = None;
            }
            return Ok(Some(step));
        }
        let Some(frame) = self.cursor.next(|_, lane| lanes.contains(lane))? else { return Ok(None) };
        let step = dispatcher.dispatch(ReadSide::Topic(topic), frame);
        if step == Disposition::Wait {
            self.pending = Some((owned(frame), frame.bytes));
        }
        Ok(Some(step))
    }
}
