//! Tokens that expire or are refused during a run.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex};

use serde_json::json;

use crate::server::{Request, Server, ServerReply};
use crate::tool::{command, file, finish, number, steady};

/// A server that issues the tokens 1, 2, 3, … and accepts those for which `takes` returns `true`.
fn issuer(expires_in: u64, takes: impl Fn(u64, &Request) -> bool + Send + Sync + 'static) -> Server {
    let issued = AtomicU64::new(0);
    Server::start(move |request| {
        if request.path == "/login" {
            let expected = json!({"name": "load", "password": "correct horse"});
            assert_eq!(serde_json::from_str::<serde_json::Value>(&request.body).unwrap(), expected);
            let token = issued.fetch_add(1, Ordering::Relaxed) + 1;
            return ServerReply::json(&json!({"access_token": token.to_string(), "expires_in": expires_in}));
        }
        let token = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let token = token.and_then(|token| token.parse().ok()).unwrap_or(0);
        ServerReply::status(if takes(token, request) { 200 } else { 401 })
    })
}

fn logged_in(server: &Server, rate: u32, duration: &str, connections: u32) -> serde_json::Value {
    let dir = tempfile::tempdir().unwrap();
    let password = file(dir.path(), "password", "correct horse\n");
    let args = ["--login", "load", "--password-file", password.to_str().unwrap()];
    steady(&server.url("/items"), rate, duration, connections, &args).assert_exit(0).json()
}

fn logins(report: &serde_json::Value) -> [f64; 3] {
    ["/logins/first", "/logins/before_expiry", "/logins/after_401"].map(|pointer| number(report, pointer))
}

#[test]
fn a_refused_token_is_replaced_and_the_request_sent_again() {
    // Each token is valid for 10 requests.
    let uses = Mutex::new(std::collections::HashMap::<u64, u64>::new());
    let server = issuer(3_600, move |token, _| {
        let mut uses = uses.lock().unwrap();
        let count = uses.entry(token).or_default();
        *count += 1;
        token > 0 && *count <= 10
    });
    let report = logged_in(&server, 100, "500ms", 1);
    assert_eq!((number(&report, "/total/due"), number(&report, "/total/good")), (50.0, 50.0), "{report:#}");
    assert_eq!(logins(&report), [1.0, 0.0, 4.0]);
    assert_eq!((server.count("/login"), server.count("/items")), (5, 54));
}

#[test]
fn many_requests_refused_at_once_make_one_login() {
    // The first four refusals are sent together, so no login comes before them.
    let (refused, together) = (AtomicU64::new(0), Barrier::new(4));
    let server = issuer(3_600, move |token, request| {
        let takes = token == 2 || token == 1 && request.number < 30;
        if !takes && refused.fetch_add(1, Ordering::Relaxed) < 4 {
            together.wait();
        }
        takes
    });
    let report = logged_in(&server, 400, "500ms", 16);
    assert_eq!(number(&report, "/total/good"), 200.0, "{report:#}");
    assert_eq!((logins(&report), server.count("/login")), ([1.0, 0.0, 1.0], 2));
}

#[test]
fn a_token_is_replaced_before_it_expires() {
    let server = issuer(1, |token, _| token > 0);
    let report = logged_in(&server, 20, "2500ms", 2);
    let [first, before_expiry, after_401] = logins(&report);
    assert_eq!((first, after_401), (1.0, 0.0), "{report:#}");
    // The number of further logins depends on the machine.
    assert!(before_expiry >= 1.0 && server.count("/login") as f64 == 1.0 + before_expiry, "{report:#}");
}

/// Logins need the same headers as other requests: a gateway in front of the target may require them.
#[test]
fn logins_carry_the_headers_of_files_and_the_environment() {
    let server = Server::start(|request| {
        let gate = ["x-file", "x-env"].map(|name| request.header(name)) == [Some("hunter2"), Some("hunter3")];
        match (gate, request.path.as_str()) {
            (false, _) => ServerReply::status(403),
            (true, "/login") => {
                assert_eq!(request.header("content-type"), Some("application/json"));
                ServerReply::json(&json!({"access_token": "a", "expires_in": 3_600}))
            }
            (true, "/v1/users") => ServerReply::status(201),
            (true, _) => ServerReply::status(200),
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let password = file(dir.path(), "password", "correct horse");
    let headers = file(dir.path(), "headers", "X-File: hunter2\nContent-Type: text/plain\n");
    let common = ["concurrent-baseline", "--rate", "50", "--duration", "200ms", "--warm-up", "0s", "--json"];
    let common =
        [&common[..], &["--header-file", headers.to_str().unwrap(), "--header-env", "X-Env=GATE"]].concat();
    let (url, base) = (server.url("/items"), server.url(""));
    let caller = ["--url", &url, "--login", "load", "--password-file", password.to_str().unwrap()];
    let users = ["--base", &base, "--users", "--mix", "login=1,read=1", "--population", "2"];
    for (args, first) in [(&caller[..], 1.0), (&users, 2.0)] {
        let report =
            finish(command(&[&common[..], args].concat()).env("GATE", "hunter3")).assert_exit(0).json();
        assert_eq!(
            (number(&report, "/total/good"), logins(&report)),
            (10.0, [first, 0.0, 0.0]),
            "{report:#}"
        );
    }
}

#[test]
fn a_second_refusal_is_an_error() {
    let server = issuer(3_600, |_, request| request.number < 10);
    let report = logged_in(&server, 100, "300ms", 1);
    let refused = number(&report, "/total/errors/status_401/count");
    assert_eq!(refused + number(&report, "/total/good"), 30.0, "{report:#}");
    // One more login for each, and no third attempt.
    assert_eq!(
        (number(&report, "/logins/after_401"), server.count("/items") as f64),
        (refused, 30.0 + refused)
    );
}

#[test]
fn a_token_file_is_read_again_after_a_refusal() {
    let dir = tempfile::tempdir().unwrap();
    let path = Arc::new(file(dir.path(), "token", "one\n"));
    let replaced = Arc::clone(&path);
    let server = Server::start(move |request| match request.header("authorization") {
        Some("Bearer two") => ServerReply::status(200),
        Some("Bearer one") if request.number <= 10 => ServerReply::status(200),
        _ => {
            std::fs::write(&*replaced, "two\n").unwrap();
            ServerReply::status(401)
        }
    });
    let args = ["--token-file", path.to_str().unwrap()];
    let report = steady(&server.url("/"), 100, "300ms", 1, &args).assert_exit(0).json();
    assert_eq!((number(&report, "/total/good"), logins(&report)), (30.0, [1.0, 0.0, 1.0]), "{report:#}");
}

#[test]
fn without_a_first_token_the_run_fails() {
    let server = Server::start(|_| ServerReply::status(403));
    let dir = tempfile::tempdir().unwrap();
    let password = file(dir.path(), "password", "wrong horse");
    let args = ["--login", "load", "--password-file", password.to_str().unwrap()];
    let run = steady(&server.url("/items"), 100, "1s", 1, &args).assert_exit(2);
    assert!(run.err.contains("no token: the login returned 403"), "{run:?}");
    assert!(!run.err.contains("wrong horse") && server.count("/items") == 0, "{run:?}");
}
