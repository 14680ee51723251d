//! Shared parts of integration tests and benchmarks: real services, the daemon as a process, and clients of both.
//!
//! From the bottom up:
//!
//! - [`wait`]: waiting for a condition, with a deadline; [`poll`]: whether a call waits at all; [`scratch`]: temporary
//!   directories; [`ports`]: reserved ports.
//! - [`child`]: a process that a test starts, stops, kills and freezes.
//! - [`kafka`]: one or three brokers; [`mariadb`] and [`postgres`], with [`sql`] in common; [`pgbouncer`]; [`redis`]: a
//!   server or a cluster; [`process`]: the daemon; [`services`]: the services that a test can request, and the handling
//!   of missing ones.
//! - [`admin`], [`produce`], [`consume`]: topics and their records; [`http`]: requests, including invalid ones;
//!   [`anonymous`]: the most expensive ones; [`tls`]: connections with TLS.
//! - [`statement_gate`]: statements that wait inside PostgreSQL; [`proxy`]: a connection that a test can break;
//!   [`disk`]: a small file system; [`clock`]: a wall clock for the daemon only; [`output`]: a terminal, and
//!   targets that accept no output.
//! - [`daemon`]: short forms of requests to the daemon; [`load`]: clients that record every response;
//!   [`delivery_check`]: comparison of Kafka's records with those responses.

// A failed step of a test's preparation has no caller to return an error to: it names the step and ends the test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod admin;
pub mod anonymous;
pub mod child;
pub mod clock;
pub mod consume;
pub mod daemon;
pub mod delivery_check;
pub mod disk;
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
pub mod statement_gate;
pub mod tls;
pub mod wait;
