//! The one list of what is wrong: an entry while a fault lasts, the same on every surface, and gone when the fault is.
// A failed step of a test's own preparation has nobody to report to: it says what it was and ends the test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod certificates;
mod connections;
mod delivery;
mod dependencies;
mod list;
mod log;
mod operators;
mod secured;
