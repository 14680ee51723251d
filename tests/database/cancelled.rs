//! Calls that nobody waits for any more.

use std::time::Duration;

use tokio::time::timeout;

use crate::Place;
use crate::insert;
use crate::user;

/// Drivers leave an answer half read when their future is dropped, and the next question would get the rest of it.
pub async fn a_call_that_is_dropped_half_way_leaves_no_answer_for_the_next(place: &Place) {
    place.migrated().await;
    let database = place.with(|config| config.max_connections = 1).await;
    insert(&database, &[user("ada"), user("grace")]).await;
    let mut dropped = 0;
    for micros in 0..300 {
        let limit = Duration::from_micros(micros * 3);
        // Statements that are prepared for the first time take part: their shapes differ.
        let call = async {
            let ids: Vec<String> = (0..micros).map(|id| id.to_string()).collect();
            let found = database.user("ada").await.unwrap();
            (found.unwrap().name, database.outcomes(&ids).await.unwrap().len())
        };
        match timeout(limit, call).await {
            Ok(found) => assert_eq!(found, ("ada".to_owned(), 0)),
            Err(_) => dropped += 1,
        }
        let found = database.user("grace").await.unwrap();
        assert_eq!(found.unwrap().name, "grace", "after {micros}");
        let batch = timeout(limit, async {
            let mut batch = database.begin().await.unwrap();
            batch.insert_users(&[user("linus")]).await.unwrap();
            batch
        });
        drop(batch.await);
        assert_eq!(database.user("linus").await, Ok(None), "after {micros}");
    }
    assert!(dropped > 0, "no call was ever dropped");
}
