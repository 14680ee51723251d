//! A Bloom filter in blocks of one cache line. It rejects most scopes that a part does not hold, without a disk read.

use super::ScopeDigest;

/// At 10 bits per key, with 7 bits set in one block, about one in 60 absent scopes passes.
const BITS_PER_KEY: u64 = 10;
const BITS_SET: u32 = 7;
/// A block is 512 bits: 8 words of 64.
const WORDS: usize = 8;
const BLOCK_BITS: u64 = 512;
/// Bytes per block.
pub const BLOCK_BYTES: usize = WORDS * 8;

/// The filter of one part. Scopes are keyed digests, so their bits serve as hashes.
pub struct BloomFilter(Vec<[u64; WORDS]>);

impl BloomFilter {
    /// An empty filter for this many keys.
    pub fn for_keys(keys: u64) -> Self {
        let blocks = (keys * BITS_PER_KEY).div_ceil(BLOCK_BITS).max(1);
        Self(vec![[0; WORDS]; blocks as usize])
    }

    /// Adds a scope.
    pub fn add(&mut self, scope: &ScopeDigest) {
        let (block, bits) = bit_positions(scope, self.0.len());
        bits.for_each(|(word, mask)| self.0[block][word] |= mask);
    }

    /// Returns `false` if the scope was certainly not added.
    pub fn may_hold(&self, scope: &ScopeDigest) -> bool {
        let (block, mut bits) = bit_positions(scope, self.0.len());
        bits.all(|(word, mask)| self.0[block][word] & mask != 0)
    }

    /// Size in memory and on disk, in bytes.
    pub fn bytes(&self) -> usize {
        self.0.len() * BLOCK_BYTES
    }

    /// Encodes the filter as stored on disk.
    pub fn encode(&self) -> Vec<u8> {
        self.0.iter().flatten().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// Decodes a filter; `None` if the length is not a whole number of blocks.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (words, rest) = bytes.as_chunks::<8>();
        let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
        let (blocks, odd) = words.as_chunks::<WORDS>();
        (rest.is_empty() && odd.is_empty() && !blocks.is_empty()).then(|| Self(blocks.to_vec()))
    }
}

/// The block of a scope, and its words and bits in that block.
fn bit_positions(scope: &ScopeDigest, blocks: usize) -> (usize, impl Iterator<Item = (usize, u64)>) {
    let number = u128::from_be_bytes(*scope);
    // The upper half of the digest selects the block, the lower half the bits.
    let block = ((number >> 64) * blocks as u128) >> 64;
    let bits = (0..BITS_SET).map(move |n| (number >> (n * 9)) as usize % BLOCK_BITS as usize);
    (block as usize, bits.map(|bit| (bit / 64, 1 << (bit % 64))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(n: u64) -> ScopeDigest {
        crate::command::KeyedDigest::new(&[1; 32]).of(&[&n.to_le_bytes()])
    }

    #[test]
    fn every_added_scope_passes_and_few_others_do() {
        let mut filter = BloomFilter::for_keys(10_000);
        (0..10_000).for_each(|n| filter.add(&scope(n)));
        let filter = BloomFilter::decode(&filter.encode()).unwrap();
        assert!((0..10_000).all(|n| filter.may_hold(&scope(n))));
        let passed = (10_000..20_000).filter(|n| filter.may_hold(&scope(*n))).count();
        assert!(passed < 300, "{passed} of 10,000");
    }

    #[test]
    fn invalid_filter_bytes_are_rejected() {
        for bytes in [0, 1, 8, BLOCK_BYTES + 8] {
            assert!(BloomFilter::decode(&vec![0; bytes]).is_none(), "{bytes}");
        }
    }
}
