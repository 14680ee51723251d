//! TLS of the public listener: 1.2 and 1.3, one certificate, exchanged while the daemon runs.
//!
//! A handshake happens in its connection's own task and has the time-out of a head. Each connection keeps the
//! certificate that it began with; files that change are taken over by [`Tls::watch`] for those that come later.

mod acceptor;
mod files;
mod reload;
mod validity;

pub use acceptor::Tls;
pub use validity::Validity;
