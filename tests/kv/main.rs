//! One contract for every key-value store, and what becomes of it when the server behind it is killed, frozen or cut
//! off.
// A failed step of a test's own preparation has nobody to report to: it says what it was and ends the test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cluster;
mod contract;
mod embedded;
mod failover;
mod messages;
mod outage;
mod settings;
mod test_store;
