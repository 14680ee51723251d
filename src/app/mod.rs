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
mod descriptors;
mod empty;
mod expiry;
mod exposure;
mod failure;
mod migrate;
mod open;
mod operator;
mod output;
mod parts;
mod reload;
mod service;
mod signals;
mod threads;
mod unseal;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::task::JoinError;

use crate::config::Config;
use crate::config::Mistakes;
use crate::config::Source;
use crate::http::Tls;
use crate::metrics::Metrics;
use crate::systemd;
use crate::task;
use crate::task::Alarm;
use crate::task::OnFailure;
use crate::task::Stop;
use crate::task::Thread;
use crate::telemetry;
use crate::telemetry::Step;
use crate::wal::Lock;
use crate::wal::OpenError;
use crate::wal::Opened;
use crate::wal::layout;

pub use crate::kafka::OffsetSpan as ReplaySpan;
pub use consume::consume;
pub use consume::replay;
pub use deadlines::longest_stop;
pub use empty::drain;
pub use empty::show;
pub use failure::EXIT_USAGE;
pub use failure::Failure;
pub use migrate::migrate;
pub use output::print;
pub use signals::hold_hangup;
pub use signals::ignore_user_signals;

use banner::Banner;
use deadlines::Deadlines;
use parts::Parts;
use signals::Signals;

/// Prints the effective configuration, secrets masked. Reads the files of keys and certificates, and looks at the log's
/// directory, as `serve` would. The directory's owner is not compared: this command is often run by another user.
pub fn check(config: &Config) -> Result<(), Failure> {
    let mut mistakes = config.wal.key_mistakes();
    mistakes.extend(Tls::mistakes(&config.server));
    if !mistakes.is_empty() {
        return Err(Failure::Configuration(mistakes.into()));
    }
    // A directory that this user may not read is no mistake.
    if let Err(error @ OpenError::Unsuitable { .. }) = layout::check_places(&config.wal.dir) {
        return Err(Failure::Directory(error.to_string()));
    }
    let shown = config.shown().map_err(io::Error::other).map_err(Failure::system("configuration"))?;
    output::print(shown)
}

/// Starts the log lines, which are counted among the metrics, and takes all the file descriptors there are.
fn begin(config: &Config) -> Result<Arc<Metrics>, Failure> {
    let metrics = Metrics::new().map_err(io::Error::other).map_err(Failure::system("metrics"))?;
    telemetry::init(&config.telemetry, &metrics.log_lines_lost).map_err(Failure::system("log lines"))?;
    descriptors::raise();
    Ok(Arc::new(metrics))
}

/// Runs the daemon until it is asked to stop or cannot go on.
pub fn serve(config: &Config, source: &Source) -> Result<(), Failure> {
    let metrics = begin(config)?;
    cores::forbid();
    let fitted = descriptors::fit(config);
    let alarm = Alarm::default();
    task::raise_failed_tasks(&alarm);
    // Before the log is touched: a mistake leaves everything as it is.
    let tls = Tls::load(&config.server, &metrics).map_err(Mistakes::from)?;
    let runtime = Runtime::new().map_err(Failure::system("runtime"))?;
    let (signals, hangups) = {
        let _context = runtime.enter();
        let signals = Signals::listen().map_err(Failure::system("signals"))?;
        (signals, signals::hangups().map_err(Failure::system("signals"))?)
    };
    let opened = {
        let _step = Step::begin("recovery", config.telemetry.slow_step.0);
        open::open(&config.wal, config.embedded(), &metrics, &alarm)?
    };
    let outcome = runtime.block_on(async {
        let daemon = Daemon::start(opened, tls, &fitted, &metrics, alarm).await?;
        let _reload = reload::watch(hangups, source, config, daemon.parts.reloadable());
        daemon.run(signals).await
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
    /// Writes the banner. Not waited for: nobody may be reading it.
    _banner: Option<Thread>,
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
        let banner = announce(&parts, config).map_err(Failure::system("threads"))?;
        parts.start_drain(config, &alarm)?;
        parts.start_consumer(config, &alarm)?;
        let threads = start_threads(&parts, config, &alarm).map_err(Failure::system("threads"))?;
        Ok(Self { parts, threads, alarm, grace: config.server.shutdown_grace.0, _banner: banner })
    }

    /// Waits for a reason to stop, and stops.
    async fn run(self, mut signals: Signals) -> Result<(), Failure> {
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
        self.stop(deadlines).await;
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
            self.parts
        });
        let stopping = async {
            // The directory is ours as long as the parts are there.
            let parts = blocking.await?;
            parts.flush_store().await;
            Ok::<_, JoinError>(())
        };
        match tokio::time::timeout(within, stopping).await {
            Ok(Ok(())) => tracing::info!("stopped"),
            Ok(Err(panic)) => tracing::error!(%panic, "the stop failed"),
            Err(_) => tracing::warn!("the stop took too long; what is not delivered is in the log"),
        }
    }
}

/// Says that commands are accepted: to the service manager, to the log, and to a newcomer.
fn announce(parts: &Parts, config: &Config) -> io::Result<Option<Thread>> {
    let (http, admin) = (parts.http, parts.admin);
    let tls = config.server.tls_cert_file.is_some();
    systemd::ready(&format!("accepting commands on {http}"));
    tracing::info!(%http, %admin, tls, "accepting commands");
    exposure::warn(config, Some(http), admin);
    let Some(bootstrap) = parts.bootstrap() else { return Ok(None) };
    let banner = Banner { http, tls, admin, bootstrap, dir: &config.wal.dir }.to_string();
    // On a thread of its own: a full pipe must not hold the drain, which starts after this.
    let write = move |_: &Stop| {
        output::report(banner);
        Ok(())
    };
    Thread::spawn("banner", OnFailure::Tell(Box::new(drop)), write).map(Some)
}

fn start_threads(parts: &Parts, config: &Config, alarm: &Alarm) -> io::Result<Vec<Thread>> {
    let (vital, pool) = parts.pulses();
    let mut threads = vec![
        threads::watch(Arc::clone(&parts.log), &config.alerts, alarm.clone())?,
        clock::watch(alarm.clone())?,
    ];
    threads.extend(threads::watchdog(vital, pool, alarm.clone())?);
    Ok(threads)
}
