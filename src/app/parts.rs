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
use crate::consumer;
use crate::consumer::Consumer;
use crate::consumer::ConsumerParts;
use crate::control;
use crate::drain::Drain;
use crate::drain::DrainError;
use crate::drain::DrainParts;
use crate::drain::Lead;
use crate::http::Admin;
use crate::http::AdminBackend;
use crate::http::Catalogue;
use crate::http::Durable;
use crate::http::HttpServer;
use crate::http::Limits;
use crate::http::Public;
use crate::http::PublicParts;
use crate::http::Tls;
use crate::ingest;
use crate::kafka::Brokers;
use crate::kafka::EmbeddedBroker;
use crate::kinds::Kinds;
use crate::metrics::Metrics;
use crate::status::Statuses;
use crate::systemd::Pulse;
use crate::task::Alarm;
use crate::task::Task;
use crate::task::guarded;
use crate::users::Unsealer;
use crate::users::hash::HashPool;
use crate::users::hash::HashWorkers;
use crate::wal::Lock;
use crate::wal::Log;
use crate::wal::Opened;

use super::Failure;
use super::access::Access;
use super::applied::Applied;
use super::backend::Backend;
use super::dependencies::Dependencies;
use super::descriptors;
use super::reload::Reloadable;
use super::service::Service;
use super::service::Stores;
use super::unseal::Unseal;

/// Everything that runs.
pub(super) struct Parts {
    pub(super) log: Arc<Log>,
    pub(super) http: SocketAddr,
    pub(super) admin: SocketAddr,
    backend: Arc<Backend>,
    statuses: Statuses,
    doors: Vec<Door>,
    embedded: Option<EmbeddedBroker>,
    stores: Option<Stores>,
    service: Option<Service>,
    access: Option<Access>,
    drain: Option<Drain>,
    consumer: Option<Consumer>,
    hash_pool: HashPool,
    hash_workers: Option<HashWorkers>,
    control: Option<control::Server>,
    _certificates: Option<Task>,
    reloadable: Reloadable,
    // Last: the directory is ours until everything else is gone.
    _lock: Lock,
}

/// One listener that serves until it is told to stop.
pub(super) struct Door {
    stop: watch::Sender<bool>,
    serving: JoinHandle<usize>,
}

/// Both listeners, bound, so that whoever connects waits, and nobody is served yet.
struct Listeners {
    public: HttpServer,
    operators: HttpServer,
    /// Looks for new ones.
    certificates: Option<Task>,
}

impl Listeners {
    fn bind(tls: Option<Tls>, config: &Config, metrics: &Metrics) -> Result<Self, Failure> {
        let certificates = tls.as_ref().map(Tls::watch);
        let public = bind(config.server.listen, config.server.limits(), metrics)?.with_tls(tls);
        let operators = bind_admin(config, metrics)?;
        Ok(Self { public, operators, certificates })
    }

    fn open(self, public: Public<Durable>, operators: Admin, alarm: &Alarm) -> (Vec<Door>, Option<Task>) {
        let doors = vec![
            Door::open("listener", alarm, |stop| self.public.serve(public, stop)),
            Door::open("admin-listener", alarm, |stop| self.operators.serve(operators, stop)),
        ];
        (doors, self.certificates)
    }
}

