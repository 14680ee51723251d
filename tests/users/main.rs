//! The user service, seen from outside: the daemon as a process, on embedded parts and on real ones.

// clippy.toml allows this in test functions; what they call is no different.
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
