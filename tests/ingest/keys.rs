//! `Idempotency-Key`: one command, however often and however fast it is sent.

use std::collections::HashSet;
use std::sync::{Arc, Barrier};

use crate::daemon::{LONG, await_drained, embedded_broker, kind};
use crate::requests::{ORDERS, batch, daemon, daemon_on, id, ids, is_replay, keyed, order, refusal, status};
use support::admin::{Admin, unique_name};
use support::consume::{read_all, read_until};
use support::http::Connection;
use support::kafka::ClusterOptions;
use support::{services, wait};

#[test]
fn a_repeated_request_gets_the_first_id_after_kill_9() {
    let kinds = [kind("order.create", "orders.v1"), kind("invoice.create", "invoices.v1")].concat();
    let mut forebay = daemon().toml(&kinds);
    forebay.start();
    let http = &mut forebay.http();
    let first = keyed(http, "order.create", "k-1", &order("a"));
    assert!(!is_replay(&first));
    // At once, so that only the log knows the key.
    forebay.kill();
    forebay.start();
    let http = &mut forebay.http();
    for spelling in ["k-1", "\"k-1\""] {
        let again = keyed(http, "order.create", spelling, &order("a"));
        assert!(is_replay(&again));
        assert_eq!((id(&again), again.json()), (id(&first), first.json()));
        assert_eq!(again.header("location"), first.header("location"));
    }
    // Only the body distinguishes clients without a token.
    let other_body = keyed(http, "order.create", "k-1", &order("a").replace(":1", ": 1"));
    assert!(!is_replay(&other_body) && id(&other_body) != id(&first));
    let other_kind = keyed(http, "invoice.create", "k-1", &order("b"));
    assert!(!is_replay(&other_kind) && id(&other_kind) != id(&first));
    // A rejected request does not use its key.
    assert_eq!(keyed(http, "order.create", "k-2", "{").status, 400);
    assert!(!is_replay(&keyed(http, "order.create", "k-2", &order("c"))));
    await_drained(&forebay);
    let records = read_all(&embedded_broker(&forebay), "orders.v1");
    let mut keys: Vec<_> = records.iter().map(|record| record.header("forebay-idempotency-key")).collect();
    keys.sort();
    assert_eq!(keys, [Some("k-1"), Some("k-1"), Some("k-2")]);
    assert!(records.iter().any(|record| record.header("forebay-command-id") == Some(&id(&first))));
}

#[test]
fn concurrent_requests_with_one_key_create_one_record() {
    const ROUNDS: usize = 25;
    const CLIENTS: usize = 64;
    let mut forebay = daemon();
    forebay.start();
    let barrier = Arc::new(Barrier::new(CLIENTS));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (mut http, barrier) = (forebay.http(), Arc::clone(&barrier));
            std::thread::spawn(move || -> Vec<(String, bool)> {
                let rounds = (0..ROUNDS).map(|round| {
                    barrier.wait();
                    let answer =
                        keyed(&mut http, "order.create", &format!("k-{round}"), &order(&round.to_string()));
                    (id(&answer), is_replay(&answer))
                });
                rounds.collect()
            })
        })
        .collect();
    let answers: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    let mut all = HashSet::new();
    for round in 0..ROUNDS {
        let of_round: HashSet<_> = answers.iter().map(|client| &client[round].0).collect();
        assert_eq!(of_round.len(), 1, "{of_round:?}");
        assert_eq!(answers.iter().filter(|client| !client[round].1).count(), 1, "exactly one was the first");
        all.extend(of_round);
    }
    await_drained(&forebay);
    let records = read_all(&embedded_broker(&forebay), "orders.v1");
    assert_eq!((all.len(), records.len()), (ROUNDS, ROUNDS));
}

#[test]
fn a_key_and_a_status_expire_with_their_segment() {
    let mut forebay = daemon().set("wal.segment_max_age", "1s").set("wal.retain_acked_age", "2s");
    forebay.start();
    let http = &mut forebay.http();
    let first = id(&keyed(http, "order.create", "k", &order("a")));
    assert!(is_replay(&keyed(http, "order.create", "k", &order("a"))));
    wait::until_true("the segment expires", LONG, || status(http, &first).status == 404);
    // Its digest expired too: another body is no conflict.
    let second = keyed(http, "order.create", "k", &order("b"));
    assert!(!is_replay(&second) && id(&second) != first);
    assert!(is_replay(&keyed(http, "order.create", "k", &order("b"))));
}

