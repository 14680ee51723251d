//! Statistics of the admin listener after the requests, and reports without them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, mpsc};

use crate::server::{Server, ServerReply};
use crate::tool::{ToolRun, command, number, run};

/// An admin listener with a backlog. `backlog` gets the number of each backlog request, from 1, and returns the status.
fn admin(backlog: impl Fn(u64) -> u16 + Send + Sync + 'static) -> Server {
    let asked = AtomicU64::new(0);
    Server::start(move |request| match request.path.as_str() {
        "/admin/backlog" => ServerReply {
            status: backlog(asked.fetch_add(1, Ordering::Relaxed) + 1),
            body: r#"{"backlog":3,"oldest_age_seconds":1.0,"dead":0}"#.to_owned(),
            close: false,
        },
        _ => ServerReply { status: 200, body: "forebay_wal_append_total 5\n".to_owned(), close: false },
    })
}

/// A short run, then a wait for the backlog that is longer than any test.
fn args<'a>(url: &'a str, admin: &'a str) -> Vec<&'a str> {
    let mut args = vec!["concurrent-baseline", "--url", url, "--admin", admin, "--await-drained", "60s"];
    args.extend(["--rate", "100", "--duration", "200ms", "--warm-up", "0s", "--connections", "2", "--json"]);
    args
}

fn reports_all_requests(run: &ToolRun) -> serde_json::Value {
    let report = run.json();
    assert_eq!((number(&report, "/total/due"), number(&report, "/total/good")), (20.0, 20.0), "{report:#}");
    report
}

#[test]
fn a_run_is_reported_although_the_admin_listener_fails_later() {
    let target = Server::start(|_| ServerReply::status(200));
    // The first request precedes the run, the second follows it, and the others are part of the wait for the backlog.
    for works in [1, 2, 4] {
        let admin = admin(move |question| if question <= works { 200 } else { 500 });
        let run = run(&args(&target.url("/"), &admin.url(""))).assert_exit(2);
        let report = reports_all_requests(&run);
        assert!(report["kafka"].is_null() && report["interrupted"] == false, "{report:#}");
        assert!(run.err.contains("/admin/backlog returned 500"), "{run:?}");
    }
}

#[test]
fn an_interruption_of_the_backlog_wait_is_reported() {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let admin = admin(move |question| {
        if question == 4 {
            let _ = tell.lock().unwrap().send(());
        }
        200
    });
    let target = Server::start(|_| ServerReply::status(200));
    let (url, admin) = (target.url("/"), admin.url(""));
    let child = command(&args(&url, &admin)).spawn().unwrap();
    told.recv().unwrap();
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let run = ToolRun { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
        .assert_exit(2);
    let report = reports_all_requests(&run);
    assert_eq!(
        (&report["interrupted"], number(&report, "/kafka/backlog")),
        (&true.into(), 3.0),
        "{report:#}"
    );
    assert!(report["kafka"]["drained_after_seconds"].is_null(), "{report:#}");
}
