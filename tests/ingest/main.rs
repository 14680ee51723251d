//! The contract with clients, tested with the real binary: one command per key, batches all or nothing, correct
//! statuses, rejections that tell when to retry, and a stop that loses nothing.
//!
//! Most tests use the embedded broker. It is filled from the log at every start, so after a `kill -9` its content is
//! the content of the log.
//! `kill -9` is what the log holds.
// A failed preparation step ends the test with its own message.
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
