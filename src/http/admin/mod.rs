//! The operators' listener.

mod rate_limits;
pub mod routes;
