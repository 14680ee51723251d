//! A small HTTP/1.1 client: one connection, one request at a time.

mod connection;
mod endpoint;
mod message;
mod request_error;
mod tls;

pub use connection::ServerConnection;
pub use endpoint::{Endpoint, Server};
pub use message::{HttpResponse, OutgoingRequest};
pub use request_error::RequestError;
pub use tls::TrustedCas;
