//! Work that comes to its end whoever waits, and is undone when nobody did.

use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout_at;

use crate::task::TaskSet;

/// What came of `work` by the deadline. Work that takes longer goes on, and `undo` follows it: in the same task, because
/// on a busy machine what was asked for first is not always what is done first.
pub(super) async fn attempt<T: Send + 'static>(
    tasks: &TaskSet,
    deadline: Instant,
    work: impl Future<Output = T> + Send + 'static,
    undo: impl Future<Output = ()> + Send + 'static,
) -> Option<T> {
    let (answer, mut answered) = oneshot::channel();
    tasks.spawn(&Handle::current(), async move {
        if answer.send(work.await).is_err() {
            undo.await;
        }
    });
    match timeout_at(deadline.into(), &mut answered).await {
        Ok(done) => done.ok(),
        Err(_) => {
            // From here on it is undone; what came at the last moment is taken.
            answered.close();
            answered.try_recv().ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Notify;
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn what_is_given_up_is_undone_after_it_was_done_and_what_is_taken_is_not() {
        let (tasks, hurry, go) = (TaskSet::default(), Instant::now(), Arc::new(Notify::new()));
        let (done, mut events) = mpsc::unbounded_channel();
        let (slow, undone, held) = (done.clone(), done.clone(), Arc::clone(&go));
        let work = async move {
            held.notified().await;
            slow.send("done").unwrap();
        };
        let undo = async move { undone.send("undone").unwrap() };
        assert_eq!(attempt(&tasks, hurry, work, undo).await, None);
        assert!(events.try_recv().is_err(), "nothing is undone before it is done");
        go.notify_one();
        assert_eq!((events.recv().await, events.recv().await), (Some("done"), Some("undone")));

        let patience = Instant::now() + std::time::Duration::from_secs(60);
        let undo = async move { done.send("undone").unwrap() };
        assert_eq!(attempt(&tasks, patience, async { 7 }, undo).await, Some(7));
        // The undoing that was not needed is dropped with its task.
        assert_eq!(events.recv().await, None);
    }
}
