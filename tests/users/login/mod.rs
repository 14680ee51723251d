//! Login and authorisation, tested end to end.

mod access;
pub(super) mod accounts;
mod caches;
mod fairness;
mod keys;
mod modes;
mod owners;
mod principals;
mod rules;
mod secrets;
mod sessions;
mod statuses;
mod stuffing;
mod timing;
