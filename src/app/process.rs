//! What every subcommand starts with, and the wait of those that run until they are told to stop.

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

/// Everything that a subcommand has before it builds anything of its own.
pub(super) struct Process {
    pub(super) runtime: Runtime,
    pub(super) registry: Registry,
    pub(super) fatal: FatalSignal,
    pub(super) traces: Traces,
}

impl Process {
    /// Starts the log lines, which are counted among the metrics, and takes all the file descriptors there are.
    /// `first` logs the first line.
    pub(super) fn begin(config: &Config, first: impl FnOnce()) -> Result<Self, Failure> {
        let registry = registered(Registry::new())?;
        let lost = registered(registry.counter(
            "forebay_log_lines_lost_total",
            "Log lines that could not be written to standard error. Worry at any increase: the log has gaps.",
        ))?;
        registered(build_info(&registry))?;
        telemetry::init(&config.telemetry, &lost).map_err(Failure::system("log lines"))?;
        first();
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

/// Which build this is. The build sets `FOREBAY_COMMIT`: sources in a package have no history to ask.
fn build_info(registry: &Registry) -> Result<(), prometheus::Error> {
    let info = registry.gauges_by(
        "forebay_build_info",
        "1; the labels name the version and the commit of the build that runs. No reason to worry.",
        &["version", "commit"],
    )?;
    info.with_label_values(&[env!("CARGO_PKG_VERSION"), COMMIT]).set(1);
    Ok(())
}

/// Metrics that are registered. Fails only when two of them share a name, which a test rules out.
pub(super) fn registered<M>(metrics: Result<M, prometheus::Error>) -> Result<M, Failure> {
    metrics.map_err(io::Error::other).map_err(Failure::system("metrics"))
}

/// Waits for a signal, or for the failure of something that the process cannot live without. Tells the service manager.
pub(super) async fn stop_requested(signals: &mut Signals, alarm: &FatalSignal) -> Option<task::TaskFailure> {
    let failure = tokio::select! {
        signal = signals.next() => {
            tracing::info!(event = "daemon.stopping", signal, "stopping");
            None
        }
        failure = alarm.wait() => {
            tracing::error!(event = "daemon.failed", error = %failure, "stopping after a failure");
            Some(failure)
        }
    };
    systemd::stopping("finishing what is under way");
    failure
}

/// Too small for any core file, and what tells the kernel not to call a handler such as systemd-coredump either, which a
/// limit of 0 does not (core(5), `fs/coredump.c`).
const NO_CORE: u64 = 1;

/// From here on a crash leaves no core file: one would write the passwords, tokens and keys in memory to a disk. A
/// debugger can still be attached.
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
