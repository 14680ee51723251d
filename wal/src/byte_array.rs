//! Copies fixed-size arrays out of byte slices.

/// The `N` bytes at `at`. Panics if the slice is shorter; the caller has checked its length.
pub fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}
