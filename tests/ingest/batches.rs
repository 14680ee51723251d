//! Batches: accepted all or nothing, also across a crash, in order, byte for byte.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::daemon::{LONG, await_drained, embedded_broker, metric};
use crate::requests::{ORDERS, await_sent, batch, daemon, daemon_on, filled, id, ids, order, refusal};
use support::admin::{Admin, unique_name};
use support::consume::{read_all, read_until};
use support::http::Client;
use support::{services, wait};

fn lines(count: usize) -> Vec<String> {
    (0..count).map(|n| order(&format!("o-{n}"))).collect()
}

#[test]
fn an_invalid_batch_leaves_no_record_in_the_log() {
    let mut forebay = daemon().set("wal.segment_size", "1MiB");
    forebay.start();
    let http = &mut forebay.http();
    for (bad, pointer) in
        [("{\"id\":\"a\",\"amount\":-1}", "/amount"), ("{\"id\":", ""), ("", ""), ("\u{0}", "")]
    {
        let mut lines = lines(1_000);
        lines[700] = bad.to_owned();
        let answer = batch(http, &[], &lines.join("\n"));
        assert_eq!(refusal(&answer).0, if pointer.is_empty() { 400 } else { 422 }, "{bad:?}");
        let errors = answer.json()["errors"].clone();
        assert_eq!((errors[0]["line"].clone(), errors[0]["pointer"].clone()), (701.into(), pointer.into()));
        assert_eq!(errors.as_array().unwrap().len(), 1, "{errors}");
    }
    for empty in ["", "\n", " \r\n\n"] {
        assert_eq!(refusal(&batch(http, &[], empty)), (400, "empty_batch".to_owned()));
    }
    let small = |count: usize| "{\"id\":\"a\",\"amount\":1}\n".repeat(count);
    assert_eq!(refusal(&batch(http, &[], &small(10_001))), (413, "too_many_lines".to_owned()));
    let large: Vec<_> = lines(100).iter().map(|line| filled(line, 20_000)).collect();
    let answer = batch(http, &[], &large.join("\n"));
    assert_eq!(refusal(&answer).0, 413);
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("one segment"), "it says what the limit is: {detail}");
    assert_eq!(metric(&forebay, "forebay_wal_append_total"), 0.0);
    // The first LSN of the log follows all these rejections.
    id(&http.post(ORDERS, &order("after")).unwrap());
    await_drained(&forebay);
    let watermark = crate::daemon::backlog_value(&forebay, "watermark_lsn");
    assert_eq!(metric(&forebay, "forebay_wal_append_total"), 1.0);
    assert_eq!(read_all(&embedded_broker(&forebay), "orders.v1").len(), 1);
    assert!(watermark <= 2, "{watermark}");
}

#[test]
fn ten_thousand_lines_keep_order_and_bytes() {
    let mut forebay = daemon().toml(&crate::daemon::kind("order.create", "orders.v1"));
    forebay.start();
    let http = &mut forebay.http();
    let spellings = [
        |n: usize| format!("{{\"key\":\"one\",\"n\":{n}}}"),
        |n: usize| format!("  {{ \"n\" : {n}.0e0 ,\t\"key\":\"\\u006fne\" }}  "),
        |n: usize| format!("{{\"ü\":\"€ \u{1f30a}\",\"n\":{n},\"key\":\"one\"}}"),
    ];
    let values: Vec<_> = (0..10_000).map(|n| spellings[n % spellings.len()](n)).collect();
    // Both line ends, and no line end after the last line.
    let ends = ["\n", "\r\n"];
    let text: String = values.iter().enumerate().map(|(n, value)| value.clone() + ends[n % 2]).collect();
    let accepted = ids(&batch(http, &[], text.trim_end_matches(['\r', '\n'])));
    let records =
        read_until(&embedded_broker(&forebay), "orders.v1", LONG, |records| records.len() >= values.len());
    assert_eq!(records.len(), values.len());
    for ((record, value), id) in records.iter().zip(&values).zip(&accepted) {
        assert_eq!((&record.text(), record.header("forebay-command-id")), (value, Some(&id[..])));
        assert_eq!(record.key.as_deref(), Some(&b"one"[..]));
    }
    await_sent(http, &accepted[9_999]);
}

