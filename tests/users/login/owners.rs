//! A deleted user's name may be registered again. Nothing of the former user is accessible to the next one.

use super::accounts::{Tokens, await_status, call, get, guarded, part, registered, signed};
use crate::test_users::expect;
use support::daemon;
use support::http::{Client, Response};
use support::process::Forebay;

/// An address without a listener.
const NO_BROKER: &str = "127.0.0.1:1";
const ME: &str = "/v1/users/user-1";
const ORDERS: &str = "/v1/commands/order.create";
const ORDER: &str = r#"{"id":"o-1","amount":1}"#;
const ANOTHER_ORDER: &str = r#"{"id":"o-2","amount":2}"#;

/// Path of a command's status.
fn status_path(answer: &Response) -> String {
    let document = expect(answer, 200, "");
    format!("/v1/commands/{}", document["id"].as_str().expect("an id"))
}

/// Deletes the name's user and registers the name again. Returns the tokens of the next user.
fn next_owner(http: &mut Client, former: &Tokens) -> Tokens {
    let admin = Tokens::of_admin(http);
    expect(&call(http, &admin.access, "DELETE", ME, ""), 200, "");
    await_status(http, &former.access, ME, 401);
    registered(http, 1);
    Tokens::of_user(http, 1)
}

fn keyed(http: &mut Client, token: &str, key: &str, method: &str, path: &str, body: &str) -> Response {
    let bearer = format!("Bearer {token}");
    let headers = [
        ("Content-Type", "application/json"),
        ("Prefer", "wait=30"),
        ("Authorization", &bearer),
        ("Idempotency-Key", key),
    ];
    http.request(method, path, &headers, body.as_bytes()).expect("an answer")
}

/// A token of `user-1` that is accepted by its signature alone, like a session's token while the database is
/// unavailable.
fn without_login(of: &Tokens) -> String {
    let mut claims = part(&of.access, 1);
    for of_a_login in ["sid", "pwv"] {
        claims.as_object_mut().expect("claims").remove(of_a_login);
    }
    signed(&part(&of.access, 0), &claims)
}

/// Restarts the daemon with another log: commands of the previous log are known only to the database.
fn with_another_log(forebay: &mut Forebay) {
    let log = forebay.dir().join("another-log");
    forebay.configure("wal.dir", log.display().to_string());
    forebay.restart();
}

