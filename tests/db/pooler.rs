//! PostgreSQL behind PgBouncer: errors of a wrong setting, and the state left in its sessions.

use std::time::{Duration, Instant};

use forebay::db::{Database, DbError, Pooler, Rotation};
use forebay::units::{Span, Timestamp};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, Row};

use crate::{TestDatabase, insert, user};
use support::daemon::LONG;
use support::pgbouncer::PgBouncer;
use support::process::Forebay;
use support::{daemon, services, wait};

/// The advice in the error.
const REMEDY: &str = r#"set [database] pooler = "transaction""#;
/// No broker listens at this address.
const NO_BROKER: &str = "127.0.0.1:1";
/// Number of transactions after which every session of the pooler was used.
const EVERY_SESSION: usize = 16;

/// A pooler that refuses settings of a connection (the default), and one that ignores them.
fn poolers(test: &str, direct: &str) -> Option<[PgBouncer; 2]> {
    let ignore = "ignore_startup_parameters = extra_float_digits, options";
    Some([services::own_pgbouncer(test, direct, &[])?, services::own_pgbouncer(test, direct, &[ignore])?])
}

/// Repeats a call until the circuit breaker is open.
async fn await_breaker_open(database: &Database) {
    for _ in 0..20 {
        if database.user("ada").await == Err(DbError::BreakerOpen) {
            assert!(database.is_open());
            return;
        }
    }
    panic!("every request opens a useless connection");
}

fn migrate(url: &str) -> Forebay {
    Forebay::new(daemon::binary()).args(&["migrate"]).set("database.url", url)
}

