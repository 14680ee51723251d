//! Servers that are killed, frozen or absent.

use std::time::{Duration, Instant};

use forebay::db::{Database, DbError};
use forebay::units::Span;
use tokio::time::timeout;

use crate::{TestDatabase, insert, user};
use support::poll::at_once;
use support::proxy::{LinkState, Proxy};
use support::services;
use support::sql::SqlServer;

/// Far above any response time, and still a limit.
const LONG: Duration = Duration::from_secs(60);

/// A database with short timeouts, for a server that does not reply.
async fn with_short_timeouts(test_db: &TestDatabase) -> Database {
    test_db
        .with(|config| {
            config.acquire_timeout = Span::millis(500);
            config.statement_timeout = Span::millis(500);
        })
        .await
}

/// Repeats a call until it succeeds: half a second may be too short on a busy machine.
async fn retry_until_answered<T>(mut ask: impl AsyncFnMut() -> Result<T, DbError>) -> T {
    let begun = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => {
                assert!(error.is_transient(), "{error}");
                assert!(begun.elapsed() < LONG, "does not recover: {error}");
                tokio::task::yield_now().await;
            }
        }
    }
}

async fn recovered(database: &Database) {
    retry_until_answered(async || database.ping().await).await;
}

async fn killed_server(server: &impl SqlServer) {
    let test_db = TestDatabase::server(server.create_database());
    test_db.migrated().await;
    let database = with_short_timeouts(&test_db).await;
    insert(&database, &[user("ada")]).await;

    let mut batch = database.begin().await.unwrap();
    batch.insert_users(&[user("grace")]).await.unwrap();
    server.kill();
    let lost = batch.commit().await.unwrap_err();
    assert!(lost.is_transient(), "{lost}");
    for _ in 0..3 {
        let unavailable = database.user("ada").await.unwrap_err();
        assert!(unavailable.is_transient(), "{unavailable}");
    }
    assert!(database.begin().await.unwrap_err().is_transient());

    server.start();
    recovered(&database).await;
    assert!(
        retry_until_answered(async || database.user("ada").await).await.is_some(),
        "the committed row exists"
    );
    assert_eq!(retry_until_answered(async || database.user("grace").await).await, None);

    // An orderly stop closes idle connections; the next call notices that.
    server.stop();
    assert!(database.user("ada").await.unwrap_err().is_transient());
    server.start();
    recovered(&database).await;
}

