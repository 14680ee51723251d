//! Login sessions: generations, ends, and expiry.

use std::time::Duration;

use forebay::db::{Database, Retention, Rotation};
use forebay::units::Timestamp;
use tokio::task::JoinSet;

use crate::TestDatabase;

const GRACE: Duration = Duration::from_millis(100);
const EXPIRY: Timestamp = Timestamp(1_000_000);

/// A value as long as an id.
fn id(number: u32) -> String {
    format!("{number:032x}")
}

async fn rotate(database: &Database, id: &str, from: u32, now: u64) -> Rotation {
    database.rotate_session(id, from, Timestamp(now), EXPIRY, GRACE).await.unwrap()
}

pub async fn a_session_moves_on_one_generation_at_a_time(test_db: &TestDatabase) {
    let database = test_db.migrated().await;
    let id = id(1);
    assert_eq!(database.session_ended(&id).await, Ok(false));
    assert_eq!(rotate(&database, &id, 3, 10).await, Rotation::Ended, "rotated before, but unknown");
    for generation in 0..5 {
        let now = 1_000 + u64::from(generation) * 1_000;
        assert_eq!(rotate(&database, &id, generation, now).await, Rotation::Rotated);
        // Within the grace period to the millisecond, and with a clock that is behind.
        assert_eq!(rotate(&database, &id, generation, now + 100).await, Rotation::Repeated);
        assert_eq!(rotate(&database, &id, generation, now - 500).await, Rotation::Repeated);
    }
    assert_eq!(
        rotate(&database, &id, 7, 6_000).await,
        Rotation::Ended,
        "a generation that was never reached"
    );
    assert_eq!(database.session_ended(&id).await, Ok(false), "the session is not ended");
    assert_eq!(rotate(&database, &id, 4, 5_101).await, Rotation::Reused, "after the grace period");
    assert_eq!(rotate(&database, &id, 5, 5_102).await, Rotation::Ended, "the newest one too");
    assert_eq!(rotate(&database, &id, 4, 5_102).await, Rotation::Ended);
    assert_eq!(database.session_ended(&id).await, Ok(true));
}

/// Rotates one generation in many concurrent calls.
async fn all_at_once(database: &Database, id: &str, from: u32) -> Vec<Rotation> {
    let mut rotations = JoinSet::new();
    for _ in 0..32 {
        let (database, id) = (database.clone(), id.to_owned());
        rotations.spawn(async move { rotate(&database, &id, from, 1_000).await });
    }
    rotations.join_all().await
}

pub async fn concurrent_rotations_of_a_generation_succeed_once(test_db: &TestDatabase) {
    let database = test_db.migrated().await;
    for session in [id(1), id(2)] {
        for from in 0..3 {
            let rotations = all_at_once(&database, &session, from).await;
            let count = |wanted| rotations.iter().filter(|&&rotation| rotation == wanted).count();
            assert_eq!((count(Rotation::Rotated), count(Rotation::Repeated)), (1, 31), "{rotations:?}");
        }
    }
    let rotations = all_at_once(&database, &id(1), 0).await;
    let reused = rotations.iter().filter(|&&rotation| rotation == Rotation::Reused).count();
    assert_eq!(reused, 1, "one of them ended it: {rotations:?}");
    for from in 0..5 {
        let rotations = all_at_once(&database, &id(1), from).await;
        assert!(rotations.iter().all(|&rotation| rotation == Rotation::Ended), "{rotations:?}");
    }
    assert_eq!(rotate(&database, &id(2), 3, 1_000).await, Rotation::Rotated, "another session is alive");
}

pub async fn an_ended_session_stays_ended_with_and_without_a_row(test_db: &TestDatabase) {
    let database = test_db.migrated().await;
    assert_eq!(rotate(&database, &id(1), 0, 1_000).await, Rotation::Rotated);
    for session in [id(1), id(2)] {
        assert_eq!(database.end_session(&session, Timestamp(2_000), EXPIRY).await, Ok(true));
        assert_eq!(
            database.end_session(&session, Timestamp(2_000), EXPIRY).await,
            Ok(false),
            "it had ended before"
        );
        assert_eq!(database.session_ended(&session).await, Ok(true));
        for from in 0..3 {
            assert_eq!(rotate(&database, &session, from, 1_000).await, Rotation::Ended);
        }
    }
    let mut ends = JoinSet::new();
    for _ in 0..16 {
        let database = database.clone();
        ends.spawn(async move { database.end_session(&id(3), Timestamp(1), EXPIRY).await.unwrap() });
    }
    let alive = ends.join_all().await.into_iter().filter(|&alive| alive).count();
    assert_eq!(alive, 1, "one of them ended it");
}

pub async fn an_ended_session_row_outlives_its_last_token(test_db: &TestDatabase) {
    let database = test_db.migrated().await;
    let rotated = database.rotate_session(&id(1), 0, Timestamp(1), Timestamp(10), GRACE).await;
    assert_eq!(rotated, Ok(Rotation::Rotated));
    // An access token that was issued since may outlive the row of the last refresh.
    assert_eq!(database.end_session(&id(1), Timestamp(5), Timestamp(100)).await, Ok(true));
    assert_eq!(expire(&database, 50).await, 0);
    assert_eq!(database.session_ended(&id(1)).await, Ok(true));
    // The expiry is never shortened.
    assert_eq!(rotate(&database, &id(2), 0, 1).await, Rotation::Rotated);
    assert_eq!(database.end_session(&id(2), Timestamp(5), Timestamp(7)).await, Ok(true));
    assert_eq!(expire(&database, 50).await, 0);
}

pub async fn expired_sessions_are_deleted(test_db: &TestDatabase) {
    let database = test_db.migrated().await;
    for number in 0..20 {
        let expires_at = Timestamp(u64::from(number));
        let rotated = database.rotate_session(&id(number), 0, Timestamp(1), expires_at, GRACE).await;
        assert_eq!(rotated, Ok(Rotation::Rotated));
    }
    assert_eq!(rotate(&database, &id(0), 1, 2).await, Rotation::Rotated, "it expires later now");
    assert_eq!(expire(&database, 15).await, 14);
    assert_eq!(rotate(&database, &id(14), 1, 2).await, Rotation::Ended, "its row was deleted");
    assert_eq!(rotate(&database, &id(15), 1, 2).await, Rotation::Rotated, "its row still exists");
    assert_eq!(expire(&database, 15).await, 0);
    assert_eq!(rotate(&database, &id(0), 2, 3).await, Rotation::Rotated);
}

/// Deletes sessions that expired before `at`.
async fn expire(database: &Database, at: u64) -> u64 {
    let retention = Retention { outcomes: Duration::MAX, sessions: Duration::ZERO, audit: None };
    let pass = database.delete_expired(&retention, Timestamp(at), Duration::from_secs(600)).await;
    pass.deleted
}
