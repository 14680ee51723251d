//! The topic of the positions: made another way; read while all workers write.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use forebay::kafka::Compacted;
use forebay::kafka::Config;
use rdkafka::ClientConfig;
use rdkafka::producer::BaseProducer;
use rdkafka::producer::BaseRecord;
use rdkafka::producer::Producer as _;

use crate::daemon::LONG;
use crate::daemon::figure;
use crate::forebay;
use crate::load::Load;
use crate::load::Plan;
use crate::support::admin::Admin;
use crate::support::consume::read_all;
use crate::support::kafka::ClusterOptions;
use crate::support::services;
use crate::support::wait;

#[test]
fn a_topic_that_forgets_positions_is_refused_and_accepting_goes_on() {
    let test = "a_topic_that_forgets_positions_is_refused_and_accepting_goes_on";
    let Some(kafka) = services::kafka(test) else { return };
    let cluster = kafka.start(ClusterOptions::single());
    let admin = Admin::new(&cluster.bootstrap());
    admin.create_topic("orders.v1", 6, 1, &[]);
    admin.create_topic("forebay.checkpoints", 1, 1, &[("cleanup.policy", "delete")]);
    let mut forebay = forebay(&cluster.bootstrap()).set("drain.retry_backoff_max", "1s");
    forebay.start();
    let load = Load::start(&Plan::new(forebay.address()));
    load.await_accepted(300);
    let sent = load.stop();
    wait::until_true("it says what is wrong", LONG, || {
        let ready = forebay.admin_http().get("/readyz").unwrap();
        ready.status == 200 && ready.text().contains("cleanup.policy")
    });
    assert_eq!(figure(&forebay, "watermark_lsn"), 1, "nothing is sent");
    assert!(read_all(&cluster.bootstrap(), "orders.v1").is_empty());
    admin.set_topic_config("forebay.checkpoints", &[("cleanup.policy", "compact")]);
    crate::assert_once("topic mended", &forebay, &cluster.bootstrap(), &sent);
    assert!(forebay.term().success());
}

/// A worker that waited for the end of the topic waited for ever: there was always one more message.
#[test]
fn the_positions_are_read_while_others_write_without_a_pause() {
    let Some(kafka) = services::kafka("the_positions_are_read_while_others_write_without_a_pause") else {
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
                    // A full queue empties while it is polled.
                    let _ = producer.send(BaseRecord::to("table").key(key).payload(&[b'x'; 1000]));
                }
                producer.poll(Duration::ZERO);
                written.store(
                    producer.in_flight_count() > 100 || written.load(Ordering::Relaxed),
                    Ordering::Relaxed,
                );
            }
        });
        wait::until_true("it writes", LONG, || written.load(Ordering::Relaxed));
        let table = Compacted::new(&Config::default(), &bootstrap, "table").unwrap();
        let end = Instant::now() + LONG;
        let found = table.read(|_| true, &mut || Instant::now() < end);
        is_read.store(true, Ordering::Relaxed);
        assert!(!found.unwrap().unwrap().is_empty());
    });
}
