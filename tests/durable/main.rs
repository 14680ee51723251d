//! Tests of the main guarantee, with the real binary and a real Apache Kafka: every command with a 202 is delivered,
//! in the order of its key, whatever fails in between.
// A failed step of a test's preparation ends the test with its message. No caller could handle the error.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use support::{daemon, load};

mod clock;
mod crash;
mod descriptors;
mod disk;
mod first_minute;
mod flush;
mod order;
mod outage;
mod partition;
mod poison;
mod replicas;
mod stderr;
mod workers;