#[test]
fn a_key_expires_with_its_segment_before_an_older_one() {
    let test = "a_key_expires_with_its_segment_before_an_older_one";
    let Some(kafka) = services::kafka(test) else { return };
    // Otherwise the broker creates the missing topic.
    let cluster = kafka.start(ClusterOptions::single().set("auto.create.topics.enable", "false"));
    let (kafka, topic) = (cluster.bootstrap(), unique_name("orders"));
    Admin::new(&kafka).create_topic(&topic, 1, 1, &[]);
    let mut forebay = daemon_on(&kafka, &topic)
        .toml(&kind("lost.create", &unique_name("missing")))
        .set("drain.topic_fault_grace", "0s")
        .set("wal.segment_max_age", "1s")
        .set("wal.retain_acked_age", "1ms");
    forebay.start();
    let http = &mut forebay.http();
    // Cannot be sent, so its segment is retained.
    let lost = id(&keyed(http, "lost.create", "k", &order("a")));
    let sealed = || std::fs::read_dir(forebay.wal_dir().join("pending")).unwrap().count() > 1;
    wait::until_true("its segment is sealed", LONG, sealed);
    let first = id(&keyed(http, "order.create", "k", &order("a")));
    wait::until_true("the later segment expires", LONG, || status(http, &first).status == 404);
    assert_eq!(status(http, &lost).json()["state"], "accepted");
    let second = keyed(http, "order.create", "k", &order("a"));
    assert!(id(&second) != first && !is_replay(&second));
    assert!(is_replay(&keyed(http, "lost.create", "k", &order("a"))));
}

#[test]
fn a_repeated_batch_gets_all_its_ids_in_order() {
    let mut forebay = daemon();
    forebay.start();
    let lines: Vec<_> = (0..10_000).map(|n| order(&n.to_string())).collect();
    let lines = lines.join("\n");
    let key = [("Idempotency-Key", "b")];
    let first = ids(&batch(&mut forebay.http(), &key, &lines));
    assert_eq!(first.iter().collect::<HashSet<_>>().len(), 10_000);
    let again = batch(&mut forebay.http(), &key, &lines);
    assert!(is_replay(&again) && ids(&again) == first);
    forebay.kill();
    forebay.start();
    let http = &mut forebay.http();
    let again = batch(http, &key, &lines);
    assert!(is_replay(&again) && ids(&again) == first);
    assert_eq!(refusal(&batch(http, &key, &lines[1..].replace("\"1\"", "\"x\""))).0, 400);
    let other = batch(http, &key, &(lines + "\n"));
    assert!(!is_replay(&other) && ids(&other).iter().all(|id| !first.contains(id)));
}

#[test]
fn a_too_long_or_unprintable_key_is_rejected() {
    let mut forebay = daemon();
    forebay.start();
    let http = &mut forebay.http();
    id(&keyed(http, "order.create", &"k".repeat(255), &order("a")));
    for key in ["", "\"\"", "schlüssel", "a\tb", &"k".repeat(256)] {
        let answer = keyed(http, "order.create", key, &order("a"));
        assert_eq!(refusal(&answer), (400, "bad_header".to_owned()), "{key:?}");
        assert_eq!(answer.json()["field"], "Idempotency-Key");
    }
    let twice = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")];
    assert_eq!(http.request("POST", ORDERS, &twice, order("a").as_bytes()).unwrap().status, 400);
    let mut raw = Connection::open(&forebay.address()).unwrap();
    raw.send(
        format!(
            "POST {ORDERS} HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: a\0b\r\nContent-Length: 2\r\n\r\n{{}}"
        )
        .as_bytes(),
    )
    .unwrap();
    assert_eq!(raw.receive("POST").unwrap().status, 400);
    await_drained(&forebay);
    let records = read_until(&embedded_broker(&forebay), "orders.v1", LONG, |records| !records.is_empty());
    assert_eq!(records.len(), 1);
}
