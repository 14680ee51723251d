//! The flush itself, traced and made to fail by `strace`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::daemon::{LONG, await_drained};
use crate::load::{Load, LoadOptions};
use support::admin::Admin;
use support::consume::read_all;
use support::delivery_check::check;
use support::http::Client;
use support::kafka::ClusterOptions;
use support::process::Forebay;
use support::{scratch, services};

/// The daemon behind a script that starts it under `strace` while a flag file exists.
struct TracedDaemon {
    home: TempDir,
}

impl TracedDaemon {
    /// With `strace -D` the daemon remains a child of the test, which can signal it and wait for it.
    fn new(arguments: &str) -> Self {
        let home = scratch::dir("strace");
        let (trace, flag) = (home.path().join("trace"), home.path().join("flag"));
        let script = format!(
            "#!/bin/sh\nif [ -e {flag} ]; then exec strace -D -f -o {trace} {arguments} {binary} \"$@\"; fi\nexec \
             {binary} \"$@\"\n",
            flag = flag.display(),
            trace = trace.display(),
            binary = env!("CARGO_BIN_EXE_forebay"),
        );
        let path = home.path().join("forebay");
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(flag, "").unwrap();
        Self { home }
    }

    fn binary(&self) -> PathBuf {
        self.home.path().join("forebay")
    }

    fn off(&self) {
        fs::remove_file(self.home.path().join("flag")).unwrap();
    }

    fn trace(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.home.path().join("trace")).unwrap()).into_owned()
    }
}

fn daemon(binary: &Path, bootstrap: &str) -> Forebay {
    Forebay::new(binary)
        .set("kafka.brokers", bootstrap)
        .set("wal.segment_size", "16MiB")
        .set("wal.reserve_space", "1MiB")
}

#[test]
fn a_failed_fdatasync_is_final_and_loses_no_acknowledged_command() {
    let Some(kafka) = services::kafka("a_failed_fdatasync_is_final_and_loses_no_acknowledged_command") else {
        return;
    };
    let cluster = kafka.start(ClusterOptions::single());
    Admin::new(&cluster.bootstrap()).create_topic("orders.v1", 3, 1, &[]);
    // The count is per thread. The thread that preallocates segments stays below it; the commit thread exceeds it.
    let watched = TracedDaemon::new("-e trace=fdatasync -e inject=fdatasync:error=EIO:when=120+");
    let mut forebay = daemon(&watched.binary(), &cluster.bootstrap());
    forebay.start();
    let load = Load::start(&LoadOptions::new(forebay.address()));
    let status = forebay.wait(LONG);
    assert_eq!(status.code(), Some(74), "{}", forebay.log());
    let accepted = load.accepted();
    assert!(forebay.log().contains("Input/output error"), "the log names the error:\n{}", forebay.log());
    watched.off();
    forebay.start();
    load.await_accepted(200);
    let sent = load.stop();
    await_drained(&forebay);
    println!("{accepted} before the failure; {}", check(&sent, &read_all(&cluster.bootstrap(), "orders.v1")));
    // In the trace the first failure is the commit thread's last flush: the flush is not retried.
    let trace = watched.trace();
    let failed: Vec<_> = trace.lines().filter(|line| line.contains("EIO")).collect();
    let thread = failed[0].split_whitespace().next().unwrap();
    let of_thread = failed.iter().filter(|line| line.split_whitespace().next() == Some(thread)).count();
    assert_eq!(of_thread, 1, "{failed:?}");
    assert!(forebay.terminate().success());
}

/// Line numbers in a trace: the write of a record, the return of the next flush, and the send of its 202.
struct FlushOrder {
    written: usize,
    flushed: usize,
    answered: usize,
}

fn order(lines: &[&str], mark: &str, id: &str) -> FlushOrder {
    let written = lines.iter().position(|line| line.contains("pwrite64(") && line.contains(mark)).unwrap();
    let thread = lines[written].split_whitespace().next().unwrap();
    let back = |line: &&str| {
        let own = line.split_whitespace().next() == Some(thread);
        own && line.contains("fdatasync") && line.trim_end().ends_with("= 0")
    };
    let flushed = written + lines[written..].iter().position(back).expect("a flush after the write");
    let answer = |line: &&str| line.contains(id) && line.contains("HTTP/1.1 202");
    let answered = lines.iter().position(answer).expect("the answer");
    FlushOrder { written, flushed, answered }
}

#[test]
fn every_202_is_sent_after_the_flush_of_its_record() {
    let Some(kafka) = services::kafka("every_202_is_sent_after_the_flush_of_its_record") else {
        return;
    };
    let cluster = kafka.start(ClusterOptions::single());
    Admin::new(&cluster.bootstrap()).create_topic("orders.v1", 3, 1, &[]);
    let watched = TracedDaemon::new("-s 200000 -e trace=pwrite64,fdatasync,write,writev,sendto,sendmsg");
    let mut forebay = daemon(&watched.binary(), &cluster.bootstrap()).set("drain.workers", 1);
    forebay.start();
    let address = forebay.address();
    let clients: Vec<_> = (0..8)
        .map(|client| {
            let mut http = Client::new(&address);
            std::thread::spawn(move || -> Vec<(String, String)> {
                let sent = (0..25).map(|n| {
                    let mark = format!("mark-{client}-{n}-");
                    let body = format!(r#"{{"id":"{mark}","amount":1}}"#);
                    let answer = http.post("/v1/commands/order.create", &body).unwrap();
                    assert_eq!(answer.status, 202, "{}", answer.text());
                    (mark, answer.json()["id"].as_str().unwrap().to_owned())
                });
                sent.collect()
            })
        })
        .collect();
    let marks: Vec<_> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    forebay.kill();
    let trace = watched.trace();
    let lines: Vec<_> = trace.lines().collect();
    for (mark, id) in &marks {
        let FlushOrder { written, flushed, answered } = order(&lines, mark, id);
        assert!(
            written < flushed && flushed < answered,
            "{mark}: written {written}, flushed {flushed}, 202 {answered}"
        );
    }
}
