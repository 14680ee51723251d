//! Requests are sent when they are due, whatever the target does.

use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use crate::server::{Server, ServerReply};
use crate::tool::{command, number, steady};

/// 400 requests in 2 s, one connection, and a server that stalls once.
#[test]
fn a_stall_delays_every_request_that_was_due_meanwhile() {
    const STALL: Duration = Duration::from_millis(600);
    let server = Server::start(|request| {
        if request.number == 100 {
            thread::sleep(STALL);
        }
        ServerReply::status(200)
    });
    let report = steady(&server.url("/"), 200, "2s", 1, &[]).assert_exit(0).json();
    assert_eq!((number(&report, "/total/due"), number(&report, "/total/good")), (400.0, 400.0));
    // 20 requests, 5 % of all, are due in the first 100 ms of the stall, and wait for at least 500 ms. A slow machine
    // only makes them wait longer.
    let p95 = number(&report, "/total/latency_ms/p95");
    assert!(p95 >= 480.0, "{report:#}");
    // The service time includes one stalled request: a closed loop would measure no more.
    assert!(number(&report, "/total/service_ms/p95") < p95, "{report:#}");
    assert!(number(&report, "/total/service_ms/max") >= 600.0, "{report:#}");
}

#[test]
fn no_statistic_includes_the_warm_up() {
    // With one connection requests arrive in order: the first 50 are those of the warm-up.
    let server = Server::start(|request| ServerReply::status(if request.number <= 50 { 500 } else { 200 }));
    let args = ["--warm-up", "500ms"];
    let report = steady(&server.url("/"), 100, "500ms", 1, &args).assert_exit(0).json();
    assert_eq!(server.count("/"), 100);
    let counts = ["/warm_up/due", "/warm_up/good", "/total/due", "/total/good"];
    assert_eq!(counts.map(|pointer| number(&report, pointer)), [50.0, 0.0, 50.0, 50.0]);
    assert_eq!(report["total"]["statuses"], serde_json::json!({"200": 50}));
    let timeline = report["timeline"].as_array().unwrap();
    assert_eq!(timeline.iter().map(|point| number(point, "/due")).sum::<f64>(), 50.0);
}

#[test]
fn requests_not_sent_in_time_are_counted() {
    let hung = Arc::new((Mutex::new(true), Condvar::new()));
    let held = Arc::clone(&hung);
    let server = Server::start(move |_| {
        let hung = held.0.lock().unwrap();
        drop(held.1.wait_while(hung, |hung| *hung).unwrap());
        ServerReply::status(200)
    });
    let run = steady(&server.url("/"), 50, "1s", 2, &["--timeout", "300ms", "--send-within", "100ms"])
        .assert_exit(2);
    *hung.0.lock().unwrap() = false;
    hung.1.notify_all();
    assert!(run.err.contains("no request had an expected response"), "{run:?}");
    let report = run.json();
    let errors =
        ["/total/errors/timeout/count", "/total/errors/not_sent/count"].map(|name| number(&report, name));
    // Each of the two connections is busy for the full timeout of a request, so most requests find none.
    assert!(errors[0] >= 2.0 && errors[1] > errors[0], "{report:#}");
    assert_eq!((errors[0] + errors[1], number(&report, "/total/error_rate")), (50.0, 1.0));
    let latency = ["/total/latency_ms/p50", "/total/latency_ms/max"].map(|name| number(&report, name));
    assert!(latency.iter().all(|ms| (399.0..=401.0).contains(ms)), "they count with the maximum: {report:#}");
    assert!(report["total"]["service_ms"].is_null());
}

#[test]
fn a_ramp_sends_more_in_each_step() {
    let server = Server::start(|_| ServerReply::status(200));
    let url = server.url("/");
    let args = ["ramp", "--url", &url, "--from", "20", "--to", "180", "--steps", "2", "--duration", "2s"];
    let run = crate::tool::run(&[&args[..], &["--warm-up", "0s", "--connections", "8", "--json"]].concat());
    let report = run.assert_exit(0).json();
    let due = ["/phases/0/due", "/phases/1/due", "/total/due"].map(|pointer| number(&report, pointer));
    assert_eq!(due, [60.0, 140.0, 200.0]);
    assert_eq!(server.count("/"), 200);
}

/// Ctrl-C in the middle of an hour.
#[test]
fn an_interrupted_run_reports_its_requests() {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let server = Server::start(move |request| {
        if request.number == 20 {
            let _ = tell.lock().unwrap().send(());
        }
        ServerReply::status(200)
    });
    let url = server.url("/");
    let args = ["soak", "--url", &url, "--rate", "100", "--warm-up", "0s", "--json"];
    let child = command(&args).spawn().unwrap();
    told.recv().unwrap();
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["interrupted"], true);
    let (due, good) = (number(&report, "/total/due"), number(&report, "/total/good"));
    assert!(due >= 20.0 && due == good, "{report:#}");
    // The rate refers to the elapsed time, not to an hour.
    assert!(number(&report, "/total/due_rate") > 50.0, "{report:#}");
}
