//! Degraded mode of an overloaded database, and a cache that is filled at start.

use serde_json::json;
use sqlx::{ConnectOptions, Connection};

use super::test_users::{embedded, expect, new_user, register_and_wait, write};
use support::daemon::{LONG, metric, metric_if_any};
use support::process::Forebay;
use support::{sql, wait};

/// Number of users with deferred columns.
fn put_off(forebay: &Forebay) -> i64 {
    let file = forebay.wal_dir().parent().unwrap().join("forebay.sqlite");
    sql::block_on(async move {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file).read_only(true);
        let mut connection = options.connect().await.unwrap();
        let count = sqlx::query_scalar("SELECT COUNT(*) FROM user_extras").fetch_one(&mut connection);
        let count = count.await.unwrap();
        connection.close().await.unwrap();
        count
    })
}

#[test]
fn deferred_columns_are_visible_at_once_and_merged_later() {
    let mut forebay = embedded().set("consumer.degraded", "on").set("users.cache_ttl", "1ms");
    forebay.start();
    let http = &mut forebay.http();
    let mut user = new_user(1);
    user["nickname"] = json!("Zoë");
    expect(&register_and_wait(http, &user), 201, "");
    assert_eq!(put_off(&forebay), 1);
    assert_eq!(expect(&http.get("/v1/users/user-1").unwrap(), 200, "")["nickname"], "Zoë");
    expect(
        &write(http, "PUT", "/v1/users/user-1", r#"{"nickname":"Ada","email":"new@example.org"}"#),
        200,
        "",
    );
    let changed = expect(&http.get("/v1/users/user-1").unwrap(), 200, "");
    assert_eq!((&changed["nickname"], &changed["email"]), (&json!("Ada"), &json!("new@example.org")));

    forebay.configure("consumer.degraded", "off");
    forebay.restart();
    wait::until_true("the deferred columns are merged", LONG, || put_off(&forebay) == 0);
    let merged = expect(&forebay.http().get("/v1/users/user-1").unwrap(), 200, "");
    assert_eq!((&merged["nickname"], &merged["email"]), (&json!("Ada"), &json!("new@example.org")));
}

#[test]
fn a_cache_filled_at_start_needs_no_database() {
    let mut forebay = embedded();
    forebay.start();
    for number in 0..5 {
        expect(&register_and_wait(&mut forebay.http(), &new_user(number)), 201, "");
    }
    forebay.configure("users.contact_warmup", true);
    // After a start, an embedded broker delivers commands again; applying them would read users.
    forebay.configure("consumer.enabled", false);
    forebay.restart();
    // The last page is empty.
    let pages = "db_query_seconds_count{query=\"users_after\"}";
    wait::until_true("all pages are read", LONG, || {
        metric_if_any(&forebay, pages).unwrap_or_default() >= 2.0
    });
    for number in 0..5 {
        expect(&forebay.http().get(&format!("/v1/users/user-{number}")).unwrap(), 200, "");
    }
    assert_eq!(metric(&forebay, "forebay_cache_hits_total{cache=\"users_local\"}"), 5.0);
    assert_eq!(metric(&forebay, "forebay_cache_misses_total{cache=\"users_local\"}"), 0.0);
}
