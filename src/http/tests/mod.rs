//! Tests with real sockets, a fake log that records submissions, and a client that can send invalid data.

mod accepting;
mod admin;
mod bad_input;
mod client;
mod connections;
mod cost;
mod description;
mod events;
mod fixture;
mod guard;
mod opaque;
mod statuses;
mod timed_io;
