//! How long a refusal takes says nothing about who there is.

use std::time::Duration;
use std::time::Instant;

use super::party::guarded;
use super::party::login;
use super::party::registered;
use crate::people::expect;
use crate::people::have_the_machine;
use crate::support::http::Client;

/// Of each kind, in turn, so that whatever else the machine does falls on both alike.
const PAIRS: usize = 60;

fn refused_after(http: &mut Client, name: &str) -> Duration {
    let began = Instant::now();
    let answer = login(http, name, "wrong horse battery");
    let took = began.elapsed();
    expect(&answer, 401, "wrong_credentials");
    took
}

/// The values at 25, 50 and 75 per cent.
fn quartiles(mut times: Vec<Duration>) -> [f64; 3] {
    times.sort_unstable();
    [1, 2, 3].map(|quarter| times[times.len() * quarter / 4].as_secs_f64())
}

#[test]
fn an_unknown_name_costs_as_much_time_as_a_wrong_password() {
    let _machine = have_the_machine();
    // bcrypt at 8 takes about 12 ms: far more than anything else in a login, and what a missing one would save.
    let mut forebay = guarded()
        .set("users.password_cost", 8)
        .set("users.hash_threads", 1)
        .set("rate_limit.account_failures", 1000);
    forebay.start();
    let http = &mut forebay.http();
    registered(http, 1);
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for number in 0..PAIRS {
        known.push(refused_after(http, "user-1"));
        unknown.push(refused_after(http, &format!("nobody-{number}")));
    }
    let (known, unknown) = (quartiles(known), quartiles(unknown));
    for (quarter, (known, unknown)) in known.into_iter().zip(unknown).enumerate() {
        let ratio = unknown / known;
        assert!(
            (0.8..1.25).contains(&ratio),
            "quartile {}: an unknown name takes {ratio:.2} times as long as a wrong password",
            quarter + 1
        );
    }
}
