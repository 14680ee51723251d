//! `/v1/users`: from bytes on a socket to the user service, and back.

mod errors;
pub mod reads;
mod requests;
pub mod writes;
