//! Letting go of old rows.

use forebay::units::Timestamp;

use crate::Place;
use crate::outcome;
use crate::strings;
use crate::version;

pub async fn old_outcomes_and_tombstones_go_in_bounded_steps(place: &Place) {
    let database = place.migrated().await;
    let ids: Vec<String> = (0..20).map(|number| format!("c{number:02}")).collect();
    let mut batch = database.begin().await.unwrap();
    let finished = |(id, at): (&String, u64)| outcome(id, at);
    batch.insert_outcomes(&ids.iter().zip(0..).map(finished).collect::<Vec<_>>()).await.unwrap();
    let tombstone = |(id, at): (&String, u64)| (id.clone(), version(at, "c"));
    batch.put_tombstones(&ids.iter().zip(10..).map(tombstone).collect::<Vec<_>>()).await.unwrap();
    batch.commit().await.unwrap();

    assert_eq!(database.forget_before(Timestamp(15), 10).await, Ok(10 + 5));
    // The oldest first.
    let left = database.outcomes(&ids).await.unwrap();
    assert!(left.iter().all(|outcome| outcome.finished_at >= Timestamp(10)), "{left:?}");
    assert_eq!(database.forget_before(Timestamp(15), 10).await, Ok(5));
    assert_eq!(database.forget_before(Timestamp(15), 10).await, Ok(0));
    assert_eq!(database.outcomes(&ids).await.unwrap().len(), 5);
    let mut batch = database.begin().await.unwrap();
    let tombstones = batch.tombstones(&strings(&["c04", "c05"])).await.unwrap();
    assert_eq!(tombstones, [("c05".to_owned(), version(15, "c"))]);
}
