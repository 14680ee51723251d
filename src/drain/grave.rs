//! Records Kafka will never take, on their way into the dead-letter store.

use std::time::Instant;

use crate::backoff::Backoff;
use crate::drain::board::Parts;
use crate::units::Timestamp;
use crate::wal::Letter;
use crate::wal::Record;

/// Letters share a flush: a topic that was given up may have a million of them.
const BATCH: usize = 256;
/// Bounds the letters that wait for that flush.
const BATCH_BYTES: usize = 4 << 20;

/// Letters not stored yet. Until they are, the worker begins nothing new.
pub(super) struct Grave {
    letters: Vec<Letter>,
    codes: Vec<&'static str>,
    bytes: usize,
    retry_at: Option<Instant>,
    backoff: Backoff,
}

impl Grave {
    pub(super) fn new(backoff: Backoff) -> Self {
        Self { letters: Vec::new(), codes: Vec::new(), bytes: 0, retry_at: None, backoff }
    }

    /// Adds a letter. `code`: the reason from a fixed set; `detail`: more for a person, without personal data.
    pub(super) fn add(&mut self, record: Record, code: &'static str, detail: Option<String>, attempts: u32) {
        let reason = detail.map_or_else(|| code.to_owned(), |detail| format!("{code}: {detail}"));
        self.codes.push(code);
        self.bytes += record.payload.len();
        self.letters.push(Letter {
            lsn: record.lsn,
            accepted_at: record.at,
            died_at: Timestamp::now(),
            reason,
            attempts,
            payload: record.payload,
        });
    }

    /// Whether another letter must wait until these are stored.
    pub(super) fn is_full(&self) -> bool {
        self.retry_at.is_some() || self.letters.len() >= BATCH || self.bytes >= BATCH_BYTES
    }

    /// Whether all are stored.
    pub(super) fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// Stores what there is. After an error it is tried again later.
    pub(super) fn store(&mut self, parts: &Parts, now: Instant) {
        if self.letters.is_empty() || self.retry_at.is_some_and(|at| now < at) {
            return;
        }
        if let Err(error) = parts.log.bury(&self.letters) {
            let delay = self.backoff.delay();
            self.retry_at = Some(now + delay);
            let delay = delay.as_millis() as u64;
            tracing::error!(%error, drain.delay_ms = delay, "dead letters cannot be stored");
            return;
        }
        if let [first, ..] = &self.letters[..] {
            let (lsn, reason, count) = (first.lsn.0, &*first.reason, self.letters.len());
            tracing::warn!(
                wal.lsn = lsn,
                drain.reason = reason,
                drain.letters = count,
                "dead letters stored"
            );
        }
        self.bytes = 0;
        self.retry_at = None;
        self.backoff.reset();
        let lsns: Vec<_> = self.letters.drain(..).map(|letter| letter.lsn).collect();
        parts.statuses.finished(&lsns);
        for code in self.codes.drain(..) {
            parts.metrics.dead.with_label_values(&[code]).inc();
        }
    }
}
