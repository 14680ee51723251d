//! Calls whose caller stops waiting.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use crate::{TestDatabase, insert, user};

/// When a call is dropped, counted in polls: without a clock, the speed of the machine does not matter.
#[derive(Clone, Copy, Debug)]
struct DropPoint {
    /// The number of polls after which an unfinished call is dropped.
    polls: usize,
    /// Whether the call is dropped only after data for it has arrived, instead of while its reply is still on the way.
    is_late: bool,
}

impl DropPoint {
    /// The call's result, or `None` if the call was dropped before.
    async fn run<T>(self, call: impl Future<Output = T>) -> Option<T> {
        let mut call = pin!(call);
        let mut polls = 0;
        poll_fn(|context| {
            if polls == self.polls {
                return Poll::Ready(None);
            }
            polls += 1;
            match call.as_mut().poll(context) {
                Poll::Pending if polls == self.polls && !self.is_late => Poll::Ready(None),
                polled => polled.map(Some),
            }
        })
        .await
    }
}

/// Drivers leave a reply half read when their future is dropped, and the next statement would read the rest of it.
pub async fn a_dropped_call_leaves_no_reply_for_the_next(test_db: &TestDatabase) {
    test_db.migrated().await;
    let database = test_db.with(|config| config.max_connections = 1).await;
    insert(&database, &[user("ada"), user("grace")]).await;
    let mut dropped = 0;
    // A statement of each shape. The first one is prepared.
    for ids in [0, 1, 8, 64, 512] {
        let ids: Vec<String> = (0..ids).map(|id| id.to_string()).collect();
        for when in (1..).flat_map(|polls| [false, true].map(|is_late| DropPoint { polls, is_late })) {
            let call = async {
                let found = database.user("ada").await.unwrap();
                (found.unwrap().name, database.outcomes(&ids).await.unwrap().len())
            };
            let found = when.run(call).await;
            dropped += usize::from(found.is_none());
            assert_eq!(database.user("grace").await.unwrap().unwrap().name, "grace", "after {when:?}");
            let batch = async {
                let mut batch = database.begin().await.unwrap();
                batch.insert_users(&[user("linus")]).await.unwrap();
                batch
            };
            let batch = when.run(batch).await;
            let all_finished = found.is_some() && batch.is_some();
            drop(batch);
            assert_eq!(database.user("linus").await, Ok(None), "after {when:?}");
            if let Some(found) = found {
                assert_eq!(found, ("ada".to_owned(), 0));
                if all_finished {
                    break;
                }
            }
        }
    }
    assert!(dropped > 0, "a database call waits for its reply");
}
