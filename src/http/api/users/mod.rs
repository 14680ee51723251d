//! Handlers of `/v1/users`. They call the user service.

mod errors;
pub mod reads;
mod requests;
pub mod writes;
