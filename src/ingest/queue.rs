//! What waits for the commit thread: bounded in count and bytes, handed over whole.

use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::oneshot;

use super::commit::Committed;
use super::request::Request;
use super::request::SubmitError;
use crate::command::Repeat;
use crate::wal::Lsn;

/// One thing to commit, and whom to tell.
pub(super) enum Work {
    Submit {
        request: Request,
        repeat: Option<Repeat>,
        reply: oneshot::Sender<Result<Committed, SubmitError>>,
    },
    /// A dead letter's payload goes into the log again.
    Requeue { payload: Vec<u8>, from: Lsn, reply: oneshot::Sender<Result<Lsn, SubmitError>> },
}

pub(super) struct Queue {
    max_count: usize,
    max_bytes: usize,
    state: Mutex<State>,
    ready: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<Work>,
    bytes: usize,
    closed: bool,
    /// Whether the commit thread sleeps: nobody is woken who is awake.
    asleep: bool,
}

impl Queue {
    pub fn new(max_count: usize, max_bytes: usize) -> Self {
        Self { max_count, max_bytes, state: Mutex::default(), ready: Condvar::new() }
    }

    /// Adds work that holds `bytes`. One piece larger than the whole queue is let in when it is alone.
    pub fn push(&self, work: Work, bytes: usize) -> Result<(), SubmitError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return Err(SubmitError::Closing);
        }
        let too_many = state.waiting.len() >= self.max_count;
        if too_many || (state.bytes + bytes > self.max_bytes && !state.waiting.is_empty()) {
            return Err(SubmitError::QueueFull);
        }
        state.bytes += bytes;
        state.waiting.push(work);
        if state.asleep {
            state.asleep = false;
            drop(state);
            self.ready.notify_one();
        }
        Ok(())
    }

    /// Everything that waits, put into `taken`; nothing after `patience`. False: closed and empty.
    pub fn take(&self, taken: &mut Vec<Work>, patience: Duration) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.waiting.is_empty() && !state.closed {
            state.asleep = true;
            state = self.ready.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner).0;
            state.asleep = false;
        }
        state.bytes = 0;
        std::mem::swap(&mut state.waiting, taken);
        !(state.closed && taken.is_empty())
    }

    pub fn close(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.ready.notify_one();
    }

    /// Nobody will take what waits: whoever waits for an answer is told by the end of its channel.
    pub fn abandon(&self) {
        let waiting = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.closed = true;
            std::mem::take(&mut state.waiting)
        };
        drop(waiting);
    }

    pub fn is_closed(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).closed
    }
}