/// Clients that send numbered batches of numbered lines until stopped.
struct BatchLoad {
    stop: Arc<AtomicBool>,
    accepted: Arc<AtomicU64>,
    /// Batches answered with 202.
    known: Arc<Mutex<BTreeSet<u64>>>,
    clients: Vec<std::thread::JoinHandle<()>>,
}

const LINES: u64 = 2_000;

impl BatchLoad {
    fn start(address: &str) -> BatchLoad {
        let (stop, accepted, known) = (Arc::default(), Arc::default(), Arc::default());
        let mut load = BatchLoad { stop, accepted, known, clients: Vec::new() };
        let next = Arc::new(AtomicU64::new(0));
        for _ in 0..3 {
            let (stop, accepted) = (Arc::clone(&load.stop), Arc::clone(&load.accepted));
            let (known, next, mut http) = (Arc::clone(&load.known), Arc::clone(&next), Client::new(address));
            load.clients.push(std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if send(&mut http, number) {
                        known.lock().unwrap().insert(number);
                        accepted.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }));
        }
        load
    }

    fn await_accepted(&self, more: u64) {
        let goal = self.accepted.load(Ordering::Relaxed) + more;
        wait::until_true("batches are accepted", LONG, || self.accepted.load(Ordering::Relaxed) >= goal);
    }

    fn stop(self) -> BTreeSet<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().for_each(|client| client.join().unwrap());
        std::mem::take(&mut self.known.lock().unwrap())
    }
}

/// Sends a batch; returns whether it was accepted.
fn send(http: &mut Client, number: u64) -> bool {
    let line = |line| format!("{{\"key\":\"b{number}\",\"batch\":{number},\"line\":{line}}}\n");
    let body: String = (0..LINES).map(line).collect();
    match http.request("POST", ORDERS, &[("Content-Type", "application/x-ndjson")], body.as_bytes()) {
        Ok(answer) => {
            assert_eq!(ids(&answer).len() as u64, LINES);
            true
        }
        Err(_) => {
            // The daemon is killed or not yet started: retry with a delay, like a real client.
            std::thread::sleep(std::time::Duration::from_millis(20));
            false
        }
    }
}

#[test]
fn kills_during_large_batches_leave_each_whole_or_absent() {
    const KILLS: u64 = 12;
    let test = "kills_during_large_batches_leave_each_whole_or_absent";
    let Some(kafka) = services::shared_kafka(test) else { return };
    let topic = unique_name("orders");
    Admin::new(&kafka).create_topic(&topic, 3, 1, &[]);
    // A batch fills half a segment, so many batches end where a segment is sealed.
    let mut forebay = daemon_on(&kafka, &topic).set("wal.segment_size", "1MiB");
    forebay.start();
    let load = BatchLoad::start(&forebay.address());
    for kill in 0..KILLS {
        load.await_accepted(1 + kill % 4);
        // The kill hits another stage of a batch each time: reading, checking, writing and flushing take some
        // milliseconds.
        std::thread::sleep(std::time::Duration::from_millis(kill * 7 % 20));
        forebay.kill();
        forebay.start();
    }
    load.await_accepted(2);
    let accepted = load.stop();
    await_drained(&forebay);
    let mut found: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    for record in read_all(&kafka, &topic) {
        let value: Value = serde_json::from_str(&record.text()).unwrap();
        let of_batch = found.entry(value["batch"].as_u64().unwrap()).or_default();
        of_batch.insert(value["line"].as_u64().unwrap());
    }
    let torn: Vec<_> = found.iter().filter(|(_, lines)| lines.len() as u64 != LINES).collect();
    assert!(
        torn.is_empty(),
        "{} batches are torn: {:?}",
        torn.len(),
        torn.iter().map(|(n, _)| n).collect::<Vec<_>>()
    );
    let lost: Vec<_> = accepted.iter().filter(|number| !found.contains_key(number)).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    assert!(accepted.len() as u64 > KILLS);
    println!("{KILLS} kills: {} batches acknowledged, {} in Kafka, each whole", accepted.len(), found.len());
    assert!(forebay.terminate().success());
}
