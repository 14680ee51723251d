//! TLS 1.2 and 1.3 of the public listener, with one certificate that can be replaced while the daemon runs.
//!
//! A handshake runs in the task of its connection and has the time-out of a request head. [`Tls::watch`] loads changed
//! files. New connections then use the new certificate. Open connections keep the certificate with which they began.

mod acceptor;
mod files;
mod reload;
mod validity;

pub use acceptor::Tls;
pub use validity::Validity;
