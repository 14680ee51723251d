//! Two copies of one log: both running, or one restored from an older state.

use crate::crash::await_sent;
use crate::daemon::{LONG, await_drained, backlog_value};
use crate::forebay;
use crate::load::{Load, LoadOptions, SentCommands};
use support::admin::Admin;
use support::consume::read_all;
use support::delivery_check::check;
use support::kafka::ClusterOptions;
use support::process::Forebay;
use support::scratch::copy;
use support::{services, wait};

fn console_output(forebay: &Forebay) -> String {
    let ready = forebay.admin_http().get("/readyz").unwrap().json();
    ready["dependencies"]["kafka"].as_str().unwrap_or_else(|| panic!("{ready}")).to_owned()
}

/// Sends `n` records for one key, numbered from `first`.
fn post(forebay: &Forebay, key: &str, numbers: std::ops::Range<usize>, sent: &mut SentCommands) {
    let mut http = forebay.http();
    let of_key = sent.entry(key.to_owned()).or_default();
    for number in numbers {
        let body = format!(r#"{{"id":"{key}","key":"{key}","amount":{number}}}"#);
        let answer = http.post("/v1/commands/order.create", &body).unwrap();
        assert_eq!(answer.status, 202, "{}", answer.text());
        assert_eq!(of_key.len(), number);
        of_key.push(Some(answer.json()["id"].as_str().unwrap().to_owned()));
    }
}

#[test]
fn only_one_of_two_live_copies_continues() {
    let test = "only_one_of_two_live_copies_continues";
    let Some(kafka) = services::kafka(test) else { return };
    let cluster = kafka.start(ClusterOptions::single());
    Admin::new(&cluster.bootstrap()).create_topic("orders.v1", 6, 1, &[]);
    let mut first = forebay(&cluster.bootstrap()).set("drain.workers", 2);
    first.start();
    let mut sent = SentCommands::new();
    post(&first, "a", 0..50, &mut sent);
    await_drained(&first);
    assert!(first.terminate().success());
    let mut second = forebay(&cluster.bootstrap()).set("drain.workers", 2);
    copy(&first.wal_dir(), &second.wal_dir());
    // The first one uses more ids than the copy can know of.
    first.configure("drain.workers", 5);
    // The first daemon continues. The copy, started in parallel, differs from the log that Kafka has seen since.
    first.start();
    let load = Load::start(&LoadOptions::new(first.address()));
    await_sent(&first);
    second.start();
    wait::until_true("the copy has stopped sending", LONG, || {
        console_output(&second).contains("nothing is sent")
    });
    let says = console_output(&second);
    assert!(says.contains("which is unknown to this log") && says.contains("took over"), "{says}");
    post(&second, "b", 0..20, &mut SentCommands::new());
    load.await_accepted(500);
    sent.extend(load.stop());
    await_drained(&first);
    let counts = check(&sent, &read_all(&cluster.bootstrap(), "orders.v1"));
    assert_eq!(counts.repeated, 0, "{counts}\n{}", first.log());
    assert_eq!(backlog_value(&second, "backlog"), 20, "accepted and retained");
    assert_eq!(console_output(&first), "ok");
    // Configured to continue, the copy takes over, and the first daemon reports it.
    assert!(second.terminate().success());
    second.configure("drain.on_restored_log", "continue-after-kafka");
    second.start();
    await_drained(&second);
    let before = read_all(&cluster.bootstrap(), "orders.v1").len();
    // Keys of all the first daemon's workers.
    (0..30).for_each(|n| post(&first, &format!("c{n}"), 0..1, &mut SentCommands::new()));
    wait::until_true("the first daemon has stopped sending", LONG, || {
        console_output(&first).contains("took over")
    });
    assert_eq!(backlog_value(&first, "backlog"), 30, "accepted and retained");
    assert_eq!(read_all(&cluster.bootstrap(), "orders.v1").len(), before);
    assert_eq!(console_output(&second), "ok");
    assert!(first.terminate().success() && second.terminate().success());
}

/// Starts a copy of a log taken after 30 records, all of them in Kafka. It is restored when Kafka has 60. Then 20 new
/// ones follow.
fn restored(setting: Option<&str>, then: impl Fn(&mut Forebay, &str, &mut SentCommands)) {
    let Some(kafka) = services::kafka("a restored log") else { return };
    let cluster = kafka.start(ClusterOptions::single());
    Admin::new(&cluster.bootstrap()).create_topic("orders.v1", 6, 1, &[]);
    let mut original = forebay(&cluster.bootstrap());
    original.start();
    let mut sent = SentCommands::new();
    post(&original, "a", 0..30, &mut sent);
    await_drained(&original);
    let mut copied = forebay(&cluster.bootstrap());
    // The copy is made while the daemon runs, because a backup also contains a checkpoint older than Kafka's state.
    copy(&original.wal_dir(), &copied.wal_dir());
    post(&original, "a", 30..60, &mut sent);
    await_drained(&original);
    original.kill();
    copied = match setting {
        Some(setting) => copied.set("drain.on_restored_log", setting),
        None => copied,
    };
    copied.start();
    post(&copied, "a", 60..80, &mut sent);
    then(&mut copied, &cluster.bootstrap(), &mut sent);
    assert!(copied.terminate().success());
}

#[test]
fn a_restored_log_sends_nothing_until_configured() {
    restored(None, |copied, bootstrap, sent| {
        wait::until_true("the copy has stopped sending", LONG, || {
            console_output(copied).contains("nothing is sent")
        });
        assert!(backlog_value(copied, "backlog") >= 20);
        assert_eq!(read_all(bootstrap, "orders.v1").len(), 60);
        // Once configured, at a later start, it sends the records accepted meanwhile, although their LSNs are in
        // Kafka already.
        assert!(copied.terminate().success());
        copied.configure("drain.on_restored_log", "continue-after-kafka");
        copied.start();
        await_drained(copied);
        let counts = check(sent, &read_all(bootstrap, "orders.v1"));
        assert_eq!((counts.repeated, counts.records), (0, 80), "{counts}");
    });
}

#[test]
fn a_restored_log_continues_after_kafka() {
    restored(Some("continue-after-kafka"), |copied, bootstrap, sent| {
        await_drained(copied);
        let counts = check(sent, &read_all(bootstrap, "orders.v1"));
        assert_eq!((counts.repeated, counts.records), (0, 80), "{counts}");
    });
}

#[test]
fn a_restored_log_resends_records_missing_in_its_checkpoint() {
    restored(Some("resend"), |copied, bootstrap, sent| {
        await_drained(copied);
        let counts = check(sent, &read_all(bootstrap, "orders.v1"));
        assert!(counts.records >= 80, "{counts}");
        // From here on, it is the log that Kafka knows.
        post(copied, "a", 80..90, sent);
        await_drained(copied);
        assert!(copied.terminate().success());
        copied.configure("drain.on_restored_log", "stop");
        copied.start();
        post(copied, "a", 90..100, sent);
        await_drained(copied);
        let after = check(sent, &read_all(bootstrap, "orders.v1"));
        assert_eq!(after.repeated, counts.repeated, "{after}");
    });
}
