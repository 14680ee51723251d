//! Waiting for a condition of another process, with an end.

use std::thread;
use std::time::{Duration, Instant};

/// A condition is looked at this often: short beside what tests wait for, long beside the cost of a look.
const POLL: Duration = Duration::from_millis(10);

/// The first value `look` finds, or `None` when `within` has passed. Looks at least once.
pub fn poll<T>(within: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + within;
    loop {
        // Taken before the look: a look that itself takes long still gets its last chance.
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

/// The first value `look` finds; ends the test, naming `what`, when `within` has passed without one.
pub fn until<T>(what: &str, within: Duration, look: impl FnMut() -> Option<T>) -> T {
    poll(within, look).unwrap_or_else(|| panic!("not within {within:?}: {what}"))
}

/// Returns once `holds` does; ends the test, naming `what`, when `within` has passed before that.
pub fn until_true(what: &str, within: Duration, mut holds: impl FnMut() -> bool) {
    until(what, within, || holds().then_some(()));
}
