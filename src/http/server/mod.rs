//! The HTTP server that both listeners use.
//!
//! ```text
//! bound_socket     a bound address that does not accept connections yet; may come from the service manager
//! listener         accepts connections up to a limit, and lets open requests finish at a stop
//! connection       serves one connection
//! limits           limits of a listener and its connections
//! tls/             handshakes and certificates
//! timed_io         the socket below hyper: deadlines, and problem documents in place of hyper's empty responses
//! length_checker   detects heads that give two lengths for their body
//! conn_state       state that a socket and its requests share
//! service          handles one request: check, match, call, record
//! route            the route table
//! request_metrics  metrics and access log
//! request_trace    the trace of one request
//! guard            protection against requests from web pages
//! authority        parser of host and port
//! hosts            the host names that a listener accepts
//! ```

pub mod authority;
pub mod bound_socket;
pub mod conn_state;
pub mod connection;
pub mod guard;
pub mod hosts;
pub mod length_checker;
pub mod limits;
pub mod listener;
pub mod request_metrics;
pub mod request_trace;
pub mod route;
pub mod service;
pub mod timed_io;
pub mod tls;
