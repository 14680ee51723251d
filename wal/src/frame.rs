//! Frames: the encoding of one record in a segment. Pure functions without I/O.

use super::byte_array::array;
use super::encryption::{Cipher, TAG_LEN};
use super::types::RecordRef;
use crate::failpoint::Failpoint;
use crate::units::{Lsn, Timestamp};

/// Length in bytes of the header before the payload.
pub const FRAME_HEADER: usize = 32;
/// Bytes of the header after the checksum.
const CHECKED_HEADER: usize = FRAME_HEADER - 4;
/// Frames begin at multiples of this, so that no length field crosses a sector boundary.
pub const ALIGN: usize = 8;

/// Frame type of a record.
pub const RECORD: u8 = 1;
/// Frame type of the footer of a sealed segment.
pub const FOOTER: u8 = 2;

/// Flag of the last record of a batch. Recovery drops a batch without it.
const ENDS_BATCH: u8 = 1;

/// Length in bytes of a frame with a payload of `payload` bytes.
pub const fn frame_len(payload: usize) -> usize {
    (FRAME_HEADER + payload).next_multiple_of(ALIGN)
}

/// Binds frames to their segment: its salt is the start of every checksum.
#[derive(Clone)]
pub struct ChecksumSeed(crc32fast::Hasher);

impl ChecksumSeed {
    /// The seed of the segment with this salt.
    pub fn new(salt: &[u8; 16]) -> Self {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(salt);
        Self(hasher)
    }

    /// CRC-32 (IEEE) over salt, offset and all bytes of the frame after the CRC.
    pub(super) fn crc(&self, offset: u64, frame: &[u8]) -> u32 {
        let mut hasher = if Failpoint::CrcOmitsSalt.is_set() { <_>::default() } else { self.0.clone() };
        if !Failpoint::CrcOmitsOffset.is_set() {
            hasher.update(&offset.to_le_bytes());
        }
        hasher.update(&frame[if Failpoint::CrcOmitsType.is_set() { 28 } else { 4 }..]);
        hasher.finalize()
    }
}

/// The fields of a frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameMeta {
    /// `RECORD` or `FOOTER`.
    pub kind: u8,
    /// LSN of the record. In a footer, the LSN after the last record.
    pub lsn: Lsn,
    /// Time of acceptance.
    pub at: Timestamp,
    /// Lane of the record.
    pub lane: u8,
    /// Whether the batch ends with this frame.
    pub ends_batch: bool,
    /// Durable offset: all bytes of this segment below it were flushed before this frame was written.
    pub flushed: u32,
}

impl FrameMeta {
    /// Reads the fields from a frame. Panics if the header is incomplete; the caller has checked its length.
    fn read(frame: &[u8]) -> Self {
        let [kind, flags, lane, _zero] = array(frame, 24);
        Self {
            kind,
            lsn: Lsn(u64::from_le_bytes(array(frame, 8))),
            at: Timestamp(u64::from_le_bytes(array(frame, 16))),
            lane,
            ends_batch: flags & ENDS_BATCH != 0,
            flushed: u32::from_le_bytes(array(frame, 28)),
        }
    }
}

/// A valid frame.
#[derive(Clone, Copy, Debug)]
pub struct DecodedFrame<'a> {
    /// The fields of its header.
    pub meta: FrameMeta,
    /// The bytes of its header that are covered by the checksum.
    pub header: &'a [u8],
    /// The payload as stored. In an encrypted segment: ciphertext and tag.
    pub payload: &'a [u8],
    /// Length of the frame in bytes, with padding.
    pub len: usize,
    /// Checksum of the frame, for the chain.
    pub crc: u32,
}

impl<'a> DecodedFrame<'a> {
    /// The record in the frame, with the decrypted payload `plain`.
    pub fn frame(&self, plain: &'a [u8]) -> RecordRef<'a> {
        RecordRef {
            lsn: self.meta.lsn,
            at: self.meta.at,
            lane: self.meta.lane,
            bytes: self.len as u32,
            payload: plain,
        }
    }
}

/// Why an offset has no valid frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The header is all zeros: nothing was written here.
    Zeros,
    /// The frame has this many bytes according to its header, and fewer were given.
    Incomplete(usize),
    /// The bytes are not a frame of this offset and segment, or are incomplete or damaged.
    Invalid,
}

