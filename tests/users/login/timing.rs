//! The duration of a rejection does not reveal whether a user exists.

use std::fs;
use std::path::{Path, PathBuf};

use super::accounts::{guarded, login, registered};
use crate::test_users::expect;
use support::http::Client;

/// Number of requests of each kind, alternating.
const PAIRS: usize = 60;

/// CPU time in nanoseconds of the password thread for one rejection. Unlike wall time, it does not depend on the load
/// of the machine.
fn work_of_refusal(http: &mut Client, name: &str, thread: &Path) -> u64 {
    let before = nanos_on_a_core(thread);
    let answer = login(http, name, "wrong horse battery");
    expect(&answer, 401, "wrong_credentials");
    nanos_on_a_core(thread) - before
}

/// The first number of `schedstat`: time on a core in nanoseconds.
fn nanos_on_a_core(thread: &Path) -> u64 {
    let figures = fs::read_to_string(thread.join("schedstat")).expect("the kernel counts");
    figures.split(' ').next().and_then(|nanos| nanos.parse().ok()).expect("a number")
}

/// The values at 25, 50 and 75 per cent.
fn quartiles(mut work: Vec<u64>) -> [f64; 3] {
    work.sort_unstable();
    [1, 2, 3].map(|quarter| work[work.len() * quarter / 4] as f64)
}

#[test]
fn an_unknown_name_takes_as_long_as_a_wrong_password() {
    // bcrypt at cost 8 takes about 12 ms, far longer than the rest of a login; a missing comparison would save this
    // time.
    let mut forebay = guarded()
        .set("users.password_cost", 8)
        .set("users.hash_threads", 1)
        .set("rate_limit.account_failures", 1000);
    forebay.start();
    let thread: PathBuf = format!("/proc/{}/task/{}", forebay.pid(), forebay.thread("hash-0")).into();
    let http = &mut forebay.http();
    registered(http, 1);
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for number in 0..PAIRS {
        known.push(work_of_refusal(http, "user-1", &thread));
        unknown.push(work_of_refusal(http, &format!("nobody-{number}"), &thread));
    }
    let (known, unknown) = (quartiles(known), quartiles(unknown));
    for (quarter, (known, unknown)) in known.into_iter().zip(unknown).enumerate() {
        let ratio = unknown / known;
        assert!(
            (0.8..1.25).contains(&ratio),
            "quartile {}: an unknown name takes {ratio:.2} times the work of a wrong password",
            quarter + 1
        );
    }
}
