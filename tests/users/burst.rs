//! A burst of registrations with the password cost of production.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::Value;

use super::test_users::{expect, new_user, register, register_once};
use support::http::{Client, Response};
use support::process::Forebay;
use support::{daemon, wait};

const BURST: usize = 1_000;
const CLIENTS: usize = 4;
/// 64 hashes of half a second on one thread take far longer than the 5 s timeout of a request.
const CONCURRENT_REQUESTS: usize = 64;

/// The responses to registrations of these numbers, sent by concurrent clients with `ask`.
fn burst(
    forebay: &Forebay,
    people: Range<usize>,
    clients: usize,
    ask: fn(&mut Client, &Value) -> Response,
) -> Vec<Response> {
    let (next, answers) = (AtomicUsize::new(people.start), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                let mut http = forebay.http();
                http.connect().unwrap();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= people.end {
                        return;
                    }
                    let answer = ask(&mut http, &new_user(number));
                    answers.lock().unwrap().push(answer);
                }
            });
        }
    });
    answers.into_inner().unwrap()
}

#[test]
fn deferred_hashing_acknowledges_a_burst_before_it_is_hashed() {
    // At cost 13 a core hashes two or three passwords per second: a burst that waited for the hashes would take
    // minutes.
    let mut forebay =
        daemon::under_test().set("users.password_cost", 13).set("users.password_hashing", "deferred");
    let key = forebay.dir().join("wal.key");
    std::fs::write(&key, "07".repeat(32)).unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    forebay.configure("wal.encryption_key_file", key.display().to_string());
    forebay.start();
    for answer in burst(&forebay, 0..BURST, CLIENTS, register) {
        expect(&answer, 202, "");
    }
    let unhashed = daemon::backlog_value(&forebay, "backlog");
    assert!(unhashed > BURST as u64 / 2, "{unhashed} of {BURST} are not yet hashed");
}

#[test]
fn hashing_before_the_response_rejects_late_requests() {
    let mut forebay = daemon::under_test().set("users.password_cost", 13).set("users.hash_threads", 1);
    forebay.start();
    let busy = |answer: &Response| answer.status == 503 && answer.json()["code"] == "hashing_busy";
    // On a busy machine the earlier checks may reject all requests of a round.
    let mut answers = Vec::new();
    wait::until_true("hashing is refused", daemon::LONG, || {
        let from = answers.len();
        answers.extend(burst(&forebay, from..from + CONCURRENT_REQUESTS, CONCURRENT_REQUESTS, register_once));
        answers.iter().any(busy)
    });
    let (accepted, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 202);
    for answer in refused {
        // 64 concurrent requests may be too many for the earlier checks, too.
        assert_eq!(
            (answer.status, &answer.json()["retryable"]),
            (503, &Value::Bool(true)),
            "{}",
            answer.text()
        );
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
    }
    assert_eq!(
        daemon::metric(&forebay, "forebay_wal_append_total"),
        accepted.len() as f64,
        "no other command may be logged"
    );
    // Rejected requests left no reservation: all may be repeated, now with a low hash cost.
    let people = answers.len();
    forebay.configure("users.password_cost", 4);
    forebay.restart();
    for number in 0..people {
        let answer = register(&mut forebay.http(), &new_user(number));
        assert!([202, 409].contains(&answer.status), "{}", answer.text());
    }
    assert_eq!(daemon::metric(&forebay, "forebay_wal_append_total"), (people - accepted.len()) as f64);
}
