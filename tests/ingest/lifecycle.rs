//! A stop under load, a directory in use, and an invalid configuration.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::daemon::{LONG, await_drained, embedded_broker, metric};
use crate::requests::{ORDERS, daemon, has_strace, id, order, slow_flushes, status};
use support::consume::read_all;
use support::wait;

#[test]
fn a_stop_under_load_loses_no_acknowledged_command() {
    const CLIENTS: usize = 16;
    let mut forebay = daemon();
    forebay.start();
    let accepted = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (mut http, accepted) = (forebay.http(), Arc::clone(&accepted));
            std::thread::spawn(move || {
                let mut ids = Vec::new();
                for n in 0.. {
                    match http.post(ORDERS, &order(&format!("{client}-{n}"))) {
                        Ok(answer) if answer.status == 202 => {
                            ids.push(id(&answer));
                            accepted.fetch_add(1, Ordering::Relaxed);
                        }
                        Ok(answer) => {
                            assert_eq!(crate::requests::refusal(&answer), (503, "stopping".to_owned()))
                        }
                        Err(error) => return (ids, error.kind()),
                    }
                }
                unreachable!()
            })
        })
        .collect();
    wait::until_true("commands are accepted", LONG, || accepted.load(Ordering::Relaxed) > 2_000);
    assert!(forebay.terminate().success(), "{}", forebay.log());
    let mut ids = HashSet::new();
    for client in clients {
        let (of_client, end) = client.join().unwrap();
        let clean = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionRefused, ErrorKind::BrokenPipe];
        assert!(clean.contains(&end), "the connection ended with {end}");
        ids.extend(of_client);
    }
    forebay.start();
    let http = &mut forebay.http();
    let after = id(&http.post(ORDERS, &order("after")).unwrap());
    for id in ids.iter().chain([&after]) {
        assert_eq!(status(http, id).status, 200, "{id}");
    }
    await_drained(&forebay);
    let records = read_all(&embedded_broker(&forebay), "orders.v1");
    let there: HashSet<_> =
        records.iter().map(|record| record.header("forebay-command-id").unwrap()).collect();
    assert!(
        ids.iter().all(|id| there.contains(&id[..])),
        "{} acknowledged, {} found",
        ids.len(),
        there.len()
    );
    assert!(forebay.terminate().success());
}

#[test]
fn a_stop_answers_every_request_that_waits_for_its_flush() {
    const CLIENTS: usize = 8;
    if !has_strace("a_stop_answers_every_request_that_waits_for_its_flush") {
        return;
    }
    let mut forebay = daemon();
    forebay.start();
    let _slow = slow_flushes(&mut forebay);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let mut http = forebay.http();
            std::thread::spawn(move || http.post(ORDERS, &order(&client.to_string())))
        })
        .collect();
    // The scrape counts as a request.
    let waiting = || metric(&forebay, "http_in_flight") > CLIENTS as f64;
    wait::until_true("all of them wait", LONG, waiting);
    assert!(forebay.terminate().success());
    for client in clients {
        id(&client.join().unwrap().expect("an answer"));
    }
}

#[test]
fn a_second_daemon_on_a_directory_names_the_first() {
    let mut first = daemon();
    first.start();
    let before = id(&first.http().post(ORDERS, &order("a")).unwrap());
    let mut second = daemon().set("wal.dir", first.wal_dir().display().to_string());
    second.launch();
    assert_eq!(second.wait(LONG).code(), Some(73));
    let (said, pid) = (second.log(), first.pid());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert!(said.contains(&pid.to_string()) && said.contains(host.trim()), "{said}");
    // The first daemon was not affected.
    assert_eq!(status(&mut first.http(), &before).status, 200);
    id(&first.http().post(ORDERS, &order("b")).unwrap());
    assert!(first.terminate().success());
    second.launch();
    second.await_ready();
}

#[test]
fn five_config_errors_are_reported_at_once_with_their_places() {
    let mut forebay = daemon()
        .set("wal.segment_size", "1KiB")
        .set("wal.segmnt", 1)
        .set("drain.workers", 1_000)
        .set("kafka.acks", "some")
        .set("telemetry.log_level", "loud");
    forebay.launch();
    assert_eq!(forebay.wait(LONG).code(), Some(64));
    let said = forebay.log();
    for place in
        ["[wal] segment_size", "[wal] segmnt", "[drain] workers", "[kafka] acks", "[telemetry] log_level"]
    {
        assert_eq!(said.matches(place).count(), 1, "{place} in:\n{said}");
    }
    for found in ["1KiB", "1000", "some", "loud"] {
        assert!(said.contains(found), "{found} in:\n{said}");
    }
    assert!(!forebay.wal_dir().exists(), "the log's directory must not be created");
}
