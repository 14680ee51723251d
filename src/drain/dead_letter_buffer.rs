//! Records that Kafka will never accept, before they are stored as dead letters.

use std::time::{Duration, Instant};

use crate::backoff::Backoff;
use crate::command::{Envelope, UserValue};
use crate::drain::context::Context;
use crate::drain::dead_reason::code_of;
use crate::units::Timestamp;
use crate::wal::{DeadLetter, Lsn, Record};

/// Maximum number of dead letters per flush. They share a flush because a topic that is past its grace time may have
/// a million of them.
const MAX_LETTERS: usize = 256;
/// Maximum size in bytes of the dead letters that wait for a flush.
const MAX_BYTES: usize = 4 << 20;
/// How long the first dead letter waits for others. A slow disk then costs a worker an occasional flush, not one per
/// letter.
const MAX_DELAY: Duration = Duration::from_millis(50);

/// Dead letters that are not stored yet. If the buffer is full, or storing failed, the worker sends nothing until they
/// are stored.
pub(super) struct DeadLetterBuffer {
    letters: Vec<DeadLetter>,
    codes: Vec<&'static str>,
    bytes: usize,
    /// Whether the store is encrypted. A dead letter may contain a password.
    encrypts: bool,
    retry_at: Option<Instant>,
    /// Latest time at which the first dead letter is stored.
    due_at: Option<Instant>,
    backoff: Backoff,
}

impl DeadLetterBuffer {
    pub(super) fn new(backoff: Backoff, encrypts: bool) -> Self {
        Self {
            letters: Vec::new(),
            codes: Vec::new(),
            bytes: 0,
            encrypts,
            retry_at: None,
            due_at: None,
            backoff,
        }
    }

    /// Adds a dead letter. `reason` comes from a fixed set. `detail` explains more to a person, without personal
    /// data.
    pub(super) fn add(
        &mut self,
        record: Record,
        reason: &'static str,
        detail: Option<String>,
        attempts: u32,
    ) {
        self.codes.push(code_of(reason));
        let reason = detail.map_or_else(|| reason.to_owned(), |detail| format!("{reason}: {detail}"));
        let payload = if self.encrypts { record.payload } else { without_password(record.payload) };
        self.bytes += payload.len();
        self.letters.push(DeadLetter {
            lsn: record.lsn,
            accepted_at: record.at,
            died_at: Timestamp::now(),
            reason,
            attempts,
            payload,
        });
    }

    /// Whether these must be stored before another dead letter is added.
    pub(super) fn is_full(&self) -> bool {
        self.retry_at.is_some() || self.letters.len() >= MAX_LETTERS || self.bytes >= MAX_BYTES
    }

    /// Whether all dead letters are stored.
    pub(super) fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// Whether this record is a dead letter that is not stored yet. Such a record must not be sent.
    pub(super) fn contains(&self, lsn: Lsn) -> bool {
        self.letters.iter().any(|letter| letter.lsn == lsn)
    }

    /// Stores the dead letters once there are many, or once the first has waited for others long enough.
    pub(super) fn store_if_due(&mut self, context: &Context, now: Instant) {
        if self.letters.is_empty() {
            return;
        }
        let due_at = *self.due_at.get_or_insert(now + MAX_DELAY);
        if self.is_full() || now >= due_at {
            self.store(context, now);
        }
    }

    /// Stores the dead letters. After an error it tries again later.
    pub(super) fn store(&mut self, context: &Context, now: Instant) {
        if self.letters.is_empty() || self.retry_at.is_some_and(|at| now < at) {
            return;
        }
        if let Err(error) = context.log.store_dead_letters(&self.letters) {
            let delay = self.backoff.delay();
            self.retry_at = Some(now + delay);
            let delay = delay.as_millis() as u64;
            tracing::error!(
                event = "drain.dead_letters_not_stored",
                %error,
                drain.delay_ms = delay,
                "dead letters not stored; will retry"
            );
            return;
        }
        if let [first, ..] = &self.letters[..] {
            let (lsn, reason, count) = (first.lsn.0, &*first.reason, self.letters.len());
            tracing::warn!(
                event = "drain.dead_letters_stored",
                wal.lsn = lsn,
                drain.reason = reason,
                drain.letters = count,
                "dead letters stored"
            );
        }
        self.bytes = 0;
        (self.retry_at, self.due_at) = (None, None);
        self.backoff.reset();
        for letter in self.letters.iter().filter(|letter| letter.lsn >= context.log.start_lsn()) {
            if let Ok(envelope) = Envelope::decode(&letter.payload) {
                context.metrics.topics.settled(envelope.topic, 1);
            }
        }
        let lsns: Vec<_> = self.letters.drain(..).map(|letter| letter.lsn).collect();
        context.statuses.on_finished(&lsns);
        for code in self.codes.drain(..) {
            context.metrics.dead.with_label_values(&[code]).inc();
        }
    }
}

/// The payload of a record for a store that is not encrypted. This occurs when encryption was turned off while a
/// password waited to be hashed. Without its password, the record becomes a dead letter again when it is requeued.
fn without_password(payload: Vec<u8>) -> Vec<u8> {
    let Ok(envelope) = Envelope::decode(&payload) else { return payload };
    if !envelope.sealed {
        return payload;
    }
    let value =
        UserValue::parse(envelope.value).map(|value| UserValue { password: None, ..value }.to_bytes());
    let (value, mut bytes) = (value.unwrap_or_default(), Vec::new());
    Envelope { value: &value, ..envelope }.encode(&mut bytes);
    bytes
}
