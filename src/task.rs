//! Threads and async tasks that have an owner and can be stopped.
//!
//! A thread also has a name, a deadline for its join, and a policy for its failure.

use std::any::Any;
use std::error::Error;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, OnceLock, mpsc};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use crate::sync::Mutex;

/// Result of a thread's body.
pub type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

/// Policy for the failure of a thread. Every failure is reported.
pub enum OnFailure {
    /// The process cannot work without the thread and must stop.
    Raise(FatalSignal),
    /// The owner receives the cause and replaces the thread. Called on the failed thread.
    Report(Box<dyn FnOnce(String) + Send>),
}

/// The failure of a task that stops the process.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{task} failed: {cause}")]
pub struct TaskFailure {
    /// Name of the task.
    pub task: String,
    /// Cause of the failure.
    pub cause: String,
}

/// Signals that the process must stop. Only the first failure is kept. Clones share it.
#[derive(Clone)]
pub struct FatalSignal(Arc<watch::Sender<Option<TaskFailure>>>);

impl Default for FatalSignal {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl FatalSignal {
    /// Reports a failure after which the process must stop.
    pub fn raise(&self, task: &str, cause: impl ToString) {
        let failure = TaskFailure { task: task.to_owned(), cause: cause.to_string() };
        self.0.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert(failure);
            is_first
        });
    }

    /// Waits for the first failure.
    pub async fn wait(&self) -> TaskFailure {
        let mut failures = self.0.subscribe();
        loop {
            if let Some(failure) = &*failures.borrow_and_update() {
                return failure.clone();
            }
            if failures.changed().await.is_err() {
                // `self` holds the sender, so this cannot happen. Without a sender no failure can be raised.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Through this signal a thread learns that its owner wants it to stop.
pub struct StopSignal(mpsc::Receiver<()>);

impl StopSignal {
    /// Sleeps for `timeout` or until the owner requests a stop. Returns `true` on a stop request.
    pub fn wait(&self, timeout: Duration) -> bool {
        !matches!(self.0.recv_timeout(timeout), Err(mpsc::RecvTimeoutError::Timeout))
    }
}

/// A running thread. Dropping it requests a stop and does not wait.
pub struct Thread {
    name: String,
    stop_sender: Option<mpsc::Sender<()>>,
    ended: mpsc::Receiver<()>,
}

impl Thread {
    /// Starts `body` under `name`. The system shows the first 15 characters of the name.
    pub fn spawn(
        name: &str,
        on_failure: OnFailure,
        body: impl FnOnce(&StopSignal) -> Outcome + Send + 'static,
    ) -> io::Result<Self> {
        let (stop_sender, stop) = mpsc::channel();
        let (ends, ended) = mpsc::channel::<()>();
        let task = name.to_owned();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| body(&StopSignal(stop))));
            match outcome.unwrap_or_else(|panic| Err(panic_message(&*panic).into())) {
                Ok(()) => {}
                Err(cause) => match on_failure {
                    OnFailure::Raise(fatal) => fatal.raise(&task, cause),
                    OnFailure::Report(owner) => owner(cause.to_string()),
                },
            }
            drop(ends);
        })?;
        Ok(Self { name: name.to_owned(), stop_sender: Some(stop_sender), ended })
    }

    /// Requests a stop without waiting, so that the owner can do other work before [`Self::stop`].
    pub fn request_stop(&mut self) {
        self.stop_sender = None;
    }

    /// Requests a stop and waits until the thread ends or `deadline` passes. Blocks.
    pub fn stop(mut self, deadline: Duration) -> Result<(), StillRunning> {
        self.stop_sender = None;
        match self.ended.recv_timeout(deadline) {
            Err(mpsc::RecvTimeoutError::Timeout) => Err(StillRunning { name: self.name, deadline }),
            _ => Ok(()),
        }
    }
}

/// Receives the failure of every [`Task`]. One per process, because the process stops as a whole.
static TASKS: OnceLock<FatalSignal> = OnceLock::new();

/// After this call, the failure of any [`Task`] raises `fatal`. Only the first call in a process has an effect.
pub fn raise_failed_tasks(fatal: &FatalSignal) {
    TASKS.get_or_init(|| fatal.clone());
}

/// An event loop on the runtime. Dropping it stops the loop at its next await point.
pub struct Task(tokio::task::JoinHandle<()>);

impl Task {
    /// Starts `body`, which must run until it is dropped. If `body` panics, the process must stop
    /// ([`raise_failed_tasks`]), because no other task does its work.
    pub fn spawn(name: &'static str, body: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(async move {
            if let Err(cause) = guarded(body).await {
                tracing::error!(
                    event = "task.failed",
                    task = name,
                    error = cause,
                    "task failed; the process stops"
                );
                TASKS.get().into_iter().for_each(|fatal| fatal.raise(name, &cause));
            }
        }))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Short tasks that may outlive their caller, but not their owner: dropping the set aborts the ones still running.
/// Each task must end within a timeout of its own, which bounds the number of tasks.
#[derive(Default)]
pub struct TaskSet(Mutex<JoinSet<()>>);

