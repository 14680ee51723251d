//! `forebay drain`: delivers the rest of a log to Kafka and accepts nothing. For a machine that is decommissioned, or a
//! disk taken from a failed machine.
//!
//! The directory identifies the log: its id, incarnations and positions move with it, so exactly-once delivery also
//! holds on the new machine.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::command::kind_of;
use crate::config::Config;
use crate::drain::{DeliveryGuarantee, Handle};
use crate::status::Statuses;
use crate::units::Timestamp;
use crate::wal::inspect::{LogDirectory, LogView};
use crate::wal::{Log, OpenedLog};

use super::process::Process;
use super::shutdown::{Deadlines, RunningComponents};
use super::signals::Signals;
use super::wiring::{Wiring, external_brokers};
use super::{Failure, open_log, output};

/// Interval between two checks of the backlog.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Interval between two log lines about the remaining backlog.
const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// Prints what a log holds and changes nothing.
pub fn print_backlog(config: &Config) -> Result<(), Failure> {
    let directory = existing_directory(&config.wal.dir)?;
    let unusable = |error: &dyn std::fmt::Display| Failure::Directory(error.to_string());
    let keys = open_log::keys(&config.wal)?;
    let view = directory.with_keys(keys).snapshot(kind_of).map_err(|error| unusable(&error))?;
    let backlog = view.backlog().map_err(|error| unusable(&error))?;
    let oldest = backlog.oldest.map(|at| format!(", the oldest from {at}")).unwrap_or_default();
    let dead = view.dead_letters.as_ref().map_or(0, |dead| dead.len());
    let mut text = format!(
        "{}: {} undelivered records ({} bytes{oldest}), {dead} dead letters\n",
        config.wal.dir.display(),
        backlog.records,
        backlog.bytes,
    );
    for (kind, count) in &backlog.labels {
        text.push_str(&format!("  {count} {kind}\n"));
    }
    text.push_str(transactions(&view));
    if view.live {
        text.push_str("  another process uses this log; stop it first\n");
    }
    output::print(text)
}

/// Note about recorded transactions: with exactly-once, Kafka may already have some of the undelivered records.
fn transactions(view: &LogView) -> &'static str {
    match &view.checkpoint {
        Some(checkpoint) if checkpoint.transactions.has_any() => {
            "  the log used exactly-once delivery; Kafka may already have some of these records, \
             which a drain finds out from the positions there\n"
        }
        Some(_) => "",
        None => "  the checkpoint is missing, so the number of records delivered earlier is unknown\n",
    }
}

fn existing_directory(dir: &Path) -> Result<LogDirectory, Failure> {
    LogDirectory::open(dir).map_err(|error| Failure::Directory(error.to_string()))
}

/// Delivers the log. Returns when no record waits.
pub fn drain(config: &Config) -> Result<(), Failure> {
    let allowed =
        "host:port, or a list; the topics of an embedded broker would be lost when this process ends";
    let bootstrap = external_brokers(config, allowed)?;
    existing_directory(&config.wal.dir)?;
    let Process { runtime, registry, fatal, traces } = Process::begin(config, || {})?;
    let mut signals = {
        let _context = runtime.enter();
        Signals::listen_at_terminal().map_err(Failure::system("signals"))?
    };
    let wiring = Wiring::new(config, registry, fatal, &traces.tracer);
    // Held to the end: the directory stays locked until everything else is dropped.
    let (_lock, opened, _) = wiring.open_log(false)?;
    let log = Arc::clone(&opened.log);
    let (running, handle) = start(&wiring, opened, bootstrap)?;
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = await_delivery(&log, &handle) => outcome,
            failure = wiring.fatal.wait() => Err(failure.into()),
            signal = signals.next() => {
                tracing::info!(event = "daemon.stopping", signal, "stopping");
                Err(Failure::Undelivered(format!("interrupted by signal {signal}")))
            }
        }
    });
    runtime.shutdown_background();
    running.stop(Deadlines::orderly(config.server.shutdown_grace.0));
    if let Err(error) = log.checkpoint(Timestamp::now()) {
        tracing::warn!(
            event = "wal.checkpoint_failed",
            %error,
            "checkpoint not written; a restart would redeliver the records delivered since the last one"
        );
    }
    result(&log, outcome)
}

/// Starts the components that deliver the log. Nothing is submitted; ingest's threads write checkpoints and delete
/// delivered segments.
fn start(
    wiring: &Wiring<'_>,
    opened: OpenedLog,
    bootstrap: &str,
) -> Result<(RunningComponents, Handle), Failure> {
    let log = opened.log;
    let (_, ingest) = wiring.ingest(opened.writer)?;
    let (hash_pool, hash_workers) = wiring.hashing()?;
    let statuses = Statuses::new(Arc::clone(&log));
    let drain =
        wiring.drain(&log, statuses, hash_pool, bootstrap.to_owned(), None, wiring.drain_metrics()?)?;
    let once = wiring.config.drain.delivery == DeliveryGuarantee::ExactlyOnce;
    tracing::info!(
        event = "drain.started",
        wal.backlog = log.backlog_stats().backlog,
        drain.exactly_once = once,
        "delivering the log"
    );
    let handle = drain.handle();
    let (ingest, hashing) = (Some(ingest), Some(hash_workers));
    Ok((RunningComponents { ingest, hashing, drain: Some(drain), ..RunningComponents::default() }, handle))
}

/// Completes when no record waits, or when no further record will be sent.
async fn await_delivery(log: &Log, handle: &Handle) -> Result<(), Failure> {
    let mut logged_at = Instant::now();
    while log.backlog_stats().backlog > 0 {
        if let (true, Some(reason)) = (handle.is_halted(), handle.blocked_reason()) {
            return Err(Failure::Undelivered(reason));
        }
        if logged_at.elapsed() >= LOG_INTERVAL {
            logged_at = Instant::now();
            let notice = handle.blocked_reason();
            tracing::info!(
                event = "drain.waiting",
                wal.backlog = log.backlog_stats().backlog,
                notice,
                "records remain undelivered"
            );
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

/// Prints the result after the stop.
fn result(log: &Log, outcome: Result<(), Failure>) -> Result<(), Failure> {
    if let Some(reason) = log.poisoned() {
        return Err(Failure::Poisoned(reason.to_owned()));
    }
    let stats = log.backlog_stats();
    match outcome {
        Ok(()) => {
            let dead = stats.dead;
            output::report(format_args!(
                "all records are delivered; {dead} dead letters remain in the log\n"
            ));
            Ok(())
        }
        Err(Failure::Undelivered(reason)) => Err(Failure::Undelivered(format!(
            "{reason}; {} undelivered records remain in the log",
            stats.backlog
        ))),
        Err(other) => Err(other),
    }
}
