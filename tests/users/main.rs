//! End-to-end tests of the user service: the daemon as a process, with embedded parts and with real servers.

// clippy.toml allows this in test functions only; these helpers are part of tests too.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod anonymous;
mod bad_input;
mod burst;
mod clocks;
mod cluster;
mod crowd;
mod degraded;
mod embedded;
mod encodings;
mod hang;
mod login;
mod outages;
mod production;
mod profiles;
mod reservations;
mod test_servers;
mod test_users;
mod text;
