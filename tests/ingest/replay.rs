//! A range delivered again by a running daemon, as requested by `wal-tools replay --apply`.

use forebay::control;
use forebay::control::{ControlResponse, RecordOutcome, Request};
use forebay::wal::Lsn;

use crate::daemon::{await_drained, backlog_value, embedded_broker};
use crate::requests::{
    ORDERS, await_sent, batch, daemon, filled, id, ids, is_replay, keyed, order, refusal, status,
};
use support::consume::read_all;
use support::process::Forebay;

fn replay(forebay: &Forebay, lsns: impl IntoIterator<Item = u64>) -> Vec<RecordOutcome> {
    let request = Request::Replay { lsns: lsns.into_iter().map(Lsn).collect() };
    match control::send_request(&forebay.wal_dir(), &request).expect("an answer") {
        ControlResponse::Done(done) => done,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_replay_keeps_ids_order_and_statuses() {
    const COUNT: usize = 600;
    let mut forebay = daemon();
    forebay.start();
    let http = &mut forebay.http();
    let first = id(&keyed(http, "order.create", "k-1", &order("a")));
    let lines: String = (1..COUNT).map(|n| order(&format!("o-{}", n % 7)) + "\n").collect();
    let mut all = vec![first.clone()];
    all.extend(ids(&batch(http, &[], &lines)));
    await_drained(&forebay);
    let before = await_sent(http, &first);
    let done = replay(&forebay, 1..=COUNT as u64);
    assert!(done.iter().all(|one| one.error.is_none()), "{done:?}");
    let numbers: Vec<_> = done.iter().map(|one| (one.lsn.0, one.requeued_as.expect("a number").0)).collect();
    let count = COUNT as u64;
    assert!(numbers.iter().copied().eq((1..=count).map(|lsn| (lsn, lsn + count))), "{numbers:?}");
    await_drained(&forebay);
    let mut records = read_all(&embedded_broker(&forebay), "orders.v1");
    assert_eq!(records.len(), 2 * COUNT);
    records.sort_by_key(|record| (record.partition, record.offset));
    // For each key: all its commands in order, then all of them again.
    for key in records.iter().map(|record| record.key.clone()).collect::<std::collections::BTreeSet<_>>() {
        let of_key: Vec<_> = records.iter().filter(|record| record.key == key).collect();
        let (once, again) = of_key.split_at(of_key.len() / 2);
        let ids = |records: &[&support::consume::Record]| -> Vec<String> {
            records
                .iter()
                .map(|record| record.header("forebay-command-id").expect("an id").to_owned())
                .collect()
        };
        assert_eq!(ids(once), ids(again));
        assert!(all.iter().filter(|id| ids(once).contains(id)).eq(ids(once).iter()), "in order");
        assert!(once.iter().zip(again).all(|(a, b)| a.value == b.value));
    }
    assert_eq!(status(http, &first).json(), before, "the status of a sent command does not change");
    for restarted in [false, true] {
        if restarted {
            // The index is read from the log again if it was not saved: it must not find the copies.
            forebay.kill();
            forebay.start();
        }
        let again = keyed(&mut forebay.http(), "order.create", "k-1", &order("a"));
        assert!(is_replay(&again));
        assert_eq!(id(&again), first);
    }
}

#[test]
fn undelivered_records_and_a_full_backlog_reject_a_replay() {
    let mut forebay = daemon().set("wal.max_backlog_size", "64KiB");
    forebay.start();
    let http = &mut forebay.http();
    for n in 0..3 {
        id(&keyed(http, "order.create", &format!("k-{n}"), &order("a")));
    }
    await_drained(&forebay);
    forebay.admin_http().post("/admin/drain/pause", "").expect("an answer");
    id(&http.post(ORDERS, &order("b")).expect("an answer"));
    let done = replay(&forebay, [2, 4, 3]);
    assert_eq!((done.len(), done[0].requeued_as), (2, Some(Lsn(5))), "{done:?}");
    assert!(done[1].error.as_deref().is_some_and(|error| error.contains("not delivered")), "{done:?}");
    let full = loop {
        let answer = http.post(ORDERS, &filled(&order("c"), 8_000)).expect("an answer");
        if answer.status != 202 {
            break refusal(&answer);
        }
    };
    assert_eq!(full.1, "backlog_full");
    let backlog = backlog_value(&forebay, "backlog");
    let done = replay(&forebay, [1, 2]);
    assert_eq!(done.len(), 1, "{done:?}");
    assert!(done[0].error.as_deref().is_some_and(|error| error.contains("backlog")), "{done:?}");
    assert_eq!(backlog_value(&forebay, "backlog"), backlog);
    forebay.admin_http().post("/admin/drain/resume", "").expect("an answer");
    await_drained(&forebay);
    assert!(replay(&forebay, [1, 2]).iter().all(|one| one.error.is_none()));
    let gone = replay(&forebay, [999_999]);
    assert!(gone[0].error.is_some(), "{gone:?}");
}
