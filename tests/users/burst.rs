//! A burst of registrations whose passwords cost what they do in production.

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
/// Sixty-four times half a second on one thread: far more than the five seconds of an answer.
const CONCURRENT_REQUESTS: usize = 64;

/// What is answered to people of these numbers by so many clients, each of whom asks like this.
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
fn deferred_hashing_acknowledges_a_burst_that_is_not_hashed_yet() {
    // At 13 a core hashes two or three in a second: a burst that waited for that would take minutes.
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
    assert!(unhashed > BURST as u64 / 2, "{unhashed} of {BURST} wait to be hashed");
}

#[test]
fn hashing_before_the_answer_refuses_what_it_cannot_do_in_time() {
    let mut forebay = daemon::under_test().set("users.password_cost", 13).set("users.hash_threads", 1);
    forebay.start();
    let busy = |answer: &Response| answer.status == 503 && answer.json()["code"] == "hashing_busy";
    // On a busy machine the checks before it may refuse all of a round.
    let mut answers = Vec::new();
    wait::until_true("hashing is refused", daemon::LONG, || {
        let from = answers.len();
        answers.extend(burst(&forebay, from..from + CONCURRENT_REQUESTS, CONCURRENT_REQUESTS, register_once));
        answers.iter().any(busy)
    });
    let (accepted, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 202);
    for answer in refused {
        // 64 at once may be too many for the checks before it, too.
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
        "no more is logged"
    );
    // What was refused left nothing behind: all may come again, when hashing costs little.
    let people = answers.len();
    forebay.configure("users.password_cost", 4);
    forebay.restart();
    for number in 0..people {
        let answer = register(&mut forebay.http(), &new_user(number));
        assert!([202, 409].contains(&answer.status), "{}", answer.text());
    }
    assert_eq!(daemon::metric(&forebay, "forebay_wal_append_total"), (people - accepted.len()) as f64);
}