impl Parts {
    /// Starts ingest and listens; from here on commands are accepted.
    pub(super) async fn listen(
        (lock, opened): (Lock, Opened),
        tls: Option<Tls>,
        config: &Config,
        metrics: &Arc<Metrics>,
        alarm: &Alarm,
    ) -> Result<Self, Failure> {
        let Opened { writer, log, .. } = opened;
        let listeners = Listeners::bind(tls.clone(), config, metrics)?;
        let embedded = match config.embedded() {
            true => Some(EmbeddedBroker::start().map_err(|error| Failure::Kafka(error.to_string()))?),
            false => None,
        };
        let metrics = Arc::clone(metrics);
        let ingest = ingest::start(ingest::Parts {
            writer,
            config: config.wal.clone(),
            checkpoint_interval: config.drain.checkpoint_interval.0,
            metrics: Arc::clone(&metrics),
            alarm: alarm.clone(),
        });
        let (ingest, threads) = ingest.map_err(Failure::system("the commit thread"))?;
        let (hash_pool, hash_workers) = HashPool::start(&config.users, Arc::clone(&metrics), alarm)
            .map_err(Failure::system("threads that hash"))?;
        let stores = Stores::open(config, &log, &metrics).await;
        let mut statuses = Statuses::new(Arc::clone(&log));
        if let Some(stores) = &stores {
            statuses = statuses.with_outcomes(stores.db.clone(), ingest.seal().clone());
        }
        let access = Access::open(config, stores.as_ref(), hash_pool.clone(), &metrics)?;
        let dependencies = Arc::<Dependencies>::default();
        let service = stores.as_ref().map(|stores| {
            Service::start(
                stores,
                config,
                ingest.clone(),
                &statuses,
                hash_pool.clone(),
                &dependencies,
                &metrics,
            )
        });
        let backend = Arc::new(Backend {
            log: Arc::clone(&log),
            ingest: ingest.clone(),
            metrics: Arc::clone(&metrics),
            ingest_threads: Mutex::new(Some(threads)),
            drain: OnceLock::new(),
            stores: stores.clone(),
            dependencies: Arc::clone(&dependencies),
            consumer: OnceLock::new(),
            stopping: AtomicBool::new(false),
        });
        let shown: Arc<dyn AdminBackend> = backend.clone();
        let kinds = Catalogue::new(Kinds::build(&config.kinds).map_err(crate::config::Mistakes::from)?);
        let reloadable = Reloadable {
            kinds: Some(kinds.clone()),
            limits: Some(access.limits.clone()),
            authenticator: Some(access.authenticator.clone()),
            tls,
        };
        let (http, admin) = (address(&listeners.public)?, address(&listeners.operators)?);
        let site = PublicParts {
            commands: Durable { ingest, statuses: statuses.clone() },
            kinds,
            users: service.as_ref().map(|service| service.users.clone()),
            authenticator: access.authenticator.clone(),
            login: access.login.clone(),
            limits: Some(access.limits.clone()),
            backend: Arc::clone(&shown),
            metrics: Arc::clone(&metrics),
            message_max: config.kafka.message_max,
        };
        let operators = Admin::new(&config.server, shown, metrics).with_limits(access.limits.clone());
        let (doors, certificates) = listeners.open(Public::new(&config.server, site), operators, alarm);
        let operator = Arc::clone(&backend);
        // Without it operators change a log only when the daemon is stopped, which is no reason not to accept.
        let control = control::Server::start(log.dir(), operator)
            .inspect_err(
                |error| tracing::warn!(%error, "no control socket: dead letters wait for a stopped daemon"),
            )
            .ok();
        Ok(Self {
            log,
            http,
            admin,
            backend,
            statuses,
            doors,
            embedded,
            stores,
            service,
            access: Some(access),
            drain: None,
            consumer: None,
            hash_pool,
            hash_workers: Some(hash_workers),
            control,
            _certificates: certificates,
            reloadable,
            _lock: lock,
        })
    }

    /// What SIGHUP changes.
    pub(super) fn reloadable(&self) -> Reloadable {
        self.reloadable.clone()
    }

    /// Where Kafka clients find the embedded broker.
    pub(super) fn bootstrap(&self) -> Option<&str> {
        self.embedded.as_ref().map(EmbeddedBroker::bootstrap)
    }

    /// The brokers to ask first.
    fn brokers(&self, config: &Config) -> String {
        match (&config.kafka.brokers, self.bootstrap()) {
            (Brokers::List(list), _) => list.clone(),
            (Brokers::Embedded, own) => own.unwrap_or_default().to_owned(),
        }
    }

    /// Starts to apply users' commands, where this process does that.
    pub(super) fn start_consumer(&mut self, config: &Config, alarm: &Alarm) -> Result<(), Failure> {
        let Some(stores) = self.stores.clone().filter(|_| config.consumes()) else { return Ok(()) };
        let parts = ConsumerParts {
            after: Arc::new(Applied {
                profiles: stores.profiles,
                marks: self.access.as_ref().map(|access| access.marks.clone()),
                statuses: Some(self.statuses.clone()),
                _notices: None,
            }),
            db: stores.db,
            kv: Some(stores.kv),
            config: config.consumer.clone(),
            kafka: config.kafka.clone(),
            bootstrap: self.brokers(config),
            metrics: Arc::clone(&self.backend.metrics),
            runtime: tokio::runtime::Handle::current(),
            slow_step: config.telemetry.slow_step.0,
        };
        let consumer = Consumer::start(parts, alarm.clone()).map_err(Failure::system("the consumer"))?;
        self.backend.consumer.get_or_init(|| consumer.handle());
        self.consumer = Some(consumer);
        Ok(())
    }

    /// Starts the workers.
    pub(super) fn start_drain(&mut self, config: &Config, alarm: &Alarm) -> Result<(), Failure> {
        let bootstrap = self.brokers(config);
        let unsealer = Unsealer::new(self.hash_pool.clone(), &self.log.identity().secret);
        let drain = Drain::start(DrainParts {
            log: Arc::clone(&self.log),
            statuses: self.statuses.clone(),
            metrics: Arc::clone(&self.backend.metrics),
            config: config.drain.clone(),
            kafka: config.kafka.clone(),
            alarm: alarm.clone(),
            bootstrap,
            lead: self.lead(config),
            prepare: Arc::new(Unseal(unsealer)),
        });
        let drain = drain.map_err(drain_failure)?;
        self.backend.drain.get_or_init(|| drain.handle());
        self.drain = Some(drain);
        Ok(())
    }

