//! Logins a second: with a password seen a moment ago, with bcrypt, and against an answer that needs no work at all.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;

use crate::client;
use crate::measure::{Limit, Outcome, median};
use support::process::Forebay;

const WARM: &str = "login: logins/s, password seen a moment ago / bcrypt at 10";
const RATE: &str = "login: logins/s, password seen a moment ago / 6,000";
const CONNECTIONS: usize = 64;
const PAIRS: usize = 5;
/// Some thirty hashes.
const TURN: Duration = Duration::from_millis(1500);
/// What a login must reach where a plain answer reaches twice as much.
const ENOUGH: f64 = 6000.0;
const PEOPLE: usize = 16;

fn daemon() -> Forebay {
    Forebay::new(env!("CARGO_BIN_EXE_forebay")).set("users.password_cost", 10)
}

fn address(daemon: &Forebay) -> SocketAddr {
    daemon.address().parse().expect("host:port")
}

fn login(number: usize) -> String {
    json!({"name": format!("user-{number}"), "password": format!("correct horse {number}")}).to_string()
}

/// People who have logged in once.
fn register(daemon: &Forebay) {
    let mut http = daemon.http();
    for number in 0..PEOPLE {
        let user = json!({
            "name": format!("user-{number}"),
            "email": format!("user-{number}@example.org"),
            "phone": format!("+4917000{number:03}"),
            "password": format!("correct horse {number}"),
        });
        let headers = [("Prefer", "wait=60")];
        let created = http.request("POST", "/v1/users", &headers, user.to_string().as_bytes());
        assert_eq!(created.expect("an answer").status, 201);
        assert_eq!(http.post("/login", &login(number)).expect("an answer").status, 200);
    }
}

/// At least 50 times as many as with bcrypt, and 6,000 a second where the machine answers 12,000 requests that need no
/// work; half of those where it does not.
pub fn measure() -> Vec<Outcome> {
    let mut warm = daemon().set("login.credential_cache_ttl", "1h");
    let mut cold = daemon().set("login.credential_cache_ttl", "0s");
    warm.start();
    cold.start();
    register(&warm);
    register(&cold);
    let requests = || {
        (0..CONNECTIONS).map(|n| client::request("POST", "/login", &login(n % PEOPLE))).collect::<Vec<_>>()
    };
    let plain = || vec![client::request("GET", "/healthz", ""); CONNECTIONS];
    let turns: Vec<[f64; 3]> = (0..PAIRS)
        .map(|_| {
            let warmed = client::load(address(&warm), requests(), TURN);
            // So few that none is refused for the length of the queue.
            let hashed = client::load(address(&cold), requests().split_off(CONNECTIONS - 4), TURN);
            [warmed, hashed, client::load(address(&warm), plain(), TURN)]
        })
        .collect();
    let column = |n: usize| turns.iter().map(|turn| turn[n]).collect::<Vec<_>>();
    let figures = format!(
        "{:.0}/s, {:.0}/s; a plain answer {:.0}/s",
        median(&column(0)),
        median(&column(1)),
        median(&column(2))
    );
    vec![
        Outcome {
            what: WARM,
            pairs: turns.iter().map(|[warm, cold, _]| warm / cold).collect(),
            limit: Limit::AtLeast(50.0),
            figures: figures.clone(),
        },
        Outcome {
            what: RATE,
            pairs: turns.iter().map(|[warm, _, plain]| warm / ENOUGH.min(plain / 2.0)).collect(),
            limit: Limit::AtLeast(1.0),
            figures,
        },
    ]
}
