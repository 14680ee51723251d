//! A small HTTP/1.1 client: one connection, one request at a time.

mod endpoint;
mod failure;
mod link;
mod message;
mod tls;

pub use endpoint::{Endpoint, Server};
pub use failure::Failure;
pub use link::Link;
pub use message::{Answer, Outgoing};
pub use tls::Trust;
