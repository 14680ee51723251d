//! Steps common to all subcommands: set-up, and the wait for a stop.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Runtime;

use crate::config::Config;
use crate::metrics::Registry;
use crate::task::FatalSignal;
use crate::telemetry::trace;
use crate::{systemd, task, telemetry};

use super::signals::Signals;
use super::traces::Traces;
use super::{Failure, descriptors};

/// What a subcommand has before it builds its components.
pub(super) struct Process {
    pub(super) runtime: Runtime,
    pub(super) registry: Registry,
    pub(super) fatal: FatalSignal,
    pub(super) traces: Traces,
}

impl Process {
    /// Starts the log lines and their metrics, and raises the limit of file descriptors. Calls `log_start` after the log
    /// lines are set up.
    pub(super) fn begin(config: &Config, log_start: impl FnOnce()) -> Result<Self, Failure> {
        let registry = registered(Registry::new())?;
        let lost = registered(registry.counter(
            "forebay_log_lines_lost_total",
            "Log lines that could not be written to standard error. Worry at any increase: the log has gaps.",
        ))?;
        registered(build_info(&registry))?;
        telemetry::init(&config.telemetry, &lost).map_err(Failure::system("log lines"))?;
        log_start();
        descriptors::raise_limit();
        let traces = Traces::start(&config.telemetry, &registered(trace::Metrics::register(&registry))?);
        let runtime = Runtime::new().map_err(Failure::system("runtime"))?;
        Ok(Self { runtime, registry, fatal: FatalSignal::default(), traces })
    }
}

/// The commit of this build.
pub(super) const COMMIT: &str = match option_env!("FOREBAY_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// Registers the build information. The build sets `FOREBAY_COMMIT`, because packaged sources have no Git history.
fn build_info(registry: &Registry) -> Result<(), prometheus::Error> {
    let info = registry.gauges_by(
        "forebay_build_info",
        "Always 1. The labels contain the version and the commit of the running build. No reason to worry.",
        &["version", "commit"],
    )?;
    info.with_label_values(&[env!("CARGO_PKG_VERSION"), COMMIT]).set(1);
    Ok(())
}

/// Unwraps registered metrics. Registration fails only when two metrics share a name; a test rules that out.
pub(super) fn registered<M>(metrics: Result<M, prometheus::Error>) -> Result<M, Failure> {
    metrics.map_err(io::Error::other).map_err(Failure::system("metrics"))
}

/// Waits for a signal, or for the failure of a vital component. Notifies the service manager.
pub(super) async fn stop_requested(signals: &mut Signals, fatal: &FatalSignal) -> Option<task::TaskFailure> {
    let failure = tokio::select! {
        signal = signals.next() => {
            tracing::info!(event = "daemon.stopping", signal, "stopping");
            None
        }
        failure = fatal.wait() => {
            tracing::error!(event = "daemon.failed", error = %failure, "stopping after a failure");
            Some(failure)
        }
    };
    systemd::stopping("finishing requests and records in flight");
    failure
}

/// Too small for any core file. It also keeps the kernel from calling a handler such as systemd-coredump; a limit of 0
/// does not (core(5), `fs/coredump.c`).
const NO_CORE: u64 = 1;

/// Disables core files, because one would write the passwords, tokens and keys in memory to a disk. A debugger can
/// still be attached.
pub(super) fn forbid_core_dumps() {
    let maximum = getrlimit(Resource::Core).maximum;
    let limit = Rlimit { current: Some(maximum.map_or(NO_CORE, |most| most.min(NO_CORE))), maximum };
    if let Err(error) = setrlimit(Resource::Core, limit) {
        tracing::warn!(
            event = "process.core_dumps_possible",
            %error,
            "core files not disabled; a crash may write secrets to disk"
        );
    }
}
