//! Opens, serves and closes the listeners. Warns at every start about a listener that is reachable from the network
//! without authentication.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::auth::Mode;
use crate::config::Config;
use crate::http::{
    Admin, Api, ApiParts, BoundSocket, ConnectionLimits, DurableCommands, HttpServer, Metrics, Tls,
    is_loopback,
};
use crate::metrics::Registry;
use crate::task::{FatalSignal, Task, guarded};

use super::bound_sockets::BoundSockets;
use super::{Failure, descriptors};

/// Both listeners of the daemon. Connections queue; none is served yet.
pub(super) struct BoundListeners {
    public: HttpServer,
    admin: HttpServer,
    tls: Option<Tls>,
}

/// Completes when a listener is to stop.
type StopFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One listener that serves until it is stopped.
pub(super) struct RunningListener {
    pub(super) address: SocketAddr,
    stop: watch::Sender<bool>,
    serving: JoinHandle<usize>,
}

/// The running listeners of the daemon.
pub(super) struct RunningListeners {
    /// `None` after it was closed.
    pub(super) public: Option<RunningListener>,
    pub(super) admin: RunningListener,
    /// Watches for new certificates.
    _certificates: Option<Task>,
}

impl BoundListeners {
    /// Starts to listen on both addresses.
    pub(super) fn listen(
        endpoints: BoundSockets,
        config: &Config,
        tls: Option<Tls>,
        metrics: &Metrics,
    ) -> Result<Self, Failure> {
        let BoundSockets { public, admin } = endpoints;
        let (key, address) = ("listen", config.server.listen);
        let public = HttpServer::listen(public, config.server.limits(), metrics);
        let public = public.map_err(|source| Failure::Listen { key, address, source })?;
        Ok(Self { public: public.with_tls(tls.clone()), admin: listen_admin(admin, config, metrics)?, tls })
    }

    /// Addresses of the public and the admin listener.
    pub(super) fn addresses(&self) -> std::io::Result<(SocketAddr, SocketAddr)> {
        Ok((self.public.local_addr()?, self.admin.local_addr()?))
    }

    /// Starts to serve. The daemon accepts commands after this call.
    pub(super) fn open(
        self,
        config: &Config,
        parts: ApiParts<DurableCommands>,
        registry: &Registry,
        fatal: &FatalSignal,
    ) -> Result<RunningListeners, Failure> {
        let admin =
            Admin::new(&config.server, parts.backend.clone(), parts.metrics.clone(), registry.clone());
        let admin = parts.limits.iter().fold(admin, |admin, limits| admin.with_limits(limits.clone()));
        let public = Api::new(&config.server, parts);
        Ok(RunningListeners {
            _certificates: self.tls.as_ref().map(Tls::watch),
            public: Some(RunningListener::open("listener", self.public, fatal, |server, stop| {
                server.serve(public, stop)
            })?),
            admin: RunningListener::open_admin(self.admin, admin, fatal)?,
        })
    }
}

impl RunningListener {
    /// Serves the admin API.
    pub(super) fn open_admin(server: HttpServer, site: Admin, fatal: &FatalSignal) -> Result<Self, Failure> {
        Self::open("admin-listener", server, fatal, |server, stop| server.serve(site, stop))
    }

    /// Serves on one listener. A failed listener stops the process, because nothing would replace it.
    fn open<F>(
        name: &'static str,
        server: HttpServer,
        fatal: &FatalSignal,
        serve: impl FnOnce(HttpServer, StopFuture) -> F,
    ) -> Result<Self, Failure>
    where
        F: Future<Output = usize> + Send + 'static,
    {
        let address = server.local_addr().map_err(Failure::system("a listener's address"))?;
        let (stop, mut stop_requested) = watch::channel(false);
        let stopped = async move {
            // A dropped sender also means stop.
            let _ = stop_requested.wait_for(|stop_requested| *stop_requested).await;
        };
        let (fatal, serving) = (fatal.clone(), serve(server, Box::pin(stopped)));
        let serving = async move {
            let cut = guarded(serving).await;
            cut.inspect_err(|cause| fatal.raise(name, cause)).unwrap_or_default()
        };
        Ok(Self { address, stop, serving: tokio::spawn(serving) })
    }

    /// Accepts no new requests. Returns when the requests in flight are answered or `within` is over.
    pub(super) async fn close(mut self, within: Duration) {
        self.stop.send_replace(true);
        match tokio::time::timeout(within, &mut self.serving).await {
            Ok(Ok(0)) => {}
            Ok(Ok(cut)) => tracing::warn!(
                event = "listener.connections_cut",
                connections = cut,
                "connections closed before their requests were answered"
            ),
            Ok(Err(panic)) => {
                tracing::error!(event = "listener.failed", error = %panic, "listener failed");
            }
            Err(_) => self.serving.abort(),
        }
    }
}

/// Opens the admin listener, with fewer connections than the public one.
pub(super) fn listen_admin(
    endpoint: BoundSocket,
    config: &Config,
    metrics: &Metrics,
) -> Result<HttpServer, Failure> {
    let (key, address) = ("admin_listen", config.server.admin_listen);
    let limits = config.server.limits();
    let max_connections = limits.max_connections.min(descriptors::ADMIN_CONNECTIONS);
    let listening = HttpServer::listen(endpoint, ConnectionLimits { max_connections, ..limits }, metrics);
    listening.map_err(|source| Failure::Listen { key, address, source })
}

/// Warns about exposed listeners. `public` is `None` in a process without a public listener.
pub(super) fn warn_if_exposed(config: &Config, public: Option<SocketAddr>, admin: SocketAddr) {
    let public = public.filter(|_| config.auth.mode == Mode::Open);
    if let Some(address) = public.filter(|address| !is_loopback(address.ip())) {
        tracing::warn!(
            event = "listener.exposed",
            config.key = "server.allow_open",
            %address,
            effect = "every client is an administrator and can read, change and delete users and send commands",
            "listener without authentication is reachable from other machines"
        );
    }
    if !is_loopback(admin.ip()) {
        tracing::warn!(
            event = "listener.exposed",
            config.key = "server.allow_open_admin",
            address = %admin,
            effect = "every client can read metrics, pause delivery and change rate limits",
            "listener without authentication is reachable from other machines"
        );
    }
}
