//! `forebay drain`: a log is emptied into Kafka and nothing is accepted, for a machine that is going away, or a disk
//! saved from one that is gone.
//!
//! The directory is the log's owner: its id, incarnations and positions come with it, so that exactly-once holds from
//! here as it did there.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use tokio::runtime::Runtime;

use crate::command::kind_of;
use crate::config::Config;
use crate::config::Mistakes;
use crate::drain::Drain;
use crate::drain::DrainParts;
use crate::drain::Guarantee;
use crate::ingest;
use crate::ingest::IngestThreads;
use crate::kafka::Brokers;
use crate::metrics::Metrics;
use crate::mistake::Mistake;
use crate::status::Statuses;
use crate::task::Alarm;
use crate::units::Timestamp;
use crate::users::Unsealer;
use crate::users::hash::HashPool;
use crate::users::hash::HashWorkers;
use crate::wal::Lock;
use crate::wal::Log;
use crate::wal::inspect::Directory;
use crate::wal::inspect::View;

use super::Failure;
use super::begin;
use super::deadlines::Deadlines;
use super::open;
use super::output;
use super::parts::drain_failure;
use super::signals::Signals;
use super::unseal::Unseal;

/// How often the backlog is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How often what is left is logged.
const SAY: Duration = Duration::from_secs(5);

/// Says what a log holds and changes nothing.
pub fn show(config: &Config) -> Result<(), Failure> {
    let directory = there(&config.wal.dir)?;
    let unusable = |error: &dyn std::fmt::Display| Failure::Directory(error.to_string());
    let keys = open::keys(&config.wal)?;
    let view = directory.with_keys(keys).look(kind_of).map_err(|error| unusable(&error))?;
    let backlog = view.backlog().map_err(|error| unusable(&error))?;
    let oldest = backlog.oldest.map(|at| format!(", the oldest from {at}")).unwrap_or_default();
    let dead = view.dead.as_ref().map_or(0, |dead| dead.len());
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
fn transactions(view: &View) -> &'static str {
    match &view.checkpoint {
        Some(checkpoint) if checkpoint.transactions.any() => {
            "  it was delivered exactly once before: Kafka may have some of these, and the positions there will tell\n"
        }
        Some(_) => "",
        None => "  its checkpoint is missing: what was delivered already is not known here\n",
    }
}

fn there(dir: &Path) -> Result<Directory, Failure> {
    Directory::open(dir).map_err(|error| Failure::Directory(error.to_string()))
}

/// Delivers what the log holds; returns when nothing waits any more.
pub fn drain(config: &Config) -> Result<(), Failure> {
    let Brokers::List(bootstrap) = &config.kafka.brokers else {
        let allowed = "host:port, or a list: the topics of an embedded broker would die with this process";
        return Err(Mistakes::from(vec![Mistake::new("kafka", "brokers", "embedded", allowed)]).into());
    };
    there(&config.wal.dir)?;
    let metrics = begin(config)?;
    let alarm = Alarm::default();
    let runtime = Runtime::new().map_err(Failure::system("runtime"))?;
    let mut signals = {
        let _context = runtime.enter();
        Signals::listen_at_terminal().map_err(Failure::system("signals"))?
    };
    let emptying = Emptying::start(config, bootstrap, metrics, &alarm)?;
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = emptying.is_over() => outcome,
            failure = alarm.raised() => Err(failure.into()),
            signal = signals.next() => {
                tracing::info!(signal, "stopping");
                Err(Failure::Undelivered(format!("interrupted by signal {signal}")))
            }
        }
    });
    runtime.shutdown_background();
    let log = Arc::clone(&emptying.log);
    emptying.stop(config);
    let figures = log.figures();
    if let Some(reason) = log.poisoned() {
        return Err(Failure::Poisoned(reason.to_owned()));
    }
    match outcome {
        Ok(()) => {
            output::report(format_args!(
                "nothing waits any more; {} dead letters stay in the log\n",
                figures.dead
            ));
            Ok(())
        }
        Err(Failure::Undelivered(reason)) => {
            Err(Failure::Undelivered(format!("{reason}; {} records are still in the log", figures.backlog)))
        }
        Err(other) => Err(other),
    }
}

/// The log and what empties it.
struct Emptying {
    drain: Drain,
    threads: IngestThreads,
    hash_workers: HashWorkers,
    log: Arc<Log>,
    // Last: the directory is ours until everything else is gone.
    _lock: Lock,
}

impl Emptying {
    fn start(
        config: &Config,
        bootstrap: &str,
        metrics: Arc<Metrics>,
        alarm: &Alarm,
    ) -> Result<Self, Failure> {
        let (lock, opened) = open::open(&config.wal, false, &metrics, alarm)?;
        let log = Arc::clone(&opened.log);
        // Nobody submits; its threads keep checkpoints and let go of what is delivered.
        let (_, threads) = ingest::start(ingest::Parts {
            writer: opened.writer,
            config: config.wal.clone(),
            checkpoint_interval: config.drain.checkpoint_interval.0,
            metrics: Arc::clone(&metrics),
            alarm: alarm.clone(),
        })
        .map_err(Failure::system("the log's threads"))?;
        let (pool, hash_workers) = HashPool::start(&config.users, Arc::clone(&metrics), alarm)
            .map_err(Failure::system("threads that hash"))?;
        let unsealer = Unsealer::new(pool, &log.identity().secret);
        let drain = Drain::start(DrainParts {
            log: Arc::clone(&log),
            statuses: Statuses::new(Arc::clone(&log)),
            metrics,
            config: config.drain.clone(),
            kafka: config.kafka.clone(),
            alarm: alarm.clone(),
            bootstrap: bootstrap.to_owned(),
            lead: None,
            prepare: Arc::new(Unseal(unsealer)),
        });
        let drain = drain.map_err(drain_failure)?;
        let once = config.drain.delivery == Guarantee::ExactlyOnce;
        tracing::info!(wal.backlog = log.figures().backlog, drain.exactly_once = once, "emptying the log");
        Ok(Self { drain, threads, hash_workers, log, _lock: lock })
    }

    /// Completes when nothing waits, or nothing will be sent any more.
    async fn is_over(&self) -> Result<(), Failure> {
        let handle = self.drain.handle();
        let mut said = Instant::now();
        while self.log.figures().backlog > 0 {
            if let (true, Some(reason)) = (handle.is_halted(), handle.notice()) {
                return Err(Failure::Undelivered(reason));
            }
            if said.elapsed() >= SAY {
                said = Instant::now();
                let notice = handle.notice();
                tracing::info!(wal.backlog = self.log.figures().backlog, notice, "still waiting");
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    fn stop(self, config: &Config) {
        let deadlines = Deadlines::orderly(config.server.shutdown_grace.0);
        self.threads.close();
        self.drain.stop(Instant::now() + deadlines.drain);
        self.hash_workers.stop(deadlines.rest);
        self.threads.join(deadlines.rest);
        if let Err(error) = self.log.checkpoint(Timestamp::now()) {
            tracing::warn!(%error, "checkpoint.failed: the next start repeats what came since the last one");
        }
    }
}
