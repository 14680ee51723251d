//! A restricted account that may read and write rows, but not change tables.

use std::time::Duration;

use forebay::db::{Retention, RetentionPass};
use forebay::units::Timestamp;

use crate::{TestDatabase, outcome};
use support::daemon::LONG;
use support::services;
use support::sql::{PASSWORD, SqlServer};

/// `owner` and `app` are URLs of the same database, with the migrating account and with the daemon's.
async fn rows_are_enough(owner: String, app: String) {
    TestDatabase::server(owner).migrated().await;
    let database = TestDatabase::server(app).database().await;
    assert_eq!(database.missing_requirement().await, Ok(None));
    assert_eq!(database.check_writes().await, Ok(()));
    let mut batch = database.begin().await.unwrap();
    batch.insert_outcomes(&[outcome("one", 1)]).await.unwrap();
    batch.commit().await.unwrap();
    assert!(database.outcome("one").await.unwrap().is_some());
    assert_eq!(database.set_last_logins(&[("nobody".to_owned(), Timestamp(1))]).await, Ok(0));
    let second = Duration::from_secs(1);
    let retention = Retention { outcomes: second, sessions: second, audit: Some(second) };
    let pass: RetentionPass = database.delete_expired(&retention, Timestamp::now(), LONG).await;
    assert!(pass.failed.is_empty() && pass.skipped.is_none(), "{pass:?}");
    assert!(database.outcome("one").await.unwrap().is_none(), "expired");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_needs_no_schema_privileges_after_migrate() {
    let test = "mariadb_needs_no_schema_privileges_after_migrate";
    let Some(server) = services::own_mariadb(test) else { return };
    server.sql("mysql", "CREATE DATABASE users");
    let grant = "GRANT SELECT, INSERT, UPDATE, DELETE ON users.* TO app@'%'";
    server.sql("mysql", &format!("CREATE USER app@'%' IDENTIFIED BY '{PASSWORD}'; {grant}"));
    let owner = server.url("users");
    rows_are_enough(owner.clone(), owner.replace("//forebay:", "//app:")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_needs_no_schema_privileges_after_migrate() {
    let test = "postgres_needs_no_schema_privileges_after_migrate";
    let Some(server) = services::own_postgres(test) else { return };
    server.sql("postgres", "CREATE DATABASE users");
    let grant = "ALTER DEFAULT PRIVILEGES GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO app";
    server.sql("users", &format!("CREATE ROLE app LOGIN PASSWORD '{PASSWORD}'; {grant}"));
    let owner = server.url("users");
    rows_are_enough(owner.clone(), owner.replace("//forebay:", "//app:")).await;
}
