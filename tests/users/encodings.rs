//! Databases that cannot store every character are rejected, before a name is damaged.

use serde_json::json;
use sqlx::{AssertSqlSafe, Connection};

use super::test_users::{embedded, expect, new_user, register_and_wait, retry_on_timeout};
use support::daemon::LONG;
use support::process::Forebay;
use support::sql::block_on;
use support::{daemon, services, wait};

const NICKNAME: &str = "Zoë 李 🦀";

/// Executes a statement at `url`.
fn sql(url: &str, statement: &str) {
    let statement = AssertSqlSafe(statement);
    block_on(async {
        match url.starts_with("mysql") {
            true => {
                let mut connection = sqlx::MySqlConnection::connect(url).await.unwrap();
                sqlx::raw_sql(statement).execute(&mut connection).await.map(drop)
            }
            false => {
                let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
                sqlx::raw_sql(statement).execute(&mut connection).await.map(drop)
            }
        }
        .unwrap();
    });
}

/// Creates the database `{name of url}_{suffix}` on the server of `url`, and returns its URL.
fn create_database(url: &str, suffix: &str, how: &str) -> String {
    let name = format!("{}_{suffix}", url.rsplit_once('/').unwrap().1);
    sql(url, &format!("CREATE DATABASE {name} {how}"));
    format!("{}/{name}", url.rsplit_once('/').unwrap().0)
}

fn refused(url: &str, found: &str, remedy: &str) {
    let (code, said) = daemon::migrate(url, &[]);
    assert_eq!(code, Some(64), "{said}");
    for part in ["[database] url", found, remedy] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn migrate_rejects_a_postgres_database_without_utf8() {
    let test = "migrate_rejects_a_postgres_database_without_utf8";
    let Some(url) = services::postgres(test) else { return };
    for encoding in ["LATIN1", "SQL_ASCII"] {
        let how = format!("ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
        let other = create_database(&url, &encoding.to_lowercase(), &how);
        refused(&other, encoding, "ENCODING 'UTF8'");
        let tables =
            "SELECT 1 / (SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'public')::int";
        let untouched = block_on(async {
            let mut connection = sqlx::PgConnection::connect(&other).await.unwrap();
            sqlx::raw_sql(tables).execute(&mut connection).await.is_err()
        });
        assert!(untouched, "{encoding}: no table may be created");
    }
    assert_eq!(daemon::migrate(&url, &[]).0, Some(0));
}

#[test]
fn migrate_rejects_mariadb_connections_and_tables_without_utf8mb4() {
    let test = "migrate_rejects_mariadb_connections_and_tables_without_utf8mb4";
    let Some(url) = services::mariadb(test) else { return };
    refused(&format!("{url}?charset=latin1"), "latin1", "charset");
    assert_eq!(daemon::migrate(&url, &[]).0, Some(0));
    sql(&url, "ALTER TABLE users MODIFY nickname VARCHAR(1024) CHARACTER SET utf8mb3 NULL");
    refused(&url, "users.nickname", "utf8mb4");
}

/// A daemon with a consumer on this database.
fn on(url: &str) -> Forebay {
    let mut forebay = embedded().set("database.url", url).set("consumer.enabled", true);
    forebay.start();
    forebay
}

#[test]
fn the_default_character_set_of_mariadb_does_not_matter() {
    let test = "the_default_character_set_of_mariadb_does_not_matter";
    let Some(url) = services::mariadb(test) else { return };
    let url = create_database(&url, "latin1", "CHARACTER SET latin1");
    let (code, said) = daemon::migrate(&url, &[]);
    assert_eq!(code, Some(0), "{said}");
    let forebay = on(&url);
    let mut user = new_user(1);
    user["nickname"] = json!(NICKNAME);
    let http = &mut forebay.http();
    expect(&register_and_wait(http, &user), 201, "");
    let read = retry_on_timeout(|| http.get("/v1/users/user-1").unwrap());
    assert_eq!(expect(&read, 200, "")["nickname"], NICKNAME);
}

#[test]
fn a_database_without_utf8_is_reported_and_not_written() {
    let test = "a_database_without_utf8_is_reported_and_not_written";
    let Some(url) = services::mariadb(test) else { return };
    assert_eq!(daemon::migrate(&url, &[]).0, Some(0));
    sql(&url, "ALTER TABLE users MODIFY nickname VARCHAR(1024) CHARACTER SET latin1 NULL");
    let forebay = on(&url);
    wait::until_true("/readyz reports the encoding", LONG, || {
        let ready = forebay.admin_http().get("/readyz").unwrap();
        assert_eq!(ready.status, 200, "commands are accepted");
        ready.text().contains("users.nickname")
    });
    let mut user = new_user(1);
    user["nickname"] = json!(NICKNAME);
    let accepted = super::test_users::register(&mut forebay.http(), &user);
    let location = format!("/v1/commands/{}", expect(&accepted, 202, "")["id"].as_str().unwrap());
    wait::until_true("the consumer reports the encoding", LONG, || {
        forebay.log().contains("consumer.database_not_ready")
    });
    let state = |forebay: &Forebay| forebay.http().get(&location).unwrap().json()["state"].clone();
    assert_ne!(state(&forebay), "dead");
    sql(&url, "ALTER TABLE users MODIFY nickname VARCHAR(1024) CHARACTER SET utf8mb4 NULL");
    wait::until_true("the registration is applied", LONG, || state(&forebay) == "applied");
}
