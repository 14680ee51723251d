//! Chooses the partition of a record: the one that every Java client would choose for its key.

use crate::wal::Lsn;

/// The partition of a key: Kafka's default partitioner (librdkafka's `murmur2_random`).
pub(super) fn for_key(key: &[u8], partitions: i32) -> i32 {
    // Like Java's `toPositive`: the sign bit is cleared; the number is not negated.
    let positive = (murmur2(key) & 0x7fff_ffff).cast_signed();
    positive % partitions.max(1)
}

/// A partition for a record without a key, among the `usable` ones, or among all if none is. Consecutive records get
/// the same partition, so that they share a batch.
pub(super) fn for_keyless(lsn: Lsn, partitions: i32, usable: impl Fn(i32) -> bool) -> i32 {
    let run = lsn.0 / KEYLESS_RUN_RECORDS;
    let good: Vec<i32> = (0..partitions).filter(|&partition| usable(partition)).collect();
    let nth = |count: usize| (run % count.max(1) as u64) as usize;
    match good.len() {
        0 => i32::try_from(nth(partitions.max(1) as usize)).unwrap_or(0),
        count => good[nth(count)],
    }
}

/// One round of the lanes, so that every worker's share of a run is a batch.
const KEYLESS_RUN_RECORDS: u64 = 256;

/// The 32-bit MurmurHash2 of `org.apache.kafka.common.utils.Utils`.
fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    let mut h = SEED ^ (data.len() as u32);
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (at, byte) in rest.iter().enumerate() {
            h ^= u32::from(*byte) << (8 * at);
        }
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^ (h >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test vectors of Apache Kafka's `UtilsTest` and librdkafka's `unittest_murmur2`.
    #[test]
    fn keys_hash_as_in_the_java_client() {
        for (key, hash) in [
            ("kafka", 0xd067_cf64_u32),
            ("giberish123456789", 0x8f55_2b0c),
            ("1234", 0x9fc9_7b14),
            ("234", 0xe7c0_09ca),
            ("34", 0x8739_30da),
            ("4", 0x5a4b_5ca1),
            ("PreAmbleWillBeRemoved,ThePrePartThatIs", 0x7842_4f1c),
            ("reAmbleWillBeRemoved,ThePrePartThatIs", 0x4a62_b377),
            ("eAmbleWillBeRemoved,ThePrePartThatIs", 0xe0e4_e09e),
            ("AmbleWillBeRemoved,ThePrePartThatIs", 0x62b8_b43f),
            ("", 0x106e_08d9),
        ] {
            assert_eq!(murmur2(key.as_bytes()), hash, "{key}");
        }
        assert_eq!(for_key(b"kafka", 7), (0x5067_cf64 % 7));
    }

    #[test]
    fn keyless_records_rotate_through_the_usable_partitions() {
        let at = |n: u64| for_keyless(Lsn(n * KEYLESS_RUN_RECORDS), 4, |partition| partition != 2);
        assert_eq!([at(0), at(1), at(2), at(3)], [0, 1, 3, 0]);
        assert_eq!(for_keyless(Lsn(KEYLESS_RUN_RECORDS), 4, |_| false), 1);
    }
}
