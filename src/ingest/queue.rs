//! What waits for the commit thread: bounded in count and bytes, handed over whole.

use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::oneshot;

use super::commit::Committed;
use super::request::Request;
use super::request::SubmitError;
use crate::command::Repeat;
use crate::planted::Fault;
use crate::planted::planted;
use crate::sync::Condvar;
use crate::sync::Mutex;
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

impl Work {
    /// Whether nobody waits for the answer any more.
    fn is_cancelled(&self) -> bool {
        match self {
            Self::Submit { reply, .. } => reply.is_closed(),
            Self::Requeue { reply, .. } => reply.is_closed(),
        }
    }
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

impl State {
    fn hand_over(&mut self, taken: &mut Vec<Work>) {
        if !(planted(Fault::CancelledKeepsRoom) && self.waiting.iter().any(Work::is_cancelled)) {
            self.bytes = 0;
        }
        std::mem::swap(&mut self.waiting, taken);
    }
}

impl Queue {
    pub fn new(max_count: usize, max_bytes: usize) -> Self {
        Self { max_count, max_bytes, state: Mutex::default(), ready: Condvar::new() }
    }

    /// Adds work that holds `bytes`. One piece larger than the whole queue is let in when it is alone.
    pub fn push(&self, work: Work, bytes: usize) -> Result<(), SubmitError> {
        if planted(Fault::WakeBeforeEnqueue) {
            self.ready.notify_one();
        }
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
        if state.asleep && !planted(Fault::WakeBeforeEnqueue) {
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
        state.hand_over(taken);
        !(state.closed && taken.is_empty())
    }

    /// `take` without waiting: what only a planted fault does.
    pub fn take_now(&self, taken: &mut Vec<Work>) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).hand_over(taken);
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

    /// How many wait, and their bytes.
    #[cfg(all(test, feature = "shuttle"))]
    pub fn held(&self) -> (usize, usize) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.waiting.len(), state.bytes)
    }

    pub fn is_closed(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_a_thread_that_is_gone_is_told() {
        let queue = Queue::new(10, 1000);
        let (reply, mut answer) = oneshot::channel();
        queue.push(Work::Requeue { payload: Vec::new(), from: Lsn(1), reply }, 1).unwrap();
        queue.abandon();
        assert!(matches!(answer.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
        let (reply, _answer) = oneshot::channel();
        let refused = queue.push(Work::Requeue { payload: Vec::new(), from: Lsn(2), reply }, 1);
        assert_eq!(refused, Err(SubmitError::Closing));
    }
}
