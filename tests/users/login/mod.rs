//! Logging in, and who may do what, seen from outside.

mod access;
mod caches;
mod fairness;
mod keys;
mod modes;
mod owners;
pub(super) mod party;
mod principals;
mod rules;
mod secrets;
mod sessions;
mod statuses;
mod stuffing;
mod timing;
