//! All components in one process: SQLite, sled, and the embedded broker.

use serde_json::json;

use super::test_users::{embedded, expect, new_user, register, register_and_wait, write};
use support::daemon::LONG;
use support::http::Client;
use support::wait;

/// The final status of a command.
fn outcome(http: &mut Client, location: &str) -> String {
    let answer = http.request("GET", location, &[("Prefer", "wait=30")], b"").expect("an answer");
    answer.json()["state"].as_str().expect("a state").to_owned()
}

#[test]
fn a_user_is_registered_changed_and_deleted() {
    let mut forebay = embedded();
    forebay.start();
    let http = &mut forebay.http();
    let accepted = register(http, &new_user(1));
    let document = expect(&accepted, 202, "");
    assert_eq!((&document["state"], &document["durability"]), (&json!("accepted"), &json!("fsync")));
    let location = accepted.header("location").unwrap().to_owned();
    assert_eq!(outcome(http, &location), "applied");

    let user = expect(&http.get("/v1/users/user-1").unwrap(), 200, "");
    assert_eq!(user["email"], "user-1@example.org");
    assert_eq!(user["created_at"], document["accepted_at"]);
    assert!(user.get("password").is_none() && user.get("password_hash").is_none(), "{user}");

    let changed = write(http, "PUT", "/v1/users/user-1", r#"{"nickname":"Zoë","email":"New@Example.org"}"#);
    assert_eq!(expect(&changed, 200, "")["state"], "applied");
    wait::until_true("the change shows", LONG, || {
        let user = http.get("/v1/users/user-1").unwrap().json();
        user["nickname"] == "Zoë" && user["email"] == "new@example.org"
    });

    let wrong = r#"{"old_password":"not this one","password":"another horse"}"#;
    expect(&write(http, "PUT", "/v1/users/user-1/password", wrong), 401, "wrong_password");
    let right = r#"{"old_password":"correct horse 1","password":"another horse"}"#;
    assert_eq!(expect(&write(http, "PUT", "/v1/users/user-1/password", right), 200, "")["state"], "applied");
    expect(&write(http, "PUT", "/v1/users/user-1/password", right), 401, "wrong_password");

    for _ in 0..2 {
        let deleted = write(http, "DELETE", "/v1/users/user-1", "");
        assert_eq!(expect(&deleted, 200, "")["state"], "applied", "a missing user may be deleted again");
    }
    wait::until_true("the user is gone", LONG, || http.get("/v1/users/user-1").unwrap().status == 404);
    expect(&http.put("/v1/users/user-1", r#"{"nickname":"x"}"#).unwrap(), 404, "not_found");
}

#[test]
fn a_waiting_client_gets_the_final_outcome() {
    let mut forebay = embedded();
    forebay.start();
    let http = &mut forebay.http();
    let created = register_and_wait(http, &new_user(1));
    let status = expect(&created, 201, "");
    assert_eq!((&status["state"], &status["kind"]), (&json!("applied"), &json!("user.create")));
    assert_eq!(created.header("location"), Some("/v1/users/user-1"));
    for (field, value) in
        [("name", "user-1"), ("email", " USER-1@example.org"), ("phone", "+49 170 000-0001")]
    {
        let mut other = new_user(2);
        other[field] = json!(value);
        let refusal = expect(&register_and_wait(http, &other), 409, "taken");
        assert_eq!(refusal["field"], field);
    }
    expect(&register_and_wait(http, &new_user(2)), 201, "");
}

#[test]
fn acknowledged_commands_are_applied_after_a_kill() {
    let mut forebay = embedded();
    forebay.start();
    let mut locations = Vec::new();
    for number in 0..50 {
        let accepted = register(&mut forebay.http(), &new_user(number));
        expect(&accepted, 202, "");
        locations.push(accepted.header("location").unwrap().to_owned());
    }
    forebay.kill();
    forebay.start();
    let http = &mut forebay.http();
    for (number, location) in locations.iter().enumerate() {
        assert_eq!(outcome(http, location), "applied");
        expect(&http.get(&format!("/v1/users/user-{number}")).unwrap(), 200, "");
    }
}

#[test]
fn a_repeated_registration_gets_the_first_id() {
    let mut forebay = embedded();
    forebay.start();
    let http = &mut forebay.http();
    // Nothing is applied meanwhile.
    forebay.admin_http().post("/admin/drain/pause", "").unwrap();
    let first = expect(&register(http, &new_user(1)), 202, "");
    let second = register(http, &new_user(1));
    assert_eq!(expect(&second, 202, "")["id"], first["id"]);
    assert_eq!(second.header("idempotency-replayed"), Some("true"));
    let mut other = new_user(1);
    other["password"] = json!("another horse");
    assert_eq!(expect(&register(http, &other), 409, "taken")["field"], "name");
    for field in ["email", "phone"] {
        let mut other = new_user(2);
        other[field] = new_user(1)[field].clone();
        assert_eq!(expect(&register(http, &other), 409, "taken")["field"], field);
    }
    // Rejected requests left no reservation.
    expect(&register(http, &new_user(2)), 202, "");
    // A user whose registration is pending may be changed.
    expect(&http.put("/v1/users/user-1", r#"{"email":"new@example.org"}"#).unwrap(), 202, "");
    forebay.admin_http().post("/admin/drain/resume", "").unwrap();
    wait::until_true("all is applied", LONG, || {
        let user = http.get("/v1/users/user-1").unwrap();
        user.status == 200 && user.json()["email"] == "new@example.org"
    });
}

#[test]
fn an_idempotency_key_is_recognised_after_the_user_exists() {
    let mut forebay = embedded();
    forebay.start();
    let http = &mut forebay.http();
    let send = |http: &mut Client, user: usize, key: &str| {
        let headers = [("Idempotency-Key", key), ("Prefer", "wait=30")];
        let body = new_user(user).to_string();
        http.request("POST", "/v1/users", &headers, body.as_bytes()).expect("an answer")
    };
    let first = expect(&send(http, 1, "k"), 201, "");
    let again = send(http, 1, "k");
    assert_eq!(expect(&again, 201, "")["id"], first["id"]);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    // Without a token, another body under the same key is another request, not a conflict.
    let other = send(http, 2, "k");
    assert_ne!(expect(&other, 201, "")["id"], first["id"]);
    assert_eq!(other.header("idempotency-replayed"), None);
    expect(&send(http, 1, "other"), 409, "taken");
    // The same key with another path is another key.
    let headers = [("Idempotency-Key", "k")];
    let deleted = http.request("DELETE", "/v1/users/user-1", &headers, b"").unwrap();
    assert_eq!(expect(&deleted, 202, "")["state"], "accepted");
    assert_eq!(deleted.header("idempotency-replayed"), None);
}

#[test]
fn the_list_has_pages() {
    let mut forebay = embedded();
    forebay.start();
    let http = &mut forebay.http();
    for number in 0..7 {
        expect(&register_and_wait(http, &new_user(number)), 201, "");
    }
    let (mut names, mut path) = (Vec::new(), "/v1/users?limit=3".to_owned());
    loop {
        let page = expect(&http.get(&path).unwrap(), 200, "");
        let users = page["users"].as_array().unwrap();
        assert!(users.len() <= 3);
        names.extend(users.iter().map(|user| user["name"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/users?limit=3&cursor={cursor}");
    }
    let expected: Vec<String> = (0..7).map(|number| format!("user-{number}")).collect();
    assert_eq!(names, expected);
}
