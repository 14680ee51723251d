//! `forebay consume`: the consumer alone, to scale it out; and a range of commands applied again.
//!
//! It opens the operator's listener only. There is no log here, so nothing can be lost: what is not settled comes again.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Instant;

use serde_json::json;
use tokio::runtime::Handle as RuntimeHandle;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::config::Config;
use crate::config::Mistakes;
use crate::config::Source;
use crate::consumer;
use crate::consumer::AfterApplied;
use crate::consumer::Consumer;
use crate::consumer::ConsumerParts;
use crate::consumer::Handle;
use crate::consumer::Nobody;
use crate::db::Database;
use crate::http::Admin;
use crate::http::AdminBackend;
use crate::http::Readiness;
use crate::kafka::Brokers;
use crate::kv::Kv;
use crate::metrics::Metrics;
use crate::mistake::Mistake;
use crate::systemd;
use crate::systemd::Pulse;
use crate::task;
use crate::task::Alarm;
use crate::task::OnFailure;
use crate::task::Thread;
use crate::users::Profiles;

use super::Failure;
use super::ReplaySpan;
use super::applied::Applied;
use super::deadlines::Deadlines;
use super::dependencies::Dependencies;
use super::exposure;
use super::output;
use super::parts::Door;
use super::parts::address;
use super::parts::bind_admin;
use super::reload;
use super::reload::Reloadable;
use super::signals;
use super::signals::Signals;
use super::threads;

/// Applies users' commands until it is asked to stop.
pub fn consume(config: &Config, source: &Source) -> Result<(), Failure> {
    let (runtime, metrics) = begin(config)?;
    let outcome = runtime.block_on(run(config, source, &metrics));
    runtime.shutdown_background();
    outcome
}

/// Applies a range of users' commands again, and says what came of it.
pub fn replay(config: &Config, span: ReplaySpan) -> Result<(), Failure> {
    let (runtime, metrics) = begin(config)?;
    let outcome = runtime.block_on(async {
        let mut signals = Signals::listen_at_terminal().map_err(Failure::system("signals"))?;
        let parts = parts(config, &metrics).await?;
        let (tell, told) = oneshot::channel();
        let alarm = Alarm::default();
        let thread = Thread::spawn("replay", OnFailure::Raise(alarm.clone()), move |stop| {
            // Nobody listens any more: the process is ending.
            let _ = tell.send(consumer::replay(&parts, span, stop));
            Ok(())
        });
        let thread = thread.map_err(Failure::system("threads"))?;
        tokio::select! {
            replayed = told => match replayed {
                Ok(Ok(replayed)) => {
                    say(&replayed);
                    Ok(())
                }
                Ok(Err(error)) => Err(Failure::Unapplied(error.to_string())),
                Err(_) => Err(alarm.raised().await.into()),
            },
            signal = signals.next() => {
                let within = Deadlines::orderly(config.server.shutdown_grace.0).rest;
                let _ = tokio::task::spawn_blocking(move || thread.stop(within)).await;
                Err(Failure::Unapplied(format!("interrupted by signal {signal}; doing it again is harmless")))
            }
        }
    });
    runtime.shutdown_background();
    outcome
}

fn say(replayed: &consumer::Replayed) {
    let consumer::Counts { applied, rejected, repeats, retried, dead } = replayed.counts;
    output::report(format_args!(
        "{} records read: {applied} applied, {rejected} rejected, {repeats} had an outcome already, {retried} sent to \
         the retry topic, {dead} dead\n",
        replayed.read
    ));
}

fn begin(config: &Config) -> Result<(Runtime, Arc<Metrics>), Failure> {
    let metrics = super::begin(config)?;
    let runtime = Runtime::new().map_err(Failure::system("runtime"))?;
    Ok((runtime, metrics))
}

async fn parts(config: &Config, metrics: &Arc<Metrics>) -> Result<ConsumerParts, Failure> {
    let Brokers::List(bootstrap) = &config.kafka.brokers else {
        let allowed =
            "host:port, or a list: the embedded broker lives in `forebay serve`, which consumes by itself";
        return Err(Mistakes::from(vec![Mistake::new("kafka", "brokers", "embedded", allowed)]).into());
    };
    let db = Database::connect(&config.database(), Arc::clone(metrics)).await;
    let db = db.map_err(|error| Failure::Client(format!("[database]: {error}")))?;
    let kv = match config.redis.url.is_empty() {
        // Markers are in the other process's own store then; they end by themselves.
        true => None,
        false => {
            let kv = Kv::redis(&config.redis, Arc::clone(metrics));
            Some(kv.map_err(|error| Failure::Client(format!("[redis]: {error}")))?)
        }
    };
    let after: Arc<dyn AfterApplied> = match &kv {
        Some(kv) => {
            let profiles = Profiles::new(&config.users, kv.clone(), db.clone(), metrics);
            let notices = profiles.notices().repeat();
            Arc::new(Applied { profiles, marks: None, statuses: None, _notices: Some(notices) })
        }
        None => Arc::new(Nobody),
    };
    Ok(ConsumerParts {
        db,
        kv,
        after,
        config: config.consumer.clone(),
        kafka: config.kafka.clone(),
        bootstrap: bootstrap.clone(),
        metrics: Arc::clone(metrics),
        runtime: RuntimeHandle::current(),
        slow_step: config.telemetry.slow_step.0,
    })
}

