//! Rate limits: what daemons count together in a real Redis, what each does without it, and what clients see.
// A failed step of a test's own preparation has nobody to report to: it says what it was and ends the test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod accounts;
mod addresses;
mod changes;
mod fixture;
mod outage;
mod requests;
mod script;
mod shared;
