//! The most recently flushed bytes, in memory, for readers that keep up. The size is bounded; other readers read files.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::sync::Mutex;
use crate::units::Lsn;

/// Half a second at 50,000 records per second of 300 bytes, and little compared with the workers' own memory.
const MAX_BYTES: usize = 8 << 20;

/// Bytes of whole frames, as in a segment.
#[derive(Clone)]
pub struct RecentBlock {
    /// First LSN of the segment.
    pub segment: Lsn,
    /// Offset of the bytes in the segment.
    pub offset: u64,
    /// The bytes.
    pub bytes: Arc<Vec<u8>>,
}

impl RecentBlock {
    /// The bytes from `offset` of the segment on; `None` if they are not in this block.
    pub fn bytes_from(&self, segment: Lsn, offset: u64) -> Option<&[u8]> {
        let index = offset.checked_sub(self.offset)? as usize;
        (segment == self.segment && index < self.bytes.len()).then(|| &self.bytes[index..])
    }
}

/// A bounded queue of blocks.
#[derive(Default)]
pub struct RecentBlocks(Mutex<(VecDeque<RecentBlock>, usize)>);

impl RecentBlocks {
    /// Adds the bytes just flushed, which follow all bytes added before.
    pub fn push(&self, block: RecentBlock) {
        let mut guard = self.0.lock();
        let (blocks, held) = &mut *guard;
        *held += block.bytes.len();
        blocks.push_back(block);
        while *held > MAX_BYTES {
            let Some(oldest) = blocks.pop_front() else { break };
            *held -= oldest.bytes.len();
        }
    }

    /// The block that contains the byte at `offset` of the segment.
    pub fn get(&self, segment: Lsn, offset: u64) -> Option<RecentBlock> {
        let guard = self.0.lock();
        let after = guard.0.partition_point(|block| (block.segment, block.offset) <= (segment, offset));
        let block = guard.0.get(after.checked_sub(1)?)?;
        block.bytes_from(segment, offset).is_some().then(|| block.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recent_bytes_are_found_and_old_ones_dropped() {
        let tail = RecentBlocks::default();
        for n in 0..10 {
            tail.push(RecentBlock {
                segment: Lsn(1),
                offset: 4096 + (n << 20),
                bytes: Arc::new(vec![n as u8; 1 << 20]),
            });
        }
        assert!(tail.get(Lsn(1), 4096).is_none());
        let block = tail.get(Lsn(1), 4096 + (5 << 20) + 7).unwrap();
        assert_eq!(block.bytes_from(Lsn(1), 4096 + (5 << 20) + 7).unwrap()[0], 5);
        assert!(tail.get(Lsn(1), 4096 + (10 << 20)).is_none());
        assert!(tail.get(Lsn(2), 4096).is_none());
    }
}
