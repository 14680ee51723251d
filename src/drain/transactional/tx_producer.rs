//! A worker's transactional producer, the only one of its id, and the outcome of its last commit.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::checkpoint_message::{hex, transactional_id};
use super::checkpoint_table::{CheckpointTable, CheckpointTableError};
use super::lane_positions::LanePositions;
use super::retry_timeouts::{MAX_BLOCKING, retry_timeouts};
use crate::backoff::Backoff;
use crate::drain::monitor::Denial;
use crate::drain::notify::Notify;
use crate::drain::producer_settings::ProducerSettings;
use crate::kafka::{ClientError, Producer, TransactionError};
use crate::wal::Identity;

/// A coordinator that is available responds within two seconds.
const SLOW_CALL: Duration = Duration::from_secs(5);

/// The positions found in Kafka after the producer was created.
pub(super) enum StoredPositions {
    /// The worker's own message with its positions.
    Own(LanePositions),
    /// No message exists, because the topic was emptied.
    Missing,
    /// A message of another incarnation exists.
    Foreign(String),
}

/// Why the producer could not be opened. Another attempt follows.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{0}")]
    Transaction(#[from] TransactionError),
    #[error(transparent)]
    Table(#[from] CheckpointTableError),
}

impl OpenError {
    fn denial(&self) -> Option<Denial> {
        let code = match self {
            Self::Client(_) => None,
            Self::Transaction(error) => Some(error.code),
            Self::Table(error) => error.code(),
        };
        Denial::from_code(code?, self.to_string())
    }
}

pub(super) struct TxProducer {
    producer_settings: Arc<ProducerSettings>,
    notify: Arc<Notify>,
    table: CheckpointTable,
    incarnation: [u8; 16],
    pub(super) id: String,
    producer: Option<Producer>,
    open_at: Instant,
    backoff: Backoff,
    /// The permission that the last attempt was denied.
    pub(super) denied: Option<Denial>,
}

impl TxProducer {
    pub(super) fn new(
        producer_settings: &Arc<ProducerSettings>,
        notify: &Arc<Notify>,
        identity: &Identity,
        worker: usize,
        backoff: Backoff,
    ) -> Result<Self, ClientError> {
        let table = CheckpointTable::new(producer_settings, identity.log_id)?;
        let id = transactional_id(&identity.log_id, worker);
        let (incarnation, open_at) = (identity.incarnation, Instant::now());
        let (producer_settings, notify) = (Arc::clone(producer_settings), Arc::clone(notify));
        Ok(Self {
            producer_settings,
            notify,
            table,
            incarnation,
            id,
            producer: None,
            open_at,
            backoff,
            denied: None,
        })
    }

    pub(super) fn producer(&self) -> Option<&Producer> {
        self.producer.as_ref()
    }

    /// Creates a producer if that is due. Fences any other producer of its id, then reads Kafka's positions. Blocks,
    /// calling `tick`.
    pub(super) fn open(&mut self, now: Instant, tick: &mut dyn FnMut() -> bool) -> Option<StoredPositions> {
        if now < self.open_at {
            return None;
        }
        match self.try_open(tick) {
            Ok((producer, found)) => {
                self.producer = Some(producer);
                self.denied = None;
                Some(found)
            }
            Err(error) => {
                let delay = self.schedule_rebuild(now);
                self.denied = error.denial();
                tracing::warn!(
                    event = "drain.producer_not_built",
                    %error,
                    drain.delay_ms = delay.as_millis() as u64,
                    "Kafka producer not built; will retry"
                );
                None
            }
        }
    }

    fn try_open(&self, tick: &mut dyn FnMut() -> bool) -> Result<(Producer, StoredPositions), OpenError> {
        let notify = Arc::clone(&self.notify);
        let ProducerSettings { config, bootstrap } = &*self.producer_settings;
        let producer = Producer::transactional(config, bootstrap, &self.id, move || notify.notify())?;
        let began = Instant::now();
        let mut is_logged = false;
        let mut patient = || {
            if !is_logged && began.elapsed() >= SLOW_CALL {
                is_logged = true;
                tracing::warn!(
                    event = "drain.transaction_pending",
                    kafka.transactional_id = self.id,
                    "Kafka has not ended this worker's previous transaction yet; its coordinator, or the leader of one \
                     of its partitions, is unavailable"
                );
            }
            tick()
        };
        retry_timeouts(&mut patient, |slice| producer.init_transactions(slice))?;
        let mut table = self.table.read(tick)?;
        let theirs = table.values().find(|message| message.incarnation != self.incarnation).cloned();
        let found = match (theirs, table.remove(&self.id)) {
            (Some(message), _) => StoredPositions::Foreign(hex(&message.incarnation)),
            (None, Some(message)) => StoredPositions::Own(message.lane_positions),
            (None, None) => StoredPositions::Missing,
        };
        Ok((producer, found))
    }

    /// Closes the producer. The next one is created after a delay, and ends the open transaction.
    pub(super) fn close(&mut self, now: Instant) {
        self.producer = None;
        self.schedule_rebuild(now);
    }

    fn schedule_rebuild(&mut self, now: Instant) -> Duration {
        let delay = self.backoff.delay();
        self.open_at = now + delay;
        delay
    }

    /// Creates the next producer immediately, because the cause of the last failure is resolved.
    pub(super) fn rebuild_now(&mut self, now: Instant) {
        self.backoff.reset();
        self.open_at = now;
    }

    /// A commit succeeded.
    pub(super) fn record_success(&mut self) {
        self.backoff.reset();
    }

    /// Blocks until there is a delivery report or another notification, for at most `timeout`.
    pub(super) fn wait(&self, timeout: Duration) {
        self.notify.wait(timeout.min(MAX_BLOCKING));
    }

    /// Waits like [`Self::wait`], and a little longer, so that more delivery reports arrive together.
    pub(super) fn wait_and_gather(&self, timeout: Duration) {
        self.notify.wait_and_gather(timeout.min(MAX_BLOCKING));
    }
}
