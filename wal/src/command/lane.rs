//! The lane of a record. **A constant of the format**: every frame, and every position stored in Kafka, contains lanes.
//! Neither their number nor the hash may ever change.

use crate::units::Lsn;

/// The number of lanes. A worker owns the lanes congruent to its number, so a different number of workers changes no
/// position.
pub const LANES: usize = 256;

/// The lane of a record: the lowest eight bits of the CRC-32 (IEEE) of its key. Without a key, those of its LSN.
pub fn lane(key: Option<&[u8]>, lsn: Lsn) -> u8 {
    let number = match key {
        Some(key) => u64::from(crc32fast::hash(key)),
        None => lsn.0,
    };
    (number % LANES as u64) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_match_those_in_existing_logs() {
        assert_eq!(lane(Some(b"ada"), Lsn(1)), 0x68);
        assert_eq!(lane(Some(b"order-1"), Lsn(1)), 0xef);
        assert_eq!(lane(Some(b""), Lsn(1)), 0);
        assert_eq!(lane(None, Lsn(515)), 3);
    }
}
