//! The two copies of a file's wrapped data key, in its first block of 4096 bytes.
//!
//! The two slots are in different sectors. Each has its own checksum, which the block's checksum does not cover. One
//! slot may be damaged. A change of the master key rewrites one slot, flushes, and rewrites the other. At every moment
//! one of them therefore opens with the old or the new key. Assumption about the disk: a write of a sector does not
//! affect its neighbours, and is complete or has no effect.
//!
//! | offset in the block | content |
//! |---|---|
//! | 1024, 2048 | a slot of 128 bytes each |
//!
//! | offset in a slot | size | content |
//! |---|---|---|
//! | 0 | 8 | id of the master key; `shredded`: the data key was destroyed |
//! | 8 | 112 | data key (32) and the log's secret (32, zeros in `dead/letters`), sealed as in `sealed_message.rs`, purpose `forebay wrapped key`; associated data: bytes 0–511 of the block |
//! | 120 | 4 | zero |
//! | 124 | 4 | CRC of bytes 0–123 |

use std::io;

use zeroize::Zeroizing;

use super::super::byte_array::array;
use super::super::random;
use super::master_key::{KeyId, Keys, MasterKey};
use super::sealed_message;
use crate::failpoint::Failpoint;

/// Offsets of the slots in the block.
pub const SLOT_OFFSETS: [usize; 2] = [1024, 2048];
/// Length of a slot in bytes. It fits in a sector.
pub const SLOT_LEN: usize = 128;

const PURPOSE: &str = "forebay wrapped key";
/// Length of the first sector, which identifies the file. The wrapped key is bound to it.
const BOUND_LEN: usize = 512;
const SHREDDED: KeyId = KeyId(*b"shredded");
const SEALED_RANGE: std::ops::Range<usize> = 8..120;
const CRC_AT: usize = 124;

/// The secrets in the slots.
pub struct FileSecrets {
    bytes: Zeroizing<[u8; 64]>,
}

impl FileSecrets {
    /// A new data key, together with the log's secret.
    pub fn new(secret: &[u8; 32]) -> io::Result<Self> {
        let mut key: Zeroizing<[u8; 32]> = Zeroizing::new(random()?);
        if Failpoint::ReuseDataKey.is_set() {
            *key = [7; 32];
        }
        let mut bytes = Zeroizing::new([0; 64]);
        bytes[..32].copy_from_slice(&*key);
        bytes[32..].copy_from_slice(secret);
        Ok(Self { bytes })
    }

    /// The data key.
    pub fn data_key(&self) -> &[u8; 32] {
        #[expect(clippy::expect_used, reason = "64 bytes have a first half")]
        self.bytes.first_chunk().expect("the first half")
    }

    /// The log's secret.
    pub fn secret(&self) -> [u8; 32] {
        array(&*self.bytes, 32)
    }
}

/// Why the slots cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotError {
    /// One of these keys would open them, and none of them is given.
    MissingKey(Vec<KeyId>),
    /// The data key was destroyed when the file was deleted.
    Shredded,
    /// Both slots are damaged.
    Damaged,
}

/// State of one slot, according to its own checksum and key id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrappedKeySlot {
    /// The slot is damaged.
    Damaged,
    /// The data key was destroyed.
    Shredded,
    /// The data key is wrapped with this master key.
    WrappedBy(KeyId),
}

/// State of each slot.
pub fn slot_states(block: &[u8]) -> [WrappedKeySlot; 2] {
    SLOT_OFFSETS.map(|at| {
        let slot: [u8; SLOT_LEN] = array(block, at);
        if u32::from_le_bytes(array(&slot, CRC_AT)) != crc32fast::hash(&slot[..CRC_AT]) {
            return WrappedKeySlot::Damaged;
        }
        match KeyId(array(&slot, 0)) {
            SHREDDED => WrappedKeySlot::Shredded,
            id => WrappedKeySlot::WrappedBy(id),
        }
    })
}

/// Wraps the secrets in a slot for the block, whose first sector must be complete.
pub fn wrap(block: &[u8], master: &MasterKey, wrapped: &FileSecrets) -> io::Result<[u8; SLOT_LEN]> {
    let sealed = sealed_message::seal(master.bytes(), PURPOSE, &block[..BOUND_LEN], &*wrapped.bytes)?;
    Ok(slot(master.id(), &sealed))
}

/// Writes both slots of a block.
pub fn write_slots(block: &mut [u8], master: &MasterKey, wrapped: &FileSecrets) -> io::Result<()> {
    for at in SLOT_OFFSETS {
        let slot = wrap(block, master, wrapped)?;
        block[at..at + SLOT_LEN].copy_from_slice(&slot);
    }
    Ok(())
}

/// The slot that overwrites another to destroy the data key.
pub fn shredded_slot() -> [u8; SLOT_LEN] {
    slot(SHREDDED, &[])
}

/// Zeroes the slots of a block, as its checksum requires.
pub fn blank_slots(block: &mut [u8]) {
    SLOT_OFFSETS.iter().for_each(|&at| block[at..at + SLOT_LEN].fill(0));
}

