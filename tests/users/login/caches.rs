//! Cached passwords and tokens, on two daemons that share a database and a Redis.

use super::accounts;
use super::accounts::{Tokens, call, get, login, refresh, registered};
use crate::test_servers::{DatabaseKind, TestServers};
use crate::test_users::expect;
use support::daemon::{LONG, metric};
use support::http::Client;
use support::process::Forebay;
use support::wait;

const ME: &str = "/v1/users/user-1";
const CHANGE: &str = r#"{"old_password":"correct horse 1","password":"another horse"}"#;

fn hits(forebay: &Forebay, cache: &str) -> f64 {
    metric(forebay, &format!("forebay_cache_hits_total{{cache=\"{cache}\"}}"))
}

fn guarded(forebay: Forebay) -> Forebay {
    let file = accounts::write_file(&forebay, "jwt.keys", accounts::SECRET);
    // No cache entry may expire during the test.
    forebay
        .set("auth.mode", "jwt")
        .set("auth.jwt_key_file", file.display().to_string())
        .set("login.credential_cache_ttl", "1h")
}

#[test]
fn a_change_at_one_daemon_clears_caches_of_another() {
    let Some(stage) =
        TestServers::new("a_change_at_one_daemon_clears_caches_of_another", DatabaseKind::Postgres)
    else {
        return;
    };
    let (mut one, mut other) = (guarded(stage.daemon_with_consumer()), guarded(stage.daemon()));
    one.start();
    other.start();
    let (here, there) = (&mut one.http(), &mut other.http());
    registered(here, 1);
    let first = Tokens::of_user(there, 1);
    // The change notice of the registration may still arrive, and remove the entry once more.
    wait::until_true("a login does not pay for bcrypt", LONG, || {
        Tokens::of_user(there, 1);
        hits(&other, "credentials") >= 1.0
    });
    wait::until_true("a request does not pay for the signature", LONG, || {
        assert_eq!(get(there, &first.access, ME), 200);
        hits(&other, "tokens") >= 1.0
    });
    assert_eq!(get(here, &first.access, ME), 200, "a token of one daemon is valid at the other");

    // A logout at one daemon is effective at both, for this login only.
    let second = Tokens::of_user(there, 1);
    assert_eq!(get(here, &second.access, ME), 200);
    expect(&call(there, &second.access, "POST", "/logout", ""), 200, "");
    wait::until_true("the logout takes effect", LONG, || get(here, &second.access, ME) == 401);
    assert_eq!((get(here, &first.access, ME), get(there, &first.access, ME)), (200, 200));

    expect(&call(here, &first.access, "PUT", "/v1/users/user-1/password", CHANGE), 200, "");
    wait::until_true("the old password is rejected", LONG, || {
        login(there, "user-1", "correct horse 1").status == 401
    });
    wait::until_true("the old token, too", LONG, || get(there, &first.access, ME) == 401);
    expect(&refresh(there, &first.refresh), 401, "invalid_token");
    Tokens::of(&login(there, "user-1", "another horse"));
}

#[test]
fn sessions_stay_valid_without_redis_and_database() {
    let Some(stage) =
        TestServers::new("sessions_stay_valid_without_redis_and_database", DatabaseKind::MariaDb)
    else {
        return;
    };
    let mut forebay = guarded(stage.daemon_with_consumer());
    forebay.start();
    let http = &mut forebay.http();
    registered(http, 1);
    let (tokens, unseen) = (Tokens::of_user(http, 1), Tokens::of_user(http, 1));
    let order = r#"{"id":"o-1","amount":1}"#;
    let accepted = |http: &mut Client, token: &str| {
        let bearer = format!("Bearer {token}");
        let headers = [("Authorization", bearer.as_str())];
        http.request("POST", "/v1/commands/order.create", &headers, order.as_bytes()).unwrap().status
    };
    assert_eq!(accepted(http, &tokens.access), 202);
    stage.redis.kill();
    stage.sql.kill();
    assert_eq!(accepted(http, &tokens.access), 202);
    assert_eq!(accepted(http, &unseen.access), 202, "accepted by its signature");
    Tokens::of_user(http, 1);
    expect(&login(http, "user-1", "wrong horse"), 503, "database_unavailable");
    expect(&refresh(http, &tokens.refresh), 503, "database_unavailable");
    stage.redis.restart();
    stage.sql.start();
    wait::until_true("logins succeed again", LONG, || login(http, "user-1", "correct horse 1").status == 200);
    Tokens::of(&refresh(http, &tokens.refresh));
}

#[test]
fn a_changed_password_is_rejected_while_redis_is_unavailable() {
    let Some(stage) =
        TestServers::new("a_changed_password_is_rejected_while_redis_is_unavailable", DatabaseKind::Postgres)
    else {
        return;
    };
    let mut forebay = guarded(stage.daemon_with_consumer());
    forebay.start();
    let http = &mut forebay.http();
    registered(http, 1);
    let tokens = Tokens::of_user(http, 1);
    wait::until_true("password and token are cached", LONG, || {
        Tokens::of_user(http, 1);
        assert_eq!(get(http, &tokens.access, ME), 200);
        hits(&forebay, "credentials") >= 1.0 && hits(&forebay, "tokens") >= 1.0
    });
    stage.redis.kill();
    expect(&call(http, &tokens.access, "PUT", "/v1/users/user-1/password", CHANGE), 200, "");
    // The response may arrive shortly before the process drops the entry. Otherwise the entry would live for an hour.
    wait::until_true("the old password is rejected", LONG, || {
        login(http, "user-1", "correct horse 1").status == 401
    });
    assert_eq!(get(http, &tokens.access, ME), 401);
    Tokens::of(&login(http, "user-1", "another horse"));
}

#[test]
fn a_change_during_a_redis_outage_reaches_other_daemons_later() {
    let test = "a_change_during_a_redis_outage_reaches_other_daemons_later";
    let Some(stage) = TestServers::with_front(test, DatabaseKind::Postgres) else { return };
    // Only the daemon that applies the change is disconnected.
    let mut one = guarded(stage.daemon_with_consumer());
    let mut other = guarded(stage.daemon().set("redis.url", stage.redis.url()));
    one.start();
    other.start();
    let (here, there) = (&mut one.http(), &mut other.http());
    registered(here, 1);
    let tokens = Tokens::of_user(here, 1);
    wait::until_true("the password is cached", LONG, || {
        Tokens::of_user(there, 1);
        hits(&other, "credentials") >= 1.0
    });
    stage.front().redis.refuse();
    expect(&call(here, &tokens.access, "PUT", "/v1/users/user-1/password", CHANGE), 200, "");
    Tokens::of(&login(here, "user-1", "another horse"));
    stage.front().redis.heal();
    wait::until_true("the old password is rejected", LONG, || {
        login(there, "user-1", "correct horse 1").status == 401
    });
    Tokens::of(&login(there, "user-1", "another horse"));
}
