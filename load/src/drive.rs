//! The requests of a run: one thread hands them over when they are due, workers send them.

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
use crate::http::{Link, Server};
use crate::pacing::Pacing;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::queue::Queue;
use crate::record::{Recorder, Shape};
use crate::worker::{Counts, Worker};

/// How often the progress bar moves.
const TICK: Duration = Duration::from_millis(100);

/// What came out of the requests of a run.
pub struct Driven {
    /// What became of them.
    pub recorder: Recorder,
    /// How late they were handed over, in microseconds.
    pub lateness: Histogram<u64>,
    /// When the last one was due, or the run was interrupted.
    pub ended: Duration,
    /// Whether it was interrupted.
    pub interrupted: bool,
    /// How many there were, the warm-up included.
    pub requests: u64,
    /// CPU time of this process.
    pub cpu: Duration,
}

/// Sends what is due, and returns when every request is answered or given up.
pub async fn drive(plan: &Plan<'_>, server: &Arc<Server>, interrupt: &Interrupt) -> anyhow::Result<Driven> {
    let profile = &plan.planned.profile;
    let course = &plan.planned.common.course;
    let longest = course.longest();
    let shape = Shape::new(profile.clone(), plan.operations.what.len(), longest);
    let empty = Recorder::new(shape);
    let shards = tokio::runtime::Handle::current().metrics().num_workers().max(1);
    let recorders: Vec<_> = (0..shards).map(|_| Arc::new(Mutex::new(empty.clone()))).collect();
    let (queue, counts) = (Arc::new(Queue::new()), Arc::new(Counts::default()));
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
            link: Link::new(Arc::clone(server)),
        };
        workers.spawn(worker.run());
    }
    let pacing = Pacing {
        operations: Arc::clone(&plan.operations),
        queue: Arc::clone(&queue),
        recorder: Arc::clone(&recorders[0]),
        counts: Arc::clone(&counts),
        clock,
        workers: plan.connections,
        interrupt: interrupt.clone(),
        longest,
    };
    let arrivals = Arrivals::new(profile, plan.settings.spacing, plan.settings.seed);
    let mut pacer = tokio::task::spawn_blocking(move || pacing.run(arrivals));
    let progress = Progress::new(profile.length(), profile.warm_up);
    let mut tick = tokio::time::interval(TICK);
    let mut paced = None;
    loop {
        tokio::select! {
            // Without the end of the queue, which the pacer brings, no worker would end.
            ended = &mut pacer, if paced.is_none() => paced = Some(ended.context("the pacer")?),
            ended = workers.join_next() => match ended {
                Some(ended) => ended.context("a worker")?,
                None => break,
            },
            _ = tick.tick() => progress.show(clock.now(), &counts),
        }
    }
    progress.end();
    let (stopped, lateness) = match paced {
        Some(paced) => paced,
        None => pacer.await.context("the pacer")?,
    };
    let cpu = cpu_time().saturating_sub(cpu_before);
    let mut recorder = empty;
    for part in &recorders {
        recorder.merge(&part.lock().unwrap_or_else(PoisonError::into_inner));
    }
    let requests = counts.due.load(Ordering::Relaxed);
    let (ended, interrupted) = (stopped.unwrap_or(profile.length()), stopped.is_some());
    Ok(Driven { recorder, lateness, ended, interrupted, requests, cpu })
}

/// CPU time of this process.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
