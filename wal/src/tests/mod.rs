//! Tests of the log as a whole, on a simulated file system.

mod sim;
mod support;

mod basics;
mod damage;
mod encrypted;
mod every_call;
mod golden;
mod live;
mod model;
mod nonces;
mod places;
mod rekey;
mod repair;
mod simulator;
mod unreadable;

pub(super) use simulator::dice::{Dice, simulated_random};
