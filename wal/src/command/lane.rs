//! Which lane a record belongs to. **A constant of the format**: lanes stand in every frame and in every
//! position sent to Kafka, so neither their number nor the hash may ever change.

use crate::units::Lsn;

/// How many lanes there are. A worker owns the lanes congruent to its number, so that a change of the number of
/// workers changes no position.
pub const LANES: usize = 256;

/// The lane of a record: the lowest eight bits of the CRC-32 (IEEE) of its key; without a key, of its LSN.
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
    fn lanes_are_the_ones_written_into_every_log_so_far() {
        assert_eq!(lane(Some(b"ada"), Lsn(1)), 0x68);
        assert_eq!(lane(Some(b"order-1"), Lsn(1)), 0xef);
        assert_eq!(lane(Some(b""), Lsn(1)), 0);
        assert_eq!(lane(None, Lsn(515)), 3);
    }
}
