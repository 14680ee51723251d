//! A producer's transactions. The calls block for at most the time given; one that ran out of time is called again.

use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::Producer as _;

use crate::kafka::Producer;

/// What to do after a call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionErrorAction {
    /// The same call again: it goes on where it was.
    Retry,
    /// Nothing of the transaction can be committed any more.
    Abort,
    /// The producer is of no more use; what became of the transaction, only Kafka knows.
    Rebuild,
}

/// Why a call failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub struct TransactionError {
    /// What to do.
    pub next: TransactionErrorAction,
    /// The error.
    pub code: RDKafkaErrorCode,
    /// In words.
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
            // The wait for the last results, before anything was asked of a broker.
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
    /// Makes this the only producer of its transactional id: a former one's open transaction is aborted, one it was
    /// committing is over when this returns, and whatever it still tries is refused.
    pub fn init_transactions(&self, timeout: Duration) -> Result<(), TransactionError> {
        Ok(self.inner.init_transactions(timeout)?)
    }

    /// Begins a transaction.
    pub fn begin_transaction(&self) -> Result<(), TransactionError> {
        Ok(self.inner.begin_transaction()?)
    }

    /// Commits it. Cheap when all results of its records have come before.
    pub fn commit_transaction(&self, timeout: Duration) -> Result<(), TransactionError> {
        Ok(self.inner.commit_transaction(timeout)?)
    }

    /// Aborts it; what is still queued fails.
    pub fn abort_transaction(&self, timeout: Duration) -> Result<(), TransactionError> {
        self.inner.abort_transaction(timeout)?;
        self.clear_failures();
        Ok(())
    }

    /// Why the open transaction can only be aborted, if so. Not every such error comes with a record's result; beginning
    /// within a transaction changes nothing, and is refused with the reason.
    pub fn must_abort(&self) -> Option<TransactionError> {
        let refused = self.inner.begin_transaction().map_err(TransactionError::from).err()?;
        (refused.next == TransactionErrorAction::Abort || self.fatal().is_some()).then_some(refused)
    }
}
