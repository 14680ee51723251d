//! The promise, tested on the real binary and a real Apache Kafka: what was answered 202 arrives, in the order of its
//! key, whatever happens in between.
// A failed step of a test's own preparation has nobody to report to: it says what it was and ends the test.
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
