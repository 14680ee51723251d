//! Rate limits: shared counts in a real Redis, each daemon's counts without it, and the responses that clients get.
// A failed step of a test's preparation has no caller to return an error to: it names the step and ends the test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod accounts;
mod addresses;
mod changes;
mod fixture;
mod outage;
mod requests;
mod script;
mod shared;
