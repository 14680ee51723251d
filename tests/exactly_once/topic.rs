//! The topic of the positions, made another way.

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
