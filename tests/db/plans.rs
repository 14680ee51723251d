//! Query plans: with a million users, no query reads a whole table, according to the servers' plans for each statement.
//!
//! The servers' own logs list the statements, so that none can be forgotten here.

use std::time::Duration;

use forebay::db::{Database, ParkedRow, Retention, Rotation};
use forebay::units::Timestamp;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, MySqlConnection};

use crate::{TestDatabase, audit, outcome, user, version};
use support::services;
use support::sql::SqlServer;

/// More rows than any page or batch has.
const MANY: u64 = 2_000;

/// A table that is read as a whole before each pass over expired rows. It has one row per migration, however many users
/// exist.
const SMALL: &str = "forebay_migrations";

/// PostgreSQL plans a statement for its actual values five times before it makes a generic plan.
const ROUNDS: usize = 7;

/// The tables' rows. `{}` is replaced by the source of the numbers.
const ROWS: [(&str, &str, u32); 7] = [
    (
        "users (name, email, phone, password_hash, is_admin, created_at, updated_at, applied_at, applied_id)",
        "CONCAT('user', LPAD(CONCAT(n, ''), 7, '0')), CONCAT('user', LPAD(CONCAT(n, ''), 7, '0'), '@example.org'), \
         LPAD(CONCAT(n, ''), 12, '0'), '$2b$10$hash', false, n, n, n, 'c'",
        1_000_000,
    ),
    (
        "command_outcomes (id, kind, name, state, accepted_at, finished_at, topic_partition, topic_offset)",
        "CONCAT('id', LPAD(CONCAT(n, ''), 7, '0')), 'user.create', CONCAT('user', n), 'applied', n, n, 1, n",
        200_000,
    ),
    (
        "audit (id, action, target, outcome, at)",
        "CONCAT('id', LPAD(CONCAT(n, ''), 7, '0')), 'user.create', CONCAT('user', n), 'applied', n",
        200_000,
    ),
    ("parked_commands (id, name, seq, attempts)", "CONCAT('id', n), CONCAT('user', n), n, 1", 100_000),
    ("deleted_users (name, applied_at, applied_id)", "CONCAT('user', n), n, 'c'", 100_000),
    (
        "user_extras (name, extras)",
        "CONCAT('user', LPAD(CONCAT(n, ''), 7, '0')), '{\"nickname\":\"x\"}'",
        100_000,
    ),
    (
        "login_sessions (id, generation, rotated_at, ended, expires_at)",
        "LPAD(CONCAT(n, ''), 32, '0'), 1, n, false, n",
        100_000,
    ),
];

fn names(round: usize, count: usize) -> Vec<String> {
    (0..count).map(|at| format!("user{:07}", 500_000 + round * 1_000 + at)).collect()
}

/// Runs every query; those with lists in every shape.
async fn every_query(database: &Database, round: usize) {
    let one = &names(round, 1)[0];
    database.user(one).await.unwrap();
    let email = format!("{one}@example.org");
    database.holders(Some(one), Some(&email), Some("000000000042")).await.unwrap();
    assert_eq!(database.users_after(Some(one), 1000).await.unwrap().len(), 1000);
    database.users_after(None, 10).await.unwrap();
    database.outcome("id0000042").await.unwrap();
    for shape in [1, 8, 64, 512] {
        let list = names(round, shape);
        database.outcomes(&list).await.unwrap();
        // After every registration.
        let at = Timestamp((10_000_000 + round * 1_000 + shape) as u64);
        let logins: Vec<_> = list.iter().map(|name| (name.clone(), at)).collect();
        assert_eq!(database.set_last_logins(&logins).await, Ok(shape as u64));
        let mut batch = database.begin().await.unwrap();
        batch.decided(&list).await.unwrap();
        batch.parked(&list).await.unwrap();
        let found = batch.users_for_update(&list).await.unwrap();
        assert_eq!(found.len(), shape);
        batch.update_users(&found).await.unwrap();
        batch.holders_of(&list, &list).await.unwrap();
        batch.tombstones(&list).await.unwrap();
        let own = |at: usize| format!("new{round}-{shape}-{at}");
        let fresh: Vec<_> = (0..shape).map(|at| user(&own(at))).collect();
        let fresh: Vec<_> =
            fresh.into_iter().map(|user| forebay::db::UserRow { phone: None, ..user }).collect();
        let ids: Vec<String> = fresh.iter().map(|user| user.name.clone()).collect();
        batch.insert_users(&fresh).await.unwrap();
        batch.insert_outcomes(&ids.iter().map(|id| outcome(id, 1 << 40)).collect::<Vec<_>>()).await.unwrap();
        batch.insert_audit(&ids.iter().map(|id| audit(id)).collect::<Vec<_>>()).await.unwrap();
        let parked = |id: &String| ParkedRow { id: id.clone(), name: id.clone(), seq: 1, attempts: 1 };
        batch.park(&ids.iter().map(parked).collect::<Vec<_>>()).await.unwrap();
        batch.unpark(&ids).await.unwrap();
        batch.delete_users(&ids).await.unwrap();
        let tombstone = |id: &String| (id.clone(), version(1 << 40, "c"));
        batch.put_tombstones(&ids.iter().map(tombstone).collect::<Vec<_>>()).await.unwrap();
        let extras = |id: &String| (id.clone(), "{}".to_owned());
        batch.put_extras(&ids.iter().map(extras).collect::<Vec<_>>()).await.unwrap();
        batch.commit().await.unwrap();
    }
    // In several batches: the rows of each table that expired since the last round.
    let retention =
        Retention { outcomes: Duration::ZERO, sessions: Duration::ZERO, audit: Some(Duration::ZERO) };
    let now = Timestamp(10_000 + round as u64 * 3_000);
    let pass = database.delete_expired(&retention, now, Duration::from_secs(600)).await;
    assert!(pass.deleted >= 4 * 3_000, "{pass:?}");
    assert!(database.merge_extras(100).await.unwrap() > 0);
    every_session_query(database, round).await;
}

