//! Access to users and commands by their owners, administrators and others.

use serde_json::json;

use super::accounts::{ADMIN, Tokens, call, guarded, registered};
use crate::test_users::{expect, new_user, register};
use support::http::Client;

fn without(http: &mut Client, method: &str, path: &str, body: &str) -> (u16, String) {
    let answer = http.request(method, path, &[], body.as_bytes()).expect("an answer");
    (answer.status, answer.json()["code"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn users_access_themselves_and_administrators_access_all() {
    let mut forebay = guarded();
    forebay.start();
    let http = &mut forebay.http();
    registered(http, 1);
    registered(http, 2);
    let (one, admin) = (Tokens::of_user(http, 1).access, Tokens::of_admin(http).access);
    let nickname = r#"{"nickname":"Zoë"}"#;
    let forced = r#"{"password":"another horse 2"}"#;
    let other = "/v1/users/user-2";
    let nobody = "/v1/users/nobody";
    for (method, path, body, mine, admins) in [
        ("GET", "/v1/users/user-1", "", 200, 200),
        ("GET", other, "", 403, 200),
        ("GET", nobody, "", 403, 404),
        ("GET", "/v1/users", "", 403, 200),
        ("PUT", "/v1/users/user-1", nickname, 200, 200),
        ("PUT", other, nickname, 403, 200),
        ("PUT", nobody, nickname, 403, 404),
        ("PUT", "/v1/users/user-2/password", forced, 403, 200),
        ("DELETE", other, "", 403, 200),
        ("DELETE", "/v1/users/user-1", "", 403, 200),
    ] {
        let (status, code) = without(http, method, path, body);
        assert_eq!((status, &*code), (401, "unauthenticated"), "{method} {path}");
        let refused = call(http, &one, method, path, body);
        assert_eq!(refused.status, mine, "{method} {path}: {}", refused.text());
        let allowed = call(http, &admin, method, path, body);
        assert_eq!(allowed.status, admins, "{method} {path}: {}", allowed.text());
    }
}

#[test]
fn changing_ones_own_password_requires_the_old_one() {
    let mut forebay = guarded();
    forebay.start();
    let http = &mut forebay.http();
    registered(http, 1);
    let token = Tokens::of_user(http, 1).access;
    let path = "/v1/users/user-1/password";
    let without_old = json!({"password": "another horse"}).to_string();
    let refusal = expect(&call(http, &token, "PUT", path, &without_old), 422, "invalid_user");
    assert_eq!(refusal["field"], "old_password");
    let wrong = json!({"old_password": "wrong horse 1", "password": "another horse"}).to_string();
    expect(&call(http, &token, "PUT", path, &wrong), 401, "wrong_password");
}

#[test]
fn commands_require_a_token_and_are_visible_to_their_senders() {
    let mut forebay = guarded();
    forebay.start();
    let http = &mut forebay.http();
    registered(http, 1);
    registered(http, 2);
    let (one, two) = (Tokens::of_user(http, 1).access, Tokens::of_user(http, 2).access);
    let admin = Tokens::of_admin(http).access;
    let order = r#"{"id":"o-1","amount":1}"#;
    let path = "/v1/commands/order.create";
    assert_eq!(without(http, "POST", path, order), (401, "unauthenticated".to_owned()));
    let accepted = call(http, &one, "POST", path, order);
    let status = accepted.json()["id"].as_str().map(|id| format!("/v1/commands/{id}")).expect("an id");
    for (token, expected) in [(&one, 200), (&two, 404), (&admin, 200)] {
        assert_eq!(call(http, token, "GET", &status, "").status, expected);
    }
    assert_eq!(without(http, "GET", &status, "").0, 404);
    // The same key from two callers is two keys.
    let with_key = |http: &mut Client, token: &str, order: &str| {
        let bearer = format!("Bearer {token}");
        let headers = [("Idempotency-Key", "k"), ("Authorization", &bearer)];
        http.request("POST", path, &headers, order.as_bytes()).unwrap()
    };
    let mine = with_key(http, &one, order).json()["id"].clone();
    assert_eq!(with_key(http, &one, order).json()["id"], mine);
    assert_ne!(with_key(http, &two, order).json()["id"], mine);
    let conflict = expect(&with_key(http, &one, r#"{"id":"o-2","amount":1}"#), 422, "idempotency_conflict");
    assert_eq!(conflict["field"], "Idempotency-Key");
}

#[test]
fn one_key_from_two_anonymous_callers_makes_two_registrations() {
    let mut forebay = guarded();
    forebay.start();
    let http = &mut forebay.http();
    let send = |http: &mut Client, user: usize| {
        let headers = [("Idempotency-Key", "k"), ("Prefer", "wait=30")];
        http.request("POST", "/v1/users", &headers, new_user(user).to_string().as_bytes()).unwrap()
    };
    let ids: Vec<_> = [1, 2].map(|user| expect(&send(http, user), 201, "")["id"].clone()).into();
    assert_ne!(ids[0], ids[1]);
    for user in [1, 2] {
        let again = send(http, user);
        assert_eq!(expect(&again, 201, "")["id"], ids[user - 1]);
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
    }
}

#[test]
fn anonymous_clients_may_register_and_read_the_status() {
    let mut forebay = guarded();
    forebay.start();
    let http = &mut forebay.http();
    let accepted = register(http, &new_user(1));
    expect(&accepted, 202, "");
    let location = accepted.header("location").unwrap().to_owned();
    let headers = [("Prefer", "wait=30")];
    let status = http.request("GET", &location, &headers, b"").unwrap();
    assert_eq!(expect(&status, 200, "")["state"], "applied");
    registered(http, 2);
    let other = Tokens::of_user(http, 2).access;
    assert_eq!(call(http, &other, "GET", &location, "").status, 404, "the command has no owner");
}

#[test]
fn administrator_rights_end_with_the_database_row() {
    let mut forebay = guarded();
    forebay.start();
    let http = &mut forebay.http();
    registered(http, 1);
    let (admin, user) = (Tokens::of_admin(http).access, Tokens::of_user(http, 1).access);
    assert_eq!(super::accounts::part(&admin, 1)["admin"], true);
    assert_eq!(super::accounts::part(&user, 1)["admin"], false);
    assert_eq!(super::accounts::part(&admin, 1)["sub"], ADMIN);
    // A new administrator who changes their own data stays an administrator.
    expect(&call(http, &admin, "PUT", "/v1/users/root", r#"{"nickname":"R"}"#), 200, "");
    assert_eq!(call(http, &admin, "GET", "/v1/users", "").status, 200);
}
