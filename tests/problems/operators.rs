//! Actions of operators are logged with their origin, and stay in the list until they are undone.

use std::os::unix::fs::MetadataExt as _;

use forebay::control;
use forebay::control::{ControlResponse, Request};
use serde_json::json;

use support::daemon::{backlog, forebay, kind};
use support::kafka::ClusterOptions;
use support::process::Forebay;
use support::{daemon, services};

use super::list::{assert_on_all_surfaces, await_end, await_problem, entries, text};

/// The log line of this event.
fn line(forebay: &Forebay, event: &str) -> String {
    let event = format!("\"event\":\"{event}\"");
    let found = support::wait::poll(daemon::LONG, || {
        forebay.log().lines().find(|line| line.contains(&event)).map(str::to_owned)
    });
    found.unwrap_or_else(|| panic!("no {event}: {}", forebay.log()))
}

#[test]
fn a_pause_stays_visible_until_it_is_resumed() {
    let mut forebay = daemon::under_test();
    forebay.start();
    assert!(entries(&forebay, "drain_paused").is_empty());
    assert_eq!(forebay.admin_http().post("/admin/drain/pause", "").unwrap().status, 200);
    let [paused] = &entries(&forebay, "drain_paused")[..] else {
        panic!("not immediately: {}", backlog(&forebay))
    };
    assert!(text(paused, "detail").contains("admin listener, 127.0.0.1"), "{paused}");
    assert_on_all_surfaces(&forebay, paused);
    assert!(line(&forebay, "operator.drain_paused").contains("\"origin\":\"admin listener, 127.0.0.1\""));
    assert_eq!(forebay.admin_http().post("/admin/drain/pause", "").unwrap().status, 200);
    assert_eq!(
        entries(&forebay, "drain_paused")[0]["since"],
        paused["since"],
        "the problem began with the first pause"
    );
    assert_eq!(forebay.admin_http().post("/admin/drain/resume", "").unwrap().status, 200);
    assert!(entries(&forebay, "drain_paused").is_empty(), "immediately");
    await_end(&forebay, "drain_paused");
    assert!(line(&forebay, "operator.drain_resumed").contains("admin listener"));
}

#[test]
fn a_changed_rate_limit_stays_visible_until_it_is_reset() {
    let mut forebay = daemon::under_test();
    forebay.start();
    let path = "/admin/ratelimit/login";
    let configured = forebay.admin_http().get(path).unwrap().text();
    let changed = json!({"enabled": true, "limit": 777, "window": "3m"}).to_string();
    assert_eq!(forebay.admin_http().put(path, &changed).unwrap().status, 200);
    let [entry] = &entries(&forebay, "rate_limit_changed")[..] else {
        panic!("not immediately: {}", backlog(&forebay))
    };
    assert!(text(entry, "detail").contains("`login` to 777 in 3m"), "{entry}");
    assert_on_all_surfaces(&forebay, entry);
    let said = line(&forebay, "operator.rate_limit_changed");
    assert!(said.contains("admin listener, 127.0.0.1") && said.contains("\"limit\":777"), "{said}");
    assert_eq!(forebay.admin_http().put(path, &configured).unwrap().status, 200);
    await_end(&forebay, "rate_limit_changed");
}

/// The daemon records the values of the page once per second.
fn await_on_status_page(forebay: &Forebay) {
    let shown = || {
        let page = forebay.admin_http().get("/status/page.json").unwrap().json();
        page["sections"]["dead"].as_str().unwrap_or_default().to_owned()
    };
    let is_complete = |shown: &String| {
        ["1 stored", "1 record_too_large", "order.create", "record: too large"]
            .iter()
            .all(|text| shown.contains(text))
    };
    let found = support::wait::poll(daemon::LONG, || Some(shown()).filter(is_complete));
    assert!(found.is_some(), "{}", shown());
}

#[test]
fn dead_letters_stay_visible_until_they_are_dropped() {
    let Some(kafka) = services::kafka("dead_letters_stay_visible_until_they_are_dropped") else { return };
    let cluster = kafka.start(ClusterOptions::single());
    let admin = support::admin::Admin::new(&cluster.bootstrap());
    admin.create_topic("orders.v1", 1, 1, &[("max.message.bytes", "1000")]);
    let mut forebay = forebay(&cluster.bootstrap())
        .toml(&kind("order.create", "orders.v1"))
        .set("kafka.compression", "none")
        .set("alerts.interval", "200ms");
    forebay.start();
    let large = format!(r#"{{"key":"a","x":"{}"}}"#, "y".repeat(5_000));
    assert_eq!(forebay.http().post("/v1/commands/order.create", &large).unwrap().status, 202);
    let dead = await_problem(&forebay, "dead_letters");
    assert_eq!(text(&dead, "last_error"), "record: too large");
    assert_on_all_surfaces(&forebay, &dead);
    await_on_status_page(&forebay);
    let requeue = Request::Requeue { lsns: vec![forebay::wal::Lsn(1)] };
    assert!(matches!(control::send_request(&forebay.wal_dir(), &requeue), Ok(ControlResponse::Done(_))));
    let uid = std::fs::metadata(forebay.dir()).unwrap().uid();
    let origin = format!("control socket, uid {uid}, pid {}", std::process::id());
    assert!(line(&forebay, "operator.dead_letter_requeued").contains(&origin), "{}", forebay.log());
    // The record is dead-lettered again, under a new number.
    support::wait::until_true("the record is dead-lettered again", daemon::LONG, || {
        daemon::backlog_value(&forebay, "dead") == 1
    });
    let drop = Request::Drop { lsns: vec![forebay::wal::Lsn(2)] };
    assert!(matches!(control::send_request(&forebay.wal_dir(), &drop), Ok(ControlResponse::Done(_))));
    support::wait::until_true("no dead letter remains", daemon::LONG, || {
        entries(&forebay, "dead_letters").is_empty()
    });
    assert!(line(&forebay, "operator.dead_letter_dropped").contains(&origin), "{}", forebay.log());
}
