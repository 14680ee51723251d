//! The concrete things, built and tied, started and stopped one by one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::control;
use crate::drain::Drain;
use crate::drain::DrainError;
use crate::drain::DrainParts;
use crate::http::Admin;
use crate::http::AdminBackend;
use crate::http::Durable;
use crate::http::HttpServer;
use crate::http::Public;
use crate::http::PublicParts;
use crate::ingest;
use crate::kafka::Brokers;
use crate::kafka::EmbeddedBroker;
use crate::kinds::Kinds;
use crate::metrics::Metrics;
use crate::status::Statuses;
use crate::systemd::Pulse;
use crate::task::Alarm;
use crate::wal::Lock;
use crate::wal::Log;
use crate::wal::Opened;

use super::Failure;
use super::backend::Backend;

/// Everything that runs.
pub(super) struct Parts {
    pub(super) log: Arc<Log>,
    pub(super) http: SocketAddr,
    pub(super) admin: SocketAddr,
    backend: Arc<Backend>,
    statuses: Statuses,
    doors: Vec<Door>,
    embedded: Option<EmbeddedBroker>,
    drain: Option<Drain>,
    control: Option<control::Server>,
    // Last: the directory is ours until everything else is gone.
    _lock: Lock,
}

/// One listener that serves until it is told to stop.
struct Door {
    stop: watch::Sender<bool>,
    serving: JoinHandle<usize>,
}

impl Parts {
    /// Starts ingest and listens; from here on commands are accepted.
    pub(super) async fn listen(
        (lock, opened): (Lock, Opened),
        config: &Config,
        metrics: &Arc<Metrics>,
        alarm: &Alarm,
    ) -> Result<Self, Failure> {
        let Opened { writer, log, .. } = opened;
        let public = bind(config.server.listen, config, metrics).await?;
        let operators = bind(config.server.admin_listen, config, metrics).await?;
        let embedded = match config.embedded() {
            true => Some(EmbeddedBroker::start().map_err(|error| Failure::Kafka(error.to_string()))?),
            false => None,
        };
        let checkpoint_interval = config.drain.checkpoint_interval.0;
        let (wal, metrics) = (config.wal.clone(), Arc::clone(metrics));
        let its_parts = ingest::Parts {
            writer,
            config: wal,
            checkpoint_interval,
            metrics: Arc::clone(&metrics),
            alarm: alarm.clone(),
        };
        let (ingest, threads) = ingest::start(its_parts).map_err(Failure::system("the commit thread"))?;
        let statuses = Statuses::new(Arc::clone(&log));
        let backend = Arc::new(Backend {
            log: Arc::clone(&log),
            ingest: ingest.clone(),
            metrics: Arc::clone(&metrics),
            ingest_threads: Mutex::new(Some(threads)),
            drain: OnceLock::new(),
            stopping: AtomicBool::new(false),
        });
        let shown: Arc<dyn AdminBackend> = backend.clone();
        let kinds = Kinds::build(&config.kinds).map_err(crate::config::Mistakes::from)?;
        let (http, admin) = (address(&public)?, address(&operators)?);
        let commands = Durable { ingest, statuses: statuses.clone() };
        let message_max = config.kafka.message_max;
        let site = PublicParts {
            commands,
            kinds,
            backend: Arc::clone(&shown),
            metrics: Arc::clone(&metrics),
            message_max,
        };
        let site = Public::new(&config.server, site);
        let doors = vec![
            Door::open(|stop| public.serve(site, stop)),
            Door::open(|stop| operators.serve(Admin::new(shown, metrics), stop)),
        ];
        let operator = Arc::clone(&backend);
        // Without it operators change a log only when the daemon is stopped, which is no reason not to accept.
        let control = control::Server::start(log.dir(), operator)
            .inspect_err(
                |error| tracing::warn!(%error, "no control socket: dead letters wait for a stopped daemon"),
            )
            .ok();
        Ok(Self { log, http, admin, backend, statuses, doors, embedded, drain: None, control, _lock: lock })
    }

    /// Where Kafka clients find the embedded broker.
    pub(super) fn bootstrap(&self) -> Option<&str> {
        self.embedded.as_ref().map(EmbeddedBroker::bootstrap)
    }

