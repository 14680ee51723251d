//! Passwords that wait for a thread. Purposes take turns, and within a purpose the clients do: whoever sends many waits
//! for their own.

use std::time::{Duration, Instant};

use crate::sync::{Condvar, Mutex, MutexGuard};

use super::estimate;
use super::estimate::{Measured, rounds};
use super::fair_queue::{FairQueue, JobTotals};
use super::job::{ClientAddress, HashError, HashPurpose, Job, JobInfo};

/// Requests that wait, whatever their deadlines: each is held open.
const MAX_INTERACTIVE: usize = 10_000;
/// Of one client: none can fill the queue.
const MAX_PER_CLIENT: usize = MAX_INTERACTIVE / 2;

pub(super) struct HashQueue {
    threads: usize,
    state: Mutex<State>,
    ready: Condvar,
}

struct State {
    /// By purpose.
    waiting: [FairQueue; HashPurpose::ALL.len()],
    /// Whose turn it is, if it has a job.
    next: usize,
    /// Taken and not ready.
    running: JobTotals,
    /// What one round of bcrypt takes.
    round_time: Duration,
    closed: bool,
}

impl State {
    fn queue_for(&self, purpose: HashPurpose) -> &FairQueue {
        &self.waiting[purpose as usize]
    }

    /// When a job that comes now is ready, after now.
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
    /// `round_time`: what one round takes, as long as none was measured.
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

    /// Adds a job that would be ready by its deadline, or that a free thread can begin now: if the estimate alone decided,
    /// nothing could correct one that refuses everything.
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

    /// Adds a job without a deadline; gives it back when the queue is closed.
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

    /// The next job, or nothing after `patience`; the end when the queue is closed.
    pub fn take(&self, patience: Duration) -> Option<Option<Job>> {
        let idle = |state: &mut State| !state.closed && state.len() == 0;
        let mut state = self.ready.wait_timeout_while(self.state(), patience, idle);
        if state.closed {
            return None;
        }
        let job = state.pop();
        if let Some(job) = &job {
            state.running.add(job.info.cost);
        }
        Some(job)
    }

    /// A job that was taken is done and took this long.
    pub fn on_hashed(&self, info: JobInfo, took: Measured) {
        let mut state = self.state();
        state.running.remove(info.cost);
        state.round_time = estimate::update_estimate(state.round_time, took, rounds(info.cost));
    }

    /// A job that was taken was not worth doing any more.
    pub fn on_skipped(&self, info: JobInfo) {
        self.state().running.remove(info.cost);
    }

    /// When such a job that comes now would be ready, after now.
    pub fn wait(&self, info: JobInfo) -> Duration {
        self.state().wait(info, self.threads)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.state().len()
    }

    /// Takes nothing more; what waited comes back.
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

    /// More than any estimate of these tests.
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

    /// A queue that takes no more of client 1, and how many it took.
    fn full_of_client_1() -> (HashQueue, usize) {
        let queue = HashQueue::new(1, estimate::INITIAL_ROUND_TIME);
        let mut count = 0;
        while queue.push_interactive(job(HashPurpose::Compare, 1, SECONDS)).is_ok() {
            count += 1;
        }
        (queue, count)
    }

    #[test]
    fn an_estimate_that_refuses_everything_is_corrected_by_the_next_job() {
        let queue = HashQueue::new(1, estimate::INITIAL_ROUND_TIME);
        queue.push_interactive(job(HashPurpose::Compare, 1, SECONDS)).unwrap();
        let info = queue.take(SECONDS).unwrap().unwrap().info;
        // A clock of a suspended machine that counted everything.
        let hours = Duration::from_secs(36_000);
        queue.on_hashed(info, Measured { wall: hours, cpu: hours });
        let is_slow = |queue: &HashQueue| queue.wait(info) > SECONDS;
        let mut jobs = 0;
        while is_slow(&queue) {
            queue.push_interactive(job(HashPurpose::Compare, 1, SECONDS)).unwrap();
            let refused = queue.push_interactive(job(HashPurpose::Compare, 1, SECONDS));
            assert!(matches!(refused, Err(HashError::Busy { .. })), "one at a time");
            queue.take(SECONDS).unwrap().unwrap();
            let took = Duration::from_millis(50);
            queue.on_hashed(info, Measured { wall: took, cpu: took });
            jobs += 1;
        }
        assert!((1..100).contains(&jobs), "{jobs}");
    }

    #[test]
    fn a_client_that_sends_without_end_leaves_others_their_turn() {
        let (queue, count) = full_of_client_1();
        // About 100 of 50 ms each.
        assert!((80..=110).contains(&count), "{count}");
        let other = job(HashPurpose::Compare, 2, SECONDS);
        let client = other.info.client;
        queue.push_interactive(other).unwrap();
        queue.push_interactive(job(HashPurpose::Store, 2, SECONDS)).unwrap();
        let taken = (0..3).map(|_| queue.take(SECONDS).unwrap().unwrap());
        assert_eq!(
            taken.filter(|job| job.info.client == client).count(),
            2,
            "after one of the other client's"
        );
    }

    #[test]
    fn no_client_fills_the_queue_however_far_its_deadlines_are() {
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
