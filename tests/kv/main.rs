//! One contract for every key-value store, and failures of the server: killed, frozen or cut off.
// A failed step of a test's preparation has no caller to return an error to: it names the step and ends the test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cluster;
mod contract;
mod embedded;
mod failover;
mod messages;
mod outage;
mod settings;
mod test_store;