/// Runs to its end; returns the exit code and the output.
fn run_to_exit(mut forebay: Forebay) -> (Option<i32>, String) {
    forebay.launch();
    (forebay.wait(LONG).code(), forebay.log())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_without_its_setting_is_reported_before_any_query() {
    let test = "a_pooler_without_its_setting_is_reported_before_any_query";
    let Some(direct) = services::postgres(test) else { return };
    let Some(poolers) = poolers(test, &direct) else { return };
    TestDatabase::server(direct.clone()).migrated().await;
    for pooler in &poolers {
        let behind = TestDatabase::server(pooler.url(&direct)).database().await;
        for _ in 0..3 {
            let refused = behind.user("ada").await.unwrap_err();
            assert!(matches!(refused, DbError::PoolerMismatch(_)) && refused.is_transient(), "{refused:?}");
            assert!(refused.to_string().contains(REMEDY), "{refused}");
        }
        // Each of these calls opened a connection. From now on only probes do.
        await_breaker_open(&behind).await;
        let refused = behind.pending_migrations().await.unwrap_err();
        assert!(refused.to_string().contains(REMEDY), "a health check still reports it: {refused}");
        let with_setting =
            TestDatabase::behind_pooler((direct.clone(), pooler.url(&direct))).database().await;
        assert_eq!(with_setting.user("ada").await, Ok(None), "the advice works");
    }
}

#[test]
fn migrate_fails_with_a_usage_error_naming_the_setting() {
    let test = "migrate_fails_with_a_usage_error_naming_the_setting";
    let Some(direct) = services::postgres(test) else { return };
    let Some(poolers) = poolers(test, &direct) else { return };
    for pooler in &poolers {
        let (code, said) = run_to_exit(migrate(&pooler.url(&direct)));
        assert_eq!(code, Some(64), "{said}");
        assert!(said.contains("[database]") && said.contains(REMEDY), "{said}");
        let (code, said) = run_to_exit(migrate(&pooler.url(&direct)).set("database.pooler", "transaction"));
        assert_eq!(code, Some(0), "{said}");
    }
}

#[test]
fn the_daemon_reports_the_setting_and_accepts_commands() {
    let test = "the_daemon_reports_the_setting_and_accepts_commands";
    let Some(direct) = services::postgres(test) else { return };
    let Some(poolers) = poolers(test, &direct) else { return };
    for pooler in &poolers {
        let mut forebay = daemon::forebay(NO_BROKER).set("database.url", pooler.url(&direct));
        forebay.start();
        let state = wait::until("the first check of the database", LONG, || {
            let ready = forebay.admin_http().get("/readyz").expect("the admin listener");
            assert_eq!(ready.status, 200, "{}", ready.text());
            ready.json()["dependencies"]["database"].as_str().map(str::to_owned)
        });
        assert!(state.contains("PgBouncer") && state.contains(REMEDY), "{state}");
        wait::until_true("the log entry", LONG, || forebay.log().contains("PgBouncer"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_pooler_is_reported_as_such() {
    let test = "a_statement_pooler_is_reported_as_such";
    let Some(direct) = services::postgres(test) else { return };
    let Some(pooler) = services::own_pgbouncer(test, &direct, &["pool_mode = statement"]) else { return };
    let database = TestDatabase::behind_pooler((direct.clone(), pooler.url(&direct))).database().await;
    let refused = database.user("ada").await.unwrap_err();
    assert!(refused.to_string().contains("pool_mode"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_pooler_works_with_the_setting_too() {
    let test = "a_session_pooler_works_with_the_setting_too";
    let Some(direct) = services::postgres(test) else { return };
    let Some(pooler) = services::own_pgbouncer(test, &direct, &["pool_mode = session"]) else { return };
    let database = TestDatabase::behind_pooler((direct.clone(), pooler.url(&direct))).migrated().await;
    insert(&database, &[user("ada")]).await;
    assert!(database.user("ada").await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_in_the_sessions_of_a_pooler() {
    let Some(urls) = services::pooled_postgres("nothing_is_left_in_the_sessions_of_a_pooler") else { return };
    let test_db = TestDatabase::behind_pooler(urls);
    let database = test_db.migrated().await;
    insert(&database, &[user("ada")]).await;
    for _ in 0..EVERY_SESSION {
        assert!(database.user("ada").await.unwrap().is_some());
        database.begin().await.unwrap().commit().await.unwrap();
    }
    let pooled: PgConnectOptions = test_db.pooled.as_deref().unwrap().parse().unwrap();
    let mut connection = PgConnection::connect_with(&pooled.extra_float_digits(None)).await.unwrap();
    for _ in 0..EVERY_SESSION {
        let left = "SELECT (SELECT COUNT(*) FROM pg_prepared_statements), current_setting('statement_timeout'), \
             (SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory')";
        let row = sqlx::raw_sql(left).fetch_one(&mut connection).await.unwrap();
        let left = (row.get::<i64, _>(0), row.get::<String, _>(1), row.get::<i64, _>(2));
        assert_eq!(left, (0, "0".to_owned(), 0));
    }
}

/// Sessions that wait for a lock in this connection's database.
async fn waiting(connection: &mut PgConnection) -> i64 {
    let waiting = "SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    sqlx::raw_sql(waiting).fetch_one(connection).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_ends_abandoned_statements_behind_a_pooler() {
    let test = "the_server_ends_abandoned_statements_behind_a_pooler";
    let Some(urls) = services::pooled_postgres(test) else { return };
    let test_db = TestDatabase::behind_pooler(urls);
    test_db.migrated().await;
    let (now, later) = (Timestamp(1_000), Timestamp(2_000));
    let with_short_timeouts = test_db.with(|config| config.statement_timeout = Span::secs(1)).await;
    let rotate = |from| with_short_timeouts.rotate_session("s", from, now, later, Duration::ZERO);
    assert_eq!(rotate(0).await, Ok(Rotation::Rotated));
    let mut watch = PgConnection::connect(&test_db.url).await.unwrap();
    let mut other = PgConnection::connect(&test_db.url).await.unwrap();
    let lock = "BEGIN; SELECT 1 FROM login_sessions FOR UPDATE";
    sqlx::raw_sql(lock).execute(&mut other).await.unwrap();
    let late = rotate(1).await.unwrap_err();
    assert!(late.is_transient(), "{late}");
    // The lock is still held: only the server's limit can end the statement, and then the session is free for others.
    let begun = Instant::now();
    while waiting(&mut watch).await > 0 {
        assert!(begun.elapsed() < LONG, "a statement has no time limit");
        tokio::task::yield_now().await;
    }
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    assert_eq!(rotate(0).await, Ok(Rotation::Repeated));
}

#[test]
fn only_postgres_has_a_pooler() {
    let mut config = forebay::db::Config { pooler: Pooler::Transaction, ..Default::default() };
    let keys: Vec<_> = config.validate().into_iter().map(|mistake| mistake.key).collect();
    assert_eq!(keys, ["pooler"]);
    config.url = "postgres://forebay@db.example/forebay".into();
    assert_eq!(config.validate(), []);
}
