//! Pending markers: names, e-mail addresses and phone numbers of commands that are accepted and not yet applied.
//!
//! A marker is a hint: the log and the database's unique index are the truth. Its value:
//!
//! ```text
//! <log id>:<claim>:<digest>:<command id, or ->
//! ```
//!
//! the first three as 32 hexadecimal digits. Log and claim are its *owner*: who may change or remove it. The claim
//! stands in the record too, so that the log knows its own markers again, and the consumer those of what it applied.
//! The command id comes in after the flush.

use std::fmt::Write as _;

use data_encoding::HEXLOWER;

/// Between the parts of a value; none of them holds it.
const SEPARATOR: u8 = b':';
/// `<log id>:<claim>`.
const OWNER_LEN: usize = 32 + 1 + 32;
/// What stands for an id that is not known yet.
const NO_ID: &str = "-";

/// The marker of a name.
pub fn name_key(name: &str) -> String {
    format!("user:pending:{name}")
}

/// The marker of an e-mail address. No name holds a colon, so none is mistaken for it.
pub fn email_key(email: &str) -> String {
    format!("user:pending:email:{email}")
}

/// The marker of a phone number.
pub fn phone_key(phone: &str) -> String {
    format!("user:pending:phone:{phone}")
}

/// Says that the daemon of this log is alive.
pub fn heartbeat_key(log: &[u8; 16]) -> String {
    format!("forebay:alive:{}", HEXLOWER.encode(log))
}

/// What stands in a marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReservationMarker {
    /// The log that set it.
    pub log: [u8; 16],
    /// The command, before it has an id.
    pub claim: [u8; 16],
    /// Keyed digest of the normalised body: tells a repetition from another request.
    pub digest: [u8; 16],
    /// The command, once it is flushed.
    pub id: Option<String>,
}

impl ReservationMarker {
    /// As it stands in the store.
    pub fn encode(&self) -> Vec<u8> {
        let mut text = owner(&self.log, &self.claim);
        let id = self.id.as_deref().unwrap_or(NO_ID);
        // Writing to a String cannot fail.
        let _ = write!(text, ":{}:{id}", HEXLOWER.encode(&self.digest));
        text.into_bytes()
    }

    /// Reads a value; none when another version, or another program, wrote it.
    pub fn decode(value: &[u8]) -> Option<Self> {
        let mut parts = value.split(|byte| *byte == SEPARATOR);
        let mut part = || HEXLOWER.decode(parts.next()?).ok()?.try_into().ok();
        let (log, claim, digest) = (part()?, part()?, part()?);
        let id = str::from_utf8(parts.next()?).ok()?;
        let id = (id != NO_ID).then(|| id.to_owned());
        parts.next().is_none().then_some(Self { log, claim, digest, id })
    }

    /// The beginning of its value that says whose it is.
    pub fn owner(&self) -> Vec<u8> {
        owner(&self.log, &self.claim).into_bytes()
    }
}

/// The beginning of every value that this command may set.
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
    fn a_marker_reads_back_and_begins_with_its_owner() {
        for id in [None, Some("01JDABC".to_owned())] {
            let marker = ReservationMarker { log: [1; 16], claim: [2; 16], digest: [3; 16], id };
            let value = marker.encode();
            assert_eq!(ReservationMarker::decode(&value), Some(marker.clone()));
            assert!(value.starts_with(&marker.owner()));
            assert_eq!(marker.owner().len(), OWNER_LEN);
        }
    }

    #[test]
    fn what_is_no_marker_is_not_taken_for_one() {
        for value in ["", "x", ":::", "00:00:00:-", &"0".repeat(140)] {
            assert_eq!(ReservationMarker::decode(value.as_bytes()), None, "{value}");
        }
    }
}
