//! Migrations and the shared secret.

use forebay::db::DbError;

use crate::TestDatabase;

pub async fn concurrent_migrations_apply_each_migration_once(test_db: &TestDatabase) {
    let mut four = Vec::new();
    for _ in 0..4 {
        four.push(test_db.database().await);
    }
    let all = four[0].pending_migrations().await.unwrap();
    assert!(!all.is_empty());
    let tasks: Vec<_> =
        four.iter().cloned().map(|one| tokio::spawn(async move { one.migrate().await.unwrap() })).collect();
    let mut applied = Vec::new();
    for task in tasks {
        applied.extend(task.await.unwrap());
    }
    assert_eq!(applied, all, "each applied by one of the four, in order");
    assert!(four[1].pending_migrations().await.unwrap().is_empty());
    assert!(four[2].migrate().await.unwrap().is_empty());
}

pub async fn migrations_unknown_or_changed_are_an_error(test_db: &TestDatabase) {
    let database = test_db.migrated().await;
    test_db.sql("INSERT INTO forebay_migrations VALUES ('9999_of_tomorrow', 'x', 0)").await;
    for refused in [database.migrate().await, database.pending_migrations().await] {
        let Err(DbError::Refused(why)) = refused else { panic!("{refused:?}") };
        assert!(why.contains("9999_of_tomorrow"), "{why}");
    }
    test_db.sql("DELETE FROM forebay_migrations WHERE name = '9999_of_tomorrow'").await;
    test_db.sql("UPDATE forebay_migrations SET checksum = 'x' WHERE name = '0003_audit'").await;
    for refused in [database.migrate().await, database.pending_migrations().await] {
        let Err(DbError::Refused(why)) = refused else { panic!("{refused:?}") };
        assert!(why.contains("0003_audit"), "{why}");
    }
}

/// MySQL's schema changes belong to no transaction: a migration may be interrupted between its statement and its row.
pub async fn a_migration_applied_but_not_recorded_runs_again(test_db: &TestDatabase) {
    let database = test_db.migrated().await;
    test_db.sql("DELETE FROM forebay_migrations").await;
    let all = database.pending_migrations().await.unwrap();
    assert!(all.len() > 8, "{all:?}");
    assert_eq!(database.migrate().await, Ok(all));
    assert_eq!(database.pending_migrations().await, Ok(Vec::new()));
}

pub async fn without_a_schema_statements_are_refused(test_db: &TestDatabase) {
    let database = test_db.database().await;
    database.ping().await.unwrap();
    let refused = database.user("ada").await.unwrap_err();
    assert!(matches!(refused, DbError::Refused(_)), "{refused}");
    assert!(!refused.is_transient());
    database.migrate().await.unwrap();
    assert_eq!(database.user("ada").await, Ok(None));
}

pub async fn all_daemons_share_one_secret(test_db: &TestDatabase) {
    test_db.migrated().await;
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let database = test_db.database().await;
        tasks.push(tokio::spawn(async move { database.secret().await.unwrap() }));
    }
    let first = test_db.database().await.secret().await.unwrap();
    assert_ne!(first, [0; 32]);
    for task in tasks {
        assert_eq!(task.await.unwrap(), first);
    }
}
