//! The components of `forebay serve`, in the order in which they start.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::task::JoinError;

use crate::config::ConfigErrors;
use crate::drain::Backpressure;
use crate::http::{ApiParts, Catalogue, DurableCommands, Tls};
use crate::ingest::Ingest;
use crate::kafka::{Brokers, EmbeddedBroker};
use crate::kinds::Kinds;
use crate::kv::Kv;
use crate::status::Statuses;
use crate::systemd::Heartbeat;
use crate::task::Task;
use crate::users::hash::HashPool;
use crate::wal::{Lock, Log, OpenedLog};
use crate::{consumer, control, drain, http};

use super::auth::Auth;
use super::bound_sockets::BoundSockets;
use super::daemon_admin::DaemonAdmin;
use super::dependency_checks::DependencyChecks;
use super::hooks::PostCommitHook;
use super::listeners::{BoundListeners, RunningListeners};
use super::log_gauges::LogGauges;
use super::log_metrics::LogMetrics;
use super::problem_sources::ProblemSources;
use super::problems::ConfiguredFiles;
use super::process::registered;
use super::recorder::Recorder;
use super::reload::Reloadable;
use super::shutdown::{Deadlines, RunningComponents};
use super::user_service::{RunningUserService, UserStores};
use super::wiring::Wiring;
use super::{Failure, clock_watch, last_failure, overview, problems, recorder, user_service, watchdog};

/// The running daemon. It accepts commands as soon as it exists.
pub(super) struct Daemon {
    pub(super) log: Arc<Log>,
    backend: Arc<DaemonAdmin>,
    statuses: Statuses,
    listeners: RunningListeners,
    stores: Option<UserStores>,
    hash_pool: HashPool,
    reloadable: Reloadable,
    running: RunningComponents,
    drain_metrics: Arc<drain::Metrics>,
    /// `None` if another process applies user commands.
    consumer_metrics: Option<Arc<consumer::Metrics>>,
    /// Checks the store of the rate limits, in a daemon without users.
    _shared_watch: Option<Task>,
    embedded: Option<EmbeddedBroker>,
    // Declared last: the directory stays locked until everything else is dropped.
    _lock: Lock,
}

