//! Calls that nobody waits for any more.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use crate::{TestDatabase, insert, user};

/// When a call is dropped, counted in its own steps: no clock, so that neither a fast nor a busy machine matters.
#[derive(Clone, Copy, Debug)]
struct DropPoint {
    /// After this many polls that did not finish it.
    polls: usize,
    /// Not at once, while the answer is still on its way, but when something has come for the call.
    is_late: bool,
}

impl DropPoint {
    /// The result, or nothing if the call was dropped before it had one.
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

/// Drivers leave an answer half read when their future is dropped, and the next question would get the rest of it.
pub async fn a_call_that_is_dropped_half_way_leaves_no_answer_for_the_next(place: &TestDatabase) {
    place.migrated().await;
    let database = place.with(|config| config.max_connections = 1).await;
    insert(&database, &[user("ada"), user("grace")]).await;
    let mut dropped = 0;
    // A statement of each shape, the first of which is prepared.
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
    assert!(dropped > 0, "a call to a database waits for its answer");
}
