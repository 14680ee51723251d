//! The header of `dead/letters`.
//!
//! Version 1, not encrypted, has 32 bytes: magic `forebayd`, version (4), zero (4), salt of the checksums (16). Version
//! 2, with encrypted dead letters, has 4096 bytes: the same fields, zeros, and the wrapped data key in two slots
//! (`encryption/key_slots.rs`).

use std::io;
use std::path::Path;

use zeroize::Zeroizing;

use super::super::byte_array::array;
use super::super::encryption::{FileSecrets, KeyId, Keys, SlotError, key_slots};
use super::super::fs::{File, Fs};
use super::super::salvage::UnreadableRanges;
use super::super::{random, salvage};

const MAGIC: [u8; 8] = *b"forebayd";
const VERSION_PLAIN: u32 = 1;
const VERSION_ENCRYPTED: u32 = 2;
const PLAIN_LEN: usize = 32;
const ENCRYPTED_LEN: usize = 4096;

/// The data key of a store.
pub type DataKey = Zeroizing<[u8; 32]>;

/// The parsed header of a file.
pub struct FileHeader {
    /// Salt of the checksums.
    pub salt: [u8; 16],
    /// Offset of the first entry.
    pub len: u64,
    /// The key that encrypts dead letters, if the file is encrypted and the master key is given.
    pub key: Option<DataKey>,
    /// If the file is encrypted and no given key opens it: the ids of the keys that would.
    pub locked: Option<Vec<KeyId>>,
}

impl FileHeader {
    /// Whether dead letters are encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.len == ENCRYPTED_LEN as u64
    }
}

/// The header block of a new file, encrypted if a master key is given, and the parsed header.
pub fn new_header(keys: &Keys) -> io::Result<(Vec<u8>, FileHeader)> {
    let salt: [u8; 16] = random()?;
    let encrypted = keys.current().is_some();
    let (version, len) =
        if encrypted { (VERSION_ENCRYPTED, ENCRYPTED_LEN) } else { (VERSION_PLAIN, PLAIN_LEN) };
    let mut block = MAGIC.to_vec();
    block.extend_from_slice(&version.to_le_bytes());
    block.extend_from_slice(&[0; 4]);
    block.extend_from_slice(&salt);
    block.resize(len, 0);
    let mut key = None;
    if let Some(master) = keys.current() {
        let wrapped = FileSecrets::new(&[0; 32])?;
        key_slots::write_slots(&mut block, master, &wrapped)?;
        key = Some(Zeroizing::new(*wrapped.data_key()));
    }
    Ok((block, FileHeader { salt, len: len as u64, key, locked: None }))
}

/// Whether a block is the header of a file with encrypted dead letters.
pub fn is_encrypted(block: &[u8]) -> bool {
    block.len() >= ENCRYPTED_LEN
        && block[..8] == MAGIC
        && u32::from_le_bytes(array(block, 8)) == VERSION_ENCRYPTED
}

/// The first block of the file of the log in `dir`, as far as it exists, and the ranges that the disk cannot read.
pub fn read_block(fs: &dyn Fs, dir: &Path, file: &dyn File) -> io::Result<(Vec<u8>, UnreadableRanges)> {
    let mut block = vec![0; ENCRYPTED_LEN];
    let salvage::SalvagedRead { len, unreadable } = salvage::read_checked(fs, dir, file, &mut block, 0)?;
    block.truncate(len);
    Ok((block, unreadable))
}

/// Whether the header is damaged, so that nothing after it can be read with any key. An unknown version is not damage:
/// another version of forebay may know it.
pub fn is_damaged(block: &[u8], keys: &Keys) -> bool {
    let unlockable = || !matches!(key_slots::open(block, keys), Err(SlotError::Damaged));
    block.len() < PLAIN_LEN || block[..8] != MAGIC || (is_encrypted(block) && !unlockable())
}

/// Parses the header from the first block.
pub fn read(block: &[u8], keys: &Keys) -> io::Result<FileHeader> {
    let plain = block.len() >= PLAIN_LEN
        && block[..8] == MAGIC
        && u32::from_le_bytes(array(block, 8)) == VERSION_PLAIN;
    if !plain && !is_encrypted(block) {
        return Err(io::Error::other(
            "dead/letters is not a dead-letter store of a version this forebay knows",
        ));
    }
    let mut head = FileHeader { salt: array(block, 16), len: PLAIN_LEN as u64, key: None, locked: None };
    if plain {
        return Ok(head);
    }
    head.len = ENCRYPTED_LEN as u64;
    match key_slots::open(block, keys) {
        Ok(wrapped) => head.key = Some(Zeroizing::new(*wrapped.data_key())),
        Err(SlotError::MissingKey(ids)) => head.locked = Some(ids),
        Err(SlotError::Shredded | SlotError::Damaged) => {
            return Err(io::Error::other(
                "both copies of the key of dead/letters are damaged: restore the file from a backup, or move it \
                 away to continue without its dead letters",
            ));
        }
    }
    Ok(head)
}