impl Daemon {
    /// Starts ingest and opens the listeners. The daemon accepts commands after this call.
    pub(super) async fn listen(
        wiring: &Wiring<'_>,
        (lock, OpenedLog { writer, log, .. }, log_metrics): (Lock, OpenedLog, Arc<LogMetrics>),
        http: Arc<http::Metrics>,
        endpoints: BoundSockets,
        tls: Option<Tls>,
    ) -> Result<Self, Failure> {
        let Wiring { config, registry, fatal, .. } = wiring;
        // All metrics exist at the first scrape, including those of components that start later.
        let drain_metrics = wiring.drain_metrics()?;
        let consumer_metrics =
            config.consumes().then(|| wiring.metrics(consumer::Metrics::register)).transpose()?;
        let listeners = BoundListeners::listen(endpoints, config, tls.clone(), &http)?;
        let (public, admin) = listeners.addresses().map_err(Failure::system("the address of a listener"))?;
        let instance = overview::instance(wiring, Some(public), admin);
        let embedded = wiring.embedded_broker()?;
        let (ingest, ingest_threads) = wiring.ingest(writer)?;
        let (hash_pool, hash_workers) = wiring.hashing()?;
        let UserServiceStores { stores, shared, not_served: users_not_served } =
            UserServiceStores::open(wiring, &log).await?;
        let statuses = statuses(&log, stores.as_ref(), &ingest);
        let auth = Auth::open(wiring, stores.as_ref(), shared.as_ref(), hash_pool.clone())?;
        let dependencies = Arc::<DependencyChecks>::default();
        // The user service watches its own store.
        let shared_watch = shared.filter(|_| stores.is_none()).map(|kv| dependencies.watch(None, kv));
        let service = stores.as_ref().map(|stores| {
            RunningUserService::start(
                wiring,
                &log,
                stores,
                ingest.clone(),
                &statuses,
                hash_pool.clone(),
                &dependencies,
            )
        });
        let kinds = Catalogue::new(Kinds::build(&config.kinds).map_err(ConfigErrors::from)?);
        let backend = Arc::new(DaemonAdmin {
            log: Arc::clone(&log),
            ingest: ingest.clone(),
            gauges: registered(LogGauges::register(registry))?,
            kinds,
            drain: OnceLock::new(),
            db: stores.as_ref().map(|stores| stores.db.clone()),
            dependencies,
            consumer: OnceLock::new(),
            stopping: AtomicBool::new(false),
            problems: wiring.problems()?,
            sources: ProblemSources::new(wiring, service.as_ref(), users_not_served, &auth, tls.clone()),
            statuses: statuses.clone(),
            recorder: Recorder::new(instance, log_metrics, Arc::clone(&drain_metrics)),
        });
        if let Some(at) = last_failure::last_failure(log.dir()) {
            backend.gauges.last_failure.set(at.0 as f64 / 1e3);
        }
        // The public listener shows the result of the last check, so run one now.
        backend.problems();
        let durable = DurableCommands { ingest, statuses: statuses.clone() };
        let site = public_service(wiring, durable, service.as_ref(), &auth, &backend, http);
        let reloadable = Reloadable {
            kinds: Some(site.kinds.clone()),
            limits: Some(auth.limits.clone()),
            authenticator: Some(auth.authenticator.clone()),
            tls,
        };
        // Before the first response: a client that was told "ready" must find the socket.
        let control = operators_socket(&log, &backend);
        let listeners = listeners.open(config, site, registry, fatal)?;
        let running = RunningComponents {
            control,
            ingest: Some(ingest_threads),
            service,
            auth: Some(auth),
            hashing: Some(hash_workers),
            ..RunningComponents::default()
        };
        Ok(Self {
            log,
            backend,
            statuses,
            listeners,
            stores,
            hash_pool,
            reloadable,
            running,
            drain_metrics,
            consumer_metrics,
            _shared_watch: shared_watch,
            embedded,
            _lock: lock,
        })
    }

    /// Addresses of the public and the admin listener.
    pub(super) fn addresses(&self) -> (Option<SocketAddr>, SocketAddr) {
        let RunningListeners { public, admin, .. } = &self.listeners;
        (public.as_ref().map(|public| public.address), admin.address)
    }

    /// The settings that SIGHUP reloads.
    pub(super) fn reloadable(&self) -> Reloadable {
        self.reloadable.clone()
    }

    /// Address at which Kafka clients reach the embedded broker.
    pub(super) fn bootstrap(&self) -> Option<&str> {
        self.embedded.as_ref().map(EmbeddedBroker::bootstrap)
    }

    /// Starts the workers, the consumer if this process applies user commands, and the watching threads.
    pub(super) fn start_delivery(&mut self, wiring: &Wiring<'_>) -> Result<(), Failure> {
        self.start_drain(wiring)?;
        self.start_consumer(wiring)?;
        if let Some(probe) = wiring.probe(&self.brokers(wiring))? {
            self.backend.sources.kafka.get_or_init(|| probe.health());
            self.running.probe = Some(probe.into_thread());
        }
        self.start_watches(wiring).map_err(Failure::system("threads"))
    }

    fn start_drain(&mut self, wiring: &Wiring<'_>) -> Result<(), Failure> {
        let (statuses, hashing) = (self.statuses.clone(), self.hash_pool.clone());
        let (brokers, lead) = (self.brokers(wiring), self.backpressure(wiring));
        let metrics = Arc::clone(&self.drain_metrics);
        let drain = wiring.drain(&self.log, statuses, hashing, brokers, lead, metrics)?;
        self.backend.drain.get_or_init(|| drain.handle());
        self.backend.apply_pause();
        self.running.drain = Some(drain);
        Ok(())
    }

