//! Serves one connection.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::conn_state::ConnState;
use super::limits::ConnectionLimits;
use super::service::{Service, ServiceRunner};
use super::timed_io::{TimedIo, Transport};
use super::tls::Tls;
use crate::http::problem;
use crate::http::problem::Problem;

/// Read buffer per connection, in bytes. Bodies are not collected in it. They have a budget of their own
/// ([`crate::http::body`]).
const READ_BUFFER: usize = 64 << 10;

/// How long a stop waits for the first request of a connection, or for its handshake. Clients send a request as soon as
/// they are connected. Without this wait, the stop would close the connection without a response. A restart with a
/// socket of the service manager must not refuse clients.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

/// Does the TLS handshake, then continues as [`serve`].
pub async fn serve_tls<S: Service>(
    tcp: TcpStream,
    peer: IpAddr,
    tls: Tls,
    runner: Arc<ServiceRunner<S>>,
    limits: ConnectionLimits,
    mut stop: watch::Receiver<bool>,
) {
    let greeted = tokio::select! {
        greeted = tls.accept(tcp, limits.header_timeout) => greeted,
        () = async {
            // An error means that the server was dropped, which is a stop too.
            let _ = stop.wait_for(|stopping| *stopping).await;
            sleep(FIRST_REQUEST).await;
        } => None,
    };
    if let Some(stream) = greeted {
        serve(stream, peer, runner, limits, stop).await;
    }
}

/// Serves requests until either side closes the connection. After `stop`, only the request in progress or the first
/// request is served.
pub async fn serve<S: Service>(
    tcp: impl Transport,
    peer: IpAddr,
    runner: Arc<ServiceRunner<S>>,
    limits: ConnectionLimits,
    mut stop: watch::Receiver<bool>,
) {
    let conn = Arc::new(ConnState::new());
    let begun = Arc::clone(&conn);
    let io = TimedIo::new(tcp, Arc::clone(&conn), limits);
    let service = service_fn(move |request| {
        let (runner, conn) = (Arc::clone(&runner), Arc::clone(&conn));
        async move { Ok::<_, Infallible>(runner.handle(request, peer, &conn).await) }
    });
    let connection = http1::Builder::new()
        .max_header_size(limits.max_headers)
        .max_buf_size(READ_BUFFER.max(2 * limits.max_headers))
        // `TimedIo` enforces the deadlines.
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(io), service);
    tokio::pin!(connection);
    let stopping = async move {
        // An error means that the server was dropped, which is a stop too.
        let _ = stop.wait_for(|stopping| *stopping).await;
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopping => {
            // The connection continues until it ends or its first request begins.
            let first = poll_fn(|context| match connection.as_mut().poll(context) {
                Poll::Ready(ended) => Poll::Ready(Some(ended)),
                Poll::Pending if begun.has_begun() => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            });
            match timeout(FIRST_REQUEST, first).await {
                Ok(Some(ended)) => ended,
                Ok(None) | Err(_) => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended with an error");
    }
}

/// Responds with 503 to a client above the connection limit, and closes the connection.
pub async fn reject_over_capacity(tcp: TcpStream, limits: ConnectionLimits) {
    let full = Problem::new(&problem::OVERLOADED, "Too many connections are open.");
    TimedIo::new(tcp, Arc::new(ConnState::new()), limits).close_with(&full).await;
}
