//! One entry: how it lies in its frame, and what of it is sealed.

use std::io;

use serde::{Deserialize, Serialize};

use super::super::frame::{ChecksumSeed, FrameMeta};
use super::super::types::DeadLetter;
use super::super::{encryption, frame};
use super::file_header::DataKey;
use super::types::{DamagedRange, DeadEntry, Removal, SealedLetter};
use crate::units::{Lsn, Timestamp};

const PURPOSE: &str = "forebay dead letter";

/// What stands before the record.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "lowercase")]
pub enum EntryHeader {
    /// A letter; the record follows.
    Letter { accepted_at: Timestamp, died_at: Timestamp, reason: String, attempts: u32 },
    /// A letter; what follows is sealed: the length of the reason (4), the reason, the record.
    Sealed { accepted_at: Timestamp, died_at: Timestamp, attempts: u32 },
    /// Records that could not be read.
    Damage(DamagedRange),
    /// An earlier entry of this number is gone; of a range, all of it.
    Removed {
        requeued_as: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lsn_to: Option<u64>,
    },
}

/// An entry on its way into the file.
pub struct EncodedEntry {
    /// The record's number.
    pub lsn: Lsn,
    /// What it is.
    pub head: EntryHeader,
    body: Vec<u8>,
}

impl EncodedEntry {
    /// A letter, sealed if there is a key.
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

    /// A damaged range.
    pub fn from_damage(damage: DamagedRange) -> Self {
        Self { lsn: Lsn(damage.lsn_from), head: EntryHeader::Damage(damage), body: Vec::new() }
    }

    /// The removal of an entry that spoke of the records up to `to`.
    pub fn from_removal(lsn: Lsn, to: Lsn, removal: Removal) -> Self {
        let requeued_as = match removal {
            Removal::Dropped => None,
            Removal::Requeued(lsn) => Some(lsn.0),
        };
        let lsn_to = (to > lsn).then_some(to.0);
        Self { lsn, head: EntryHeader::Removed { requeued_as, lsn_to }, body: Vec::new() }
    }

    /// Appends it to `out`, to be written at `offset`. Returns its length.
    pub fn encode(
        &self,
        out: &mut Vec<u8>,
        seed: &ChecksumSeed,
        offset: u64,
        flushed: u64,
    ) -> io::Result<usize> {
        // A promise that does not fit is a weaker one: more is rewritten at the next start.
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

/// Takes a frame's payload apart.
pub fn split(payload: &[u8]) -> Option<(EntryHeader, &[u8])> {
    let (len, rest) = payload.split_first_chunk::<4>()?;
    let (json, body) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    Some((serde_json::from_slice(json).ok()?, body))
}

/// What an operator sees of an entry; `None` for a removal. An error: it was changed by somebody.
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

/// A sealed letter that does not open with the store's key.
#[derive(Debug)]
pub struct ForgedEntry;

/// What shows of a sealed letter is bound to what does not.
fn associated_data(lsn: Lsn, accepted_at: Timestamp, died_at: Timestamp, attempts: u32) -> Vec<u8> {
    [lsn.0, accepted_at.0, died_at.0, attempts.into()]
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect()
}
