//! `forebay consume`: runs the consumer alone, to scale it out, or applies a range of commands again.
//!
//! Only the admin listener is opened. The process has no log, so nothing can be lost: unsettled commands are read
//! again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use tokio::sync::oneshot;

use crate::config::{Config, ConfigErrors, Source};
use crate::config_error::ConfigError;
use crate::consumer::{ConsumerParts, Handle, Noop, PostCommit};
use crate::db::Database;
use crate::http::{Admin, AdminService, BoundSocket, Instance, Overview, Readiness};
use crate::kafka::{ClusterHealth, ClusterProbe};
use crate::kv::Kv;
use crate::problems::{Code, Observation, Problem, Problems};
use crate::systemd::Heartbeat;
use crate::task::{OnFailure, Thread};
use crate::users::ProfileCache;
use crate::{consumer, db, http, kv, systemd, task, users};

use super::bound_sockets::{ActivatedSockets, BoundSockets};
use super::dependency_checks::DependencyChecks;
use super::hooks::PostCommitHook;
use super::listeners::{RunningListener, listen_admin, warn_if_exposed};
use super::problems::Cluster;
use super::process::{Process, stop_requested};
use super::reload::Reloadable;
use super::shutdown::{Deadlines, RunningComponents};
use super::signals::Signals;
use super::wiring::{Wiring, external_brokers};
use super::{Failure, ReplaySpan, output, overview, problems, reload, signals, startup_log, watchdog};

/// Applies user commands until a stop is requested.
pub fn consume(config: &Config, source: &Source) -> Result<(), Failure> {
    let operators = BoundSockets::take_admin(config, ActivatedSockets::receive()?)?;
    let Process { runtime, registry, fatal, traces } =
        Process::begin(config, || startup_log::log("consume", config, source))?;
    let wiring = Wiring::new(config, registry, fatal, &traces.tracer).with_source(source);
    let outcome = runtime.block_on(run(&wiring, operators, source));
    runtime.shutdown_background();
    outcome
}

/// Applies a range of user commands again and prints a summary.
pub fn replay(config: &Config, span: ReplaySpan) -> Result<(), Failure> {
    let Process { runtime, registry, fatal, traces } = Process::begin(config, || {})?;
    let wiring = Wiring::new(config, registry, fatal, &traces.tracer);
    let outcome = runtime.block_on(async {
        let mut signals = Signals::listen_at_terminal().map_err(Failure::system("signals"))?;
        let parts = consumer_parts(&wiring).await?;
        let (result_sender, result_receiver) = oneshot::channel();
        let thread = Thread::spawn("replay", OnFailure::Raise(wiring.fatal.clone()), move |stop| {
            // The receiver is gone if the process is stopping.
            let _ = result_sender.send(consumer::replay(&parts, span, stop));
            Ok(())
        });
        let thread = thread.map_err(Failure::system("threads"))?;
        tokio::select! {
            replayed = result_receiver => match replayed {
                Ok(Ok(replayed)) => {
                    print_summary(&replayed);
                    Ok(())
                }
                Ok(Err(error)) => Err(Failure::Unapplied(error.to_string())),
                Err(_) => Err(wiring.fatal.wait().await.into()),
            },
            signal = signals.next() => {
                let within = Deadlines::orderly(config.server.shutdown_grace.0).rest;
                let _ = tokio::task::spawn_blocking(move || thread.stop(within)).await;
                Err(Failure::Unapplied(format!("interrupted by signal {signal}; it is safe to repeat the replay")))
            }
        }
    });
    runtime.shutdown_background();
    outcome
}

fn print_summary(replayed: &consumer::Replayed) {
    let consumer::OutcomeCounts { applied, rejected, repeats, retried, dead } = replayed.counts;
    output::report(format_args!(
        "{} records read: {applied} applied, {rejected} rejected, {repeats} already had an outcome, {retried} sent to \
                  the retry topic, {dead} dead-lettered\n",
        replayed.read
    ));
}

async fn consumer_parts(wiring: &Wiring<'_>) -> Result<ConsumerParts, Failure> {
    let config = wiring.config;
    let allowed =
        "host:port, or a list; the embedded broker runs inside `forebay serve`, which has its own consumer";
    let bootstrap = external_brokers(config, allowed)?;
    if !config.serves_users() {
        let allowed = "true; set [database] url to the database that holds the users";
        return Err(ConfigErrors::from(vec![ConfigError::new("users", "enabled", false, allowed)]).into());
    }
    let metrics = wiring.metrics(db::Metrics::register)?;
    let db = Database::connect(&config.database(), &metrics).await;
    let db = db.map_err(|error| Failure::Client(format!("[database]: {error}")))?;
    let kv = match config.redis.url.is_empty() {
        // Reservations are in the other process's own store then, and expire there.
        true => None,
        false => {
            let kv = Kv::redis(&config.redis, wiring.metrics(kv::Metrics::register)?);
            Some(kv.map_err(|error| Failure::Client(format!("[redis]: {error}")))?)
        }
    };
    let after: Arc<dyn PostCommit> = match &kv {
        Some(kv) => {
            let metrics = wiring.metrics(users::Metrics::register)?;
            let profiles = ProfileCache::new(&config.users, kv.clone(), db.clone(), &metrics);
            let notices = profiles.notices().retry_unpublished();
            Arc::new(PostCommitHook { profiles, generations: None, statuses: None, _notices: Some(notices) })
        }
        None => Arc::new(Noop),
    };
    let metrics = wiring.metrics(consumer::Metrics::register)?;
    Ok(wiring.consumer_parts(db, kv, after, bootstrap.to_owned(), metrics))
}