async fn frozen_server(server: &impl SqlServer) {
    let test_db = TestDatabase::server(server.create_database());
    test_db.migrated().await;
    let database = with_short_timeouts(&test_db).await;
    insert(&database, &[user("ada")]).await;
    let mut batch = database.begin().await.unwrap();
    batch.insert_users(&[user("grace")]).await.unwrap();

    server.freeze();
    // A frozen server never replies: only the timeouts end these calls.
    let late = timeout(LONG, batch.commit()).await.expect("a time limit").unwrap_err();
    assert!(late.is_transient(), "{late}");
    // More concurrent calls than connections: each of them ends.
    let calls: Vec<_> = (0..40)
        .map(|_| {
            let database = database.clone();
            tokio::spawn(async move { database.user("ada").await })
        })
        .collect();
    for call in calls {
        let late = timeout(LONG, call).await.expect("a time limit").unwrap().unwrap_err();
        assert!(late.is_transient(), "{late}");
    }

    server.thaw();
    recovered(&database).await;
    assert!(retry_until_answered(async || database.user("ada").await).await.is_some());
    // The server may or may not have committed; both reads must agree.
    let first = retry_until_answered(async || database.user("grace").await).await;
    assert_eq!(retry_until_answered(async || database.user("grace").await).await, first);
    // No connection is missing from the pool.
    let calls: Vec<_> = (0..16)
        .map(|_| {
            let database = database.clone();
            tokio::spawn(async move {
                loop {
                    match database.begin().await {
                        Ok(batch) => return batch,
                        Err(error) => assert!(error.is_transient(), "{error}"),
                    }
                }
            })
        })
        .collect();
    let mut batches = Vec::new();
    for call in calls {
        batches.push(timeout(LONG, call).await.expect("a connection for each").unwrap());
    }
    assert_eq!(batches.len(), 16);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_mariadb_causes_transient_errors_until_it_recovers() {
    let Some(server) = services::own_mariadb("a_killed_mariadb_causes_transient_errors_until_it_recovers")
    else {
        return;
    };
    killed_server(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_postgres_causes_transient_errors_until_it_recovers() {
    let Some(server) = services::own_postgres("a_killed_postgres_causes_transient_errors_until_it_recovers")
    else {
        return;
    };
    killed_server(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_to_a_frozen_mariadb_end_within_their_timeouts() {
    let Some(server) = services::own_mariadb("calls_to_a_frozen_mariadb_end_within_their_timeouts") else {
        return;
    };
    frozen_server(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_to_a_frozen_postgres_end_within_their_timeouts() {
    let Some(server) = services::own_postgres("calls_to_a_frozen_postgres_end_within_their_timeouts") else {
        return;
    };
    frozen_server(&server).await;
}

/// Calls before the circuit breaker opens: its threshold.
const CALLS_BEFORE_OPEN: usize = 5;

/// Makes a call that the circuit breaker does not refuse.
async fn answered(database: &Database, by_commit: bool) -> Result<(), DbError> {
    match by_commit {
        true => database.begin().await?.commit().await,
        false => database.pending_migrations().await.map(drop),
    }
}

async fn hanging_server(server: &impl SqlServer) {
    let test_db = TestDatabase::server(server.create_database());
    test_db.migrated().await;
    let proxy = Proxy::start();
    let (before, after) = test_db.url.split_once('@').unwrap();
    let (address, name) = after.split_once('/').unwrap();
    proxy.forward_to(address);
    let behind = TestDatabase::server(format!("{before}@{}/{name}", proxy.address()));
    let database = with_short_timeouts(&behind).await;
    insert(&database, &[user("ada")]).await;
    assert!(!database.is_open());

    proxy.set(LinkState::CUT);
    for _ in 0..CALLS_BEFORE_OPEN {
        let unavailable = database.user("ada").await.unwrap_err();
        assert!(matches!(unavailable, DbError::Unavailable(_)), "{unavailable}");
    }
    assert!(database.is_open());
    assert_eq!(database.user("ada").await, Err(DbError::BreakerOpen));
    // A transaction is not refused: it serves as a probe.
    let unavailable = database.begin().await.map(drop).unwrap_err();
    assert!(matches!(unavailable, DbError::Unavailable(_)), "{unavailable}");
    // Of many callers only one at a time waits: the probe. The other callers do not abort it.
    let mut calls: Vec<_> = (0..100).map(|_| Box::pin(database.holders(Some("ada"), None, None))).collect();
    let mut waiting = 0;
    for call in &mut calls {
        match at_once(call.as_mut()).await {
            None => waiting += 1,
            Some(refused) => assert_eq!(refused.unwrap_err(), DbError::BreakerOpen),
        }
    }
    assert!(waiting <= 1, "{waiting} wait");
    drop(calls);

    proxy.heal();
    recovered(&database).await;
    assert!(!database.is_open());
    assert!(database.user("ada").await.unwrap().is_some());

    // A commit of the consumer, and a check of the schema, close the circuit breaker too.
    for by_commit in [true, false] {
        proxy.set(LinkState::CUT);
        while !database.is_open() {
            database.user("ada").await.unwrap_err();
        }
        proxy.heal();
        while answered(&database, by_commit).await.is_err() {}
        assert!(!database.is_open());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unresponsive_mariadb_gets_only_probes_until_it_replies() {
    let Some(server) = services::own_mariadb("an_unresponsive_mariadb_gets_only_probes_until_it_replies")
    else {
        return;
    };
    hanging_server(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unresponsive_postgres_gets_only_probes_until_it_replies() {
    let Some(server) = services::own_postgres("an_unresponsive_postgres_gets_only_probes_until_it_replies")
    else {
        return;
    };
    hanging_server(&server).await;
}

#[tokio::test]
async fn the_database_may_be_unavailable_at_first() {
    let port = support::ports::Port::free();
    for scheme in ["mysql", "postgres"] {
        let test_db = TestDatabase::server(format!("{scheme}://forebay@{}/users", port.address()));
        let database = with_short_timeouts(&test_db).await;
        let unavailable = database.ping().await.unwrap_err();
        assert!(unavailable.is_transient(), "{unavailable}");
        assert!(database.migrate().await.unwrap_err().is_transient());
    }
}
