//! A producer's transactions. Calls block for at most the given time. A call that timed out is repeated.

use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::Producer as _;

use crate::kafka::Producer;

/// What to do after a failed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionErrorAction {
    /// Repeat the same call; it continues where it stopped.
    Retry,
    /// Abort: the transaction can no longer be committed.
    Abort,
    /// Replace the producer. Only Kafka knows the outcome of the transaction.
    Rebuild,
}

/// Why a call failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub struct TransactionError {
    /// What to do next.
    pub next: TransactionErrorAction,
    /// The error code.
    pub code: RDKafkaErrorCode,
    /// The error text.
    pub text: String,
}

impl From<KafkaError> for TransactionError {
    fn from(error: KafkaError) -> Self {
        let text = error.to_string();
        let (next, code) = match &error {
            KafkaError::Transaction(error) if error.is_retriable() => {
                (TransactionErrorAction::Retry, error.code())
            }
            KafkaError::Transaction(error) if error.txn_requires_abort() => {
                (TransactionErrorAction::Abort, error.code())
            }
            KafkaError::Transaction(error) => (TransactionErrorAction::Rebuild, error.code()),
            // The wait for the last delivery reports, before any request to a broker.
            KafkaError::Flush(code) => (TransactionErrorAction::Retry, *code),
            other => (
                TransactionErrorAction::Rebuild,
                other.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail),
            ),
        };
        Self { next, code, text }
    }
}

impl Producer {
    /// Makes this the only producer of its transactional id. An open transaction of an earlier producer is aborted. A
    /// transaction that was being committed is finished when this returns. All further requests of the earlier
    /// producer are rejected.
    pub fn init_transactions(&self, timeout: Duration) -> Result<(), TransactionError> {
        Ok(self.inner.init_transactions(timeout)?)
    }

    /// Begins a transaction.
    pub fn begin_transaction(&self) -> Result<(), TransactionError> {
        Ok(self.inner.begin_transaction()?)
    }

    /// Commits the transaction. This is fast when all delivery reports have arrived before.
    pub fn commit_transaction(&self, timeout: Duration) -> Result<(), TransactionError> {
        Ok(self.inner.commit_transaction(timeout)?)
    }

    /// Aborts the transaction. Queued records fail.
    pub fn abort_transaction(&self, timeout: Duration) -> Result<(), TransactionError> {
        self.inner.abort_transaction(timeout)?;
        self.clear_failures();
        Ok(())
    }

    /// Why the open transaction can only be aborted, if that is so. Not every such error arrives with a record's
    /// delivery report. Beginning a transaction inside a transaction changes nothing, and fails with the reason.
    pub fn must_abort(&self) -> Option<TransactionError> {
        let refused = self.inner.begin_transaction().map_err(TransactionError::from).err()?;
        (refused.next == TransactionErrorAction::Abort || self.fatal().is_some()).then_some(refused)
    }
}
