//! Standard error that is closed, full, or not read, during an outage of Kafka.

use std::io;
use std::io::Read;
use std::process::Stdio;

use crate::daemon::{LONG, await_drained, backlog_value, forebay, metric};
use support::admin::Admin;
use support::kafka::ClusterOptions;
use support::output::{full_disk, full_pipe};
use support::process::Forebay;
use support::{services, wait};

fn accept(forebay: &Forebay, id: &str) {
    let body = format!(r#"{{"id":"{id}","amount":12}}"#);
    let answer = forebay.http().post("/v1/commands/order.create", &body).unwrap();
    assert_eq!(answer.status, 202, "{}", answer.text());
}

fn lost(forebay: &Forebay) -> f64 {
    metric(forebay, "forebay_log_lines_lost_total")
}

#[test]
fn delivery_resumes_with_a_broken_standard_error() {
    let Some(kafka) = services::kafka("delivery_resumes_with_a_broken_standard_error") else { return };
    let cluster = kafka.start(ClusterOptions::single());
    Admin::new(&cluster.bootstrap()).create_topic("orders.v1", 6, 1, &[]);
    let (closing_reader, closed) = io::pipe().unwrap();
    let (mut slow_reader, full) = full_pipe();
    let daemons = [("closed", closed.into()), ("full disk", full_disk()), ("not read", full.into())];
    let mut daemons = daemons.map(|(name, errors)| {
        let mut forebay = forebay(&cluster.bootstrap());
        forebay.launch_to(Stdio::null(), errors);
        forebay.await_ready();
        accept(&forebay, "before");
        await_drained(&forebay);
        (name, forebay)
    });
    drop(closing_reader);
    cluster.broker(1).stop();
    for (name, forebay) in &daemons {
        accept(forebay, "meanwhile");
        assert_eq!(backlog_value(forebay, "backlog"), 1, "{name}");
        // The producer's thread reports the outage, and continues.
        if *name != "not read" {
            wait::until_true(&format!("{name}: lines are lost"), LONG, || lost(forebay) > 0.0);
        }
    }
    cluster.broker(1).start();
    for (name, forebay) in &mut daemons {
        await_drained(forebay);
        accept(forebay, "after");
        await_drained(forebay);
        assert!(forebay.terminate().success(), "{name}");
    }
    // Lines that did not fit into the pipe were buffered or counted. No line was written partially.
    let mut text = String::new();
    drop(daemons);
    slow_reader.read_to_string(&mut text).unwrap();
    assert!(text.trim_start_matches('.').is_empty(), "{text}");
}
