//! `forebay serve`: starts, runs and stops the daemon.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Config, ConfigErrors, Source};
use crate::http::Tls;
use crate::task::{FatalSignal, OnFailure, StopSignal, Thread};
use crate::telemetry::StepTimer;
use crate::{http, systemd, task};

use super::banner::Banner;
use super::bound_sockets::{ActivatedSockets, BoundSockets};
use super::daemon::Daemon;
use super::listeners::warn_if_exposed;
use super::process::{Process, forbid_core_dumps, registered, stop_requested};
use super::shutdown::Deadlines;
use super::signals::Signals;
use super::wiring::Wiring;
use super::{Failure, descriptors, output, reload, signals, startup_log};

/// Runs the daemon until a stop is requested or it cannot continue.
pub fn serve(config: &Config, source: &Source) -> Result<(), Failure> {
    let activated_sockets = ActivatedSockets::receive()?;
    let Process { runtime, registry, fatal, traces } =
        Process::begin(config, || startup_log::log("serve", config, source))?;
    forbid_core_dumps();
    // With as many connections as the limit of file descriptors allows.
    let limited_config = descriptors::limit_connections(config);
    task::raise_failed_tasks(&fatal);
    // Before the log is opened: a configuration error or a port in use must leave everything unchanged.
    let http = Arc::new(registered(http::Metrics::register(&registry))?);
    let tls = Tls::load(&config.server, &http).map_err(ConfigErrors::from)?;
    let (signals, hangups) = {
        let _context = runtime.enter();
        let signals = Signals::listen().map_err(Failure::system("signals"))?;
        (signals, signals::hangups().map_err(Failure::system("signals"))?)
    };
    let sockets = BoundSockets::take(config, activated_sockets)?;
    let wiring = Wiring::new(&limited_config, registry, fatal, &traces.tracer).with_source(source);
    let opened = {
        let _step = StepTimer::begin("recovery", config.telemetry.slow_step.0);
        wiring.open_log(config.embedded())?
    };
    let outcome = runtime.block_on(async {
        let mut daemon = Daemon::listen(&wiring, opened, http, sockets, tls).await?;
        // Not joined: the banner's reader may be stuck.
        let _banner = announce(&daemon, config).map_err(Failure::system("threads"))?;
        daemon.start_delivery(&wiring)?;
        let _reload = reload::watch(hangups, source, config, daemon.reloadable());
        run(daemon, signals, &wiring.fatal, config.server.shutdown_grace.0).await
    });
    // Remaining tasks are past their deadline. The log keeps the work they did not finish.
    runtime.shutdown_background();
    outcome
}

/// Waits for a reason to stop, and stops the daemon.
async fn run(
    daemon: Daemon,
    mut signals: Signals,
    fatal: &FatalSignal,
    grace: Duration,
) -> Result<(), Failure> {
    let failure = stop_requested(&mut signals, fatal).await;
    let log = Arc::clone(&daemon.log);
    let deadlines = match failure {
        None => Deadlines::orderly(grace),
        Some(_) => Deadlines::failed(),
    };
    daemon.stop(deadlines).await;
    // A failed flush is the cause, whatever stopped the daemon.
    match (log.poisoned(), failure) {
        (Some(reason), _) => Err(Failure::Poisoned(reason.to_owned())),
        (None, Some(failure)) => Err(failure.into()),
        (None, None) => Ok(()),
    }
}

/// Announces that commands are accepted: to the service manager, in the log, and with the banner.
fn announce(daemon: &Daemon, config: &Config) -> io::Result<Option<Thread>> {
    let (Some(http), admin) = daemon.addresses() else { return Ok(None) };
    let tls = config.server.tls_cert_file.is_some();
    systemd::ready(&format!("accepting commands on {http}"));
    tracing::info!(event = "daemon.ready", %http, %admin, tls, "accepting commands");
    warn_if_exposed(config, Some(http), admin);
    let Some(bootstrap) = daemon.bootstrap() else { return Ok(None) };
    let banner = Banner { http, tls, admin, bootstrap, dir: &config.wal.dir }.to_string();
    // On a separate thread: a full pipe must not delay the drain, which starts after this.
    let write = move |_: &StopSignal| {
        output::report(banner);
        Ok(())
    };
    Thread::spawn("banner", OnFailure::Report(Box::new(drop)), write).map(Some)
}
