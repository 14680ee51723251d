//! Passwords that wait for a thread.

use std::collections::VecDeque;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use super::HashError;
use super::Reply;
use super::estimate;
use crate::command::Secret;

/// However far away a deadline is: each of these is a request that is held open.
const MOST_PROMPT: usize = 10_000;

/// One password to hash.
pub(super) struct Job {
    pub password: Secret,
    pub cost: u32,
    pub salt: [u8; 16],
    /// When nobody waits any more.
    pub deadline: Option<Instant>,
    pub reply: Reply,
}

pub(super) struct Queue {
    threads: usize,
    state: Mutex<State>,
    ready: Condvar,
}

struct State {
    prompt: VecDeque<Job>,
    ahead: VecDeque<Job>,
    /// Whether the next one is taken from `ahead`, if both have one.
    turn_of_ahead: bool,
    /// Taken and not ready.
    running: usize,
    /// What one password takes.
    each: Duration,
    closed: bool,
}

impl State {
    /// When a prompt job that comes now is ready, after now. Jobs ahead take every second turn.
    fn wait(&self, threads: usize) -> Duration {
        let others = self.ahead.len().min(self.prompt.len() + 1);
        estimate::wait(self.each, self.running + self.prompt.len() + others + 1, threads)
    }
}

impl Queue {
    pub fn new(threads: usize, each: Duration) -> Self {
        let state = State {
            prompt: VecDeque::new(),
            ahead: VecDeque::new(),
            turn_of_ahead: false,
            running: 0,
            each,
            closed: false,
        };
        Self { threads, state: Mutex::new(state), ready: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a job that would be ready by its deadline.
    pub fn push_prompt(&self, job: Job) -> Result<(), HashError> {
        let mut state = self.state();
        if state.closed {
            return Err(HashError::Closing);
        }
        let wait = state.wait(self.threads);
        let left = job.deadline.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()));
        if wait > left || state.prompt.len() >= MOST_PROMPT {
            return Err(HashError::Busy { retry_after: wait });
        }
        state.prompt.push_back(job);
        drop(state);
        self.ready.notify_one();
        Ok(())
    }

    /// Adds a job without a deadline; gives it back when the queue is closed.
    pub fn push_ahead(&self, job: Job) -> Result<(), Job> {
        let mut state = self.state();
        if state.closed {
            return Err(job);
        }
        state.ahead.push_back(job);
        drop(state);
        self.ready.notify_one();
        Ok(())
    }

    /// The next job, or nothing after `patience`; the end when the queue is closed.
    pub fn take(&self, patience: Duration) -> Option<Option<Job>> {
        let idle = |state: &mut State| !state.closed && state.prompt.is_empty() && state.ahead.is_empty();
        let waited = self.ready.wait_timeout_while(self.state(), patience, idle);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        if state.closed {
            return None;
        }
        let from_ahead = state.prompt.is_empty() || (state.turn_of_ahead && !state.ahead.is_empty());
        let job = if from_ahead { state.ahead.pop_front() } else { state.prompt.pop_front() };
        state.turn_of_ahead = !from_ahead;
        state.running += usize::from(job.is_some());
        Some(job)
    }

    /// A job that was taken is done and took this long.
    pub fn hashed(&self, took: Duration) {
        let mut state = self.state();
        state.running = state.running.saturating_sub(1);
        state.each = estimate::updated(state.each, took);
    }

    /// A job that was taken was not worth doing any more.
    pub fn passed_over(&self) {
        let mut state = self.state();
        state.running = state.running.saturating_sub(1);
    }

    /// When a job that comes now would be ready, after now.
    pub fn wait(&self) -> Duration {
        self.state().wait(self.threads)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        let state = self.state();
        state.prompt.len() + state.ahead.len()
    }

    /// Takes nothing more; what waited comes back.
    pub fn close(&self) -> Vec<Job> {
        let mut state = self.state();
        state.closed = true;
        let mut left: Vec<Job> = state.prompt.drain(..).collect();
        left.extend(state.ahead.drain(..));
        drop(state);
        self.ready.notify_all();
        left
    }
}
