//! The interface of the workers to the rest of the daemon.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::drain::control::Control;
use crate::drain::lanes::Lanes;
use crate::drain::metrics::Metrics;
use crate::drain::monitor::{Denial, STATES, WorkerMonitor, WorkerState};
use crate::drain::queue::WorkerQueues;
use crate::drain::reader;
use crate::drain::release_pacer::ReleasePacer;
use crate::drain::send_permit::SendPermit;
use crate::status::Statuses;
use crate::wal::{Log, Lsn};

/// Observes and controls the workers.
#[derive(Clone)]
pub struct Handle {
    pub(super) log: Arc<Log>,
    metrics: Arc<Metrics>,
    pub(super) control: Arc<Control>,
    monitors: Arc<[WorkerMonitor]>,
    pub(super) queues: Arc<WorkerQueues>,
    /// Number of the reader's passes, which is its heartbeat.
    pub(super) reader_heartbeat: Arc<AtomicU64>,
    pub(super) permit: Arc<SendPermit>,
}

impl Handle {
    /// Creates a handle for `workers` workers, none of which runs yet.
    pub(super) fn new(log: Arc<Log>, metrics: Arc<Metrics>, workers: usize) -> Self {
        let monitors: Arc<[WorkerMonitor]> = (0..workers).map(WorkerMonitor::new).collect();
        let notifies: Vec<_> = monitors.iter().map(|monitor| Arc::clone(&monitor.notify)).collect();
        // Records from before the start are a backlog and are not gathered.
        let control = Arc::new(Control::new(log.end()));
        let queues = Arc::new(WorkerQueues::new(&log, &control, &notifies));
        Self {
            log,
            metrics,
            control,
            monitors,
            queues,
            reader_heartbeat: Arc::default(),
            permit: Arc::default(),
        }
    }

    /// Dependencies of the reader.
    pub(super) fn reader_parts(&self, pacer: ReleasePacer, statuses: Statuses) -> reader::ReaderParts {
        let (queues, control) = (Arc::clone(&self.queues), Arc::clone(&self.control));
        reader::ReaderParts::new(Arc::clone(&self.log), queues, control, pacer, statuses)
    }

    /// Workers send nothing new until [`Self::resume`].
    pub fn pause(&self) {
        self.control.paused.store(true, Ordering::Relaxed);
        self.notify();
    }

    /// Ends a pause.
    pub fn resume(&self) {
        self.control.paused.store(false, Ordering::Relaxed);
        self.notify();
    }

    /// Why nothing is sent although Kafka may be healthy, for people.
    pub fn blocked_reason(&self) -> Option<String> {
        self.permit.blocked_reason()
    }

    /// The permission that sending needs and Kafka denies, apart from those of topics.
    pub fn denied(&self) -> Option<Denial> {
        let of_workers = || self.monitors.iter().find_map(|monitor| monitor.state().denied.clone());
        self.permit.denied().or_else(of_workers)
    }

    /// Whether nothing more is sent until a restart.
    pub fn is_halted(&self) -> bool {
        self.permit.is_halted()
    }

    /// The state of each worker.
    pub fn workers(&self) -> Vec<WorkerState> {
        self.monitors.iter().map(|monitor| monitor.state().clone()).collect()
    }

    /// The lanes of one worker.
    pub fn lanes(&self, worker: usize) -> Vec<u8> {
        let lanes = Lanes::new(worker, self.monitors.len());
        (0..=u8::MAX).filter(|lane| lanes.contains(*lane)).collect()
    }

    /// One number per worker, which grows at least once per second while the worker is alive.
    pub fn heartbeats(&self) -> Vec<u64> {
        self.monitors.iter().map(|monitor| monitor.heartbeat.load(Ordering::Relaxed)).collect()
    }

    /// A number that grows at least once per second while the log reader's thread is alive.
    pub fn reader_heartbeat(&self) -> u64 {
        self.reader_heartbeat.load(Ordering::Relaxed)
    }

    /// Parked records by topic; zero for topics without parked records.
    pub fn parked(&self) -> BTreeMap<String, u64> {
        let mut sum = BTreeMap::new();
        for monitor in self.monitors.iter() {
            for (topic, count) in &monitor.state().parked {
                *sum.entry(topic.clone()).or_default() += count;
            }
        }
        sum
    }

    /// Why records are parked, by topic.
    pub fn parked_reasons(&self) -> BTreeMap<String, &'static str> {
        self.monitors.iter().flat_map(|monitor| monitor.state().parked_because.clone()).collect()
    }

    /// Topics that the brokers reject, with the reason.
    pub fn refused_topics(&self) -> BTreeMap<String, &'static str> {
        self.monitors.iter().flat_map(|monitor| monitor.state().refused.clone()).collect()
    }

    /// The lowest record that is neither confirmed, nor a dead letter, nor parked.
    pub fn oldest_waiting(&self) -> Option<Lsn> {
        self.monitors.iter().filter_map(|monitor| monitor.state().oldest_waiting).min()
    }

    /// Sets the gauges that describe the workers. Called before each scrape.
    pub fn observe(&self) {
        let workers = self.workers();
        for state in STATES {
            let count = workers.iter().filter(|worker| worker.state == state).count();
            self.metrics.workers.with_label_values(&[state]).set(count as i64);
        }
        for (topic, count) in self.parked() {
            self.metrics.parked.with_label_values(&[&topic]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Whether workers may send new records.
    pub(super) fn may_send(&self) -> bool {
        !self.is_paused() && self.permit.is_granted()
    }

    /// Whether an operator has paused the workers.
    pub fn is_paused(&self) -> bool {
        self.control.paused.load(Ordering::Relaxed)
    }

    /// The monitor of one worker.
    pub(super) fn monitor(&self, lanes: Lanes) -> &WorkerMonitor {
        &self.monitors[lanes.index]
    }

    pub(super) fn notify(&self) {
        self.monitors.iter().for_each(|monitor| monitor.notify.notify());
    }
}
