//! Sessions from login to logout.

use serde_json::json;

use super::accounts;
use super::accounts::{Tokens, call, get, guarded, login, refresh, registered};
use crate::test_users::expect;
use support::daemon::LONG;
use support::http::Client;
use support::wait;

const ME: &str = "/v1/users/user-1";

#[test]
fn a_session_lasts_from_login_to_logout() {
    let mut forebay = guarded();
    forebay.start();
    let http = &mut forebay.http();
    registered(http, 1);
    let first = Tokens::of_user(http, 1);
    assert_eq!(get(http, &first.access, ME), 200);
    let second = Tokens::of(&refresh(http, &first.refresh));
    assert_ne!(first.refresh, second.refresh);
    assert_eq!(get(http, &second.access, ME), 200);

    expect(&call(http, &second.access, "POST", "/logout", ""), 200, "");
    for token in [&first.access, &second.access] {
        let refused = call(http, token, "GET", ME, "");
        expect(&refused, 401, "invalid_token");
        let challenge = refused.header("www-authenticate").expect("what to show");
        assert!(challenge.starts_with("Bearer ") && challenge.contains("invalid_token"), "{challenge}");
    }
    expect(&refresh(http, &second.refresh), 401, "invalid_token");
    // Another session is not affected, and a refresh token can end its own session.
    let other = Tokens::of_user(http, 1);
    let body = json!({"refresh_token": other.refresh}).to_string();
    expect(&http.post("/logout", &body).unwrap(), 200, "");
    assert_eq!(get(http, &other.access, ME), 401);
}

#[test]
fn a_reused_refresh_token_ends_only_its_session() {
    let mut forebay = guarded();
    forebay.start();
    let http = &mut forebay.http();
    registered(http, 1);
    let (stolen, bystander) = (Tokens::of_user(http, 1), Tokens::of_user(http, 1));
    let second = Tokens::of(&refresh(http, &stolen.refresh));
    let third = Tokens::of(&refresh(http, &second.refresh));
    // Two refreshes later, a repetition is not a retry after a lost response.
    expect(&refresh(http, &stolen.refresh), 401, "invalid_token");
    expect(&refresh(http, &third.refresh), 401, "invalid_token");
    assert_eq!(get(http, &third.access, ME), 401, "the access token of the session is invalid, too");
    assert_eq!(get(http, &bystander.access, ME), 200);
    Tokens::of(&refresh(http, &bystander.refresh));
    assert!(support::daemon::metric(&forebay, "forebay_login_total{result=\"reused\"}") >= 1.0);
}

#[test]
fn a_refresh_with_a_lost_response_may_be_repeated() {
    let mut forebay = guarded();
    forebay.start();
    let http = &mut forebay.http();
    registered(http, 1);
    let first = Tokens::of_user(http, 1);
    let (one, other) = (Tokens::of(&refresh(http, &first.refresh)), refresh(http, &first.refresh));
    // Two tabs of one browser do the same.
    let other = Tokens::of(&other);
    assert_eq!(accounts::part(&one.refresh, 1)["gen"], accounts::part(&other.refresh, 1)["gen"]);
    Tokens::of(&refresh(http, &other.refresh));
}

#[test]
fn a_new_password_or_a_deletion_ends_all_sessions() {
    let mut forebay = guarded();
    forebay.start();
    let http = &mut forebay.http();
    registered(http, 1);
    let before = Tokens::of_user(http, 1);
    assert_eq!(get(http, &before.access, ME), 200);
    let change = json!({"old_password": "correct horse 1", "password": "another horse"}).to_string();
    expect(&call(http, &before.access, "PUT", "/v1/users/user-1/password", &change), 200, "");
    accounts::await_status(http, &before.access, ME, 401);
    expect(&refresh(http, &before.refresh), 401, "invalid_token");
    expect(&login(http, "user-1", "correct horse 1"), 401, "wrong_credentials");

    let after = Tokens::of(&login(http, "user-1", "another horse"));
    let admin = Tokens::of_admin(http);
    expect(&call(http, &admin.access, "DELETE", ME, ""), 200, "");
    accounts::await_status(http, &after.access, ME, 401);
    expect(&refresh(http, &after.refresh), 401, "invalid_token");
    expect(&login(http, "user-1", "another horse"), 401, "wrong_credentials");
    // A later user of that name is another user.
    registered(http, 1);
    assert_eq!(get(http, &after.access, ME), 401);
}

#[test]
fn the_profile_shows_the_latest_login_time() {
    let mut forebay = guarded().set("users.cache_ttl", "1ms").set("login.update_flush_interval", "10ms");
    forebay.start();
    let http = &mut forebay.http();
    registered(http, 1);
    let token = Tokens::of_user(http, 1).access;
    let shown = |http: &mut Client| call(http, &token, "GET", ME, "").json()["last_login_at"].clone();
    let first = wait::until("the login shows", LONG, || Some(shown(http)).filter(|at| at.is_string()));
    Tokens::of_user(http, 1);
    wait::until_true("the next login shows", LONG, || shown(http).as_str() > first.as_str());
}

#[test]
fn an_orderly_stop_writes_waiting_login_times() {
    let mut forebay = guarded().set("login.update_flush_interval", "1m").set("users.cache_ttl", "1ms");
    forebay.start();
    registered(&mut forebay.http(), 1);
    let token = Tokens::of_user(&mut forebay.http(), 1).access;
    forebay.restart();
    let user = call(&mut forebay.http(), &token, "GET", ME, "").json();
    assert!(user["last_login_at"].is_string(), "{user}");
}

#[test]
fn errors_for_bad_input_contain_no_passwords() {
    let mut forebay = guarded();
    forebay.start();
    let http = &mut forebay.http();
    for (path, body, status, code) in [
        ("/login", "", 400, "malformed_body"),
        ("/login", "[]", 400, "malformed_body"),
        ("/login", "{\"name\":\"user-1\"", 400, "malformed_body"),
        ("/login", "{}", 422, "invalid_user"),
        ("/login", "{\"name\":7,\"password\":\"hunter2!\"}", 422, "invalid_user"),
        ("/login", "{\"name\":\"a\",\"password\":\"hunter2!\",\"otp\":1}", 422, "invalid_user"),
        ("/login", "{\"name\":\"a b/c\",\"password\":\"hunter2!\"}", 401, "wrong_credentials"),
        ("/refresh", "{}", 422, "invalid_user"),
        ("/refresh", "{\"refresh_token\":\"\"}", 401, "invalid_token"),
        ("/refresh", "{\"refresh_token\":\"a.b.c\"}", 401, "invalid_token"),
        ("/logout", "{\"refresh_token\":\"a.b.c\"}", 401, "invalid_token"),
        ("/logout", "{}", 422, "invalid_user"),
    ] {
        let answer = http.post(path, body).unwrap();
        expect(&answer, status, code);
        assert!(!answer.text().contains("hunter2"), "{}", answer.text());
    }
    let long = json!({"name": "user-1", "password": "x".repeat(20_000)}).to_string();
    expect(&http.post("/login", &long).unwrap(), 413, "body_too_large");
    let longer_than_any = json!({"name": "root", "password": "x".repeat(100)}).to_string();
    expect(&http.post("/login", &longer_than_any).unwrap(), 401, "wrong_credentials");
}
