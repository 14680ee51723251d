//! Logins per second: with a cached password, with bcrypt, and compared with a response that needs no work.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;

use crate::client;
use crate::measure::{Limit, Outcome, median};
use support::process::Forebay;

const WARM: &str = "login: logins/s, cached password / bcrypt at 10";
const RATE: &str = "login: logins/s, cached password / 6,000";
const CONNECTIONS: usize = 64;
const PAIRS: usize = 5;
/// Duration of one run: about thirty hashes.
const TURN: Duration = Duration::from_millis(1500);
/// Required logins per second on a machine that sends at least twice as many plain responses.
const ENOUGH: f64 = 6000.0;
const USERS: usize = 16;

fn daemon() -> Forebay {
    Forebay::new(env!("CARGO_BIN_EXE_forebay")).set("users.password_cost", 10)
}

fn address(daemon: &Forebay) -> SocketAddr {
    daemon.address().parse().expect("host:port")
}

fn login(number: usize) -> String {
    json!({"name": format!("user-{number}"), "password": format!("correct horse {number}")}).to_string()
}

/// Registers users, and logs each of them in once.
fn register(daemon: &Forebay) {
    let mut http = daemon.http();
    for number in 0..USERS {
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

/// At least 50 times as many logins as with bcrypt. At least 6,000 per second if the machine sends 12,000 plain
/// responses per second, otherwise at least half as many as plain responses.
pub fn measure() -> Vec<Outcome> {
    let mut warm = daemon().set("login.credential_cache_ttl", "1h");
    let mut cold = daemon().set("login.credential_cache_ttl", "0s");
    warm.start();
    cold.start();
    register(&warm);
    register(&cold);
    let requests =
        || (0..CONNECTIONS).map(|n| client::request("POST", "/login", &login(n % USERS))).collect::<Vec<_>>();
    let plain = || vec![client::request("GET", "/healthz", ""); CONNECTIONS];
    let turns: Vec<[f64; 3]> = (0..PAIRS)
        .map(|_| {
            let warmed = client::load(address(&warm), requests(), TURN);
            // So few connections that the queue never refuses a login.
            let hashed = client::load(address(&cold), requests().split_off(CONNECTIONS - 4), TURN);
            [warmed, hashed, client::load(address(&warm), plain(), TURN)]
        })
        .collect();
    let column = |n: usize| turns.iter().map(|turn| turn[n]).collect::<Vec<_>>();
    let figures = format!(
        "{:.0}/s, {:.0}/s; a plain response {:.0}/s",
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
