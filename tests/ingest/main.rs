//! What a client is told, tested on the real binary: one command for one key, a batch whole or not at all, a status
//! that is true, a refusal that says when to come back, and a stop that loses nothing.
//!
//! Most tests use the embedded broker. It is filled anew from the log at every start, so that what it holds after a
//! `kill -9` is what the log holds.
// A failed step of a test's own preparation has nobody to report to: it says what it was and ends the test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use support::daemon;

mod requests;

mod batches;
mod encrypted;
mod events;
mod index;
mod keys;
mod lifecycle;
mod opaque;
mod overload;
mod replay;
mod sealed;
mod status;
mod tls;
mod traces;
