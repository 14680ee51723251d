//! A burst of registrations whose passwords cost what they do in production.

use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread;

use serde_json::Value;

use super::people::expect;
use super::people::register_once;
use super::people::somebody;
use crate::support::daemon;
use crate::support::http::Response;
use crate::support::process::Forebay;
use crate::support::wait;

const BURST: usize = 1_000;
const CLIENTS: usize = 4;

/// What was answered to so many registrations by so many clients.
fn burst(forebay: &Forebay, count: usize, clients: usize) -> Vec<Response> {
    let (next, answers) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                let mut http = forebay.http();
                http.connect().unwrap();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    let answer = register_once(&mut http, &somebody(number));
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
    for answer in burst(&forebay, BURST, CLIENTS) {
        expect(&answer, 202, "");
    }
    let unhashed = daemon::figure(&forebay, "backlog");
    assert!(unhashed > BURST as u64 / 2, "{unhashed} of {BURST} wait to be hashed");
}

#[test]
fn hashing_before_the_answer_refuses_what_it_cannot_do_in_time() {
    // Sixty-four times half a second on one thread: far more than the five seconds of an answer.
    let mut forebay = daemon::under_test().set("users.password_cost", 13).set("users.hash_threads", 1);
    forebay.start();
    let answers = burst(&forebay, 64, 64);
    let (accepted, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 202);
    let busy = |answer: &Response| answer.status == 503 && answer.json()["code"] == "hashing_busy";
    assert!(refused.iter().any(|answer| busy(answer)), "{} were accepted", accepted.len());
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
    // What was refused left nothing behind: the last one may come again.
    let last = somebody(63);
    wait::until_true("the last one is accepted", daemon::LONG, || {
        [202, 409].contains(&register_once(&mut forebay.http(), &last).status)
    });
}