    fn start_consumer(&mut self, wiring: &Wiring<'_>) -> Result<(), Failure> {
        let parts = self.stores.clone().zip(self.consumer_metrics.clone());
        let Some((UserStores { db, kv, profiles, .. }, metrics)) = parts else { return Ok(()) };
        let after = PostCommitHook {
            profiles,
            generations: self.running.auth.as_ref().map(|auth| auth.generations.clone()),
            statuses: Some(self.statuses.clone()),
            _notices: None,
        };
        let parts = wiring.consumer_parts(db, Some(kv), Arc::new(after), self.brokers(wiring), metrics);
        let consumer = wiring.consumer(parts)?;
        self.backend.consumer.get_or_init(|| consumer.handle());
        self.running.consumer = Some(consumer);
        Ok(())
    }

    fn start_watches(&mut self, wiring: &Wiring<'_>) -> std::io::Result<()> {
        let (vital, pool) = self.liveness_loops();
        let fatal = || wiring.fatal.clone();
        let (log, files) = (Arc::clone(&self.log), ConfiguredFiles::of(wiring.config));
        let watched = self.backend.sources.watched.clone();
        let watch = problems::watch(log, files, &wiring.config.alerts, watched, fatal())?;
        self.running.watches.push(watch);
        let backend = Arc::clone(&self.backend);
        self.running.watches.push(problems::report(move || backend.status_line(), fatal())?);
        let backend = Arc::clone(&self.backend);
        self.running.watches.push(recorder::start(move || backend.record())?);
        self.running.watches.push(clock_watch::watch(fatal())?);
        self.running.watches.extend(watchdog::start(vital, pool, fatal())?);
        Ok(())
    }

    /// Bootstrap brokers.
    fn brokers(&self, wiring: &Wiring<'_>) -> String {
        match (&wiring.config.kafka.brokers, self.bootstrap()) {
            (Brokers::List(list), _) => list.clone(),
            (Brokers::Embedded, own) => own.unwrap_or_default().to_owned(),
        }
    }

    /// Backpressure on the workers, because the embedded broker drops records that are not applied soon.
    fn backpressure(&self, wiring: &Wiring<'_>) -> Option<Arc<Backpressure>> {
        if !wiring.config.embedded() || !wiring.config.consumes() {
            return None;
        }
        let backend = Arc::clone(&self.backend);
        Some(Arc::new(Backpressure::new(move |partition| {
            let settled = backend.consumer.get().map(consumer::Handle::settled);
            settled.and_then(|settled| settled.get(&partition).copied()).unwrap_or(0)
        })))
    }

    /// Loops that must make progress: the commit thread, the drain's reader, and at least one worker.
    fn liveness_loops(&self) -> (Vec<Heartbeat>, Vec<Heartbeat>) {
        let commit = self.running.ingest.as_ref().map(|threads| {
            let beats = threads.heartbeat();
            Heartbeat::new("commit", move || beats.load(Ordering::Relaxed))
        });
        let workers = self.running.drain.as_ref().map(|drain| {
            let handle = drain.handle();
            let count = handle.heartbeats().len();
            (0..count).map(move |index| {
                let handle = handle.clone();
                Heartbeat::new(format!("drain-{index}"), move || handle.heartbeats()[index])
            })
        });
        let reader = self.running.drain.as_ref().map(|drain| {
            let handle = drain.handle();
            Heartbeat::new("drain-reader", move || handle.reader_heartbeat())
        });
        (commit.into_iter().chain(reader).collect(), workers.into_iter().flatten().collect())
    }

