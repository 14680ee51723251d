//! What is fuzzed of the daemon: functions that take any bytes and panic where a promise about them is broken.
//!
//! `fuzz/` calls them with what libFuzzer makes up; the test below with what was kept.

pub use crate::cloudevents::fuzzing::event;
pub use crate::config::fuzzing::config;
pub use crate::http::fuzzing::{batch, http};

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;
    use crate::wal::fuzzing::{Target, replay};

    #[test]
    fn whatever_fuzzing_kept_and_found_breaks_no_promise() {
        let targets: [Target; 4] = [("http", http), ("batch", batch), ("config", config), ("event", event)];
        targets.into_iter().for_each(replay);
    }
}