async fn every_session_query(database: &Database, round: usize) {
    let now = Timestamp(1 << 40);
    let id = |part: usize| format!("{:032}", 60_000 + round * 100 + part);
    let rotate =
        async |id: &str, from| database.rotate_session(id, from, now, now, Duration::ZERO).await.unwrap();
    assert_eq!(rotate(&format!("{round:032x}").replace('0', "x"), 0).await, Rotation::Rotated);
    assert_eq!(rotate(&id(0), 1).await, Rotation::Rotated);
    assert_eq!(rotate(&id(0), 0).await, Rotation::Reused);
    assert_eq!(database.end_session(&id(1), now, now).await, Ok(true));
    assert_eq!(database.session_ended(&id(1)).await, Ok(true));
}

async fn load(test_db: &TestDatabase, numbers: impl Fn(u32) -> String) {
    for (table, values, count) in ROWS {
        test_db.sql(&format!("INSERT INTO {table} SELECT {values} FROM {}", numbers(count))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_scans_no_table() {
    let Some(server) = services::own_mariadb("mariadb_scans_no_table") else { return };
    let test_db = TestDatabase::server(server.create_database());
    let database = test_db.migrated().await;
    load(&test_db, |count| format!("(SELECT seq AS n FROM seq_1_to_{count}) AS numbers")).await;
    test_db.sql("ANALYZE TABLE users, command_outcomes, audit, parked_commands, deleted_users, user_extras, login_sessions").await;
    test_db.sql("SET GLOBAL log_output = 'TABLE'; SET GLOBAL general_log = ON").await;
    every_query(&database, 1).await;
    test_db.sql("SET GLOBAL general_log = OFF").await;

    let mut connection = MySqlConnection::connect(&test_db.url).await.unwrap();
    let logged =
        "SELECT DISTINCT CAST(argument AS CHAR) FROM mysql.general_log WHERE command_type = 'Execute'";
    let statements: Vec<String> = sqlx::query_scalar(logged).fetch_all(&mut connection).await.unwrap();
    let mut explained = 0;
    for statement in statements {
        let planned = ["SELECT", "UPDATE", "DELETE"].iter().any(|verb| statement.starts_with(verb));
        if !planned || statement.contains(SMALL) {
            continue;
        }
        let explain = AssertSqlSafe(format!("EXPLAIN FORMAT=JSON {statement}"));
        let plan: String = sqlx::query_scalar(explain).fetch_one(&mut connection).await.unwrap();
        let plan: Value = serde_json::from_str(&plan).unwrap();
        let mut whole = Vec::new();
        scans(&plan, &mut whole);
        let statement: String = statement.chars().take(300).collect();
        assert!(whole.is_empty(), "{statement}\n{whole:?}\n{plan:#}");
        explained += 1;
    }
    assert!(explained > 50, "only {explained} statements were logged");
}

/// The tables that a plan of MariaDB reads as a whole, or by a whole index.
fn scans(plan: &Value, found: &mut Vec<String>) {
    match plan {
        Value::Object(members) => {
            let access = members.get("access_type").and_then(Value::as_str).unwrap_or_default();
            let rows = members.get("rows").and_then(Value::as_u64).unwrap_or_default();
            // The result of a UNION or a list is not a table of the schema.
            let table = members.get("table_name").and_then(Value::as_str).unwrap_or_default();
            if (access == "ALL" && !table.starts_with('<')) || (access == "index" && rows > MANY) {
                found.push(format!("{table}: {access}, {rows} rows"));
            }
            members.values().for_each(|inner| scans(inner, found));
        }
        Value::Array(items) => items.iter().for_each(|inner| scans(inner, found)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_scans_no_table() {
    let Some(server) = services::own_postgres("postgres_scans_no_table") else { return };
    let test_db = TestDatabase::server(server.create_database());
    test_db.migrated().await;
    load(&test_db, |count| format!("generate_series(1, {count}) AS n")).await;
    test_db.sql("ANALYZE").await;
    let name = test_db.url.rsplit_once('/').unwrap().1;
    for setting in [
        "session_preload_libraries = 'auto_explain'",
        "auto_explain.log_min_duration = 0",
        // For disks without seek time: the default adds a seek per row.
        "random_page_cost = 1.1",
    ] {
        test_db.sql(&format!("ALTER DATABASE {name} SET {setting}")).await;
    }
    // Earlier sessions do not have the settings.
    let database = test_db.database().await;
    for round in 0..ROUNDS {
        every_query(&database, round).await;
    }
    let log = server.log();
    let plans: Vec<&str> = log.split("Query Text: ").skip(1).collect();
    for plan in &plans {
        let plan = plan.split(" LOG: ").next().unwrap();
        assert!(
            plan.contains(SMALL) || !plan.contains("Seq Scan"),
            "{}…{}",
            &plan[..300.min(plan.len())],
            &plan[plan.len().saturating_sub(2000)..]
        );
    }
    assert!(plans.len() > 50 * ROUNDS, "only {} plans were logged", plans.len());
}