    /// Stops new requests first, then every other component. Operators are served until the end.
    pub(super) async fn stop(mut self, deadlines: Deadlines) {
        self.backend.stopping.store(true, Ordering::Relaxed);
        // Reports a failed log before the end, whenever the last check was.
        self.backend.problems();
        let is_noted = last_failure::record_failure(&self.log).await;
        if let Some(public) = self.listeners.public.take() {
            public.close(deadlines.requests).await;
        }
        // Write the pending login times.
        if let Some(auth) = &self.running.auth {
            auth.flush(deadlines.rest).await;
        }
        let within = deadlines.drain + deadlines.rest;
        // The daemon moves into this closure: the directory stays locked until it has ended, however late.
        let blocking = tokio::task::spawn_blocking(move || {
            std::mem::take(&mut self.running).stop(deadlines);
            self
        });
        let stopping = async {
            let daemon = blocking.await?;
            if let Some(stores) = &daemon.stores {
                stores.flush().await;
            }
            // The last flush may have failed, too.
            daemon.backend.problems();
            if !is_noted {
                last_failure::record_failure(&daemon.log).await;
            }
            Ok::<_, JoinError>(())
        };
        match tokio::time::timeout(within, stopping).await {
            Ok(Ok(())) => tracing::info!(event = "daemon.stopped", "stopped"),
            Ok(Err(panic)) => {
                tracing::error!(event = "daemon.stop_failed", error = %panic, "stop failed");
            }
            Err(_) => tracing::warn!(
                event = "daemon.stop_timed_out",
                "stop timed out; undelivered records stay in the log"
            ),
        }
    }
}

/// Builds the lookup of command states, with the outcomes of user commands if this daemon serves users.
fn statuses(log: &Arc<Log>, stores: Option<&UserStores>, ingest: &Ingest) -> Statuses {
    let statuses = Statuses::new(Arc::clone(log));
    match stores {
        Some(stores) => statuses.with_outcomes(stores.db.clone(), ingest.seal().clone()),
        None => statuses,
    }
}

/// Builds the service behind the public listener.
fn public_service(
    wiring: &Wiring<'_>,
    commands: DurableCommands,
    service: Option<&RunningUserService>,
    auth: &Auth,
    backend: &Arc<DaemonAdmin>,
    metrics: Arc<http::Metrics>,
) -> ApiParts<DurableCommands> {
    ApiParts {
        commands,
        kinds: backend.kinds.clone(),
        has_users: wiring.config.serves_users(),
        users: service.map(|service| service.users.clone()),
        authenticator: auth.authenticator.clone(),
        login: auth.login.clone(),
        limits: Some(auth.limits.clone()),
        backend: Arc::<DaemonAdmin>::clone(backend),
        metrics,
        message_max: wiring.config.kafka.message_max,
        tracer: wiring.tracer.clone(),
    }
}

/// Stores of the user service, if the daemon has one.
struct UserServiceStores {
    stores: Option<UserStores>,
    /// Store in which rate limits are counted, if they are shared with other daemons or on disk.
    shared: Option<Kv>,
    /// Why users are not served although they are enabled.
    not_served: Option<String>,
}

impl UserServiceStores {
    async fn open(wiring: &Wiring<'_>, log: &Log) -> Result<Self, Failure> {
        if !wiring.config.serves_users() {
            return Ok(Self { stores: None, shared: user_service::shared_store(wiring)?, not_served: None });
        }
        Ok(match UserStores::open(wiring, log).await? {
            Ok(stores) => Self { shared: Some(stores.kv.clone()), stores: Some(stores), not_served: None },
            Err(reason) => Self { stores: None, shared: None, not_served: Some(reason) },
        })
    }
}

/// Opens the control socket. Without it, operators can change a log only while the daemon is stopped. That is no reason
/// to refuse commands.
fn operators_socket(log: &Log, backend: &Arc<DaemonAdmin>) -> Option<control::Server> {
    control::Server::start(log.dir(), backend.clone())
        .inspect_err(|error| {
            tracing::warn!(
                event = "control.socket_failed",
                %error,
                "control socket not opened; wal-tools changes dead letters only while the daemon is stopped"
            );
        })
        .ok()
}
