//! The requests of a run: one thread queues them when they are due, and workers send them.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use cli_support::Interrupt;
use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};
use tokio::task::JoinSet;

use crate::arrivals::Arrivals;
use crate::clock::{Clock, RunClock};
use crate::dispatch_thread::DispatchThread;
use crate::http::{Server, ServerConnection};
use crate::plan::RunPlan;
use crate::progress::Progress;
use crate::queue::Queue;
use crate::record::{Recorder, RecorderConfig};
use crate::worker::{ProgressCounts, Worker};

/// Update interval of the progress bar.
const TICK: Duration = Duration::from_millis(100);

/// The results of a run's requests.
pub struct RunOutcome {
    /// Statistics of the requests.
    pub recorder: Recorder,
    /// Lateness of queueing, in microseconds.
    pub lateness: Histogram<u64>,
    /// When the last request was due, or the run was interrupted.
    pub ended: Duration,
    /// Whether the run was interrupted.
    pub interrupted: bool,
    /// Number of requests, including the warm-up.
    pub requests: u64,
    /// CPU time of this process during the run.
    pub cpu: Duration,
}

/// Sends due requests. Returns when every request has a response or has failed.
pub async fn drive(
    plan: &RunPlan<'_>,
    server: &Arc<Server>,
    interrupt: &Interrupt,
) -> anyhow::Result<RunOutcome> {
    let profile = &plan.planned.profile;
    let course = &plan.planned.common.course;
    let longest = course.max_latency();
    let shape = RecorderConfig::new(profile.clone(), plan.operations.operations.len(), longest);
    let empty = Recorder::new(shape);
    let shards = tokio::runtime::Handle::current().metrics().num_workers().max(1);
    let recorders: Vec<_> = (0..shards).map(|_| Arc::new(Mutex::new(empty.clone()))).collect();
    let (queue, counts) = (Arc::new(Queue::new()), Arc::new(ProgressCounts::default()));
    let cpu_before = cpu_time();
    let clock = RunClock::start();
    let mut workers = JoinSet::new();
    for index in 0..plan.connections {
        let worker = Worker {
            operations: Arc::clone(&plan.operations),
            queue: Arc::clone(&queue),
            recorder: Arc::clone(&recorders[index % shards]),
            counts: Arc::clone(&counts),
            clock,
            send_within: course.send_within,
            timeout: course.timeout,
            link: ServerConnection::new(Arc::clone(server)),
        };
        workers.spawn(worker.run());
    }
    let thread = DispatchThread {
        operations: Arc::clone(&plan.operations),
        queue: Arc::clone(&queue),
        recorder: Arc::clone(&recorders[0]),
        counts: Arc::clone(&counts),
        clock,
        workers: plan.connections,
        interrupt: interrupt.clone(),
        max_lateness: longest,
    };
    let arrivals = Arrivals::new(profile, plan.settings.spacing, plan.settings.seed);
    let mut dispatcher = tokio::task::spawn_blocking(move || thread.run(arrivals));
    let progress = Progress::new(profile.length(), profile.warm_up);
    let mut tick = tokio::time::interval(TICK);
    let mut dispatched = None;
    loop {
        tokio::select! {
            // Workers end only after the end of the queue, which the dispatch thread announces.
            ended = &mut dispatcher, if dispatched.is_none() => {
                dispatched = Some(ended.context("the dispatch thread")?);
            }
            ended = workers.join_next() => match ended {
                Some(ended) => ended.context("a worker")?,
                None => break,
            },
            _ = tick.tick() => progress.show(clock.now(), &counts),
        }
    }
    progress.end();
    let (stopped, lateness) = match dispatched {
        Some(dispatched) => dispatched,
        None => dispatcher.await.context("the dispatch thread")?,
    };
    let cpu = cpu_time().saturating_sub(cpu_before);
    let recorder = merged(empty, &recorders);
    let requests = counts.due.load(Ordering::Relaxed);
    let (ended, interrupted) = (stopped.unwrap_or(profile.length()), stopped.is_some());
    Ok(RunOutcome { recorder, lateness, ended, interrupted, requests, cpu })
}

/// Adds the statistics of all shards to `recorder`.
fn merged(mut recorder: Recorder, shards: &[Arc<Mutex<Recorder>>]) -> Recorder {
    for shard in shards {
        recorder.merge(&shard.lock().unwrap_or_else(PoisonError::into_inner));
    }
    recorder
}

/// CPU time of this process so far.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