    /// Starts the workers.
    pub(super) fn start_drain(&mut self, config: &Config, alarm: &Alarm) -> Result<(), Failure> {
        let bootstrap = match (&config.kafka.brokers, self.bootstrap()) {
            (Brokers::List(list), _) => list.clone(),
            (Brokers::Embedded, own) => own.unwrap_or_default().to_owned(),
        };
        let drain = Drain::start(DrainParts {
            log: Arc::clone(&self.log),
            statuses: self.statuses.clone(),
            metrics: Arc::clone(&self.backend.metrics),
            config: config.drain.clone(),
            kafka: config.kafka.clone(),
            alarm: alarm.clone(),
            bootstrap,
        });
        let drain = drain.map_err(drain_failure)?;
        self.backend.drain.get_or_init(|| drain.handle());
        self.drain = Some(drain);
        Ok(())
    }

    /// The loops that must turn: the commit thread, and at least one of the workers.
    pub(super) fn pulses(&self) -> (Vec<Pulse>, Vec<Pulse>) {
        let commit = self.backend.ingest_threads().as_ref().map(|threads| {
            let beats = threads.heartbeat();
            Pulse::new("commit", move || beats.load(Ordering::Relaxed))
        });
        let workers = self.drain.as_ref().map(|drain| {
            let handle = drain.handle();
            let count = handle.heartbeats().len();
            (0..count).map(move |index| {
                let handle = handle.clone();
                Pulse::new(format!("drain-{index}"), move || handle.heartbeats()[index])
            })
        });
        (commit.into_iter().collect(), workers.into_iter().flatten().collect())
    }

    /// Readiness off, no new requests; returns when those under way are answered, or `within` is over. Operators
    /// are served until the end.
    pub(super) async fn stop_accepting(&mut self, within: Duration) {
        self.backend.stopping.store(true, Ordering::Relaxed);
        self.doors.remove(0).close(within).await;
    }

    /// Operators' changes end, then ingest takes nothing new, and flushes and answers what waits. Blocks.
    pub(super) fn close_ingest(&mut self) {
        if let Some(control) = self.control.take() {
            control.stop();
        }
        if let Some(threads) = &*self.backend.ingest_threads() {
            threads.close();
        }
    }

    /// Workers begin nothing new and wait for what is in flight. Blocks.
    pub(super) fn stop_drain(&mut self, within: Duration) {
        if let Some(drain) = self.drain.take() {
            drain.stop(Instant::now() + within);
        }
    }

    /// Ends the log's threads, with a last checkpoint. Blocks.
    pub(super) fn end_ingest(&self, within: Duration) {
        let threads = self.backend.ingest_threads().take();
        if let Some(threads) = threads {
            threads.join(within);
        }
    }
}

/// What it means for the process that the workers did not start.
pub(super) fn drain_failure(error: DrainError) -> Failure {
    match error {
        DrainError::Client(refused) => Failure::Kafka(refused.to_string()),
        DrainError::Thread(source) => Failure::System { what: "a worker", source },
    }
}

impl Door {
    fn open<F>(serve: impl FnOnce(std::pin::Pin<Box<dyn Future<Output = ()> + Send>>) -> F) -> Self
    where
        F: Future<Output = usize> + Send + 'static,
    {
        let (stop, mut asked) = watch::channel(false);
        let stopped = async move {
            // A sender that is gone asks for the same.
            let _ = asked.wait_for(|asked| *asked).await;
        };
        Self { stop, serving: tokio::spawn(serve(Box::pin(stopped))) }
    }

    async fn close(mut self, within: Duration) {
        self.stop.send_replace(true);
        match tokio::time::timeout(within, &mut self.serving).await {
            Ok(Ok(0)) => {}
            Ok(Ok(cut)) => tracing::warn!(cut, "connections were cut"),
            Ok(Err(panic)) => tracing::error!(%panic, "a listener failed"),
            Err(_) => self.serving.abort(),
        }
    }
}

async fn bind(address: SocketAddr, config: &Config, metrics: &Metrics) -> Result<HttpServer, Failure> {
    let bound = HttpServer::bind(address, config.server.limits(), metrics).await;
    bound.map_err(|source| Failure::Listen { address, source })
}

fn address(server: &HttpServer) -> Result<SocketAddr, Failure> {
    server.local_addr().map_err(Failure::system("a listener's address"))
}
