//! A process with a low limit of open files, and clients that keep their connections open.

use std::io::Write;
use std::net::TcpStream;

use crate::daemon::{LONG, backlog_value, forebay};
use support::http::Client;
use support::wait;

/// Returns how often this bound was hit. The request uses an open connection.
fn hit(admin: &mut Client, bound: &str) -> f64 {
    let text = admin.get("/metrics").unwrap().text();
    let name = format!("forebay_bound_hit_total{{bound=\"{bound}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or(0.0)
}

#[test]
fn idle_clients_do_not_take_the_descriptors_of_the_log() {
    // No broker listens there, so every segment is retained.
    let mut forebay = forebay("127.0.0.1:9").through("prlimit", &["--nofile=256:256"]);
    forebay.start();
    let (mut client, mut admin) = (forebay.http(), forebay.admin_http());
    assert_eq!(client.get("/readyz").unwrap().status, 200);
    assert_eq!(hit(&mut admin, "connections") + hit(&mut admin, "accept"), 0.0);
    // Each has received one response, and may then be idle for two minutes.
    let idle: Vec<_> = (0..400)
        .map(|_| {
            let mut connection = TcpStream::connect(forebay.address()).unwrap();
            // A refused connection may be closed already.
            let _ = connection.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
            connection
        })
        .collect();
    wait::until_true("the daemon refuses connections", LONG, || {
        hit(&mut admin, "connections") + hit(&mut admin, "accept") > 0.0
    });
    let filling = "x".repeat(100_000);
    let mut accepted = 0;
    wait::until_true("segments are rotated", LONG, || {
        let body = format!(r#"{{"id":"o-{accepted}","amount":1,"filling":"{filling}"}}"#);
        let answer = client.post("/v1/commands/order.create", &body).unwrap();
        match answer.status {
            202 => accepted += 1,
            _ => assert!(answer.header("retry-after").is_some(), "{}", answer.text()),
        }
        assert!(!answer.text().contains("poisoned"), "{}\n{}", answer.text(), forebay.log());
        std::fs::read_dir(forebay.wal_dir().join("pending")).unwrap().count() >= 4
    });
    drop(idle);
    assert!(forebay.log().contains("descriptors.limit_low"), "{}", forebay.log());
    forebay.restart();
    assert_eq!(backlog_value(&forebay, "backlog"), accepted);
    assert!(forebay.terminate().success());
}
