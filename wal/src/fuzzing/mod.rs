//! Fuzz targets for everything that the log reads from disk.
//!
//! Checksums reject nearly all generated input. A bit of the input therefore makes each target *forge* the checksums, as
//! if another version, or a bug, had written the data.
#![allow(clippy::expect_used, reason = "fuzzing needs a panic on each violated invariant")]

mod files;
mod segment;

use std::path::Path;

pub use crate::command::fuzzing::command;
pub use files::files;
pub use segment::segment;

use super::footer::Footer;
use super::frame;
use super::frame::{ALIGN, ChecksumSeed, FRAME_HEADER, FrameError};

/// Name of a target, which is also the name of its directories, and its function. The function takes any bytes, and
/// panics if an invariant is violated.
pub type Target = (&'static str, fn(&[u8]));

/// Runs a target on every input in `fuzz/corpus` and `fuzz/found`. This needs no nightly compiler.
///
/// # Panics
///
/// If the target panics. The last file name in the output is its input.
#[allow(clippy::print_stdout, reason = "for tests")]
pub fn replay((target, function): Target) {
    let fuzz = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz"));
    let mut replayed = 0;
    for kind in ["corpus", "found"] {
        let Ok(inputs) = std::fs::read_dir(fuzz.join(kind).join(target)) else { continue };
        for input in inputs {
            let path = input.expect("a directory that can be read").path();
            println!("{}", path.display());
            function(&std::fs::read(&path).expect("a file that can be read"));
            replayed += 1;
        }
    }
    assert!(replayed > 0, "{target} has no corpus");
}

/// Bit of an input's first byte: forge correct checksums.
const FORGED: u8 = 1;
/// Bit of a frame's first byte: the segment has more space than the given bytes.
const HAS_ROOM: u8 = 2;

/// One frame at any offset. An accepted frame fits, encodes to the same bytes, and is not valid at another offset.
pub fn frame(data: &[u8]) {
    let Some((&[flags, salt, place], rest)) = data.split_first_chunk() else { return };
    let seed = ChecksumSeed::new(&[salt; 16]);
    let offset = 4096 + ALIGN as u64 * u64::from(place);
    let mut bytes = rest.to_vec();
    if flags & FORGED != 0 {
        frame::fix_checksum(&mut bytes, &seed, offset);
    }
    let room = if flags & HAS_ROOM != 0 { u64::from(u32::MAX) } else { bytes.len() as u64 };
    match frame::decode(&bytes, &seed, offset, room) {
        Ok(found) => {
            assert!(found.len <= bytes.len() && found.len as u64 <= room);
            let mut again = Vec::new();
            let crc = frame::encode(&mut again, &seed, offset, found.meta, found.payload);
            assert_eq!((crc, &again[..]), (found.crc, &bytes[..found.len]));
            let trusted = frame::decode_trusted(&bytes).expect("a checked frame decodes");
            assert_eq!((trusted.meta, trusted.payload), (found.meta, found.payload));
            let elsewhere = frame::decode(&bytes, &seed, offset + ALIGN as u64, room);
            assert_eq!(elsewhere.map(|found| found.meta), Err(FrameError::Invalid));
            footer(&found);
        }
        Err(FrameError::Incomplete(len)) => assert!(len > bytes.len() && len as u64 <= room),
        Err(FrameError::Zeros) => {
            assert!(room < FRAME_HEADER as u64 || bytes[..FRAME_HEADER].iter().all(|byte| *byte == 0));
        }
        Err(FrameError::Invalid) => {}
    }
}

/// A decoded footer encodes to the same content, and is not larger than its input.
fn footer(found: &frame::DecodedFrame<'_>) {
    let Some(footer) = Footer::decode(found.meta.lsn, found.payload) else { return };
    assert!(footer.index.len() * 4 + footer.labels.len() * 9 <= found.payload.len());
    let seed = ChecksumSeed::new(&[0; 16]);
    let bytes = footer.encode(&seed, 0);
    let again = frame::decode(&bytes, &seed, footer.length, bytes.len() as u64).expect("just written");
    assert_eq!(Footer::decode(again.meta.lsn, again.payload), Some(footer));
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    #[test]
    fn stored_fuzzing_inputs_violate_no_invariant() {
        let targets: [Target; 4] =
            [("frame", super::frame), ("files", files), ("segment", segment), ("command", command)];
        targets.into_iter().for_each(replay);
    }
}
