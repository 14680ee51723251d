//! The consumer with real Kafka, MariaDB and PostgreSQL: what becomes of commands that a test puts into the topic.
// A failed step of a test's own preparation has nobody to report to: it says what it was and ends the test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod apply;
mod callers;
mod commands;
mod crash;
mod lost;
mod order;
mod outage;
mod repeats;
mod retry;
mod speed;
mod test_servers;
