//! What integration tests and benches share: real services, the daemon as a process, and clients to look at both.
//!
//! From the bottom up:
//!
//! - [`wait`]: a condition awaited with a deadline; [`poll`]: whether a call waits at all;
//!   [`scratch`]: directories that go when the test does;
//!   [`ports`]: ports that stay ours while nobody listens on them;
//! - [`child`]: any process a test starts, stops, kills and freezes;
//! - [`kafka`]: one or three brokers; [`mariadb`] and [`postgres`], which have [`sql`] in common; [`pgbouncer`]; [`process`]: the daemon; [`services`]: what a test may ask for, and what
//!   happens where it is missing;
//! - [`redis`]: a server or a cluster;
//! - [`admin`], [`produce`], [`consume`]: topics, and what is in them; [`http`]: requests, also such as no client
//!   would send; [`tls`]: the same over TLS;
//! - [`gate`]: a place in a PostgreSQL where statements wait for the test;
//! - [`proxy`]: a connection that a test can break; [`disk`]: a small file system of its own;
//!   [`clock`]: a wall clock of the daemon's own; [`output`]: a terminal, and where output fits badly;
//! - [`daemon`]: what tests ask of the daemon, in one word each; [`load`]: clients that remember every answer; [`verdict`]: what is in Kafka
//!   held against those answers.

// A failed step of a test's own preparation has nobody to report to: it says what it was and ends the test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod admin;
pub mod anonymous;
pub mod child;
pub mod clock;
pub mod consume;
pub mod daemon;
pub mod disk;
pub mod gate;
pub mod http;
pub mod kafka;
pub mod load;
pub mod mariadb;
pub mod output;
pub mod pgbouncer;
pub mod poll;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod produce;
pub mod proxy;
pub mod redis;
pub mod scratch;
pub mod services;
pub mod sql;
pub mod tls;
pub mod verdict;
pub mod wait;