/// Opens the slots of a block of at least 4096 bytes.
pub fn open(block: &[u8], keys: &Keys) -> Result<FileSecrets, SlotError> {
    let slots = slot_states(block);
    if slots.contains(&WrappedKeySlot::Shredded) {
        // One destroyed slot is enough: a key is destroyed only after all records of the segment are durably done.
        return Err(SlotError::Shredded);
    }
    let mut needs = Vec::new();
    for (index, slot) in slots.into_iter().enumerate() {
        let WrappedKeySlot::WrappedBy(id) = slot else { continue };
        match keys.find(id) {
            Some(master) => {
                if let Some(wrapped) = open_one(block, index, master) {
                    return Ok(wrapped);
                }
            }
            None if needs.contains(&id) => {}
            None => needs.push(id),
        }
    }
    Err(if needs.is_empty() { SlotError::Damaged } else { SlotError::MissingKey(needs) })
}

/// The secrets in slot `index`, if it is valid and this is its master key.
pub fn open_one(block: &[u8], index: usize, master: &MasterKey) -> Option<FileSecrets> {
    if slot_states(block)[index] != WrappedKeySlot::WrappedBy(master.id()) {
        return None;
    }
    let slot: [u8; SLOT_LEN] = array(block, SLOT_OFFSETS[index]);
    let opened = sealed_message::open(master.bytes(), PURPOSE, &block[..BOUND_LEN], &slot[SEALED_RANGE])?;
    let mut bytes = Zeroizing::new([0; 64]);
    bytes.copy_from_slice(opened.get(..64)?);
    Some(FileSecrets { bytes })
}

/// Whether slot `index` opens with one of these keys.
pub fn opens(block: &[u8], index: usize, keys: &Keys) -> bool {
    match slot_states(block)[index] {
        WrappedKeySlot::WrappedBy(id) => {
            keys.find(id).is_some_and(|master| open_one(block, index, master).is_some())
        }
        WrappedKeySlot::Damaged | WrappedKeySlot::Shredded => false,
    }
}

fn slot(id: KeyId, sealed: &[u8]) -> [u8; SLOT_LEN] {
    let mut slot = [0; SLOT_LEN];
    slot[..8].copy_from_slice(&id.0);
    slot[SEALED_RANGE.start..SEALED_RANGE.start + sealed.len()].copy_from_slice(sealed);
    let crc = crc32fast::hash(&slot[..CRC_AT]);
    slot[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    slot
}

#[cfg(test)]
mod tests {
    use super::*;

    fn master(n: u8) -> MasterKey {
        MasterKey::new(Zeroizing::new([n; 32]))
    }

    fn keys(current: u8, old: &[u8]) -> Keys {
        Keys::new(Some(master(current)), old.iter().map(|&n| master(n)).collect())
    }

    fn block() -> (Vec<u8>, FileSecrets) {
        let mut block = vec![3; 4096];
        let wrapped = FileSecrets::new(&[9; 32]).unwrap();
        write_slots(&mut block, &master(1), &wrapped).unwrap();
        (block, wrapped)
    }

    #[test]
    fn slots_open_with_their_key_only() {
        let (block, wrapped) = block();
        let opened = open(&block, &keys(1, &[])).ok().unwrap();
        assert_eq!((opened.data_key(), opened.secret()), (wrapped.data_key(), [9; 32]));
        assert!(open(&block, &keys(2, &[1])).is_ok(), "old keys open slots too");
        assert_eq!(open(&block, &keys(2, &[])).err(), Some(SlotError::MissingKey(vec![master(1).id()])));
        assert_eq!(open(&block, &Keys::default()).err(), Some(SlotError::MissingKey(vec![master(1).id()])));
    }

    #[test]
    fn one_slot_may_be_damaged_but_not_both() {
        let (good, _) = block();
        for at in SLOT_OFFSETS {
            for byte in 0..SLOT_LEN {
                let mut bad = good.clone();
                bad[at + byte] ^= 1 << (byte % 8);
                assert!(open(&bad, &keys(1, &[])).is_ok(), "the other slot opens");
            }
        }
        let mut bad = good.clone();
        SLOT_OFFSETS.iter().for_each(|&at| bad[at + 50] ^= 1);
        assert_eq!(open(&bad, &keys(1, &[])).err(), Some(SlotError::Damaged));
    }

    #[test]
    fn a_key_opens_only_its_file_until_destroyed() {
        let (good, _) = block();
        let mut other = good.clone();
        other[100] ^= 1;
        assert_eq!(open(&other, &keys(1, &[])).err(), Some(SlotError::Damaged), "slots of another header");
        let mut gone = good;
        gone[SLOT_OFFSETS[1]..SLOT_OFFSETS[1] + SLOT_LEN].copy_from_slice(&shredded_slot());
        assert_eq!(open(&gone, &keys(1, &[])).err(), Some(SlotError::Shredded));
    }
}
