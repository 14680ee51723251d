//! `forebay drain`: a log is emptied into Kafka and nothing is accepted, for a machine that is going away, or a disk
//! saved from one that is gone.
//!
//! The directory is the log's owner: its id, incarnations and positions come with it, so that exactly-once holds from
//! here as it did there.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::command::kind_of;
use crate::config::Config;
use crate::drain::{Guarantee, Handle};
use crate::status::Statuses;
use crate::units::Timestamp;
use crate::wal::inspect::{LogDirectory, LogView};
use crate::wal::{Log, OpenedLog};

use super::process::Process;
use super::shutdown::{Deadlines, RunningComponents};
use super::signals::Signals;
use super::wiring::{Wiring, external_brokers};
use super::{Failure, open_log, output};

/// How often the backlog is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How often what is left is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// Says what a log holds and changes nothing.
pub fn show(config: &Config) -> Result<(), Failure> {
    let directory = existing_directory(&config.wal.dir)?;
    let unusable = |error: &dyn std::fmt::Display| Failure::Directory(error.to_string());
    let keys = open_log::keys(&config.wal)?;
    let view = directory.with_keys(keys).snapshot(kind_of).map_err(|error| unusable(&error))?;
    let backlog = view.backlog().map_err(|error| unusable(&error))?;
    let oldest = backlog.oldest.map(|at| format!(", the oldest from {at}")).unwrap_or_default();
    let dead = view.dead_letters.as_ref().map_or(0, |dead| dead.len());
    let mut text = format!(
        "{}: {} records wait for delivery ({} bytes{oldest}), {dead} dead letters\n",
        config.wal.dir.display(),
        backlog.records,
        backlog.bytes,
    );
    for (kind, count) in &backlog.labels {
        text.push_str(&format!("  {count} {kind}\n"));
    }
    text.push_str(transactions(&view));
    if view.live {
        text.push_str("  another process has this log: stop it first\n");
    }
    output::print(text)
}

/// What is remembered of transactions: with exactly-once, records that Kafka already has may be among those that wait.
fn transactions(view: &LogView) -> &'static str {
    match &view.checkpoint {
        Some(checkpoint) if checkpoint.transactions.has_any() => {
            "  it was delivered exactly once before: Kafka may have some of these, and the positions there will tell\n"
        }
        Some(_) => "",
        None => "  its checkpoint is missing: what was delivered already is not known here\n",
    }
}

fn existing_directory(dir: &Path) -> Result<LogDirectory, Failure> {
    LogDirectory::open(dir).map_err(|error| Failure::Directory(error.to_string()))
}

/// Delivers what the log holds; returns when nothing waits any more.
pub fn drain(config: &Config) -> Result<(), Failure> {
    let allowed = "host:port, or a list: the topics of an embedded broker would die with this process";
    let bootstrap = external_brokers(config, allowed)?;
    existing_directory(&config.wal.dir)?;
    let Process { runtime, registry, fatal: alarm, traces } = Process::begin(config, || {})?;
    let mut signals = {
        let _context = runtime.enter();
        Signals::listen_at_terminal().map_err(Failure::system("signals"))?
    };
    let wiring = Wiring::new(config, registry, alarm, &traces.tracer);
    // Held to the end: the directory is ours until everything else is gone.
    let (_lock, opened, _) = wiring.log(false)?;
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
            "checkpoint not written; a start would deliver again what was delivered since the last one"
        );
    }
    result(&log, outcome)
}

/// Starts what delivers the log. Nobody submits; ingest's threads keep checkpoints and delete delivered segments.
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
    let once = wiring.config.drain.delivery == Guarantee::ExactlyOnce;
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

/// Completes when nothing waits, or nothing will be sent any more.
async fn await_delivery(log: &Log, handle: &Handle) -> Result<(), Failure> {
    let mut said = Instant::now();
    while log.backlog_stats().backlog > 0 {
        if let (true, Some(reason)) = (handle.is_halted(), handle.notice()) {
            return Err(Failure::Undelivered(reason));
        }
        if said.elapsed() >= LOG_INTERVAL {
            said = Instant::now();
            let notice = handle.notice();
            tracing::info!(
                event = "drain.waiting",
                wal.backlog = log.backlog_stats().backlog,
                notice,
                "records still wait"
            );
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

/// What is reported after the stop.
fn result(log: &Log, outcome: Result<(), Failure>) -> Result<(), Failure> {
    if let Some(reason) = log.poisoned() {
        return Err(Failure::Poisoned(reason.to_owned()));
    }
    let figures = log.backlog_stats();
    match outcome {
        Ok(()) => {
            let dead = figures.dead;
            output::report(format_args!("nothing waits any more; {dead} dead letters stay in the log\n"));
            Ok(())
        }
        Err(Failure::Undelivered(reason)) => {
            Err(Failure::Undelivered(format!("{reason}; {} records are still in the log", figures.backlog)))
        }
        Err(other) => Err(other),
    }
}
