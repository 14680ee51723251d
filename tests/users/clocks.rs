//! Daemons whose clocks differ.

use serde_json::json;

use super::people::{expect, patiently, register_and_wait, somebody, write};
use super::stage::{Sql, Stage};

const USER: &str = "/v1/users/user-1";
const RENAME: &str = r#"{"nickname":"Zoë"}"#;
const CHANGE: &str = r#"{"old_password":"correct horse 1","password":"another horse"}"#;

#[test]
fn a_change_that_would_be_superseded_is_refused_or_waits_until_it_would_not() {
    let test = "a_change_that_would_be_superseded_is_refused_or_waits_until_it_would_not";
    let Some(stage) = Stage::new(test, Sql::Postgres) else { return };
    // A deletion that does not hear in time when the user was registered is accepted.
    let mut forebay = stage.whole().set("users.check_timeout", "10s");
    forebay.start();
    let http = &mut forebay.http();
    expect(&register_and_wait(http, &somebody(1)), 201, "");
    // As if another daemon, whose clock is ahead, had accepted the newest change.
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
        let answer = patiently(|| http.request(method, path, &headers, body.as_bytes()).unwrap());
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
