//! Reservations in the store: names, e-mail addresses and phone numbers of commands that are accepted and not yet
//! applied.
//!
//! A reservation is a hint; the log and the database's unique index are authoritative. Its value:
//!
//! ```text
//! <log id>:<claim>:<digest>:<command id, or ->
//! ```
//!
//! The first three are 32 hexadecimal digits each. Log and claim are its *owner*, which may change or remove it. The
//! claim is also in the record. The log thus recognises its own reservations, and the consumer those of the commands
//! that it applied. The command id is added after the flush.

use std::fmt::Write as _;

use data_encoding::HEXLOWER;

/// Separates the parts of a value; no part contains it.
const SEPARATOR: u8 = b':';
/// Length of `<log id>:<claim>`.
const OWNER_LEN: usize = 32 + 1 + 32;
/// Placeholder for an unknown command id.
const NO_ID: &str = "-";

/// Key of a name's reservation.
pub fn name_key(name: &str) -> String {
    format!("user:pending:{name}")
}

/// Key of an e-mail address's reservation. No name contains a colon, so the key cannot be that of a name.
pub fn email_key(email: &str) -> String {
    format!("user:pending:email:{email}")
}

/// Key of a phone number's reservation.
pub fn phone_key(phone: &str) -> String {
    format!("user:pending:phone:{phone}")
}

/// Key of the heartbeat of this log's daemon.
pub fn heartbeat_key(log: &[u8; 16]) -> String {
    format!("forebay:alive:{}", HEXLOWER.encode(log))
}

/// The value of a reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReservationMarker {
    /// The log that set the reservation.
    pub log: [u8; 16],
    /// Random identifier of the command, used before it has an id.
    pub claim: [u8; 16],
    /// Keyed digest of the normalised body; distinguishes a repeated request from another one.
    pub digest: [u8; 16],
    /// The command's id, once the command is flushed.
    pub id: Option<String>,
}

impl ReservationMarker {
    /// Encodes the value for the store.
    pub fn encode(&self) -> Vec<u8> {
        let mut text = owner(&self.log, &self.claim);
        let id = self.id.as_deref().unwrap_or(NO_ID);
        // Writing to a String cannot fail.
        let _ = write!(text, ":{}:{id}", HEXLOWER.encode(&self.digest));
        text.into_bytes()
    }

    /// Decodes a value. `None` if another version, or another program, wrote it.
    pub fn decode(value: &[u8]) -> Option<Self> {
        let mut parts = value.split(|byte| *byte == SEPARATOR);
        let mut part = || HEXLOWER.decode(parts.next()?).ok()?.try_into().ok();
        let (log, claim, digest) = (part()?, part()?, part()?);
        let id = str::from_utf8(parts.next()?).ok()?;
        let id = (id != NO_ID).then(|| id.to_owned());
        parts.next().is_none().then_some(Self { log, claim, digest, id })
    }

    /// The owner: the prefix of the value.
    pub fn owner(&self) -> Vec<u8> {
        owner(&self.log, &self.claim).into_bytes()
    }
}

/// The prefix of every value that this command may set.
pub fn owner(log: &[u8; 16], claim: &[u8; 16]) -> String {
    let mut owner = String::with_capacity(OWNER_LEN + 80);
    HEXLOWER.encode_append(log, &mut owner);
    owner.push(':');
    HEXLOWER.encode_append(claim, &mut owner);
    owner
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reservation_decodes_unchanged_and_begins_with_its_owner() {
        for id in [None, Some("01JDABC".to_owned())] {
            let marker = ReservationMarker { log: [1; 16], claim: [2; 16], digest: [3; 16], id };
            let value = marker.encode();
            assert_eq!(ReservationMarker::decode(&value), Some(marker.clone()));
            assert!(value.starts_with(&marker.owner()));
            assert_eq!(marker.owner().len(), OWNER_LEN);
        }
    }

    #[test]
    fn other_values_are_not_decoded_as_reservations() {
        for value in ["", "x", ":::", "00:00:00:-", &"0".repeat(140)] {
            assert_eq!(ReservationMarker::decode(value.as_bytes()), None, "{value}");
        }
    }
}
