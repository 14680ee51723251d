//! Common code of all targets: each calls the function of its name in one of the crates, with a limit on memory.

use std::alloc::System;

use cap::Cap;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Memory in bytes for any input: read buffers of 256 KiB each, and a log of three small segments twice.
const BASE: usize = 16 << 20;
/// Memory in bytes per byte of input: copies, parsed values, messages.
const PER_BYTE: usize = 1 << 10;

/// Runs the target. If it allocates more memory than permitted for an input of this size, the program ends, as a
/// finding.
pub fn run(target: fn(&[u8]), data: &[u8]) {
    let bound = BASE + PER_BYTE * data.len();
    let limit = ALLOCATOR.allocated() + bound;
    ALLOCATOR.set_limit(limit).expect("the limit is above the current use");
    target(data);
    ALLOCATOR.set_limit(usize::MAX).expect("the maximum is a valid limit");
}

/// The program of one target.
#[macro_export]
macro_rules! target {
    ($function:path) => {
        libfuzzer_sys::fuzz_target!(|data: &[u8]| $crate::run($function, data));
    };
}