/// Appends a frame to `out`, to be written at `offset`. Returns its checksum.
pub fn encode(out: &mut Vec<u8>, seed: &ChecksumSeed, offset: u64, meta: FrameMeta, payload: &[u8]) -> u32 {
    encode_with(out, seed, None, offset, meta, payload)
}

/// Like [`encode`], with the payload encrypted if there is a cipher. No other frame may be encrypted at this offset.
pub fn encode_with(
    out: &mut Vec<u8>,
    seed: &ChecksumSeed,
    cipher: Option<&Cipher>,
    offset: u64,
    meta: FrameMeta,
    payload: &[u8],
) -> u32 {
    let start = out.len();
    let stored = payload.len() + cipher.map_or(0, |_| TAG_LEN);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(stored as u32).to_le_bytes());
    out.extend_from_slice(&meta.lsn.0.to_le_bytes());
    out.extend_from_slice(&meta.at.0.to_le_bytes());
    let flags = if meta.ends_batch { ENDS_BATCH } else { 0 };
    out.extend_from_slice(&[meta.kind, flags, meta.lane, 0]);
    out.extend_from_slice(&meta.flushed.to_le_bytes());
    out.extend_from_slice(payload);
    if let Some(cipher) = cipher {
        let described: [u8; CHECKED_HEADER] = array(&out[start..], 4);
        let tag = cipher.seal(offset, &described, &mut out[start + FRAME_HEADER..]);
        out.extend_from_slice(&tag);
    }
    out.resize(start + frame_len(stored), 0);
    let crc = seed.crc(offset, &out[start..]);
    out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
    crc
}

/// A valid frame, without its bytes.
#[derive(Clone, Copy, Debug)]
pub struct CheckedFrame {
    meta: FrameMeta,
    payload: usize,
    crc: u32,
}

impl CheckedFrame {
    /// The frame with its payload, from the bytes that were checked.
    pub fn with(self, bytes: &[u8]) -> DecodedFrame<'_> {
        let (described, payload) =
            (&bytes[4..FRAME_HEADER], &bytes[FRAME_HEADER..FRAME_HEADER + self.payload]);
        DecodedFrame {
            meta: self.meta,
            header: described,
            payload,
            len: frame_len(self.payload),
            crc: self.crc,
        }
    }
}

/// Checks for a frame at the beginning of `bytes`, which are at `offset`. The segment has `room` bytes from there on; a
/// longer frame is invalid.
pub fn check(bytes: &[u8], seed: &ChecksumSeed, offset: u64, room: u64) -> Result<CheckedFrame, FrameError> {
    if bytes.len() < FRAME_HEADER {
        return Err(if room < FRAME_HEADER as u64 {
            FrameError::Zeros
        } else {
            FrameError::Incomplete(FRAME_HEADER)
        });
    }
    if bytes[..FRAME_HEADER].iter().all(|&byte| byte == 0) {
        return Err(FrameError::Zeros);
    }
    let payload = u32::from_le_bytes(array(bytes, 4)) as usize;
    let len = claimed_len(bytes, room).ok_or(FrameError::Invalid)?;
    let frame = bytes.get(..len).ok_or(FrameError::Incomplete(len))?;
    let crc = u32::from_le_bytes(array(frame, 0));
    let padding_blank = frame[FRAME_HEADER + payload..].iter().all(|&byte| byte == 0);
    if seed.crc(offset, frame) != crc || !padding_blank {
        return Err(FrameError::Invalid);
    }
    Ok(CheckedFrame { meta: FrameMeta::read(frame), payload, crc })
}

/// The length according to the frame header at the beginning of `bytes`; `None` if it is no valid header, or the length
/// exceeds `room`.
pub fn claimed_len(bytes: &[u8], room: u64) -> Option<usize> {
    let head = bytes.first_chunk::<FRAME_HEADER>()?;
    let len = frame_len(u32::from_le_bytes(array(head, 4)) as usize);
    let [kind, flags, _lane, zero] = array(head, 24);
    let known = matches!(kind, RECORD | FOOTER) && flags & !ENDS_BATCH == 0 && zero == 0;
    let bounded = len as u64 <= room || Failpoint::LengthNotBounded.is_set();
    (known && bounded).then_some(len)
}

/// The LSN according to the frame header at the beginning of `bytes`, without any check.
pub fn claimed_lsn(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk::<FRAME_HEADER>().map(|head| u64::from_le_bytes(array(head, 8)))
}

