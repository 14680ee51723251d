//! Waiting for a condition of another process, with a deadline.

use std::thread;
use std::time::{Duration, Instant};

/// Time between two checks of a condition: short compared to what tests wait for, long compared to a check.
const POLL: Duration = Duration::from_millis(10);

/// The first value that `look` finds, or `None` when `within` has passed. Calls `look` at least once.
pub fn poll<T>(within: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + within;
    loop {
        // Computed before the check: a check that itself takes long still gets its last chance.
        let late = Instant::now() >= deadline;
        if let Some(found) = look() {
            return Some(found);
        }
        if late {
            return None;
        }
        thread::sleep(POLL);
    }
}

/// The first value that `look` finds. Fails the test with `what` when `within` has passed without one.
pub fn until<T>(what: &str, within: Duration, look: impl FnMut() -> Option<T>) -> T {
    poll(within, look).unwrap_or_else(|| panic!("not within {within:?}: {what}"))
}

/// Returns when `holds` is true. Fails the test with `what` when `within` has passed before.
pub fn until_true(what: &str, within: Duration, mut holds: impl FnMut() -> bool) {
    until(what, within, || holds().then_some(()));
}
