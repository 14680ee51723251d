//! The operator's listener.

pub mod overview;
mod page;
mod profiles;
mod rate_limits;
pub mod routes;
