//! Guarantees of a batch.

use std::time::Duration;

use forebay::db::{DbError, UserRow};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::{TestDatabase, audit, insert, outcome, strings, user, version};

pub async fn a_unique_index_conflict_prevents_the_commit(test_db: &TestDatabase) {
    let database = test_db.migrated().await;
    insert(&database, &[user("ada")]).await;
    let mut batch = database.begin().await.unwrap();
    batch.insert_outcomes(&[outcome("c1", 1)]).await.unwrap();
    batch.insert_audit(&[audit("c1")]).await.unwrap();
    batch.commit().await.unwrap();

    let same_name = UserRow { name: "ada".into(), ..user("other") };
    let same_email = UserRow { email: user("ada").email, ..user("other") };
    let same_phone = UserRow { phone: user("ada").phone, ..user("other") };
    for taken in [same_name, same_email.clone(), same_phone] {
        let mut batch = database.begin().await.unwrap();
        batch.insert_users(&[user("grace")]).await.unwrap();
        assert_eq!(batch.insert_users(&[taken]).await, Err(DbError::Conflict));
        assert!(batch.commit().await.unwrap_err().is_transient());
        assert_eq!(database.user("grace").await, Ok(None));
    }
    insert(&database, &[user("other")]).await;
    let mut batch = database.begin().await.unwrap();
    assert_eq!(batch.update_users(&[same_email]).await, Err(DbError::Conflict));
    drop(batch);
    let mut batch = database.begin().await.unwrap();
    assert_eq!(batch.insert_outcomes(&[outcome("c2", 1), outcome("c1", 1)]).await, Err(DbError::Conflict));
    drop(batch);
    let mut batch = database.begin().await.unwrap();
    assert_eq!(batch.insert_audit(&[audit("c1")]).await, Err(DbError::Conflict));
    drop(batch);
    assert_eq!(database.outcome("c2").await, Ok(None));
}

pub async fn a_dropped_batch_is_rolled_back_before_connection_reuse(test_db: &TestDatabase) {
    test_db.migrated().await;
    let database = test_db.with(|config| config.max_connections = 1).await;
    for name in ["ada", "grace", "linus"] {
        let mut batch = database.begin().await.unwrap();
        batch.insert_users(&[user(name)]).await.unwrap();
        drop(batch);
        // The pool has one connection, so this is the same.
        assert_eq!(database.user(name).await, Ok(None));
    }
    insert(&database, &[user("ada")]).await;
    assert!(test_db.database().await.user("ada").await.unwrap().is_some());
}

pub async fn a_read_for_update_waits_for_earlier_locks(test_db: &TestDatabase) {
    let database = test_db.migrated().await;
    insert(&database, &[user("ada")]).await;
    let mut first = database.begin().await.unwrap();
    let mut ada = first.users_for_update(&strings(&["ada"])).await.unwrap().remove(0);

    let (done, second) = oneshot::channel();
    let other = database.clone();
    let task = tokio::spawn(async move {
        let mut batch = other.begin().await.unwrap();
        let ada = batch.users_for_update(&strings(&["ada"])).await.unwrap().remove(0);
        batch.commit().await.unwrap();
        done.send(ada.version.at.0).unwrap();
    });
    // The test cannot show that the wait has no end. The order shows in the row that is read.
    ada.version = version(2_000, "c2");
    tokio::task::yield_now().await;
    first.update_users(&[ada]).await.unwrap();
    first.commit().await.unwrap();
    assert_eq!(timeout(Duration::from_secs(60), second).await.unwrap(), Ok(2_000));
    task.await.unwrap();
}

pub async fn more_rows_than_the_largest_shape_are_written(test_db: &TestDatabase) {
    let database = test_db.migrated().await;
    // 2 × 512 + 1 × 64 + 1 × 8 + 4 × 1
    let names: Vec<String> = (0..1100).map(|number| format!("user{number:04}")).collect();
    let users: Vec<UserRow> = names.iter().map(|name| user(name)).collect();
    let outcomes: Vec<_> = names.iter().map(|name| outcome(name, 1)).collect();
    let mut batch = database.begin().await.unwrap();
    batch.insert_users(&users).await.unwrap();
    batch.insert_outcomes(&outcomes).await.unwrap();
    batch.insert_audit(&names.iter().map(|name| audit(name)).collect::<Vec<_>>()).await.unwrap();
    assert_eq!(batch.users_for_update(&names).await.unwrap(), users);
    let emails: Vec<String> = users.iter().filter_map(|user| user.email.clone()).collect();
    let phones: Vec<String> = users.iter().take(700).filter_map(|user| user.phone.clone()).collect();
    assert_eq!(batch.holders_of(&emails, &phones).await.unwrap().len(), 1100);
    assert_eq!(batch.decided(&names).await.unwrap().len(), 1100);
    batch.commit().await.unwrap();
    assert_eq!(database.outcomes(&names).await.unwrap().len(), 1100);
    assert_eq!(database.outcomes(&names[..70]).await.unwrap().len(), 70);
    assert_eq!(database.users_after(None, 1000).await.unwrap(), users[..1000]);
    let mut batch = database.begin().await.unwrap();
    batch.delete_users(&names[..1050]).await.unwrap();
    batch.commit().await.unwrap();
    assert_eq!(database.users_after(None, 1000).await.unwrap(), users[1050..]);
}
