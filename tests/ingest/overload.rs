//! Overload: each limit rejects with its own code, tells when to retry, and accepts again without intervention.

use std::sync::{Arc, Barrier};

use crate::daemon::{LONG, await_drained, backlog_value, resident};
use crate::requests::{ORDERS, daemon, daemon_on, filled, has_strace, id, order, refusal, slow_flushes};
use support::admin::Admin;
use support::http::Response;
use support::kafka::ClusterOptions;
use support::process::Forebay;
use support::{services, wait};

/// `/readyz` of the operators' listener. The public listener must report the same readiness; it is queried before and
/// after, because the state may change in between.
fn ready(forebay: &Forebay) -> Response {
    let said = |answer: &Response| (answer.status, answer.json()["reason"].clone());
    wait::until("readiness is stable", LONG, || {
        let public = forebay.http().get("/readyz").unwrap();
        let admin = forebay.admin_http().get("/readyz").unwrap();
        let again = forebay.http().get("/readyz").unwrap();
        let still = said(&public) == said(&again);
        assert!(!still || said(&public) == said(&admin), "{:?} and {:?}", said(&public), said(&admin));
        still.then_some(admin)
    })
}

#[test]
fn a_full_backlog_rejects_until_kafka_is_available() {
    let Some(kafka) = services::kafka("a_full_backlog_rejects_until_kafka_is_available") else {
        return;
    };
    let cluster = kafka.start(ClusterOptions::single());
    Admin::new(&cluster.bootstrap()).create_topic("orders.v1", 2, 1, &[]);
    let mut forebay = daemon_on(&cluster.bootstrap(), "orders.v1").set("wal.max_backlog_size", "8MiB");
    forebay.start();
    let http = &mut forebay.http();
    id(&http.post(ORDERS, &order("before")).unwrap());
    await_drained(&forebay);
    wait::until_true("Kafka is healthy", LONG, || ready(&forebay).json()["dependencies"]["kafka"] == "ok");
    cluster.broker(1).kill();
    id(&http.post(ORDERS, &order("away")).unwrap());
    wait::until_true("Kafka is reported as unavailable", LONG, || {
        ready(&forebay).json()["dependencies"]["kafka"] != "ok"
    });
    assert_eq!(ready(&forebay).status, 200, "commands are accepted without Kafka");
    let filling = filled(&order("a"), 50_000);
    let mut accepted = 0;
    let refused = wait::until("the backlog is full", LONG, || {
        let answer = http.post(ORDERS, &filling).unwrap();
        accepted += u32::from(answer.status == 202);
        (answer.status != 202).then_some(answer)
    });
    assert_eq!(refusal(&refused), (503, "backlog_full".to_owned()));
    // 8 MiB of commands of 50 kB each.
    assert!((150..180).contains(&accepted), "{accepted}");
    assert_eq!((ready(&forebay).status, &ready(&forebay).json()["reason"]), (503, &"backlog_full".into()));
    cluster.broker(1).start();
    wait::until_true("it accepts again", LONG, || http.post(ORDERS, &order("after")).unwrap().status == 202);
    await_drained(&forebay);
    wait::until_true("Kafka is healthy", LONG, || ready(&forebay).json()["dependencies"]["kafka"] == "ok");
    assert_eq!(ready(&forebay).status, 200);
}

#[test]
fn a_slow_disk_fills_the_queue_within_bounded_memory() {
    const CLIENTS: usize = 48;
    let test = "a_slow_disk_fills_the_queue_within_bounded_memory";
    if !has_strace(test) {
        return;
    }
    let mut forebay = daemon().set("wal.commit_queue.requests", 4);
    forebay.start();
    id(&forebay.http().post(ORDERS, &order("before")).unwrap());
    let before = resident(&forebay);
    let slow = slow_flushes(&mut forebay);
    let barrier = Arc::new(Barrier::new(CLIENTS));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (mut http, barrier) = (forebay.http(), Arc::clone(&barrier));
            let body = filled(&order(&client.to_string()), 500_000);
            std::thread::spawn(move || -> Vec<Response> {
                barrier.wait();
                (0..4).map(|_| http.post(ORDERS, &body).unwrap()).collect()
            })
        })
        .collect();
    let answers: Vec<_> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    drop(slow);
    let (accepted, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 202);
    println!("{} accepted, {} refused", accepted.len(), refused.len());
    assert!(!accepted.is_empty() && refused.len() > CLIENTS, "{} {}", accepted.len(), refused.len());
    for answer in &refused {
        assert_eq!(refusal(answer), (503, "queue_full".to_owned()));
    }
    // Each connection may hold its body; nothing more accumulates.
    let after = resident(&forebay);
    assert!(after < before + (96 << 20), "memory grew from {before} to {after} bytes");
    id(&forebay.http().post(ORDERS, &order("after")).unwrap());
    assert_eq!(ready(&forebay).status, 200);
    assert!(backlog_value(&forebay, "backlog") <= accepted.len() as u64 + 2);
}
