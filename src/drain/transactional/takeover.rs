//! Takeover before anything is sent: fence earlier ids, read the positions, announce this incarnation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::checkpoint_message::{CheckpointMessage, TOPIC, transactional_id, worker_index};
use super::checkpoint_table::{CheckpointTable, CheckpointTableError};
use super::lane_positions::LanePositions;
use super::restore_decision::{LogHistory, RestoreDecision};
use super::retry_timeouts::retry_timeouts;
use crate::backoff::Backoff;
use crate::drain::config::{MAX_WORKERS, OnRestoredLog};
use crate::drain::context::Context;
use crate::drain::handle::Handle;
use crate::drain::monitor::Denial;
use crate::drain::producer_settings::ProducerSettings;
use crate::drain::send_permit::SendPermit;
use crate::kafka::{ClientError, DeliveryReport, ErrorCode, Producer, TransactionError};
use crate::sync::Mutex;
use crate::units::Lsn;
use crate::wal::ReadError;

/// Maximum number of producers that fence at the same time. Each has some ten threads for a moment.
const MAX_PARALLEL_FENCES: usize = 8;
/// Time limit of one attempt to fence or read. Open transactions of other producers may hide forebay's messages until
/// the brokers abort them.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(90);
/// Number of records marked as done between two checks for a stop.
const RECORDS_PER_STOP_CHECK: usize = 1024;
/// Interval of checks for a stop while waiting.
const STOP_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Why an attempt failed. Another attempt follows.
#[derive(Debug, thiserror::Error)]
enum TakeoverError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Table(#[from] CheckpointTableError),
    #[error("{0}")]
    Transaction(#[from] TransactionError),
    #[error("the checkpoint cannot be saved: {0}")]
    Checkpoint(#[from] std::io::Error),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{TOPIC} accepts no records: {0}")]
    Refused(ErrorCode),
}

impl TakeoverError {
    /// Whether the brokers responded and rejected the request.
    fn is_refusal(&self) -> bool {
        matches!(self, Self::Table(CheckpointTableError::Message { .. })) || self.denial().is_some()
    }

    fn denial(&self) -> Option<Denial> {
        let code = match self {
            Self::Table(error) => error.code(),
            Self::Transaction(error) => Some(error.code),
            Self::Refused(code) => Some(*code),
            _ => None,
        };
        Denial::from_code(code?, self.to_string())
    }
}

/// Why the positions are taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::drain) enum Purpose {
    /// To continue with transactions.
    ExactlyOnce(OnRestoredLog),
    /// To continue without transactions, and not repeat records that transactions delivered. Nothing is written, and
    /// Kafka may reject it.
    AtLeastOnce,
}

/// The takeover by one daemon.
pub(in crate::drain) struct Takeover {
    context: Context,
    handle: Handle,
    producer_settings: Arc<ProducerSettings>,
    workers: usize,
    purpose: Purpose,
    backoff: Backoff,
    table: CheckpointTable,
}

impl Takeover {
    pub(in crate::drain) fn new(
        context: Context,
        handle: Handle,
        producer_settings: Arc<ProducerSettings>,
        workers: usize,
        purpose: Purpose,
        backoff: Backoff,
    ) -> Result<Self, ClientError> {
        let table = CheckpointTable::new(&producer_settings, context.log.identity().log_id)?;
        Ok(Self { context, handle, producer_settings, workers, purpose, backoff, table })
    }

    /// Runs until the takeover succeeds, this log turns out to be a copy, or the daemon stops.
    pub(in crate::drain) fn run(mut self) {
        let permit = Arc::clone(&self.handle.permit);
        while !self.is_stopping() && !permit.is_halted() {
            let began = Instant::now();
            match self.attempt(&permit) {
                Ok(()) => {
                    let took = began.elapsed().as_millis() as u64;
                    tracing::info!(
                        event = "drain.positions_claimed",
                        drain.claim_ms = took,
                        "exactly-once: positions taken over"
                    );
                    self.handle.notify();
                    return;
                }
                Err(error) if self.purpose == Purpose::AtLeastOnce && error.is_refusal() => {
                    tracing::warn!(
                        event = "drain.positions_unreadable",
                        %error,
                        "positions of earlier transactions are unknown; their records may be repeated"
                    );
                    permit.grant();
                    self.handle.notify();
                    return;
                }
                Err(error) => {
                    let delay = self.backoff.delay();
                    let delay_ms = delay.as_millis() as u64;
                    tracing::warn!(
                        event = "drain.claim_failed",
                        %error,
                        drain.delay_ms = delay_ms,
                        "exactly-once: positions not taken over; nothing is sent yet"
                    );
                    permit.report_delay(error.to_string(), error.denial());
                    let end = Instant::now() + delay;
                    while Instant::now() < end && !self.is_stopping() {
                        std::thread::sleep(STOP_CHECK_INTERVAL);
                    }
                }
            }
        }
    }

    fn is_stopping(&self) -> bool {
        self.handle.control.stop_by().is_some()
    }

    fn attempt_tick(&self) -> impl FnMut() -> bool {
        let end = Instant::now() + ATTEMPT_TIMEOUT;
        move || Instant::now() < end && !self.is_stopping()
    }

    fn attempt(&self, permit: &SendPermit) -> Result<(), TakeoverError> {
        let Self { context, workers, purpose, .. } = self;
        let incarnation = context.log.identity().incarnation;
        let judge = |found: &BTreeMap<String, CheckpointMessage>, setting| {
            let known = context.log.transactions();
            let own = LogHistory { transactions: &known, incarnation, end: context.log.end() };
            own.decide(&found.values().cloned().collect::<Vec<_>>(), setting)
        };
        let setting = match purpose {
            Purpose::ExactlyOnce(setting) => {
                self.table.ensure()?;
                // Fencing would disturb the copy that is in use. If the messages already show that this log must not
                // continue, that cannot change, because positions only grow.
                if let RestoreDecision::Stop(reason) =
                    judge(&self.table.read_committed(&mut self.attempt_tick())?, *setting)
                {
                    halt(permit, &reason);
                    return Ok(());
                }
                *setting
            }
            Purpose::AtLeastOnce => OnRestoredLog::ContinueAfterKafka,
        };
        let known = context.log.transactions();
        let ids = known.ids.map_or(MAX_WORKERS, |ids| usize::try_from(ids).unwrap_or(MAX_WORKERS));
        let ids = ids.max(*workers);
        let (first, found) = self.fence_and_read(ids)?;
        let start = match judge(&found, setting) {
            RestoreDecision::Continue(start) => start,
            RestoreDecision::Stop(reason) => {
                halt(permit, &reason);
                return Ok(());
            }
        };
        if *purpose != Purpose::AtLeastOnce {
            let named: Vec<_> = found.values().map(|message| message.incarnation).collect();
            context.log.begin_takeover(&named)?;
            self.announce(&first, &found, &start)?;
            // Ids that are fenced and rewritten need no fencing at the next start.
            context.log.finish_takeover(*workers as u64)?;
        }
        mark_done(context, &start, &mut || !self.is_stopping())?;
        permit.grant();
        Ok(())
    }

    /// Fences all ids below `ids`, then reads the messages. Another copy may have used more ids than this log knows
    /// of. Then those are fenced too, and the messages are read again.
    fn fence_and_read(
        &self,
        ids: usize,
    ) -> Result<(Producer, BTreeMap<String, CheckpointMessage>), TakeoverError> {
        let mut ids = ids;
        loop {
            self.context.log.reserve_transactional_ids(ids as u64)?;
            let first = self.fence(ids)?;
            let found = self.table.read(&mut self.attempt_tick())?;
            let used = found.keys().filter_map(|id| worker_index(id)).max().map_or(0, |highest| highest + 1);
            if used.min(MAX_WORKERS) <= ids {
                return Ok((first, found));
            }
            ids = used.min(MAX_WORKERS);
        }
    }

    /// Fences all ids below `ids`. Returns the producer of the first.
    fn fence(&self, ids: usize) -> Result<Producer, TakeoverError> {
        let first = self.fence_id(0)?;
        let next = Mutex::new(1..ids);
        let failed = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 1..ids.min(MAX_PARALLEL_FENCES + 1) {
                scope.spawn(|| {
                    loop {
                        let id = next.lock().next();
                        let Some(id) = id else { return };
                        if let Err(error) = self.fence_id(id) {
                            failed.lock().get_or_insert(error);
                            return;
                        }
                    }
                });
            }
        });
        match failed.into_inner() {
            Some(error) => Err(error),
            None => Ok(first),
        }
    }

    fn fence_id(&self, id: usize) -> Result<Producer, TakeoverError> {
        let ProducerSettings { config, bootstrap } = &*self.producer_settings;
        let id = transactional_id(&self.context.log.identity().log_id, id);
        let producer = Producer::transactional(config, bootstrap, &id, || {})?;
        retry_timeouts(&mut self.attempt_tick(), |slice| producer.init_transactions(slice))?;
        Ok(producer)
    }

    /// One transaction that rewrites all messages of this log. Its own messages get the current incarnation; all
    /// others are deleted.
    fn announce(
        &self,
        producer: &Producer,
        found: &BTreeMap<String, CheckpointMessage>,
        start: &LanePositions,
    ) -> Result<(), TakeoverError> {
        let identity = self.context.log.identity();
        let ours: Vec<_> = (0..self.workers).map(|id| transactional_id(&identity.log_id, id)).collect();
        let value =
            CheckpointMessage { incarnation: identity.incarnation, lane_positions: start.clone() }.encode();
        producer.begin_transaction()?;
        let others = found.keys().filter(|key| !ours.contains(key)).map(|key| (key, None));
        let all: Vec<_> = ours.iter().map(|key| (key, Some(&value[..]))).chain(others).collect();
        for (key, value) in &all {
            let sent = producer.send_table_entry(TOPIC, key.as_bytes(), *value);
            sent.map_err(TakeoverError::Refused)?;
        }
        let mut results: Vec<DeliveryReport> = Vec::new();
        let mut tick = self.attempt_tick();
        while results.len() < all.len() && tick() {
            std::thread::sleep(Duration::from_millis(2));
            producer.take_results(&mut results);
            if let Some(code) = results.iter().find_map(|result| result.error) {
                return Err(TakeoverError::Refused(code));
            }
        }
        Ok(retry_timeouts(&mut tick, |slice| producer.commit_transaction(slice))?)
    }
}

