//! Password guessing is limited, from any number of addresses, and does not lock out the owner.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use serde_json::json;

use super::accounts::{Tokens, call, guarded, login, registered};
use crate::test_users::expect;
use support::daemon::metric;
use support::http::{Client, Response};

const FAILURES: usize = 5;
const GUESSES: usize = 40;

/// A login forwarded by a proxy for another address, or with a forged address.
fn login_from(http: &mut Client, address: usize, name: &str, password: &str) -> Response {
    let body = json!({"name": name, "password": password}).to_string();
    let forwarded = format!("203.0.{}.{}", address / 256, address % 256);
    let headers = [("Content-Type", "application/json"), ("X-Forwarded-For", forwarded.as_str())];
    http.request("POST", "/login", &headers, body.as_bytes()).expect("an answer")
}

#[test]
fn guesses_at_one_account_count_across_all_addresses() {
    let mut forebay = guarded()
        .set("rate_limit.account_failures", FAILURES)
        .set("rate_limit.account_window", "1h")
        .set("server.trusted_proxies", json!(["127.0.0.1"]));
    forebay.start();
    let http = &mut forebay.http();
    registered(http, 1);
    registered(http, 2);
    Tokens::of_user(http, 1);
    let mut compared = 0;
    for guess in 0..GUESSES {
        let answer = login_from(http, guess, "user-1", &format!("wrong horse {guess}"));
        match answer.status {
            401 => compared += 1,
            _ => {
                expect(&answer, 429, "rate_limited");
                assert!(answer.header("retry-after").is_some_and(|wait| wait.parse::<u64>().is_ok()));
            }
        }
    }
    assert_eq!(compared, FAILURES, "exactly this number of passwords was compared");
    // The owner's recent login is recognised from the cache; other users are not affected.
    Tokens::of_user(http, 1);
    Tokens::of_user(http, 2);
    assert!(metric(&forebay, "forebay_ratelimit_rejected_total{limiter=\"account\"}") >= 1.0);

    // A name without a user gives the same results.
    let statuses: Vec<u16> =
        (0..GUESSES).map(|guess| login_from(http, guess, "nobody", "wrong horse").status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), FAILURES);
}

#[test]
fn guesses_of_the_old_password_are_limited() {
    let mut forebay =
        guarded().set("rate_limit.account_failures", FAILURES).set("rate_limit.account_window", "1h");
    forebay.start();
    let http = &mut forebay.http();
    registered(http, 1);
    let token = Tokens::of_user(http, 1).access;
    let change = |http: &mut Client, old: &str| {
        let body = json!({"old_password": old, "password": "another horse"}).to_string();
        call(http, &token, "PUT", "/v1/users/user-1/password", &body)
    };
    for guess in 0..FAILURES {
        expect(&change(http, &format!("wrong horse {guess}")), 401, "wrong_password");
    }
    expect(&change(http, "correct horse 1"), 429, "rate_limited");
}

#[test]
fn a_forged_address_circumvents_no_limit() {
    let mut forebay = guarded().set("rate_limit.login_limit", FAILURES).set("rate_limit.login_window", "1h");
    forebay.start();
    let http = &mut forebay.http();
    registered(http, 1);
    let statuses: Vec<u16> =
        (0..GUESSES).map(|guess| login_from(http, guess, "user-1", "wrong horse").status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), FAILURES, "{statuses:?}");
    expect(&login(http, "user-1", "correct horse 1"), 429, "rate_limited");
}

#[test]
fn logins_above_the_threshold_get_the_configured_message() {
    // One hash at a time, and three clients: two of them find the only permit in use.
    let mut forebay = guarded()
        .set("users.password_cost", 10)
        .set("users.hash_threads", 1)
        .set("login.fast_fail_threshold", 1)
        .set("login.fast_fail_message", "The counter is closed.")
        .set("rate_limit.enabled", false);
    forebay.start();
    let refused = AtomicBool::new(false);
    let busy = std::thread::scope(|scope| {
        let client = || {
            let mut http = forebay.http();
            while !refused.load(Relaxed) {
                let answer = login(&mut http, "nobody", "wrong horse");
                if answer.status != 401 {
                    refused.store(true, Relaxed);
                    return Some(answer);
                }
            }
            None
        };
        let clients = [scope.spawn(client), scope.spawn(client), scope.spawn(client)];
        clients.into_iter().filter_map(|client| client.join().unwrap()).next().expect("a refusal")
    });
    assert_eq!(expect(&busy, 503, "busy")["detail"], "The counter is closed.");
    assert!(busy.header("retry-after").is_some());
}
