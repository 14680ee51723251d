//! The list of current problems: an entry exists while a fault lasts, and every surface shows the same entry.
// A failed step of a test's set-up has no caller to return to: it panics with a description.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod certificates;
mod connections;
mod delivery;
mod dependencies;
mod list;
mod log;
mod operators;
mod secured;
