//! Runs against any HTTP endpoint.

use std::collections::HashSet;

use crate::server::{Server, ServerReply};
use crate::tool::{command, file, finish, number, run, steady};

#[test]
fn each_request_has_its_own_values_and_hides_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let body =
        file(dir.path(), "body.json", "{\"id\":\"{{uuid}}\",\"n\":{{seq}},\"text\":\"{{fill:20}}\"}\n");
    let headers = file(dir.path(), "headers", "# of the test\nAuthorization: Bearer hunter2\n");
    let server = Server::start(|_| ServerReply::status(409));
    let url = server.url("/items/{{seq}}?r={{random:9}}");
    let args = [
        "concurrent-baseline",
        "--url",
        &url,
        "--rate",
        "100",
        "--duration",
        "200ms",
        "--warm-up",
        "0s",
        "--method",
        "PUT",
        "--expect",
        "200-299,409",
        "--header",
        "Idempotency-Key: {{run}}-{{seq}}",
        "--header-env",
        "X-Secret=LOAD_SECRET",
        "--header-file",
        headers.to_str().unwrap(),
        "--body-file",
        body.to_str().unwrap(),
        "--json",
    ];
    let run = finish(command(&args).env("LOAD_SECRET", "hunter3")).assert_exit(0);
    assert_eq!(number(&run.json(), "/total/good"), 20.0);
    assert!(!run.out.contains("hunter") && !run.err.contains("hunter"), "{run:?}");
    let requests = server.requests();
    for request in &requests {
        let document: serde_json::Value = serde_json::from_str(&request.body).unwrap();
        let number = document["n"].as_u64().unwrap();
        assert_eq!(request.method, "PUT");
        assert!(request.path.starts_with(&format!("/items/{number}?r=")), "{request:?}");
        assert!(request.header("idempotency-key").unwrap().ends_with(&format!("-{number}")), "{request:?}");
        assert_eq!(document["text"].as_str().unwrap().len(), 20);
        let expected = [Some("Bearer hunter2"), Some("hunter3"), Some("application/json")];
        assert_eq!(["authorization", "x-secret", "content-type"].map(|name| request.header(name)), expected);
    }
    let bodies: HashSet<_> = requests.iter().map(|request| &request.body).collect();
    assert_eq!((requests.len(), bodies.len()), (20, 20));
}

#[test]
fn the_same_seed_sends_the_same_values() {
    let server = Server::start(|_| ServerReply::status(200));
    let args = ["--seed", "7", "--spacing", "poisson", "--body", "{{seq}} {{uuid}} {{random:1000000}}"];
    for _ in 0..2 {
        steady(&server.url("/"), 100, "300ms", 1, &args).assert_exit(0);
    }
    let bodies: Vec<_> = server.requests().into_iter().map(|request| request.body).collect();
    let (first, second) = bodies.split_at(bodies.len() / 2);
    assert!(!first.is_empty() && first == second, "{bodies:?}");
}

#[test]
fn a_closed_connection_is_opened_again() {
    let server = Server::start(|_| ServerReply { close: true, ..ServerReply::status(200) });
    let report = steady(&server.url("/"), 100, "300ms", 2, &[]).assert_exit(0).json();
    assert_eq!((number(&report, "/total/good"), server.count("/")), (30.0, 30), "{report:#}");
}

#[test]
fn an_unreachable_address_fails_before_the_run() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let url = format!("http://{address}");
    let dir = tempfile::tempdir().unwrap();
    let report = file(dir.path(), "report.json", "of an earlier run");
    let refused = run(&["baseline", "--base", &url, "--report", report.to_str().unwrap()]).assert_exit(2);
    assert_eq!(std::fs::read_to_string(report).unwrap(), "of an earlier run");
    assert!(refused.err.contains(&format!("cannot connect to {url}: Connection refused")), "{refused:?}");
}
