//! The messages of one log in Kafka.

use std::collections::BTreeMap;

use super::message;
use super::message::{CheckpointMessage, MessageError};
use crate::drain::producer_settings::ProducerSettings;
use crate::kafka::{ClientError, CompactedTable, CompactedTopicError, ErrorCode};

/// Why the positions are not known.
#[derive(Debug, thiserror::Error)]
pub(super) enum CheckpointTableError {
    /// The topic.
    #[error(transparent)]
    Topic(#[from] CompactedTopicError),
    /// A message of this log.
    #[error("message {key} in topic {}: {source}", message::TOPIC)]
    Message {
        /// Its key.
        key: String,
        /// What is wrong.
        source: MessageError,
    },
}

impl CheckpointTableError {
    /// What Kafka said, if it did.
    pub(super) fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Topic(CompactedTopicError::Kafka { source, .. }) => source.rdkafka_error_code(),
            _ => None,
        }
    }
}

/// Reads the messages of one log.
pub(super) struct CheckpointTable {
    topic: CompactedTable,
    log_id: [u8; 16],
}

impl CheckpointTable {
    pub(super) fn new(link: &ProducerSettings, log_id: [u8; 16]) -> Result<Self, ClientError> {
        Ok(Self { topic: CompactedTable::new(&link.config, &link.bootstrap, message::TOPIC)?, log_id })
    }

    /// Makes the topic if it is missing; an error if it is of another make.
    pub(super) fn ensure(&self) -> Result<(), CheckpointTableError> {
        Ok(self.topic.ensure()?)
    }

    /// All messages of this log by transactional id, as of a moment after the call.
    pub(super) fn read(
        &self,
        tick: &mut dyn FnMut() -> bool,
    ) -> Result<BTreeMap<String, CheckpointMessage>, CheckpointTableError> {
        Self::decode(
            self.topic.read(|key| message::is_key_of_log(&self.log_id, key), tick)?.unwrap_or_default(),
        )
    }

    /// What is committed now, of a topic that is there; disturbs nobody and waits for nobody.
    pub(super) fn read_committed(
        &self,
        tick: &mut dyn FnMut() -> bool,
    ) -> Result<BTreeMap<String, CheckpointMessage>, CheckpointTableError> {
        Self::decode(self.topic.read_committed(|key| message::is_key_of_log(&self.log_id, key), tick)?)
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
