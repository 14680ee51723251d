//! The queue of passwords to be hashed. Purposes are served round-robin, and within a purpose the clients. So a client
//! that sends many passwords waits only behind its own.

use std::time::{Duration, Instant};

use crate::sync::{Condvar, Mutex, MutexGuard};

use super::estimate;
use super::estimate::{Measured, rounds};
use super::fair_queue::{FairQueue, JobTotals};
use super::job::{ClientAddress, HashError, HashPurpose, Job, JobInfo};

/// Maximum number of waiting requests, whatever their deadlines: each holds resources.
const MAX_INTERACTIVE: usize = 10_000;
/// Maximum per client, so that one client cannot fill the queue.
const MAX_PER_CLIENT: usize = MAX_INTERACTIVE / 2;

pub(super) struct HashQueue {
    threads: usize,
    state: Mutex<State>,
    ready: Condvar,
}

struct State {
    /// Queues by purpose.
    waiting: [FairQueue; HashPurpose::ALL.len()],
    /// The purpose to be served next, if it has a job.
    next: usize,
    /// Jobs being hashed.
    running: JobTotals,
    /// Estimated time of one round of bcrypt.
    round_time: Duration,
    closed: bool,
}

impl State {
    fn queue_for(&self, purpose: HashPurpose) -> &FairQueue {
        &self.waiting[purpose as usize]
    }

    /// Time until a job added now is ready.
    fn wait(&self, info: JobInfo, threads: usize) -> Duration {
        let JobInfo { purpose, client, cost } = info;
        let before = self.queue_for(purpose).jobs_before(client);
        let part = |other: &HashPurpose| {
            let turns = before + usize::from(*other != purpose);
            self.queue_for(*other).waiting().rounds_of(turns)
        };
        let rounds_before = self.running.rounds + HashPurpose::ALL.iter().map(part).sum::<u64>();
        estimate::estimate_wait(self.round_time, rounds_before, rounds(cost), threads)
    }

    fn has_room(&self, client: ClientAddress) -> bool {
        let sum = |count: &dyn Fn(&FairQueue) -> usize| -> usize {
            HashPurpose::INTERACTIVE.iter().map(|purpose| count(self.queue_for(*purpose))).sum()
        };
        sum(&|turns| turns.waiting().jobs) < MAX_INTERACTIVE
            && sum(&|turns| turns.waiting_for_client(client)) < MAX_PER_CLIENT
    }

    fn len(&self) -> usize {
        self.waiting.iter().map(|turns| turns.waiting().jobs).sum()
    }

    fn pop(&mut self) -> Option<Job> {
        let purposes = self.waiting.len();
        for purpose in (self.next..).take(purposes).map(|turn| turn % purposes) {
            if let Some(job) = self.waiting[purpose].pop() {
                self.next = (purpose + 1) % purposes;
                return Some(job);
            }
        }
        None
    }
}

impl HashQueue {
    /// `round_time`: the estimate until a round has been measured.
    pub fn new(threads: usize, round: Duration) -> Self {
        let state = State {
            waiting: Default::default(),
            next: 0,
            running: JobTotals::default(),
            round_time: round,
            closed: false,
        };
        Self { threads, state: Mutex::new(state), ready: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Adds a job that would be ready by its deadline, or that a free thread can start at once. Without the second
    /// case, an estimate that rejects everything would never be corrected.
    pub fn push_interactive(&self, job: Job) -> Result<(), HashError> {
        let mut state = self.state();
        if state.closed {
            return Err(HashError::Closing);
        }
        let wait = state.wait(job.info, self.threads);
        let left = job.deadline.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()));
        let a_thread_is_free = state.running.jobs + state.len() < self.threads;
        if !a_thread_is_free && (wait > left || !state.has_room(job.info.client)) {
            return Err(HashError::Busy { retry_after: wait });
        }
        state.waiting[job.info.purpose as usize].push(job);
        drop(state);
        self.ready.notify_one();
        Ok(())
    }

    /// Adds a job without a deadline; returns the job if the queue is closed.
    pub fn push_deferred(&self, job: Job) -> Result<(), Job> {
        let mut state = self.state();
        if state.closed {
            return Err(job);
        }
        state.waiting[job.info.purpose as usize].push(job);
        drop(state);
        self.ready.notify_one();
        Ok(())
    }

    /// The next job, or `None` inside if none arrives within `max_wait`. The outer `None`: the queue is closed.
    pub fn take(&self, max_wait: Duration) -> Option<Option<Job>> {
        let idle = |state: &mut State| !state.closed && state.len() == 0;
        let mut state = self.ready.wait_timeout_while(self.state(), max_wait, idle);
        if state.closed {
            return None;
        }
        let job = state.pop();
        if let Some(job) = &job {
            state.running.add(job.info.cost);
        }
        Some(job)
    }

    /// Records that a job was hashed, and its duration.
    pub fn on_hashed(&self, info: JobInfo, took: Measured) {
        let mut state = self.state();
        state.running.remove(info.cost);
        state.round_time = estimate::update_estimate(state.round_time, took, rounds(info.cost));
    }