async fn run(wiring: &Wiring<'_>, operators: BoundSocket, source: &Source) -> Result<(), Failure> {
    let Wiring { config, registry, fatal, .. } = wiring;
    let mut signals = Signals::listen().map_err(Failure::system("signals"))?;
    let hangups = signals::hangups().map_err(Failure::system("signals"))?;
    let _reload = reload::watch(hangups, source, config, Reloadable::default());
    task::raise_failed_tasks(fatal);
    let parts = consumer_parts(wiring).await?;
    let (db, brokers) = (parts.db.clone(), parts.bootstrap.clone());
    let dependencies = Arc::<DependencyChecks>::default();
    let _watch = parts.kv.clone().map(|kv| dependencies.watch(None, kv));
    let http = wiring.metrics(http::Metrics::register)?;
    let operators = listen_admin(operators, config, &http)?;
    let address = operators.local_addr().map_err(Failure::system("the address of a listener"))?;
    let consumer = wiring.consumer(parts)?;
    let handle = consumer.handle();
    let probe = wiring.probe(&brokers)?;
    let backend = Arc::new(ConsumerAdmin {
        handle: handle.clone(),
        db,
        dependencies,
        problems: wiring.problems()?,
        kafka: probe.as_ref().map(ClusterProbe::health).unwrap_or_default(),
        cluster: wiring.cluster(),
        stopping: AtomicBool::new(false),
        instance: Arc::new(overview::instance(wiring, None, address)),
    });
    let site = Admin::new(&config.server, backend.clone(), http, registry.clone());
    let listener = RunningListener::open_admin(operators, site, fatal)?;
    let heartbeat = Heartbeat::new("consumer", move || handle.heartbeat());
    let pinger = watchdog::start(vec![heartbeat], Vec::new(), fatal.clone());
    let watches = pinger.map_err(Failure::system("threads"))?.into_iter().collect();
    let probe = probe.map(ClusterProbe::into_thread);
    let mut running =
        RunningComponents { consumer: Some(consumer), probe, watches, ..RunningComponents::default() };
    systemd::ready("applying users' commands");
    tracing::info!(event = "consumer.ready", admin = %listener.address, "applying users' commands");
    let reporting = Arc::clone(&backend);
    let report = problems::report(move || reporting.status_line(), fatal.clone());
    running.watches.push(report.map_err(Failure::system("threads"))?);
    warn_if_exposed(config, None, listener.address);
    let failure = stop_requested(&mut signals, fatal).await;
    backend.stopping.store(true, Ordering::Relaxed);
    let deadlines = Deadlines::orderly(config.server.shutdown_grace.0);
    if let Err(panic) = tokio::task::spawn_blocking(move || running.stop(deadlines)).await {
        tracing::error!(event = "daemon.stop_failed", error = %panic, "stop failed");
    }
    listener.close(deadlines.requests).await;
    tracing::info!(event = "daemon.stopped", "stopped");
    failure.map_or(Ok(()), |failure| Err(failure.into()))
}

/// Problems that `/readyz` reports as the state of Kafka.
const OF_KAFKA: [Code; 4] = [
    Code::KafkaUnreachable,
    Code::KafkaTlsFailed,
    Code::KafkaAuthenticationFailed,
    Code::KafkaAuthorizationFailed,
];

/// What the admin listener shows of a consumer.
struct ConsumerAdmin {
    handle: Handle,
    db: Database,
    dependencies: Arc<DependencyChecks>,
    problems: Problems,
    kafka: ClusterHealth,
    cluster: Cluster,
    stopping: AtomicBool,
    instance: Arc<Instance>,
}

impl ConsumerAdmin {
    fn problems(&self) -> Vec<Problem> {
        self.problems.refresh(|| {
            let mut observed = problems::kafka(&self.kafka, &self.cluster, None);
            observed.extend(self.dependencies.observe());
            observed.extend(self.handle.blocked().map(|error| {
                let detail = "the database fails the consumer's checks";
                Observation::new(Code::DatabaseUnavailable, detail).with_error(error)
            }));
            observed.extend(problems::consumer(&self.handle));
            observed
        })
    }

    /// Status line for systemd. `None` once the process is stopping.
    fn status_line(&self) -> Option<(u64, Vec<Problem>)> {
        let problems = self.problems();
        let waiting = self.handle.pending() as u64;
        (!self.stopping.load(Ordering::Relaxed)).then_some((waiting, problems))
    }
}

impl AdminService for ConsumerAdmin {
    /// The process has no log; its backlog is in Kafka.
    fn backlog_json(&self) -> serde_json::Value {
        let problems = self.problems();
        json!({
            "settled": self.handle.settled(),
            "trouble": self.handle.problem(),
            "last_error": problems::last_error(&problems),
            "problems": problems,
        })
    }

    fn readiness(&self) -> Readiness {
        let (stopping, problems) = (self.stopping.load(Ordering::Relaxed), self.problems());
        let mut dependencies = self.dependencies.dependency_states(&problems);
        let of_each: [(_, &[Code]); 3] = [
            ("database", &[Code::DatabaseUnavailable]),
            ("consumer", &[Code::ConsumerStalled]),
            ("kafka", &OF_KAFKA),
        ];
        for (name, codes) in of_each {
            dependencies.insert(name, problems::dependency(&problems, codes));
        }
        Readiness { ready: !stopping, reason: stopping.then_some("stopping"), dependencies, problems }
    }

    fn overview(&self) -> Overview {
        Overview::without_log(self.readiness(), Arc::clone(&self.instance))
    }

    /// Pausing applies to the drain's workers only.
    fn pause(&self, _: &str) {}

    fn resume(&self, _: &str) {}

    fn rate_limit_changed(&self) {}

    fn refresh_gauges(&self) {
        self.problems();
        self.handle.observe();
        self.db.observe();
    }
}
