//! Command ids: opaque, unguessable, sorted by time. An id leads to its record without an index.
//!
//! 25 bytes, written as 40 characters of Crockford's base 32:
//!
//! | bytes | content |
//! |---|---|
//! | 0–5 | milliseconds since 1970, big-endian: ids sort by time |
//! | 6–9 | tag of the log that accepted the command: the first 4 bytes of the log id |
//! | 10–15 | LSN of the record, masked by a keyed digest of the other bytes |
//! | 16–20 | random |
//! | 21–24 | seal ([`IdSeal`]), or random while the shared secret is unknown |
//!
//! The mask hides the number of accepted commands. The random bytes and the seal make an id impossible to guess,
//! because the whole id is compared with the one in the record. A requeued command keeps its id; the dead-letter store
//! maps it to the new record.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use data_encoding::{Encoding, Specification};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::units::{Lsn, Timestamp};

use super::id_seal::{IdSeal, SEAL_LEN};

const ID_LEN: usize = 25;
const TEXT_LEN: usize = 40;
const LSN_AT: usize = 10;
const RANDOM_AT: usize = 16;
const SEAL_AT: usize = ID_LEN - SEAL_LEN;

/// Crockford's base 32 (no I, L, O, U), read without regard to case. 25 bytes are exactly 40 characters: no padding.
static BASE32: LazyLock<Encoding> = LazyLock::new(|| {
    let mut specification = Specification::new();
    specification.symbols.push_str("0123456789ABCDEFGHJKMNPQRSTVWXYZ");
    specification.translate.from.push_str("abcdefghjkmnpqrstvwxyz");
    specification.translate.to.push_str("ABCDEFGHJKMNPQRSTVWXYZ");
    #[expect(clippy::expect_used, reason = "the alphabet above is a constant with 32 distinct symbols")]
    specification.encoding().expect("a valid alphabet")
});

/// The id of one accepted command.
///
/// It has 40 characters, sorts by time, and leads to the record in the log that accepted the command:
///
/// ```
/// use forebay_wal::Lsn;
/// use forebay_wal::command::{CommandId, IdGenerator};
/// use forebay_wal::units::Timestamp;
///
/// let generator = IdGenerator::new(&[1; 16], &[2; 32]);
/// let id = generator.generate(Timestamp(1_764_547_200_000), Lsn(17), [3; 9]);
///
/// let text = id.to_string();
/// assert_eq!(text.len(), 40);
/// assert_eq!(text.to_lowercase().parse(), Ok(id));
/// assert_eq!(id.accepted_at(), Timestamp(1_764_547_200_000));
/// assert_eq!(generator.lsn(&id), Ok(Lsn(17)));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId([u8; ID_LEN]);

impl CommandId {
    /// The bytes of the id, as stored in a record.
    pub fn as_bytes(&self) -> &[u8; ID_LEN] {
        &self.0
    }

    /// An id from the bytes in a record.
    pub fn from_bytes(bytes: [u8; ID_LEN]) -> Self {
        Self(bytes)
    }

    /// Time at which the command was first accepted. A requeue does not change it.
    pub fn accepted_at(&self) -> Timestamp {
        let mut millis = [0; 8];
        millis[2..].copy_from_slice(&self.0[..6]);
        Timestamp(u64::from_be_bytes(millis))
    }

    /// Whether a daemon with this seal's secret generated the id. The seal does not cover the LSN.
    pub fn has_seal(&self, seal: &IdSeal) -> bool {
        seal.matches(&self.0[SEAL_AT..], &self.0[..LSN_AT], &self.0[RANDOM_AT..SEAL_AT])
    }

    /// Whether the same log accepted both commands.
    pub fn is_of_same_log(&self, other: &Self) -> bool {
        self.0[6..LSN_AT] == other.0[6..LSN_AT]
    }
}

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; TEXT_LEN];
        BASE32.encode_mut(&self.0, &mut text);
        f.write_str(str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for CommandId {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl FromStr for CommandId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.len() != TEXT_LEN {
            return Err(IdError::Malformed);
        }
        let bytes = BASE32.decode(text.as_bytes()).map_err(|_| IdError::Malformed)?;
        Ok(Self(bytes.try_into().map_err(|_| IdError::Malformed)?))
    }
}

/// Why an id does not lead to a record.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not 40 characters of Crockford's base 32.
    #[error("a command id is 40 characters of Crockford's base 32")]
    Malformed,
    /// Another log accepted the command.
    #[error("another log accepted this command: ask the daemon that answered 202")]
    OtherLog,
}

/// Generates the ids of one log, and finds the LSN in an id.
#[derive(Clone)]
pub struct IdGenerator {
    tag: [u8; 4],
    mask: Hmac<Sha256>,
    seal: IdSeal,
}

impl IdGenerator {
    /// A generator for the log with this id and secret.
    pub fn new(log_id: &[u8; 16], secret: &[u8; 32]) -> Self {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
        let mask = Hmac::new_from_slice(secret).expect("HMAC takes any key");
        Self { tag: [log_id[0], log_id[1], log_id[2], log_id[3]], mask, seal: IdSeal::default() }
    }