    /// The embedded broker forgets what is not applied soon.
    fn lead(&self, config: &Config) -> Option<Arc<Lead>> {
        if !config.embedded() || !config.consumes() {
            return None;
        }
        let backend = Arc::clone(&self.backend);
        Some(Arc::new(Lead::new(move |partition| {
            let settled = backend.consumer.get().map(consumer::Handle::settled);
            settled.and_then(|settled| settled.get(&partition).copied()).unwrap_or(0)
        })))
    }

    /// The loops that must turn: the commit thread and the drain's reader, and at least one of the workers.
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
        let reader = self.drain.as_ref().map(|drain| {
            let handle = drain.handle();
            Pulse::new("drain-reader", move || handle.reader_heartbeat())
        });
        (commit.into_iter().chain(reader).collect(), workers.into_iter().flatten().collect())
    }

    /// Readiness off, no new requests; returns when those under way are answered, or `within` is over. Operators
    /// are served until the end.
    pub(super) async fn stop_accepting(&mut self, within: Duration) {
        self.backend.stopping.store(true, Ordering::Relaxed);
        self.doors.remove(0).close(within).await;
    }

    /// Writes the login times that wait.
    pub(super) async fn flush_logins(&self, within: Duration) {
        if let Some(access) = &self.access {
            access.flush(within).await;
        }
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

    /// Lets the consumer settle what it has begun. Blocks.
    pub(super) fn stop_consumer(&mut self, within: Duration) {
        if let Some(consumer) = self.consumer.take() {
            consumer.stop(Instant::now() + within);
        }
    }

    /// Ends what keeps markers, caches, keys and limits.
    pub(super) fn stop_service(&mut self) {
        self.service = None;
        self.access = None;
    }

    /// Returns when the disk has the markers and limits of a daemon that is alone.
    pub(super) async fn flush_store(&self) {
        let Some(stores) = &self.stores else { return };
        if let Err(error) = stores.kv.flush().await {
            tracing::warn!(%error, "markers and limits of the last half second may be lost");
        }
    }

    /// Nothing is hashed any more; what waits for a hash stays in the log. Blocks.
    pub(super) fn stop_hashing(&mut self, within: Duration) {
        if let Some(workers) = self.hash_workers.take() {
            workers.stop(within);
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
    /// Serves. A listener that fails is nobody's door any more, and ends the process.
    pub(super) fn open<F>(
        name: &'static str,
        alarm: &Alarm,
        serve: impl FnOnce(std::pin::Pin<Box<dyn Future<Output = ()> + Send>>) -> F,
    ) -> Self
    where
        F: Future<Output = usize> + Send + 'static,
    {
        let (stop, mut asked) = watch::channel(false);
        let stopped = async move {
            // A sender that is gone asks for the same.
            let _ = asked.wait_for(|asked| *asked).await;
        };
        let (alarm, serving) = (alarm.clone(), serve(Box::pin(stopped)));
        let serving = async move {
            let cut = guarded(serving).await;
            cut.inspect_err(|cause| alarm.raise(name, cause)).unwrap_or_default()
        };
        Self { stop, serving: tokio::spawn(serving) }
    }

    pub(super) async fn close(mut self, within: Duration) {
        self.stop.send_replace(true);
        match tokio::time::timeout(within, &mut self.serving).await {
            Ok(Ok(0)) => {}
            Ok(Ok(cut)) => tracing::warn!(cut, "connections were cut"),
            Ok(Err(panic)) => tracing::error!(%panic, "a listener failed"),
            Err(_) => self.serving.abort(),
        }
    }
}

/// The operators' listener, with fewer connections than the public one.
pub(super) fn bind_admin(config: &Config, metrics: &Metrics) -> Result<HttpServer, Failure> {
    let limits = config.server.limits();
    let most = limits.max_connections.min(descriptors::ADMIN_CONNECTIONS);
    bind(config.server.admin_listen, Limits { max_connections: most, ..limits }, metrics)
}

fn bind(address: SocketAddr, limits: Limits, metrics: &Metrics) -> Result<HttpServer, Failure> {
    let bound = HttpServer::bind(address, limits, metrics);
    bound.map_err(|source| Failure::Listen { address, source })
}

pub(super) fn address(server: &HttpServer) -> Result<SocketAddr, Failure> {
    server.local_addr().map_err(Failure::system("a listener's address"))
}
