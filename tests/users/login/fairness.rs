//! One address, with any number of connections, does not block others; and rejections by the daemon do not count as
//! failures.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use serde_json::json;

use super::accounts::{Tokens, guarded, registered};
use crate::test_users;
use crate::test_users::expect;
use support::daemon::LONG;
use support::http::{Client, Response};
use support::process::Forebay;
use support::wait;

/// Half of them log in. At cost 11, one thread cannot compare that many passwords in the 5 s that a request waits.
const CONNECTIONS: usize = 120;
const ATTACKER: &str = "203.0.113.9";
const OTHERS: &str = "203.0.113.10";
const VICTIMS: usize = 12;

/// A request forwarded by a trusted proxy for `address`.
fn post_from(http: &mut Client, address: &str, path: &str, body: &serde_json::Value) -> Response {
    let headers = [("Content-Type", "application/json"), ("X-Forwarded-For", address)];
    http.request("POST", path, &headers, body.to_string().as_bytes()).expect("an answer")
}

fn login_from(http: &mut Client, address: &str, number: usize) -> Response {
    let user = json!({"name": format!("user-{number}"), "password": format!("correct horse {number}")});
    post_from(http, address, "/login", &user)
}

/// A daemon with slow hashing, no credential cache, and registered users 1 to 12.
fn slow() -> Forebay {
    let mut forebay = guarded()
        .set("users.password_cost", 11)
        .set("users.hash_threads", 1)
        .set("login.credential_cache_ttl", "0s")
        .set("rate_limit.address_failures", 1_000_000)
        .set("server.trusted_proxies", json!(["127.0.0.1"]));
    forebay.start();
    let http = &mut forebay.http();
    (1..=VICTIMS).for_each(|number| registered(http, number));
    forebay
}

/// Runs `meanwhile` while one address logs in with random names and registers over many connections. Starts it when the
/// daemon begins to reject these requests.
fn during_a_flood<T>(forebay: &Forebay, meanwhile: impl FnOnce() -> T) -> T {
    let (stop, refused, next) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(1000));
    let flood = |registers: bool| {
        let mut http = forebay.http();
        while !stop.load(Relaxed) {
            let number = next.fetch_add(1, Relaxed);
            let answer = match registers {
                true => post_from(&mut http, ATTACKER, "/v1/users", &test_users::new_user(number)),
                false => login_from(&mut http, ATTACKER, number),
            };
            // A registration may also be rejected because its earlier checks took too long.
            refused.fetch_add(usize::from(answer.status == 503 && !registers), Relaxed);
        }
    };
    std::thread::scope(|scope| {
        let flood = &flood;
        for connection in 0..CONNECTIONS {
            scope.spawn(move || flood(connection % 2 == 0));
        }
        // Stops the flood however `meanwhile` ends.
        let _stop = StopOnDrop(&stop);
        wait::until_true("the daemon rejects the flood", LONG, || refused.load(Relaxed) > 0);
        meanwhile()
    })
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn one_address_with_many_connections_does_not_block_others() {
    let forebay = slow();
    during_a_flood(&forebay, || {
        let http = &mut forebay.http();
        for number in 1..=VICTIMS {
            // It is served after one request of the flood, however slow a comparison is here. Behind the whole flood,
            // every attempt would be rejected.
            Tokens::of(&wait::until("another address is served", LONG, || {
                let answer = login_from(http, OTHERS, number);
                (answer.status != 503).then_some(answer)
            }));
        }
        for number in 1..=3 {
            let user = test_users::new_user(VICTIMS + number);
            expect(&test_users::retry_on_timeout(|| post_from(http, OTHERS, "/v1/users", &user)), 202, "");
        }
    });
}

#[test]
fn rejections_by_the_daemon_are_no_login_failures() {
    const FAILURES: usize = 3;
    let mut forebay = slow();
    forebay.configure("rate_limit.account_failures", FAILURES);
    forebay.configure("rate_limit.account_window", "1day");
    forebay.restart();
    let http = &mut forebay.http();
    during_a_flood(&forebay, || {
        let mut refused = 0;
        wait::until_true("the owner is refused often", LONG, || {
            let answer = login_from(http, ATTACKER, 1);
            assert!([200, 503].contains(&answer.status), "{}", answer.text());
            refused += usize::from(answer.status == 503);
            refused > 2 * FAILURES
        });
    });
    wait::until_true("the owner logs in", LONG, || {
        let answer = login_from(http, OTHERS, 1);
        assert!([200, 503].contains(&answer.status), "{}", answer.text());
        answer.status == 200
    });
}

#[test]
fn failures_of_one_address_count_across_all_names() {
    const FAILURES: usize = 5;
    let mut forebay = guarded()
        .set("login.credential_cache_ttl", "0s")
        .set("rate_limit.address_failures", FAILURES)
        .set("rate_limit.address_window", "1day")
        .set("server.trusted_proxies", json!(["127.0.0.1"]));
    forebay.start();
    let http = &mut forebay.http();
    registered(http, 1);
    for _ in 0..2 * FAILURES {
        Tokens::of(&login_from(http, ATTACKER, 1));
    }
    let answers: Vec<_> = (0..4 * FAILURES).map(|guess| login_from(http, ATTACKER, 1000 + guess)).collect();
    let compared = answers.iter().filter(|answer| answer.status == 401).count();
    assert_eq!(compared, FAILURES, "exactly this number of passwords was compared");
    let limited = expect(answers.last().unwrap(), 429, "rate_limited");
    assert_eq!(limited["retryable"], true);
    assert!(answers.last().unwrap().header("retry-after").is_some());
    Tokens::of(&login_from(http, OTHERS, 1));
}
