//! One connection from its first byte to its last.

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

/// What one connection may hold of a request that is being read; bodies grow elsewhere, against a budget.
const READ_BUFFER: usize = 64 << 10;

/// How long a stop waits for the first request of a connection, or for its handshake. Clients send one as soon as they are
/// connected; closed without an answer they were refused, which a restart behind a socket that stays open must not do.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

/// The handshake, and then the same as [`serve`].
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
            // A server that is gone has stopped, too.
            let _ = stop.wait_for(|stopping| *stopping).await;
            sleep(FIRST_REQUEST).await;
        } => None,
    };
    if let Some(stream) = greeted {
        serve(stream, peer, runner, limits, stop).await;
    }
}

/// Serves requests until either side is done with the other; after `stop`, only the one that is open, or the first one.
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
        // `TimedIo` keeps the deadlines.
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(io), service);
    tokio::pin!(connection);
    let stopping = async move {
        // A server that is gone has stopped, too.
        let _ = stop.wait_for(|stopping| *stopping).await;
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopping => {
            // The connection goes on here: it may end, or its first request begins.
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

/// Tells a client above the cap to come back, and closes.
pub async fn reject_over_capacity(tcp: TcpStream, limits: ConnectionLimits) {
    let full = Problem::new(&problem::OVERLOADED, "Too many connections are open.");
    TimedIo::new(tcp, Arc::new(ConnState::new()), limits).close_with(&full).await;
}