impl TaskSet {
    /// Starts `body` on the runtime. Only a panic of the task is reported, in the log.
    pub fn spawn(&self, runtime: &Handle, body: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.0.lock();
        while let Some(ended) = tasks.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(event = "task.panicked", %error, "short task panicked; its work was not done");
            }
        }
        tasks.spawn_on(body, runtime);
    }

    /// Starts `body` on the caller's runtime. The receiver yields its result, or an error after a panic. The result is
    /// dropped if the receiver was dropped.
    pub fn begin<T: Send + 'static>(
        &self,
        body: impl Future<Output = T> + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (result_sender, result_receiver) = oneshot::channel();
        self.spawn(&Handle::current(), async move { drop(result_sender.send(body.await)) });
        result_receiver
    }
}

/// Runs a future and turns a panic into an error.
pub async fn guarded<T>(body: impl Future<Output = T> + Send) -> Result<T, String> {
    Guarded(Box::pin(body)).await
}

struct Guarded<'a, T>(Pin<Box<dyn Future<Output = T> + Send + 'a>>);

impl<T> Future for Guarded<'_, T> {
    type Output = Result<T, String>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(context))) {
            Ok(polled) => polled.map(Ok),
            Err(panic) => Poll::Ready(Err(panic_message(&*panic))),
        }
    }
}

/// A thread that did not stop before its deadline.
#[derive(Debug, thiserror::Error)]
#[error("{name} is still running after {} s", deadline.as_secs_f64())]
pub struct StillRunning {
    name: String,
    deadline: Duration,
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panic: {}", text.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    /// Longer than any test may run.
    const LONG: Duration = Duration::from_secs(60);

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().unwrap()
    }

    #[test]
    fn a_sleeping_thread_stops_when_it_is_asked_to() {
        let thread = Thread::spawn("sleeper", OnFailure::Raise(FatalSignal::default()), |stop| {
            assert!(stop.wait(LONG));
            Ok(())
        });
        thread.unwrap().stop(LONG).unwrap();
    }

    #[test]
    fn a_thread_that_misses_its_stop_deadline_is_named() {
        let (release, held) = mpsc::channel::<()>();
        let on_failure = OnFailure::Raise(FatalSignal::default());
        let thread = Thread::spawn("stuck", on_failure, move |_| Ok(held.recv()?)).unwrap();
        let late = thread.stop(Duration::from_millis(1)).unwrap_err();
        assert!(late.to_string().starts_with("stuck is still running"), "{late}");
        drop(release);
    }

    #[test]
    fn the_first_failure_of_a_vital_thread_is_kept() {
        let fatal = FatalSignal::default();
        let raise = || OnFailure::Raise(fatal.clone());
        let first = Thread::spawn("vital", raise(), |_| panic!("no disk")).unwrap();
        first.stop(LONG).unwrap();
        let second = Thread::spawn("other", raise(), |_| Err("too late".into())).unwrap();
        second.stop(LONG).unwrap();
        let failure = runtime().block_on(fatal.wait());
        assert_eq!(failure.to_string(), "vital failed: panic: no disk");
    }

    #[test]
    fn the_owner_of_a_failed_thread_receives_the_cause() {
        let (cause_sender, cause_receiver) = mpsc::channel();
        let on_failure = OnFailure::Report(Box::new(move |cause| cause_sender.send(cause).unwrap()));
        Thread::spawn("replaceable", on_failure, |_| panic!("a bug")).unwrap().stop(LONG).unwrap();
        assert_eq!(cause_receiver.recv().unwrap(), "panic: a bug");
    }

    #[test]
    fn a_panic_of_a_task_raises_the_fatal_signal() {
        async fn fail() {
            panic!("a bug")
        }
        let fatal = FatalSignal::default();
        raise_failed_tasks(&fatal);
        let failure = runtime().block_on(async {
            let _task = Task::spawn("broken", fail());
            fatal.wait().await
        });
        assert_eq!(failure.to_string(), "broken failed: panic: a bug");
    }

    #[test]
    fn tasks_of_a_set_outlive_callers_but_not_the_owner() {
        runtime().block_on(async {
            let set = TaskSet::default();
            let (done, outcome) = oneshot::channel();
            set.spawn(&Handle::current(), async { assert!(done.send(()).is_ok()) });
            outcome.await.expect("the task finishes");
            let (endless, ended) = oneshot::channel::<()>();
            set.spawn(&Handle::current(), async {
                let _held = endless;
                std::future::pending::<()>().await;
            });
            assert_eq!(set.0.lock().len(), 1, "finished tasks are removed");
            drop(set);
            ended.await.expect_err("the task is aborted");
        });
    }

    #[test]
    fn the_result_of_a_task_without_a_receiver_is_dropped() {
        runtime().block_on(async {
            let (set, (go, gone)) = (TaskSet::default(), oneshot::channel::<()>());
            let (guard, mut dropped) = oneshot::channel::<()>();
            let given_up = set.begin(async move {
                gone.await.expect("the go signal");
                guard
            });
            drop(given_up);
            tokio::task::yield_now().await;
            assert_eq!(dropped.try_recv(), Err(TryRecvError::Empty), "the task still runs");
            assert!(go.send(()).is_ok());
            dropped.await.expect_err("the result is dropped");
            assert_eq!(set.begin(async { 7 }).await, Ok(7));
        });
    }

    #[test]
    fn a_waiter_for_the_fatal_signal_is_woken() {
        let fatal = FatalSignal::default();
        let raising = fatal.clone();
        let failure = runtime().block_on(async {
            let wait = fatal.wait();
            tokio::join!(wait, async move { raising.raise("wal", "poisoned") }).0
        });
        assert_eq!(failure.cause, "poisoned");
    }
}
