//! Content of the topic [`TOPIC`]: one message per transactional id, in JSON, so that any Kafka tool can display it.
//!
//! Key: `<log id, 32 hexadecimal digits>-<worker>`, which is the transactional id. Value:
//! `{"version":1,"incarnation":"<32 hexadecimal digits>","positions":[256 numbers]}`. It contains the incarnation of
//! the log that wrote it. For each lane, it contains the LSN below which all records are in Kafka or are dead
//! letters.

use serde::{Deserialize, Serialize};

use super::lane_positions::LanePositions;
use crate::command::CHECKPOINT_TOPIC;

/// The topic, shared by all logs of a cluster.
pub(in crate::drain) const TOPIC: &str = CHECKPOINT_TOPIC;

const VERSION: u32 = 1;

/// One checkpoint message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CheckpointMessage {
    /// The incarnation of the log that wrote the message.
    pub(super) incarnation: [u8; 16],
    /// The positions it had reached.
    pub(super) lane_positions: LanePositions,
}

/// Why a value is not a valid message.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MessageError {
    /// The version is unknown to this forebay.
    #[error("it has version {0}, but this forebay knows only version {VERSION}; a newer forebay wrote it")]
    Version(u32),
    /// The value has the format of no version.
    #[error("it is not a forebay message: {0}")]
    Malformed(String),
}

#[derive(Serialize, Deserialize)]
struct MessageDocument {
    version: u32,
    incarnation: String,
    positions: Vec<u64>,
}

impl CheckpointMessage {
    /// Encodes the value.
    pub(super) fn encode(&self) -> Vec<u8> {
        let written = MessageDocument {
            version: VERSION,
            incarnation: hex(&self.incarnation),
            positions: self.lane_positions.to_list(),
        };
        // It contains only numbers and digits, which JSON can always encode.
        serde_json::to_vec(&written).unwrap_or_default()
    }

    /// Decodes a value.
    pub(super) fn decode(value: &[u8]) -> Result<Self, MessageError> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let malformed = |what: &str| MessageError::Malformed(what.to_owned());
        let head: Head = serde_json::from_slice(value).map_err(|error| malformed(&error.to_string()))?;
        if head.version != VERSION {
            return Err(MessageError::Version(head.version));
        }
        let written: MessageDocument =
            serde_json::from_slice(value).map_err(|error| malformed(&error.to_string()))?;
        let incarnation = u128::from_str_radix(&written.incarnation, 16);
        let incarnation =
            incarnation.map_err(|_| malformed("its incarnation is not a number"))?.to_be_bytes();
        let positions = LanePositions::from_list(&written.positions);
        Ok(Self {
            incarnation,
            lane_positions: positions.ok_or_else(|| malformed("it does not have 256 positions"))?,
        })
    }
}

/// The notation of ids in all output.
pub(super) fn hex(id: &[u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(*id))
}

/// The transactional id of one worker of this log, which is also the key of its message.
pub(super) fn transactional_id(log_id: &[u8; 16], worker: usize) -> String {
    format!("{}-{worker}", hex(log_id))
}

/// The worker's index in such an id.
pub(super) fn worker_index(id: &str) -> Option<usize> {
    id.rsplit_once('-')?.1.parse().ok()
}

/// Whether a key belongs to a worker of this log.
pub(super) fn is_key_of_log(log_id: &[u8; 16], key: &[u8]) -> bool {
    let own = hex(log_id);
    key.strip_prefix(own.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Lsn;

    fn sample() -> CheckpointMessage {
        let mut positions = LanePositions::default();
        positions.advance(0, Lsn(6));
        positions.advance(255, Lsn(0xffff_ffff_fffe));
        CheckpointMessage { incarnation: [0xa5; 16], lane_positions: positions }
    }

    /// Every later version must be able to read this.
    #[test]
    fn version_1_has_these_bytes() {
        let zeros = "0,".repeat(254);
        let expected = format!(
            "{{\"version\":1,\"incarnation\":\"{}\",\"positions\":[7,{zeros}281474976710655]}}",
            "a5".repeat(16)
        );
        assert_eq!(String::from_utf8(sample().encode()).unwrap(), expected);
        assert_eq!(CheckpointMessage::decode(expected.as_bytes()), Ok(sample()));
    }

    #[test]
    fn malformed_messages_and_newer_versions_have_different_errors() {
        assert_eq!(
            CheckpointMessage::decode(b"{\"version\":2,\"more\":true}"),
            Err(MessageError::Version(2))
        );
        let good = String::from_utf8(sample().encode()).unwrap();
        for bad in [good.replacen("0,", "", 1), good.replacen("a5", "zz", 1), "[]".to_owned(), String::new()]
        {
            assert!(
                matches!(CheckpointMessage::decode(bad.as_bytes()), Err(MessageError::Malformed(_))),
                "{bad}"
            );
        }
    }

    #[test]
    fn keys_of_other_logs_are_ignored() {
        let id = transactional_id(&[1; 16], 7);
        assert_eq!(id, format!("{}-7", "01".repeat(16)));
        assert_eq!((worker_index(&id), worker_index("x")), (Some(7), None));
        assert!(is_key_of_log(&[1; 16], id.as_bytes()));
        assert!(
            !is_key_of_log(&[2; 16], id.as_bytes())
                && !is_key_of_log(&[1; 16], b"01")
                && !is_key_of_log(&[1; 16], b"")
        );
    }
}
