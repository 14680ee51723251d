//! The one place that builds concrete things and ties them; the order of start and stop.
//!
//! Start: configuration → lock and recovery → listeners → READY → workers and the daemon's own threads. READY
//! never waits for Kafka: accepting while it is away is the purpose. Stop: readiness off, requests end → ingest
//! closes after a last flush → workers wait for what is in flight → last checkpoint → threads end. Each phase has
//! a deadline; what is not delivered stays in the log.

mod access;
mod applied;
mod backend;
mod banner;
mod clock;
mod consume;
mod cores;
mod deadlines;
mod dependencies;
mod empty;
mod failure;
mod migrate;
mod open;
mod operator;
mod parts;
mod service;
mod signals;
mod threads;
mod unseal;

use std::fmt;
use std::io;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::config::Config;
use crate::config::Mistakes;
use crate::http::Tls;
use crate::metrics::Metrics;
use crate::systemd;
use crate::task::Alarm;
use crate::task::Thread;
use crate::telemetry;
use crate::telemetry::Step;
use crate::wal::Lock;
use crate::wal::Opened;

pub use crate::kafka::OffsetSpan as ReplaySpan;
pub use consume::consume;
pub use consume::replay;
pub use deadlines::longest_stop;
pub use empty::drain;
pub use empty::show;
pub use failure::EXIT_USAGE;
pub use failure::Failure;
pub use migrate::migrate;

use banner::Banner;
use deadlines::Deadlines;
use parts::Parts;
use signals::Signals;

/// Prints the effective configuration, secrets masked. Reads the files of keys and certificates, as `serve` would.
pub fn check(config: &Config) -> Result<(), Failure> {
    let mut mistakes = config.wal.key_mistakes();
    mistakes.extend(config.server.tls_mistakes());
    if !mistakes.is_empty() {
        return Err(Failure::Configuration(mistakes.into()));
    }
    let shown = config.shown().map_err(io::Error::other).map_err(Failure::system("configuration"))?;
    out(shown);
    Ok(())
}

/// Runs the daemon until it is asked to stop or cannot go on.
pub fn serve(config: &Config) -> Result<(), Failure> {
    telemetry::init(&config.telemetry, config.embedded())
        .map_err(io::Error::other)
        .map_err(Failure::system("log lines"))?;
    cores::forbid();
    let metrics = Metrics::new().map_err(io::Error::other).map_err(Failure::system("metrics"))?;
    let metrics = Arc::new(metrics);
    let alarm = Alarm::default();
    // Before the log is touched: a mistake leaves everything as it is.
    let tls = Tls::load(&config.server, &metrics).map_err(Mistakes::from)?;
    let opened = {
        let _step = Step::begin("recovery", config.telemetry.slow_step.0);
        open::open(&config.wal, config.embedded(), &metrics, &alarm)?
    };
    let runtime = Runtime::new().map_err(Failure::system("runtime"))?;
    let outcome = runtime.block_on(async {
        // Before READY, so that a signal right after it finds its listener.
        let mut signals = Signals::listen().map_err(Failure::system("signals"))?;
        let daemon = Daemon::start(opened, tls, config, &metrics, alarm).await?;
        daemon.run(&mut signals).await
    });
    // What is left is late already; the log has what it did not do.
    runtime.shutdown_background();
    outcome
}

/// The parts and the threads around them.
struct Daemon {
    parts: Parts,
    threads: Vec<Thread>,
    alarm: Alarm,
    grace: Duration,
}

impl Daemon {
    async fn start(
        opened: (Lock, Opened),
        tls: Option<Tls>,
        config: &Config,
        metrics: &Arc<Metrics>,
        alarm: Alarm,
    ) -> Result<Self, Failure> {
        let mut parts = Parts::listen(opened, tls, config, metrics, &alarm).await?;
        announce(&parts, config);
        parts.start_drain(config, &alarm)?;
        parts.start_consumer(config, &alarm)?;
        let threads = start_threads(&parts, config, &alarm).map_err(Failure::system("threads"))?;
        Ok(Self { parts, threads, alarm, grace: config.server.shutdown_grace.0 })
    }

    /// Waits for a reason to stop, and stops. A second signal ends the process at once.
    async fn run(self, signals: &mut Signals) -> Result<(), Failure> {
        let failure = tokio::select! {
            signal = signals.next() => {
                tracing::info!(signal, "stopping");
                None
            }
            failure = self.alarm.raised() => {
                tracing::error!(%failure, "stopping");
                Some(failure)
            }
        };
        systemd::stopping("finishing what is under way");
        let log = Arc::clone(&self.parts.log);
        let deadlines = match failure {
            None => Deadlines::orderly(self.grace),
            Some(_) => Deadlines::failed(),
        };
        tokio::select! {
            () = self.stop(deadlines) => {}
            signal = signals.next() => {
                tracing::warn!(signal, "ending at once");
                // 128 + signal: what a shell reports for a process that a signal ended.
                std::process::exit(128 + signal);
            }
        }
        match (log.poisoned(), failure) {
            (Some(reason), _) => Err(Failure::Poisoned(reason.to_owned())),
            (None, Some(failure)) => Err(failure.into()),
            (None, None) => Ok(()),
        }
    }

    async fn stop(mut self, deadlines: Deadlines) {
        self.parts.stop_accepting(deadlines.requests).await;
        self.parts.flush_logins(deadlines.rest).await;
        let within = deadlines.drain + deadlines.rest;
        let blocking = tokio::task::spawn_blocking(move || {
            self.parts.close_ingest();
            self.parts.stop_drain(deadlines.drain);
            self.parts.stop_consumer(deadlines.rest);
            self.parts.stop_service();
            self.parts.stop_hashing(deadlines.rest);
            self.parts.end_ingest(deadlines.rest);
            for thread in self.threads {
                if let Err(late) = thread.stop(deadlines.rest) {
                    tracing::warn!(%late, "a thread is left behind");
                }
            }
        });
        match tokio::time::timeout(within, blocking).await {
            Ok(Ok(())) => tracing::info!("stopped"),
            Ok(Err(panic)) => tracing::error!(%panic, "the stop failed"),
            Err(_) => tracing::warn!("the stop took too long; what is not delivered is in the log"),
        }
    }
}

/// Says that commands are accepted: to the service manager, to the log, and to a newcomer.
fn announce(parts: &Parts, config: &Config) {
    let (http, admin) = (parts.http, parts.admin);
    let tls = config.server.tls_cert_file.is_some();
    systemd::ready(&format!("accepting commands on {http}"));
    tracing::info!(%http, %admin, tls, "accepting commands");
    if let Some(bootstrap) = parts.bootstrap() {
        out(Banner { http, tls, admin, bootstrap, dir: &config.wal.dir });
    }
}

/// Writes to standard output, where nobody may be reading any more.
fn out(text: impl fmt::Display) {
    let _ = write!(io::stdout(), "{text}").and_then(|()| io::stdout().flush());
}

fn start_threads(parts: &Parts, config: &Config, alarm: &Alarm) -> io::Result<Vec<Thread>> {
    let (vital, pool) = parts.pulses();
    let mut threads =
        vec![threads::watch(Arc::clone(&parts.log), &config.alerts)?, clock::watch(alarm.clone())?];
    threads.extend(threads::watchdog(vital, pool)?);
    Ok(threads)
}
