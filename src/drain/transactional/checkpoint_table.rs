//! Checkpoint messages of one log in Kafka.

use std::collections::BTreeMap;

use super::checkpoint_message;
use super::checkpoint_message::{CheckpointMessage, MessageError};
use crate::drain::producer_settings::ProducerSettings;
use crate::kafka::{ClientError, CompactedTable, CompactedTopicError, ErrorCode};

/// Why the positions are unknown.
#[derive(Debug, thiserror::Error)]
pub(super) enum CheckpointTableError {
    /// The topic is missing or has wrong settings, or a request for it failed.
    #[error(transparent)]
    Topic(#[from] CompactedTopicError),
    /// A message of this log is invalid.
    #[error("message {key} in topic {}: {source}", checkpoint_message::TOPIC)]
    Message {
        /// The key of the message.
        key: String,
        /// The cause.
        source: MessageError,
    },
}

impl CheckpointTableError {
    /// Kafka's error code, if Kafka returned one.
    pub(super) fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Topic(CompactedTopicError::Kafka { source, .. }) => source.rdkafka_error_code(),
            _ => None,
        }
    }
}

/// Reads the checkpoint messages of one log.
pub(super) struct CheckpointTable {
    topic: CompactedTable,
    log_id: [u8; 16],
}

impl CheckpointTable {
    pub(super) fn new(settings: &ProducerSettings, log_id: [u8; 16]) -> Result<Self, ClientError> {
        Ok(Self {
            topic: CompactedTable::new(&settings.config, &settings.bootstrap, checkpoint_message::TOPIC)?,
            log_id,
        })
    }

    /// Creates the topic if it is missing. Returns an error if its settings are wrong.
    pub(super) fn ensure(&self) -> Result<(), CheckpointTableError> {
        Ok(self.topic.ensure()?)
    }

    /// All messages of this log by transactional id. Includes everything committed before the call.
    pub(super) fn read(
        &self,
        tick: &mut dyn FnMut() -> bool,
    ) -> Result<BTreeMap<String, CheckpointMessage>, CheckpointTableError> {
        Self::decode(
            self.topic
                .read(|key| checkpoint_message::is_key_of_log(&self.log_id, key), tick)?
                .unwrap_or_default(),
        )
    }

    /// The currently committed messages of an existing topic. Does not wait for open transactions and does not fence
    /// any producer.
    pub(super) fn read_committed(
        &self,
        tick: &mut dyn FnMut() -> bool,
    ) -> Result<BTreeMap<String, CheckpointMessage>, CheckpointTableError> {
        Self::decode(
            self.topic.read_committed(|key| checkpoint_message::is_key_of_log(&self.log_id, key), tick)?,
        )
    }

    fn decode(
        found: BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> Result<BTreeMap<String, CheckpointMessage>, CheckpointTableError> {
        let decode = |(key, value): (Vec<u8>, Vec<u8>)| {
            let key = String::from_utf8_lossy(&key).into_owned();
            match CheckpointMessage::decode(&value) {
                Ok(message) => Ok((key, message)),
                Err(source) => Err(CheckpointTableError::Message { key, source }),
            }
        };
        found.into_iter().map(decode).collect()
    }
}
