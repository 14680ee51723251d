//! What every target has: a function of its name in one of the crates, and a bound on what it may allocate.

use std::alloc::System;

use cap::Cap;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Whatever the input says: buffers for reading (one of 256 KiB each), a log of three small segments twice over.
const BASE: usize = 16 << 20;
/// For each byte of it: copies, parsed values, messages.
const PER_BYTE: usize = 1 << 10;

/// Runs the target. What asks for more memory than an input of this size may cost ends the program, as a finding.
pub fn run(target: fn(&[u8]), data: &[u8]) {
    let bound = BASE + PER_BYTE * data.len();
    let limit = ALLOCATOR.allocated() + bound;
    ALLOCATOR.set_limit(limit).expect("it is more than there is now");
    target(data);
    ALLOCATOR.set_limit(usize::MAX).expect("no limit is none");
}

/// The program of one target.
#[macro_export]
macro_rules! target {
    ($function:path) => {
        libfuzzer_sys::fuzz_target!(|data: &[u8]| $crate::run($function, data));
    };
}