fn halt(permit: &SendPermit, reason: &str) {
    permit.halt(format!(
        "{reason}: it was restored from an older copy, or another copy took over; \
         [drain] on_restored_log says what to do"
    ));
}

/// Marks records as done that Kafka has and the log's checkpoint does not contain.
pub(super) fn mark_done(
    context: &Context,
    positions: &LanePositions,
    tick: &mut dyn FnMut() -> bool,
) -> Result<(), ReadError> {
    let highest = positions.highest();
    let mut cursor = context.log.cursor(context.log.watermark());
    let mut batch: Vec<(Lsn, u64)> = Vec::with_capacity(RECORDS_PER_STOP_CHECK);
    let mut count = 0;
    loop {
        let found = cursor.next(|lsn, lane| lsn >= highest || lsn < positions.get(lane))?;
        let found =
            found.filter(|frame| frame.lsn < highest).map(|frame| (frame.lsn, u64::from(frame.bytes)));
        batch.extend(found);
        if batch.len() == RECORDS_PER_STOP_CHECK || found.is_none() {
            count += batch.len();
            let lsns: Vec<Lsn> = batch.iter().map(|(lsn, _)| *lsn).collect();
            context.log.mark_delivered(batch.drain(..));
            context.statuses.on_finished(&lsns);
        }
        if found.is_none() || !tick() {
            break;
        }
    }
    if count > 0 {
        tracing::info!(
            event = "drain.records_reconciled",
            drain.records = count,
            "Kafka had records that the checkpoint did not contain"
        );
    }
    Ok(())
}
