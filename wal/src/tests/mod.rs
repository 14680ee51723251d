//! Tests of the log as a whole, on a simulated file system.

mod sim_fs;
mod support;

mod basics;
mod damage;
mod encrypted;
mod every_call;
mod golden;
mod layout;
mod model;
mod nonces;
mod read_beside_writer;
mod rekey;
mod repair;
mod simulator;
mod unreadable;

pub(super) use simulator::rng::{SeededRng, simulated_random};
