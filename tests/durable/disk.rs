//! A disk that becomes full, and free again.

use std::path::Path;

use crate::daemon::{LONG, await_drained, backlog_value, forebay};
use crate::load::{Load, LoadOptions};
use support::admin::Admin;
use support::consume::read_all;
use support::delivery_check::check;
use support::disk::SmallDisk;
use support::kafka::ClusterOptions;
use support::process::Forebay;
use support::{scratch, services, wait};

fn segments(forebay_log: &Path, place: &str) -> usize {
    std::fs::read_dir(forebay_log.join(place)).unwrap().count()
}

fn refused(forebay: &Forebay) -> bool {
    let body = format!(r#"{{"id":"probe","key":"k0-0","amount":0,"filling":"{}"}}"#, "x".repeat(8_000));
    let answer = forebay.http().post("/v1/commands/order.create", &body).unwrap();
    if answer.status != 507 {
        return false;
    }
    assert_eq!(answer.json()["code"], "disk_full", "{}", answer.text());
    assert!(answer.header("retry-after").is_some());
    true
}

#[test]
fn a_full_disk_gives_507_until_records_are_delivered() {
    let Some(kafka) = services::kafka("a_full_disk_gives_507_until_records_are_delivered") else {
        return;
    };
    let cluster = kafka.start(ClusterOptions::single());
    Admin::new(&cluster.bootstrap()).create_topic("orders.v1", 3, 1, &[]);
    let home = scratch::dir("small-disk");
    let _disk = SmallDisk::mount(home.path(), 24);
    let log = home.path().join("wal");
    let mut forebay = forebay(&cluster.bootstrap())
        .set("wal.dir", log.display().to_string())
        .set("wal.reserve_space", "4MiB")
        .set("drain.workers", 2);
    forebay.start();
    let mut plan = LoadOptions::new(forebay.address());
    plan.padding_bytes = 4_000;
    let load = Load::start(&plan);
    // Some delivered segments, which the daemon can delete early.
    load.await_accepted(1_500);
    let first = load.stop();
    await_drained(&forebay);
    wait::until_true("delivered segments are kept", LONG, || segments(&log, "acked") >= 4);
    cluster.broker(1).stop();
    let load = Load::start(&plan);
    wait::until_true("the disk is full", LONG, || refused(&forebay));
    assert_eq!(segments(&log, "acked"), 0, "delivered segments are deleted early for new commands");
    assert_eq!(forebay.http().get("/readyz").unwrap().status, 503);
    let second = load.stop();
    let waiting = backlog_value(&forebay, "backlog");
    assert!(waiting > 1_000, "{waiting}");
    cluster.broker(1).start();
    await_drained(&forebay);
    wait::until_true("it accepts again", LONG, || !refused(&forebay));
    assert_eq!(forebay.http().get("/readyz").unwrap().status, 200);
    await_drained(&forebay);
    let records: Vec<_> = read_all(&cluster.bootstrap(), "orders.v1")
        .into_iter()
        .filter(|record| !record.text().contains("\"probe\""))
        .collect();
    // Both loads number their keys from 0. The command ids distinguish them.
    let split = first.values().flatten().flatten().count();
    let (early, late): (Vec<_>, Vec<_>) = {
        let ids: std::collections::HashSet<_> = first.values().flatten().flatten().cloned().collect();
        records.into_iter().partition(|record| ids.contains(record.header("forebay-command-id").unwrap()))
    };
    println!("disk full: {split} before, {} then {}", check(&first, &early), check(&second, &late));
    assert!(forebay.terminate().success());
}
