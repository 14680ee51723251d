//! A listener: accepts connections up to a limit, and lets open requests finish when it stops.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use prometheus::IntCounter;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::bound_socket::BoundSocket;
use super::connection;
use super::hosts::is_loopback;
use super::limits::ConnectionLimits;
use super::service::{Service, ServiceRunner};
use super::tls::Tls;
use crate::http::metrics::Metrics;

/// Delays after a failed accept. The usual cause is that the process has no free file descriptors.
const BACKOFF_MIN: Duration = Duration::from_millis(10);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// Bounds for the connections above the limit that get a 503 at the same time. The others are closed without a
/// response. The number is an eighth of `max_connections` within these bounds, because each needs a file descriptor.
const MIN_REJECTED: usize = 16;
const MAX_REJECTED: usize = 128;

/// A bound listener.
pub struct HttpServer {
    listener: TcpListener,
    limits: ConnectionLimits,
    tls: Option<Tls>,
    connections_hit: IntCounter,
    accept_hit: IntCounter,
}

impl HttpServer {
    /// Binds an address and listens. Port 0 selects a free port.
    pub fn bind(address: SocketAddr, limits: ConnectionLimits, metrics: &Metrics) -> io::Result<Self> {
        Self::listen(BoundSocket::bind(address)?, limits, metrics)
    }

    /// Starts to listen. Must be called within the tokio runtime.
    pub fn listen(endpoint: BoundSocket, limits: ConnectionLimits, metrics: &Metrics) -> io::Result<Self> {
        Ok(Self {
            listener: endpoint.listen()?,
            limits,
            tls: None,
            connections_hit: metrics.connections_hit.clone(),
            accept_hit: metrics.accept_hit.clone(),
        })
    }

    /// Requires TLS on every connection if `tls` is given.
    pub fn with_tls(mut self, tls: Option<Tls>) -> Self {
        self.tls = tls;
        self
    }

    /// The address on which the server listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown` completes. Then it accepts no more connections, and requests in progress get
    /// `shutdown_grace` to finish. Returns the number of connections that were closed after this time.
    pub async fn serve<S: Service>(self, service: S, shutdown: impl Future<Output = ()>) -> usize {
        // If the address is unknown, the rules for loopback apply, because they are the strictest.
        let loopback = self.local_addr().map_or(true, |address| is_loopback(address.ip()));
        let runner = Arc::new(ServiceRunner::new(service, loopback));
        let (stop, stopped) = watch::channel(false);
        let mut open = JoinSet::new();
        let mut rejected = JoinSet::new();
        let mut backoff = BACKOFF_MIN;
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                Some(ended) = open.join_next() => report(ended),
                Some(ended) = rejected.join_next() => report(ended),
                accepted = self.listener.accept() => match accepted {
                    Ok((tcp, peer)) => {
                        backoff = BACKOFF_MIN;
                        self.admit((tcp, peer.ip()), &runner, &stopped, &mut open, &mut rejected);
                    }
                    Err(error) if is_the_clients(&error) => {}
                    Err(error) => {
                        self.accept_hit.inc();
                        tracing::warn!(
                            event = "listener.accept_failed",
                            %error,
                            listener.delay_ms = backoff.as_millis() as u64,
                            "cannot accept a connection; retrying"
                        );
                        tokio::select! {
                            () = &mut shutdown => break,
                            () = tokio::time::sleep(backoff) => {}
                        }
                        backoff = (backoff * 2).min(BACKOFF_MAX);
                    }
                },
            }
        }
        // After this call, the kernel refuses new connections.
        drop(self.listener);
        stop.send_replace(true);
        let _ = tokio::time::timeout(self.limits.shutdown_grace, finish(&mut open)).await;
        let cut = open.len();
        open.shutdown().await;
        rejected.shutdown().await;
        cut
    }

    fn admit<S: Service>(
        &self,
        (tcp, peer): (TcpStream, IpAddr),
        runner: &Arc<ServiceRunner<S>>,
        stopped: &watch::Receiver<bool>,
        open: &mut JoinSet<()>,
        rejected: &mut JoinSet<()>,
    ) {
        // Each response is small and is written at once. Waiting for more data would only delay it.
        if let Err(error) = tcp.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY not set");
        }
        if open.len() < self.limits.max_connections {
            let (runner, stopped) = (Arc::clone(runner), stopped.clone());
            match self.tls.clone() {
                Some(tls) => open.spawn(connection::serve_tls(tcp, peer, tls, runner, self.limits, stopped)),
                None => open.spawn(connection::serve(tcp, peer, runner, self.limits, stopped)),
            };
            return;
        }
        self.connections_hit.inc();
        // With TLS, a response needs a handshake. That is too expensive for connections above the limit.
        let most = (self.limits.max_connections / 8).clamp(MIN_REJECTED, MAX_REJECTED);
        if self.tls.is_none() && rejected.len() < most {
            rejected.spawn(connection::reject_over_capacity(tcp, self.limits));
        }
    }
}

async fn finish(open: &mut JoinSet<()>) {
    while let Some(ended) = open.join_next().await {
        report(ended);
    }
}

/// Logs a panic of a connection's task. Other connections continue.
fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(event = "listener.connection_failed", %error, "connection task failed");
    }
}

/// Whether the error concerns only the connection that was being accepted. The next accept may succeed.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(error.kind(), ConnectionAborted | ConnectionReset | ConnectionRefused | Interrupted)
}
