//! The operators' listener.

pub mod overview;
mod page;
mod rate_limits;
pub mod routes;
