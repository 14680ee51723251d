//! Daemons with different clocks.

use serde_json::json;

use super::test_servers::{DatabaseKind, TestServers};
use super::test_users::{expect, new_user, register_and_wait, retry_on_timeout, write};

const USER: &str = "/v1/users/user-1";
const RENAME: &str = r#"{"nickname":"Zoë"}"#;
const CHANGE: &str = r#"{"old_password":"correct horse 1","password":"another horse"}"#;

#[test]
fn a_change_behind_a_fast_clock_waits_or_fails() {
    let test = "a_change_behind_a_fast_clock_waits_or_fails";
    let Some(stage) = TestServers::new(test, DatabaseKind::Postgres) else { return };
    // A deletion is accepted even if the registration time is not known in time.
    let mut forebay = stage.daemon_with_consumer().set("users.check_timeout", "10s");
    forebay.start();
    let http = &mut forebay.http();
    expect(&register_and_wait(http, &new_user(1)), 201, "");
    // As if a daemon whose clock is ahead had accepted the latest change.
    let ahead = |column: &str, millis: u64| {
        let now = "(extract(epoch FROM clock_timestamp()) * 1000)::BIGINT";
        stage.sql_in_database(&format!("UPDATE users SET {column} = {now} + {millis}"));
    };
    ahead("created_at", 3_600_000);
    ahead("applied_at", 3_600_000);
    for (method, path, body) in
        [("PUT", USER, RENAME), ("PUT", &*format!("{USER}/password"), CHANGE), ("DELETE", USER, "")]
    {
        let headers = [("Content-Type", "application/json")];
        let answer = retry_on_timeout(|| http.request(method, path, &headers, body.as_bytes()).unwrap());
        let refusal = expect(&answer, 503, "clock_behind");
        assert_eq!(refusal["retryable"], true, "{method}");
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=3_601).contains(&wait), "{method}: {wait} s");
    }
    for round in 0..5 {
        ahead("applied_at", 40);
        let body = json!({"nickname": format!("Zoë {round}")}).to_string();
        let status = expect(&write(http, "PUT", USER, &body), 200, "");
        assert_eq!(status["state"], "applied", "{status}");
    }
}
