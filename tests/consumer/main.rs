//! The consumer with real Kafka, MariaDB and PostgreSQL. The tests send commands to the topic and check the outcomes.
// A failed preparation step ends the test with its own message.
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
