//! Failover of a database to another server, while the daemon's connections stay open.

use forebay::db::{Database, DbError};

use crate::{TestDatabase, outcome};
use support::proxy::Proxy;
use support::services;
use support::sql::{PASSWORD, SqlServer};

/// Maximum number of connections in the pool.
const CONNECTIONS: u32 = 4;

/// Commits a row.
async fn write(database: &Database, id: &str) -> Result<(), DbError> {
    let mut batch = database.begin().await?;
    batch.insert_outcomes(&[outcome(id, 1)]).await?;
    batch.commit().await
}

/// Makes the pool open all its connections.
async fn open_all(database: &Database) {
    let mut batches = Vec::new();
    for _ in 0..CONNECTIONS {
        batches.push(database.begin().await.unwrap());
    }
}

/// `old` and `new` are URLs of the same database on both servers, with an account that read-only servers refuse.
/// `demote` makes the old server read-only for existing connections, at once or soon.
async fn fails_over(old: &str, new: &str, demote: impl FnOnce()) {
    for url in [old, new] {
        TestDatabase::server(url.to_owned()).migrated().await;
    }
    let proxy = Proxy::start();
    let address = |url: &str| url.split_once('@').unwrap().1.split_once('/').unwrap().0.to_owned();
    proxy.forward_to(&address(old));
    let behind = TestDatabase::server(old.replace(&address(old), proxy.address()));
    let database = behind.with(|config| config.max_connections = CONNECTIONS).await;
    open_all(&database).await;
    assert_eq!(database.check_writes().await, Ok(()));

    demote();
    let mut count = 0;
    let refused = loop {
        count += 1;
        if let Err(error) = write(&database, &format!("before-{count}")).await {
            break error;
        }
    };
    assert!(refused.is_transient() && refused.to_string().contains("accepts no writes"), "{refused}");
    // Reads still succeed.
    let direct = TestDatabase::server(old.to_owned()).database().await;
    assert_eq!(direct.ping().await, Ok(()));
    assert!(direct.check_writes().await.is_err(), "a read-only server must fail the health check");

    // The name now leads to the other server; open connections are not cut.
    proxy.forward_to(&address(new));
    open_all(&database).await;
    for number in 0..CONNECTIONS {
        assert_eq!(write(&database, &format!("after-{number}")).await, Ok(()));
    }
    let successor = TestDatabase::server(new.to_owned()).database().await;
    assert!(successor.outcome("after-0").await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_connection_stays_on_a_read_only_mariadb() {
    let test = "no_connection_stays_on_a_read_only_mariadb";
    let (Some(old), Some(new)) = (services::own_mariadb(test), services::own_mariadb(test)) else { return };
    // Unlike the tests' own account, `read_only` applies to this one.
    let prepared = [&old, &new].map(|server| {
        let account =
            format!("CREATE USER app@'%' IDENTIFIED BY '{PASSWORD}'; GRANT ALL ON users.* TO app@'%'");
        server.sql("mysql", &format!("CREATE DATABASE users; {account}"));
        server.url("users").replace("//forebay:", "//app:")
    });
    fails_over(&prepared[0], &prepared[1], || old.sql("mysql", "SET GLOBAL read_only = ON")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_connection_stays_on_a_read_only_postgres() {
    let test = "no_connection_stays_on_a_read_only_postgres";
    let (Some(old), Some(new)) = (services::own_postgres(test), services::own_postgres(test)) else { return };
    let prepared = [&old, &new].map(|server| {
        server.sql("postgres", "CREATE DATABASE users");
        server.url("users")
    });
    let demote = || {
        old.sql("postgres", "ALTER SYSTEM SET default_transaction_read_only = on");
        old.sql("postgres", "SELECT pg_reload_conf()");
    };
    fails_over(&prepared[0], &prepared[1], demote).await;
}
