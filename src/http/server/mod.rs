//! A listener and what every listener does, whatever it serves.
//!
//! ```text
//! endpoint    an address before connections come in: bound here, or passed by the service manager
//! listener    accepts up to a cap, and lets connections finish when it is told to stop
//! connection  the life of one connection; limits: its bounds
//! tls/        handshakes, certificates
//! timed_io    the socket under hyper: deadlines and last words; framing: how long a body is, said twice;
//!             conn_state: what the socket and its requests tell each other
//! service     one request: refuse, match, answer, measure; route: the table; meter: metrics and access log;
//!             request_trace: its trace
//! guard       what web pages may not make a browser do; authority, hosts: the names of the listener
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
