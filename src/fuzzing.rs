//! Fuzz targets of the daemon: each takes arbitrary bytes and panics if an invariant is violated.
//!
//! `fuzz/` calls them with the input of libFuzzer; the test below calls them with the stored corpus and past findings.

pub use crate::cloudevents::fuzzing::event;
pub use crate::config::fuzzing::config;
pub use crate::http::fuzzing::{batch, http};

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;
    use crate::wal::fuzzing::{Target, replay};

    #[test]
    fn stored_fuzzing_inputs_violate_no_invariant() {
        let targets: [Target; 4] = [("http", http), ("batch", batch), ("config", config), ("event", event)];
        targets.into_iter().for_each(replay);
    }
}