#[test]
fn a_later_user_cannot_read_statuses_of_the_former() {
    let mut forebay = guarded();
    forebay.start();
    let http = &mut forebay.http();
    registered(http, 1);
    let former = Tokens::of_user(http, 1);
    let order = status_path(&call(http, &former.access, "POST", ORDERS, ORDER));
    let change = status_path(&call(http, &former.access, "PUT", ME, r#"{"nickname":"former"}"#));
    for path in [&order, &change] {
        assert_eq!(get(http, &former.access, path), 200, "{path}");
    }
    let next = next_owner(http, &former);
    let own = [
        status_path(&call(http, &next.access, "POST", ORDERS, ANOTHER_ORDER)),
        status_path(&call(http, &next.access, "PUT", ME, r#"{"nickname":"next"}"#)),
    ];
    let admin = Tokens::of_admin(http);
    for path in [&order, &change] {
        expect(&call(http, &next.access, "GET", path, ""), 404, "not_found");
        assert_eq!(get(http, &admin.access, path), 200, "{path}");
    }
    for path in &own {
        assert_eq!(get(http, &next.access, path), 200, "{path}");
    }

    // From the rows in the database.
    with_another_log(&mut forebay);
    let http = &mut forebay.http();
    expect(&call(http, &next.access, "GET", &change, ""), 404, "other_log");
    assert_eq!(get(http, &next.access, &own[1]), 200);
    assert_eq!(get(http, &admin.access, &change), 200);
}

#[test]
fn a_former_users_idempotency_key_is_unknown_to_the_next() {
    let mut forebay = guarded();
    forebay.start();
    let http = &mut forebay.http();
    registered(http, 1);
    let former = Tokens::of_user(http, 1);
    let change = r#"{"nickname":"same"}"#;
    let first = [
        status_path(&keyed(http, &former.access, "k-1", "POST", ORDERS, ORDER)),
        status_path(&keyed(http, &former.access, "k-2", "POST", ORDERS, ORDER)),
        status_path(&keyed(http, &former.access, "k-3", "PUT", ME, change)),
    ];
    let again = keyed(http, &former.access, "k-1", "POST", ORDERS, ORDER);
    assert_eq!((status_path(&again), again.header("idempotency-replayed")), (first[0].clone(), Some("true")));

    let next = next_owner(http, &former);
    for (key, method, path, body) in
        [("k-1", "POST", ORDERS, ORDER), ("k-2", "POST", ORDERS, ANOTHER_ORDER), ("k-3", "PUT", ME, change)]
    {
        let answer = keyed(http, &next.access, key, method, path, body);
        assert_eq!(answer.header("idempotency-replayed"), None, "{key}: {}", answer.text());
        let path = status_path(&answer);
        assert!(!first.contains(&path), "{key}: {path}");
    }
    // After a restart: the log contains the owners of the keys.
    let repeated = |http: &mut Client| keyed(http, &next.access, "k-1", "POST", ORDERS, ORDER);
    let before = status_path(&repeated(http));
    forebay.kill();
    forebay.start();
    let after = repeated(&mut forebay.http());
    assert_eq!((status_path(&after), after.header("idempotency-replayed")), (before, Some("true")));
}

#[test]
fn a_former_users_token_reveals_nothing_of_the_next() {
    let mut forebay = guarded();
    forebay.start();
    let http = &mut forebay.http();
    registered(http, 1);
    let former = Tokens::of_user(http, 1);
    let order = status_path(&call(http, &former.access, "POST", ORDERS, ORDER));
    let next = next_owner(http, &former);
    let other = status_path(&call(http, &next.access, "POST", ORDERS, ANOTHER_ORDER));

    let token = without_login(&former);
    assert_eq!(get(http, &token, &order), 200);
    expect(&call(http, &token, "GET", &other, ""), 404, "not_found");
    expect(&call(http, &token, "GET", ME, ""), 401, "invalid_token");
    expect(&call(http, &token, "PUT", ME, r#"{"nickname":"former"}"#), 401, "invalid_token");
    let password = r#"{"old_password":"correct horse 1","password":"another horse"}"#;
    expect(&call(http, &token, "PUT", &format!("{ME}/password"), password), 401, "invalid_token");
    let token = without_login(&next);
    assert_eq!(get(http, &token, ME), 200);
    expect(&call(http, &token, "PUT", ME, r#"{"nickname":"next"}"#), 200, "");
}

/// A daemon that receives no change notices: it shares the database and the key of the other daemon, but no Redis.
fn unaware(of: &Forebay) -> Forebay {
    let database = of.dir().join("users.sqlite");
    daemon::under_test()
        .set("kafka.brokers", NO_BROKER)
        .set("consumer.enabled", false)
        .set("database.url", format!("sqlite:{}", database.display()))
        .set("auth.mode", "jwt")
        .set("auth.jwt_key_file", of.dir().join("jwt.keys").display().to_string())
}

#[test]
fn cached_data_of_a_former_user_is_not_reused() {
    let mut forebay = guarded();
    forebay.start();
    let mut unaware = unaware(&forebay);
    unaware.start();
    let (http, unaware) = (&mut forebay.http(), &mut unaware.http());
    registered(http, 1);
    let former = Tokens::of_user(http, 1);
    expect(&call(http, &former.access, "PUT", ME, r#"{"nickname":"former"}"#), 200, "");
    let remembered = expect(&call(unaware, &former.access, "GET", ME, ""), 200, "");
    assert_eq!(remembered["nickname"], "former");

    let next = next_owner(http, &former);
    let own = expect(&call(unaware, &next.access, "GET", ME, ""), 200, "");
    assert!(own["nickname"].is_null(), "{own}");
    // The token is cached too; its change would apply to the next owner.
    let change = r#"{"nickname":"again"}"#;
    expect(&call(unaware, &former.access, "PUT", ME, change), 401, "invalid_token");
    expect(&call(unaware, &former.access, "GET", ME, ""), 401, "invalid_token");
}