async fn run(config: &Config, source: &Source, metrics: &Arc<Metrics>) -> Result<(), Failure> {
    let mut signals = Signals::listen().map_err(Failure::system("signals"))?;
    let hangups = signals::hangups().map_err(Failure::system("signals"))?;
    let _reload = reload::watch(hangups, source, config, Reloadable::default());
    let alarm = Alarm::default();
    task::raise_failed_tasks(&alarm);
    let parts = parts(config, metrics).await?;
    let db = parts.db.clone();
    let dependencies = Arc::<Dependencies>::default();
    let _watch = parts.kv.clone().map(|kv| dependencies.watch(None, kv));
    let operators = bind_admin(config, metrics)?;
    let admin = address(&operators)?;
    let consumer = Consumer::start(parts, alarm.clone()).map_err(Failure::system("the consumer's thread"))?;
    let handle = consumer.handle();
    let metrics = Arc::clone(metrics);
    let backend = Arc::new(Backend {
        handle: handle.clone(),
        db,
        dependencies,
        metrics: Arc::clone(&metrics),
        stopping: AtomicBool::new(false),
    });
    let shown: Arc<dyn AdminBackend> = backend.clone();
    let site = Admin::new(&config.server, shown, metrics);
    let door = Door::open("admin-listener", &alarm, |stop| operators.serve(site, stop));
    let pulse = Pulse::new("consumer", move || handle.heartbeat());
    let watchdog =
        threads::watchdog(vec![pulse], Vec::new(), alarm.clone()).map_err(Failure::system("threads"))?;
    systemd::ready("applying users' commands");
    tracing::info!(%admin, "applying users' commands");
    exposure::warn(config, None, admin);
    let failure = tokio::select! {
        signal = signals.next() => {
            tracing::info!(signal, "stopping");
            None
        }
        failure = alarm.raised() => {
            tracing::error!(%failure, "stopping");
            Some(failure)
        }
    };
    systemd::stopping("finishing what is under way");
    backend.stopping.store(true, Ordering::Relaxed);
    let deadlines = Deadlines::orderly(config.server.shutdown_grace.0);
    let stopping = tokio::task::spawn_blocking(move || {
        consumer.stop(Instant::now() + deadlines.rest);
        if let Some(Err(late)) = watchdog.map(|thread| thread.stop(deadlines.rest)) {
            tracing::warn!(%late, "a thread is left behind");
        }
    });
    if let Err(panic) = stopping.await {
        tracing::error!(%panic, "the stop failed");
    }
    door.close(deadlines.requests).await;
    tracing::info!("stopped");
    failure.map_or(Ok(()), |failure| Err(failure.into()))
}

/// What the operator's listener shows of a consumer.
struct Backend {
    handle: Handle,
    db: Database,
    dependencies: Arc<Dependencies>,
    metrics: Arc<Metrics>,
    stopping: AtomicBool,
}

impl AdminBackend for Backend {
    /// There is no log here: what waits, waits in Kafka.
    fn backlog_json(&self) -> serde_json::Value {
        json!({ "settled": self.handle.settled(), "trouble": self.handle.trouble() })
    }

    fn ready(&self) -> Readiness {
        let stopping = self.stopping.load(Ordering::Relaxed);
        let state = |trouble: Option<String>| trouble.unwrap_or_else(|| "ok".to_owned());
        let (database, consumer) = (state(self.handle.blocked()), state(self.handle.trouble()));
        let mut dependencies = self.dependencies.states();
        dependencies.extend([("database", database), ("consumer", consumer)]);
        Readiness { ready: !stopping, reason: stopping.then_some("stopping"), dependencies }
    }

    /// Only the drain's workers are held.
    fn pause(&self) {}

    fn resume(&self) {}

    fn refresh_gauges(&self) {
        self.handle.observe(&self.metrics);
        self.db.observe();
    }
}
