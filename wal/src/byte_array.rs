//! Arrays at fixed offsets of a block.

/// `N` bytes at `at`, which the caller has checked to be there.
pub fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}