/// Like [`check`], with the payload.
pub fn decode<'a>(
    bytes: &'a [u8],
    seed: &ChecksumSeed,
    offset: u64,
    room: u64,
) -> Result<DecodedFrame<'a>, FrameError> {
    Ok(check(bytes, seed, offset, room)?.with(bytes))
}

/// Decodes a frame from bytes that never left the writer's memory, without checking it again.
pub fn decode_trusted(bytes: &[u8]) -> Option<DecodedFrame<'_>> {
    let head = bytes.first_chunk::<FRAME_HEADER>()?;
    let payload = u32::from_le_bytes(array(head, 4)) as usize;
    bytes.get(..frame_len(payload))?;
    Some(
        CheckedFrame { meta: FrameMeta::read(head), payload, crc: u32::from_le_bytes(array(head, 0)) }
            .with(bytes),
    )
}

/// Sets the correct checksum of the frame at the beginning of `bytes`. Returns its length, if it fits.
#[cfg(any(test, feature = "testing"))]
pub fn fix_checksum(bytes: &mut [u8], seed: &ChecksumSeed, offset: u64) -> Option<usize> {
    let len = frame_len(u32::from_le_bytes(*bytes.get(4..)?.first_chunk()?) as usize);
    let frame = bytes.get_mut(..len)?;
    let crc = seed.crc(offset, frame);
    frame[..4].copy_from_slice(&crc.to_le_bytes());
    Some(len)
}

/// Adds a frame's checksum to the chain of a segment.
pub fn extend_chain(before: u32, crc: u32) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(before);
    hasher.update(&crc.to_le_bytes());
    hasher.finalize()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const META: FrameMeta =
        FrameMeta { kind: RECORD, lsn: Lsn(7), at: Timestamp(8), lane: 9, ends_batch: true, flushed: 4096 };

    fn seed(n: u8) -> ChecksumSeed {
        ChecksumSeed::new(&[n; 16])
    }

    fn sample() -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(&mut bytes, &seed(1), 4096, META, b"thirteen byte");
        bytes
    }

    #[test]
    fn a_frame_reads_back_as_it_was_written() {
        let bytes = sample();
        let read = decode(&bytes, &seed(1), 4096, 1 << 20).unwrap();
        assert_eq!((read.meta, read.payload, read.len), (META, &b"thirteen byte"[..], 48));
    }

    #[test]
    pub fn every_flipped_bit_of_a_frame_is_noticed() {
        let good = sample();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bad, &seed(1), 4096, 48).is_err(), "bit {bit}");
        }
    }

    #[test]
    pub fn a_frame_of_another_offset_or_segment_is_invalid() {
        let bytes = sample();
        assert_eq!(decode(&bytes, &seed(1), 4104, 1 << 20).unwrap_err(), FrameError::Invalid);
        assert_eq!(decode(&bytes, &seed(2), 4096, 1 << 20).unwrap_err(), FrameError::Invalid);
    }

    #[test]
    pub fn a_length_beyond_the_segments_end_is_invalid() {
        let mut bytes = sample();
        bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(decode(&bytes, &seed(1), 4096, 1 << 20).unwrap_err(), FrameError::Invalid);
        assert_eq!(decode(&sample()[..40], &seed(1), 4096, 1 << 20).unwrap_err(), FrameError::Incomplete(48));
    }

    /// Found by fuzzing: two different encodings of one frame were both accepted.
    #[test]
    fn a_frame_with_nonzero_padding_is_invalid() {
        let mut bytes = sample();
        *bytes.last_mut().unwrap() = 1;
        assert_eq!(fix_checksum(&mut bytes, &seed(1), 4096), Some(48));
        assert_eq!(decode(&bytes, &seed(1), 4096, 48).unwrap_err(), FrameError::Invalid);
    }

    #[test]
    fn zeros_are_never_a_record() {
        assert_eq!(decode(&[0; 64], &seed(1), 4096, 64).unwrap_err(), FrameError::Zeros);
    }

    /// Fixes the polynomial, the byte order and the layout: another reader can be checked against it.
    #[test]
    fn frame_bytes_match_format_1() {
        let hex: String = sample().iter().map(|byte| format!("{byte:02x}")).collect();
        let head = "e93c40250d000000070000000000000008000000000000000101090000100000";
        assert_eq!(hex, format!("{head}746869727465656e2062797465000000"));
    }
}