    /// The same generator with a seal, which applies to new ids once its secret is known.
    pub fn with_seal(self, seal: IdSeal) -> Self {
        Self { seal, ..self }
    }

    /// A new id for the record `lsn`, accepted at `at`. `random` must come from the system's random generator.
    pub fn generate(&self, at: Timestamp, lsn: Lsn, random: [u8; 9]) -> CommandId {
        let mut bytes = [0; ID_LEN];
        bytes[..6].copy_from_slice(&at.0.to_be_bytes()[2..]);
        bytes[6..LSN_AT].copy_from_slice(&self.tag);
        bytes[RANDOM_AT..].copy_from_slice(&random);
        if let Some(seal) = self.seal.compute(&bytes[..LSN_AT], &bytes[RANDOM_AT..SEAL_AT]) {
            bytes[SEAL_AT..].copy_from_slice(&seal);
        }
        let masked = lsn.0 ^ self.mask_of(&bytes);
        bytes[LSN_AT..RANDOM_AT].copy_from_slice(&masked.to_be_bytes()[2..]);
        CommandId(bytes)
    }

    /// The LSN of the record that first had this id. The caller must compare the id with the one in that record.
    pub fn lsn(&self, id: &CommandId) -> Result<Lsn, IdError> {
        if id.0[6..LSN_AT] != self.tag {
            return Err(IdError::OtherLog);
        }
        let mut masked = [0; 8];
        masked[2..].copy_from_slice(&id.0[LSN_AT..RANDOM_AT]);
        Ok(Lsn(u64::from_be_bytes(masked) ^ self.mask_of(&id.0)))
    }

    /// 48 bits that depend on all bytes of the id except the LSN.
    fn mask_of(&self, bytes: &[u8; ID_LEN]) -> u64 {
        let mut mac = self.mask.clone();
        mac.update(b"lsn");
        mac.update(&bytes[..LSN_AT]);
        mac.update(&bytes[RANDOM_AT..]);
        let digest = mac.finalize().into_bytes();
        let mut mask = [0; 8];
        mask[2..].copy_from_slice(&digest[..6]);
        u64::from_be_bytes(mask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generator() -> IdGenerator {
        IdGenerator::new(&[7; 16], &[9; 32])
    }

    #[test]
    fn an_id_leads_back_to_its_record() {
        let id = generator().generate(Timestamp(1_795_176_000_123), Lsn(42), [3; 9]);
        let read: CommandId = id.to_string().to_lowercase().parse().unwrap();
        assert_eq!(read, id);
        assert_eq!(id.to_string().len(), TEXT_LEN);
        assert_eq!(generator().lsn(&read), Ok(Lsn(42)));
        assert_eq!(read.accepted_at(), Timestamp(1_795_176_000_123));
    }

    #[test]
    fn an_id_of_another_log_is_detected() {
        let id = IdGenerator::new(&[8; 16], &[9; 32]).generate(Timestamp(1), Lsn(42), [3; 9]);
        assert_eq!(generator().lsn(&id), Err(IdError::OtherLog));
        assert!(!id.is_of_same_log(&generator().generate(Timestamp(1), Lsn(42), [3; 9])));
    }

    #[test]
    fn daemons_with_one_secret_recognise_only_real_ids() {
        let seal = |secret: u8| {
            let seal = IdSeal::default();
            seal.set(&[secret; 32]);
            seal
        };
        let sealed = generator().with_seal(seal(5));
        for number in 0..200 {
            let id = sealed.generate(Timestamp(number), Lsn(number), [number as u8; 9]);
            assert_eq!(sealed.lsn(&id), Ok(Lsn(number)), "the seal does not affect the LSN");
            assert_eq!(generator().lsn(&id), Ok(Lsn(number)));
            assert!(id.has_seal(&seal(5)));
            assert!(
                !id.has_seal(&seal(6)) && !id.has_seal(&IdSeal::default()),
                "another secret, or no secret"
            );
            for byte in (0..LSN_AT).chain(RANDOM_AT..ID_LEN) {
                let mut changed = id;
                changed.0[byte] ^= 1;
                assert!(!changed.has_seal(&seal(5)), "byte {byte}");
            }
            let unsealed = generator().generate(Timestamp(number), Lsn(number), [number as u8; 9]);
            assert!(!unsealed.has_seal(&seal(5)));
        }
    }

    #[test]
    fn ids_sort_by_time_and_do_not_show_the_lsn() {
        let early = generator().generate(Timestamp(1_000), Lsn(9), [255; 9]);
        let late = generator().generate(Timestamp(1_001), Lsn(1), [0; 9]);
        assert!(early.to_string() < late.to_string());
        assert_ne!(early.0[LSN_AT..RANDOM_AT], [0, 0, 0, 0, 0, 9]);
    }

    #[test]
    fn an_invalid_id_is_refused() {
        for text in ["", "01JD", &"U".repeat(TEXT_LEN), &"é".repeat(20)] {
            assert_eq!(text.parse::<CommandId>(), Err(IdError::Malformed), "{text}");
        }
    }
}