    /// Records that a job was skipped.
    pub fn on_skipped(&self, info: JobInfo) {
        self.state().running.remove(info.cost);
    }

    /// Time until such a job, added now, would be ready.
    pub fn wait(&self, info: JobInfo) -> Duration {
        self.state().wait(info, self.threads)
    }

    /// Number of waiting jobs.
    pub fn len(&self) -> usize {
        self.state().len()
    }

    /// Closes the queue and returns the waiting jobs.
    pub fn close(&self) -> Vec<Job> {
        let mut state = self.state();
        state.closed = true;
        let left = std::iter::from_fn(|| state.pop()).collect();
        drop(state);
        self.ready.notify_all();
        left
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::super::job::HashReply;
    use super::*;
    use crate::command::Secret;

    /// Longer than any estimate of these tests.
    const SECONDS: Duration = Duration::from_secs(5);

    fn job(purpose: HashPurpose, client: u8, within: Duration) -> Job {
        let client = Some(IpAddr::from([192, 0, 2, client]));
        Job {
            info: JobInfo { purpose, client, cost: 10 },
            password: Secret::new(String::new()),
            salt: [0; 16],
            deadline: Some(Instant::now() + within),
            reply: HashReply::Callback(Box::new(|_| ())),
        }
    }

    /// A queue that accepts no more jobs of client 1, and the number that it accepted.
    fn full_of_client_1() -> (HashQueue, usize) {
        let queue = HashQueue::new(1, estimate::INITIAL_ROUND_TIME);
        let mut count = 0;
        while queue.push_interactive(job(HashPurpose::Compare, 1, SECONDS)).is_ok() {
            count += 1;
        }
        (queue, count)
    }

    #[test]
    fn the_next_job_corrects_an_excessive_estimate() {
        let queue = HashQueue::new(1, estimate::INITIAL_ROUND_TIME);
        queue.push_interactive(job(HashPurpose::Compare, 1, SECONDS)).unwrap();
        let info = queue.take(SECONDS).unwrap().unwrap().info;
        // As if the clock of a suspended machine had counted the whole suspension.
        let hours = Duration::from_secs(36_000);
        queue.on_hashed(info, Measured { wall: hours, cpu: hours });
        let is_slow = |queue: &HashQueue| queue.wait(info) > SECONDS;
        let mut jobs = 0;
        while is_slow(&queue) {
            queue.push_interactive(job(HashPurpose::Compare, 1, SECONDS)).unwrap();
            let refused = queue.push_interactive(job(HashPurpose::Compare, 1, SECONDS));
            assert!(matches!(refused, Err(HashError::Busy { .. })), "one job at a time");
            queue.take(SECONDS).unwrap().unwrap();
            let took = Duration::from_millis(50);
            queue.on_hashed(info, Measured { wall: took, cpu: took });
            jobs += 1;
        }
        assert!((1..100).contains(&jobs), "{jobs}");
    }

    #[test]
    fn a_client_with_many_jobs_does_not_delay_others() {
        let (queue, count) = full_of_client_1();
        // About 100 jobs of 50 ms each.
        assert!((80..=110).contains(&count), "{count}");
        let other = job(HashPurpose::Compare, 2, SECONDS);
        let client = other.info.client;
        queue.push_interactive(other).unwrap();
        queue.push_interactive(job(HashPurpose::Store, 2, SECONDS)).unwrap();
        let taken = (0..3).map(|_| queue.take(SECONDS).unwrap().unwrap());
        assert_eq!(
            taken.filter(|job| job.info.client == client).count(),
            2,
            "after one job of the other client"
        );
    }

    #[test]
    fn no_client_can_fill_the_queue() {
        let queue = HashQueue::new(1, estimate::INITIAL_ROUND_TIME);
        let hours = Duration::from_secs(36_000);
        for _ in 0..MAX_PER_CLIENT {
            queue.push_interactive(job(HashPurpose::Store, 1, hours)).unwrap();
        }
        assert!(queue.push_interactive(job(HashPurpose::Compare, 1, hours)).is_err());
        queue.push_interactive(job(HashPurpose::Compare, 2, hours)).unwrap();
    }

    #[test]
    fn purposes_take_turns() {
        let queue = HashQueue::new(1, estimate::INITIAL_ROUND_TIME);
        for _ in 0..3 {
            queue.push_interactive(job(HashPurpose::Compare, 1, SECONDS)).unwrap();
        }
        assert!(queue.push_deferred(job(HashPurpose::Deferred, 0, SECONDS)).is_ok());
        queue.push_interactive(job(HashPurpose::Store, 2, SECONDS)).unwrap();
        let order: Vec<_> = (0..5).map(|_| queue.take(SECONDS).unwrap().unwrap().info.purpose).collect();
        use HashPurpose::{Compare, Deferred, Store};
        assert_eq!(order, [Compare, Store, Deferred, Compare, Compare]);
    }
}
