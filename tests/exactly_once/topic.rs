//! The checkpoint topic: created with other settings, or read while all workers write.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use forebay::kafka::{CompactedTable, Config};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::daemon::{LONG, backlog_value};
use crate::forebay;
use crate::load::{Load, LoadOptions};
use support::admin::Admin;
use support::consume::read_all;
use support::kafka::ClusterOptions;
use support::produce::produce_ok;
use support::{services, wait};

#[test]
fn the_checkpoint_topic_is_compacted_despite_automatic_topic_creation() {
    let test = "the_checkpoint_topic_is_compacted_despite_automatic_topic_creation";
    let Some(kafka) = services::kafka(test) else { return };
    let cluster = kafka.start(ClusterOptions::single());
    let admin = Admin::new(&cluster.bootstrap());
    let mut forebay = forebay(&cluster.bootstrap());
    forebay.start();
    let load = Load::start(&LoadOptions::new(forebay.address()));
    load.await_accepted(300);
    crate::assert_once("topic created", &forebay, &cluster.bootstrap(), &load.stop());
    assert_eq!(admin.describe("forebay.checkpoints", "cleanup.policy"), (1, "compact".into()));
    assert!(forebay.terminate().success());
}

/// State left by earlier versions: the broker created the topic with its defaults, and nothing was written to it.
#[test]
fn an_empty_topic_with_broker_defaults_is_corrected() {
    let Some(kafka) = services::kafka("an_empty_topic_with_broker_defaults_is_corrected") else {
        return;
    };
    let cluster = kafka.start(ClusterOptions::single());
    let admin = Admin::new(&cluster.bootstrap());
    admin.create_topic("forebay.checkpoints", 6, 1, &[("retention.ms", "3600000")]);
    let mut forebay = forebay(&cluster.bootstrap());
    forebay.start();
    let load = Load::start(&LoadOptions::new(forebay.address()));
    load.await_accepted(300);
    crate::assert_once("topic corrected", &forebay, &cluster.bootstrap(), &load.stop());
    assert_eq!(admin.describe("forebay.checkpoints", "cleanup.policy"), (6, "compact".into()));
    assert_eq!(
        admin.describe("forebay.checkpoints", "retention.ms").1,
        "3600000",
        "the other settings remain"
    );
    assert!(forebay.terminate().success());
}

/// The daemon must not change a topic that was configured or written to by others.
#[test]
fn a_used_topic_with_broker_defaults_is_rejected_with_instructions() {
    let test = "a_used_topic_with_broker_defaults_is_rejected_with_instructions";
    let Some(kafka) = services::kafka(test) else { return };
    let cluster = kafka.start(ClusterOptions::single());
    let admin = Admin::new(&cluster.bootstrap());
    admin.create_topic("forebay.checkpoints", 6, 1, &[]);
    produce_ok(&cluster.bootstrap(), "forebay.checkpoints", &[("somebody", "else's")]);
    let mut forebay = forebay(&cluster.bootstrap());
    forebay.start();
    wait::until_true("the fix is reported", LONG, || {
        let ready = forebay.admin_http().get("/readyz").unwrap();
        ready.status == 200 && ready.text().contains("--add-config cleanup.policy=compact")
    });
    assert_eq!(admin.describe("forebay.checkpoints", "cleanup.policy"), (6, "delete".into()));
    assert!(forebay.terminate().success());
}

#[test]
fn a_topic_that_drops_positions_is_rejected_and_accepting_continues() {
    let test = "a_topic_that_drops_positions_is_rejected_and_accepting_continues";
    let Some(kafka) = services::kafka(test) else { return };
    let cluster = kafka.start(ClusterOptions::single());
    let admin = Admin::new(&cluster.bootstrap());
    admin.create_topic("orders.v1", 6, 1, &[]);
    admin.create_topic("forebay.checkpoints", 1, 1, &[("cleanup.policy", "delete")]);
    let mut forebay = forebay(&cluster.bootstrap()).set("drain.retry_backoff_max", "1s");
    forebay.start();
    let load = Load::start(&LoadOptions::new(forebay.address()));
    load.await_accepted(300);
    let sent = load.stop();
    wait::until_true("the problem is reported", LONG, || {
        let ready = forebay.admin_http().get("/readyz").unwrap();
        ready.status == 200 && ready.text().contains("cleanup.policy")
    });
    assert_eq!(backlog_value(&forebay, "watermark_lsn"), 1, "nothing is sent");
    assert!(read_all(&cluster.bootstrap(), "orders.v1").is_empty());
    admin.set_topic_config("forebay.checkpoints", &[("cleanup.policy", "compact")]);
    crate::assert_once("topic fixed", &forebay, &cluster.bootstrap(), &sent);
    assert!(forebay.terminate().success());
}

/// Regression: a worker that waited for the end of the topic waited indefinitely, because there was always another
/// message.
#[test]
fn the_positions_are_read_while_others_write_continuously() {
    let Some(kafka) = services::kafka("the_positions_are_read_while_others_write_continuously") else {
        return;
    };
    let cluster = kafka.start(ClusterOptions::single());
    Admin::new(&cluster.bootstrap()).create_topic("table", 1, 1, &[("cleanup.policy", "compact")]);
    let bootstrap = cluster.bootstrap();
    let (written, is_read) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut settings = ClientConfig::new();
            let producer: BaseProducer =
                settings.set("bootstrap.servers", &bootstrap).set("linger.ms", "0").create().unwrap();
            while !is_read.load(Ordering::Relaxed) {
                for key in ["a", "b", "c"] {
                    // Polling empties a full queue.
                    let _ = producer.send(BaseRecord::to("table").key(key).payload(&[b'x'; 1000]));
                }
                producer.poll(Duration::ZERO);
                written.store(
                    producer.in_flight_count() > 100 || written.load(Ordering::Relaxed),
                    Ordering::Relaxed,
                );
            }
        });
        wait::until_true("the producer has written", LONG, || written.load(Ordering::Relaxed));
        let table = CompactedTable::new(&Config::default(), &bootstrap, "table").unwrap();
        let end = Instant::now() + LONG;
        let found = table.read(|_| true, &mut || Instant::now() < end);
        is_read.store(true, Ordering::Relaxed);
        assert!(!found.unwrap().unwrap().is_empty());
    });
}
