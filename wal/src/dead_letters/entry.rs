//! Entries of the dead-letter store: their encoding in a frame, and which part is encrypted.

use std::io;

use serde::{Deserialize, Serialize};

use super::super::frame::{ChecksumSeed, FrameMeta};
use super::super::types::DeadLetter;
use super::super::{encryption, frame};
use super::file_header::DataKey;
use super::types::{DamagedRange, DeadEntry, Removal, SealedLetter};
use crate::units::{Lsn, Timestamp};

const PURPOSE: &str = "forebay dead letter";

/// The JSON header of an entry.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "lowercase")]
pub enum EntryHeader {
    /// A dead letter. The record follows.
    Letter { accepted_at: Timestamp, died_at: Timestamp, reason: String, attempts: u32 },
    /// An encrypted dead letter. The encrypted part follows: length of the reason (4), reason, record.
    Sealed { accepted_at: Timestamp, died_at: Timestamp, attempts: u32 },
    /// Records that could not be read.
    Damage(DamagedRange),
    /// The earlier entry with this number was removed; for a range, all of it.
    Removed {
        requeued_as: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lsn_to: Option<u64>,
    },
}

/// An entry to be written to the file.
pub struct EncodedEntry {
    /// Number of the (first) record.
    pub lsn: Lsn,
    /// JSON header.
    pub head: EntryHeader,
    body: Vec<u8>,
}

impl EncodedEntry {
    /// Encodes a dead letter, encrypted if a key is given.
    pub fn from_letter(letter: &DeadLetter, key: Option<&DataKey>) -> io::Result<Self> {
        let DeadLetter { lsn, accepted_at, died_at, ref reason, attempts, ref payload } = *letter;
        let Some(key) = key else {
            let head = EntryHeader::Letter { accepted_at, died_at, reason: reason.clone(), attempts };
            return Ok(Self { lsn, head, body: payload.clone() });
        };
        let head = EntryHeader::Sealed { accepted_at, died_at, attempts };
        let mut plain = (reason.len() as u32).to_le_bytes().to_vec();
        plain.extend_from_slice(reason.as_bytes());
        plain.extend_from_slice(payload);
        let bound = associated_data(lsn, accepted_at, died_at, attempts);
        let body = encryption::seal_envelope(key, PURPOSE, &bound, &plain)?;
        Ok(Self { lsn, head, body })
    }

    /// Encodes a damaged range.
    pub fn from_damage(damage: DamagedRange) -> Self {
        Self { lsn: Lsn(damage.lsn_from), head: EntryHeader::Damage(damage), body: Vec::new() }
    }

    /// Encodes the removal of an entry that covers the records up to `to`.
    pub fn from_removal(lsn: Lsn, to: Lsn, removal: Removal) -> Self {
        let requeued_as = match removal {
            Removal::Dropped => None,
            Removal::Requeued(lsn) => Some(lsn.0),
        };
        let lsn_to = (to > lsn).then_some(to.0);
        Self { lsn, head: EntryHeader::Removed { requeued_as, lsn_to }, body: Vec::new() }
    }

    /// Appends the entry to `out`, to be written at `offset`. Returns its length.
    pub fn encode(
        &self,
        out: &mut Vec<u8>,
        seed: &ChecksumSeed,
        offset: u64,
        flushed: u64,
    ) -> io::Result<usize> {
        // A durable offset that does not fit is capped: the next start rewrites more than necessary.
        let flushed = u32::try_from(flushed).unwrap_or(u32::MAX);
        let json = serde_json::to_vec(&self.head)?;
        let mut payload = (json.len() as u32).to_le_bytes().to_vec();
        payload.extend_from_slice(&json);
        payload.extend_from_slice(&self.body);
        let meta = FrameMeta {
            kind: frame::RECORD,
            lsn: self.lsn,
            at: Timestamp(0),
            lane: 0,
            ends_batch: true,
            flushed,
        };
        frame::encode(out, seed, offset, meta, &payload);
        Ok(frame::frame_len(payload.len()))
    }
}

/// Splits a frame's payload into JSON header and body.
pub fn split(payload: &[u8]) -> Option<(EntryHeader, &[u8])> {
    let (len, rest) = payload.split_first_chunk::<4>()?;
    let (json, body) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    Some((serde_json::from_slice(json).ok()?, body))
}

/// The entry as an operator sees it; `None` for a removal. Fails if the entry was altered.
pub fn read(
    lsn: Lsn,
    head: EntryHeader,
    body: &[u8],
    key: Option<&DataKey>,
) -> Result<Option<DeadEntry>, ForgedEntry> {
    Ok(Some(match head {
        EntryHeader::Letter { accepted_at, died_at, reason, attempts } => {
            let payload = body.to_vec();
            DeadEntry::Letter(DeadLetter { lsn, accepted_at, died_at, reason, attempts, payload })
        }
        EntryHeader::Sealed { accepted_at, died_at, attempts } => {
            let Some(key) = key else {
                return Ok(Some(DeadEntry::Sealed(SealedLetter { lsn, accepted_at, died_at, attempts })));
            };
            let bound = associated_data(lsn, accepted_at, died_at, attempts);
            let plain = encryption::open_envelope(key, PURPOSE, &bound, body).ok_or(ForgedEntry)?;
            let (len, rest) = plain.split_first_chunk::<4>().ok_or(ForgedEntry)?;
            let (reason, record) =
                rest.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or(ForgedEntry)?;
            let reason = String::from_utf8_lossy(reason).into_owned();
            DeadEntry::Letter(DeadLetter {
                lsn,
                accepted_at,
                died_at,
                reason,
                attempts,
                payload: record.to_vec(),
            })
        }
        EntryHeader::Damage(damage) => DeadEntry::Damage(damage),
        EntryHeader::Removed { .. } => return Ok(None),
    }))
}

/// An encrypted dead letter that does not authenticate with the store's key.
#[derive(Debug)]
pub struct ForgedEntry;

/// The unencrypted fields, which are authenticated together with the encrypted part.
fn associated_data(lsn: Lsn, accepted_at: Timestamp, died_at: Timestamp, attempts: u32) -> Vec<u8> {
    [lsn.0, accepted_at.0, died_at.0, attempts.into()]
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect()
}
